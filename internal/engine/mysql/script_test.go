package mysql

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestRecoveryScript(t *testing.T) { eachFlavour(t, testRecoveryScript) }

func testRecoveryScript(t *testing.T, m *servers.MySQLServer) {
	db := everything(t, m)
	v := open(t, db, Options{})
	dir := t.TempDir()
	if err := os.CopyFS(dir, v.Native()); err != nil {
		t.Fatal(err)
	}
	var files []rows.PartFile
	for _, table := range v.Schema().Tables {
		for _, p := range v.Parts(table) {
			f := rows.PartFile{Part: p, Path: fmt.Sprintf("tables/%d.tsv", len(files))}
			files = append(files, f)
			r, err := v.Read(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(dir, "tables"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f.Path), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	name, script := v.RecoveryScript(files)
	to := m.CreateDatabase(t)
	run := func(args []string, stdin io.Reader) {
		if !isMaria(m) {
			args = append([]string{"--loose-commands"}, args...) // else newer ones have no "source"
		}
		cmd := m.Command("mysql", args...)
		cmd.Dir, cmd.Stdin = dir, stdin
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mariadb: %v\n%s", err, out)
		}
	}
	database := to[strings.LastIndex(to, "/")+1:]
	run([]string{"--local-infile=1", "--default-character-set=utf8mb4", database}, strings.NewReader(string(script)))
	if name != "restore.sql" {
		t.Errorf("got %s", name)
	}
	if diff := cmp.Diff(strings.Split(dump(t, m, db), "\n"), strings.Split(dump(t, m, to), "\n")); diff != "" {
		t.Errorf("restored by the mariadb client: %.3000s", diff)
	}
	globals, err := fs.ReadFile(v.Native(), globalsFile)
	if err != nil || !strings.Contains(string(globals), "CREATE USER IF NOT EXISTS `root`@`%`") {
		t.Errorf("users: %v\n%s", err, globals)
	}
	run(nil, strings.NewReader(string(globals)))
}
