package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfast-db/holdfast/"

// imports is the import policy: which of our packages a package may import, tests excepted.
// DO NOT WIDEN IT TO FIX A BUILD. Needing more means that code is in the wrong package.
var imports = map[string][]string{
	"internal/fail":                  {},
	"internal/rows":                  {"internal/fail"},
	"internal/rows/rowstest":         {"internal/rows", "internal/fail"},
	"internal/image":                 {"internal/rows", "internal/fail"}, // shares rows.Origin
	"internal/scratch":               {"internal/fail"},
	"internal/sqlsplit":              {"internal/fail"},
	"internal/engine/postgres":       {"internal/rows", "internal/image", "internal/sqlsplit", "internal/scratch", "internal/fail"},
	"internal/engine/sqlite":         {"internal/rows", "internal/image", "internal/sqlsplit", "internal/fail"},
	"internal/engine/mysql":          {"internal/rows", "internal/sqlsplit", "internal/scratch", "internal/fail"},
	"internal/format/sqltext":        {"internal/rows", "internal/sqlsplit", "internal/fail"},
	"internal/format/fixture":        {"internal/format/fixture/models", "internal/format/fixture/values", "internal/rows", "internal/fail"},
	"internal/format/fixture/models": {"internal/rows", "internal/fail"},
	"internal/format/fixture/values": {"internal/rows", "internal/fail"},
	"internal/envelope":              {"internal/fail"},
	"internal/folder":                {"internal/envelope", "internal/retain", "internal/fail"},
	"internal/repo":                  {"internal/fail"},
	"internal/retain":                {"internal/fail"},
	"internal/schedule":              {"internal/fail"},
	"internal/notify":                {"internal/fail"},
	"internal/config":                {"internal/retain", "internal/schedule", "internal/rows", "internal/fail"},
	"internal/backup":                {"internal/repo", "internal/rows", "internal/image", "internal/retain", "internal/fail"},
	"internal/metrics":               {"internal/backup", "internal/fail"},
	"internal/daemon":                {"internal/backup", "internal/config", "internal/metrics", "internal/notify", "internal/retain", "internal/fail"},
	"internal/wire": {"internal/engine/postgres", "internal/engine/sqlite", "internal/engine/mysql", "internal/format/fixture", "internal/format/fixture/models", "internal/format/sqltext",
		"internal/envelope", "internal/folder", "internal/scratch", "internal/config", "internal/daemon", "internal/backup", "internal/repo", "internal/retain", "internal/rows", "internal/image", "internal/fail"},
	"internal/servers": {},
	"cmd/holdfast": {"internal/wire", "internal/daemon", "internal/config", "internal/notify", "internal/metrics", "internal/envelope", "internal/folder", "internal/backup", "internal/retain",
		"internal/rows", "internal/fail"},
	"bench": {"internal/servers"},
}

// testOnly packages may be imported by tests alone, so that they stay out of the binary.
var testOnly = []string{"internal/servers", "internal/rows/rowstest"}

// vendors are modules that only one package may know.
var vendors = map[string]string{
	"github.com/kopia/":                  "internal/repo",
	"github.com/jackc/":                  "internal/engine/postgres",
	"github.com/ncruces/":                "internal/engine/sqlite",
	"github.com/go-sql-driver/":          "internal/engine/mysql",
	"filippo.io/age":                     "internal/envelope",
	"github.com/ProtonMail/":             "internal/envelope",
	"github.com/ulikunitz/":              "internal/envelope",
	"github.com/goccy/go-yaml":           "internal/config",
	"github.com/robfig/cron":             "internal/schedule",
	"github.com/nicholas-fedor/shoutrrr": "internal/notify",
	"github.com/prometheus/":             "internal/metrics",
	"github.com/coreos/":                 "internal/daemon",
	"github.com/spf13/cobra":             "cmd/holdfast",
	"github.com/vbauerster/":             "cmd/holdfast",
	"github.com/zeebo/xxh3":              "internal/rows",
	"github.com/dchest/":                 "internal/rows",
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	walkGo(t, func(dir, file string, imported []string) {
		isTest := strings.HasSuffix(file, "_test.go")
		if dir == "internal" {
			return
		}
		granted, known := imports[dir]
		if !known {
			t.Errorf("package %s has no line in the import policy", dir)
			return
		}
		seen[dir] = true
		for _, imp := range imported {
			if ours, ok := strings.CutPrefix(imp, module); ok && !isTest {
				if !slices.Contains(granted, ours) {
					t.Errorf("%s/%s imports %s, which the policy does not grant", dir, file, ours)
				}
				if slices.Contains(testOnly, ours) && dir != "bench" && !slices.Contains(testOnly, dir) {
					t.Errorf("%s/%s imports %s, which is for tests", dir, file, ours)
				}
			}
			for prefix, owner := range vendors {
				if strings.HasPrefix(imp, prefix) && dir != owner && !isTest {
					t.Errorf("%s/%s imports %s, which only %s may", dir, file, imp, owner)
				}
			}
			if imp == "testing" && !isTest && !slices.Contains(testOnly, dir) {
				t.Errorf("%s/%s links testing into the binary", dir, file)
			}
		}
	})
	for dir := range imports {
		if !seen[dir] && dir != "internal/servers" && dir != "internal/rows/rowstest" && dir != "bench" {
			t.Errorf("the import policy names %s, which has no Go file", dir)
		}
	}
}

// TestSizes keeps every room small enough to read: see «Sizes» in CONTRIBUTING.md.
func TestSizes(t *testing.T) {
	const most = 500 // lines
	n := 0
	walkGo(t, func(dir, file string, _ []string) {
		n++
		data, err := os.ReadFile(filepath.Join("..", dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(data), "\n"); lines > most {
			t.Errorf("%s/%s has %d lines, more than %d", dir, file, lines, most)
		}
	})
	if n < 10 {
		t.Errorf("looked at %d files only: the walk is broken", n)
	}
}

func walkGo(t *testing.T, visit func(dir, file string, imported []string)) {
	t.Helper()
	for _, root := range []string{"internal", "cmd", "bench"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(name, ".go") {
				return nil
			}
			rel, err := filepath.Rel("..", name)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			var imported []string
			for _, i := range f.Imports {
				imported = append(imported, strings.Trim(i.Path.Value, `"`))
			}
			visit(path.Dir(rel), path.Base(rel), imported)
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}
