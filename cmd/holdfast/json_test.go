package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/format/fixture"
	"github.com/holdfast-db/holdfast/internal/format/fixture/models"
	"github.com/holdfast-db/holdfast/internal/image"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// A jsonDoc is docs/json.md: section → field → type.
type jsonDoc map[string]map[string]string

var (
	docField = regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([^|]+) \\|")
	docAll   = regexp.MustCompile(`^All fields of \[([a-z_]+)\]`)
	docLink  = regexp.MustCompile(`\[([a-z_]+)\]\(#([a-z_]+)\)`)
)

func readJSONDoc(t *testing.T) jsonDoc {
	t.Helper()
	data, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := jsonDoc{}
	section := ""
	for _, line := range strings.Split(string(data), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = name
			doc[section] = map[string]string{}
		}
		for _, link := range docLink.FindAllStringSubmatch(line, -1) {
			if link[1] != link[2] || !strings.Contains(string(data), "\n## "+link[1]+"\n") {
				t.Errorf("docs/json.md: %s leads nowhere", link[0])
			}
		}
		if m := docAll.FindStringSubmatch(line); m != nil {
			for field, typ := range doc[m[1]] {
				doc[section][field] = typ
			}
		}
		if m := docField.FindStringSubmatch(line); m != nil && section != "" {
			doc[section][m[1]] = strings.TrimSpace(docLink.ReplaceAllString(m[2], "$1"))
		}
	}
	if len(doc) < 20 {
		t.Fatalf("docs/json.md has %d sections: reading it is broken", len(doc))
	}
	return doc
}

// jsonObjects are the types behind the sections of docs/json.md.
func jsonObjects() map[reflect.Type]string {
	return map[reflect.Type]string{
		reflect.TypeFor[backup.Backup](): "backup", reflect.TypeFor[backup.Detail](): "show", reflect.TypeFor[backup.Restored](): "restore",
		reflect.TypeFor[backup.Verification](): "verify", reflect.TypeFor[backup.Pruned](): "prune", reflect.TypeFor[backup.Repaired](): "repair",
		reflect.TypeFor[backup.Manifest](): "manifest", reflect.TypeFor[backup.Part](): "part", reflect.TypeFor[backup.Check](): "check",
		reflect.TypeFor[backup.Damage](): "damage", reflect.TypeFor[backup.Fault](): "fault", reflect.TypeFor[backup.Decision](): "decision",
		reflect.TypeFor[backup.Reclaimed](): "reclaimed", reflect.TypeFor[rows.Selection](): "selection", reflect.TypeFor[rows.Schema](): "schema",
		reflect.TypeFor[rows.Origin](): "origin", reflect.TypeFor[rows.Table](): "table", reflect.TypeFor[rows.Column](): "column",
		reflect.TypeFor[rows.Index](): "index", reflect.TypeFor[rows.ForeignKey](): "foreign_key", reflect.TypeFor[rows.Sequence](): "sequence",
		reflect.TypeFor[rows.Pair](): "pair", reflect.TypeFor[image.Info](): "image", reflect.TypeFor[image.TableCount](): "table_count",
		reflect.TypeFor[image.File](): "file", reflect.TypeFor[backup.Comparison](): "comparison", reflect.TypeFor[wire.Copied](): "copy",
		reflect.TypeFor[backup.DrillResult](): "drill", reflect.TypeFor[backup.Expected](): "expected", reflect.TypeFor[checkResult](): "status", reflect.TypeFor[backup.Health](): "health",
		reflect.TypeFor[backup.Finding](): "finding", reflect.TypeFor[backup.Attempt](): "attempt", reflect.TypeFor[backup.Pin](): "pin",
		reflect.TypeFor[dumpResult](): "dump", reflect.TypeFor[fixture.Loaded](): "load", reflect.TypeFor[fixture.LoadedModel](): "loaded_model",
		reflect.TypeFor[fixture.LoadedM2M](): "loaded_field", reflect.TypeFor[wire.LoadedSQL](): "load_sql", reflect.TypeFor[rows.TableRows](): "table_rows",
		reflect.TypeFor[models.Decision](): "inspect", reflect.TypeFor[models.FieldDecision](): "inspect_field",
		reflect.TypeFor[folder.Entry](): "portable_file", reflect.TypeFor[fileResult](): "portable_check", reflect.TypeFor[fileDecision](): "portable_decision",
		reflect.TypeFor[wire.FileDrill](): "portable_drill",
	}
}

// jsonType says in the words of docs/json.md how a type is encoded.
func jsonType(t *testing.T, typ reflect.Type) string {
	t.Helper()
	if section := jsonObjects()[typ]; section != "" {
		return section
	}
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return "time"
	case typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()): // also a number with a text form, such as a level
		return "string"
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return jsonType(t, typ.Elem())
	case reflect.Slice:
		return "array of " + jsonType(t, typ.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	}
	t.Errorf("docs/json.md has no word for %s", typ)
	return ""
}

func jsonFields(t *testing.T, typ reflect.Type, fields map[string]string) {
	t.Helper()
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case f.Anonymous && name == "":
			jsonFields(t, f.Type, fields)
		case name == "":
			t.Errorf("%s.%s has no name in JSON", typ, f.Name)
		default:
			what := jsonType(t, f.Type)
			if strings.Contains(options, "omit") {
				what += ", optional"
			}
			fields[name] = what
		}
	}
}

// Every field that can come out is in the documentation, with its type, and nothing else is.
func TestJSONIsDocumented(t *testing.T) {
	doc := readJSONDoc(t)
	documented := []string{"init", "demo", "version", "warning", "error"} // made where they are printed: see TestJSONOutput
	for typ, section := range jsonObjects() {
		want := map[string]string{}
		jsonFields(t, typ, want)
		if diff := cmp.Diff(want, doc[section]); diff != "" {
			t.Errorf("docs/json.md, section %s (-code +document):\n%s", section, diff)
		}
		documented = append(documented, section)
	}
	for section := range doc {
		if !slices.Contains(documented, section) {
			t.Errorf("docs/json.md has section %s, which nothing prints", section)
		}
	}
}

// check compares a value with its documented type.
func (doc jsonDoc) check(t *testing.T, at, typ string, v any) {
	t.Helper()
	typ = strings.TrimSuffix(typ, ", optional")
	if elem, ok := strings.CutPrefix(typ, "array of "); ok {
		list, ok := v.([]any)
		if !ok && v != nil {
			t.Errorf("%s is %T, want an array", at, v)
		}
		for _, item := range list {
			doc.check(t, at+"[]", elem, item)
		}
		return
	}
	ok := false
	switch typ {
	case "string":
		_, ok = v.(string)
	case "boolean":
		_, ok = v.(bool)
	case "time":
		var s string
		if s, ok = v.(string); ok {
			at, err := time.Parse(time.RFC3339Nano, s)
			ok = err == nil && at.Year() > 2000
		}
	case "number", "integer":
		var n json.Number
		if n, ok = v.(json.Number); ok && typ == "integer" {
			_, err := n.Int64()
			ok = err == nil
		}
	default:
		object, isObject := v.(map[string]any)
		if ok = isObject; ok {
			doc.checkObject(t, at, typ, object)
		}
	}
	if !ok {
		t.Errorf("%s is %v, want %s", at, v, typ)
	}
}

func (doc jsonDoc) checkObject(t *testing.T, at, section string, object map[string]any) {
	t.Helper()
	fields, ok := doc[section]
	if !ok {
		t.Fatalf("docs/json.md has no section %s", section)
	}
	for name, v := range object {
		typ, ok := fields[name]
		if !ok {
			t.Errorf("%s.%s is not in section %s of docs/json.md", at, name, section)
			continue
		}
		doc.check(t, at+"."+name, typ, v)
	}
	for name, typ := range fields {
		if _, ok := object[name]; !ok && !strings.HasSuffix(typ, ", optional") {
			t.Errorf("%s has no field %s, which section %s of docs/json.md promises", at, name, section)
		}
	}
}

// lines checks that each line is one object as documented, and returns them.
func (doc jsonDoc) lines(t *testing.T, what, section, text string) []map[string]any {
	t.Helper()
	var objects []map[string]any
	for line := range strings.Lines(text) {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var object map[string]any
		if err := d.Decode(&object); err != nil || d.More() || !strings.HasSuffix(line, "}\n") {
			t.Errorf("%s: not one JSON object (%v): %q", what, err, line)
			continue
		}
		doc.checkObject(t, what, section, object)
		objects = append(objects, object)
	}
	return objects
}

// A jsonRun runs commands with --json in a household.
type jsonRun struct {
	*household
	doc jsonDoc
}

// run checks a command's exit code, that stdout has n objects as documented, and stderr an error if there must be one.
func (r jsonRun) run(t *testing.T, code, n int, section string, args ...string) []map[string]any {
	t.Helper()
	p := r.start(t, append(args, "--json")...)
	if got := p.wait(t); got != code {
		t.Fatalf("holdfast %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, p.stderr.String())
	}
	what := "holdfast " + args[0]
	objects := r.doc.lines(t, what, section, p.stdout.String())
	if len(objects) != n {
		t.Errorf("%s printed %d objects, want %d:\n%s", what, len(objects), n, p.stdout.String())
	}
	var warnings, errs strings.Builder
	for line := range strings.Lines(p.stderr.String()) {
		if strings.HasPrefix(line, `{"warning":`) {
			warnings.WriteString(line)
		} else {
			errs.WriteString(line)
		}
	}
	r.doc.lines(t, what, "warning", warnings.String())
	found := r.doc.lines(t, what, "error", errs.String())
	switch {
	case code == 0 && len(found) > 0:
		t.Errorf("%s succeeded with errors on stderr: %v", what, found)
	case code != 0 && (len(found) != 1 || fmt.Sprint(found[0]["exit_code"]) != fmt.Sprint(code)):
		t.Errorf("%s: exit code %d, and on stderr %v", what, code, found)
	}
	return objects
}

// every runs every command on one database.
func (r jsonRun) every(t *testing.T, db, dst string) {
	r.run(t, 0, 0, "backup", "list")
	r.run(t, 3, 0, "show", "show", "latest")
	r.run(t, 0, 1, "prune", "prune", "--keep-last", "1")
	r.run(t, 0, 2, "backup", "backup", db, db)
	r.run(t, 2, 0, "backup", "backup")
	r.run(t, 0, 1, "verify", "verify", "latest")
	r.run(t, 0, 2, "backup", "list")
	r.run(t, 0, 1, "show", "show", "latest")
	r.run(t, 0, 1, "restore", "restore", "latest", "--to", dst)
	r.run(t, 4, 0, "restore", "restore", "latest", "--to", dst)
	r.run(t, 0, 1, "prune", "prune", "--keep-last", "1", "--dry-run")
	r.run(t, 0, 1, "prune", "prune", "--keep-last", "1", "--now")
	r.run(t, 0, 1, "repair", "repair")
	r.run(t, 0, 1, "version", "version")
	r.run(t, 0, 1, "init", "init", filepath.Join(t.TempDir(), "another"))
	r.run(t, 4, 0, "init", "init")
	r.run(t, 2, 0, "", "nonsense")
	r.run(t, 2, 0, "backup", "list", "--nonsense")
}

// portable runs the commands of portable files on a database that has one table, and loads their SQL into another.
func (r jsonRun) portable(t *testing.T, db, dst string) {
	r.run(t, 0, 1, "backup", "backup", db, "--name", "portable")
	dir := t.TempDir()
	name := func(file string) string { return filepath.Join(dir, file) }
	r.run(t, 0, 1, "dump", "dump", db, "--output-dir", name("f"))
	r.run(t, 0, 1, "dump", "dump", db, "--output-dir", name("f"), "--format", "sql", "--compress", "gz")
	r.run(t, 4, 0, "dump", "dump", db, "-o", r.touch(t, name("there.json")))
	r.run(t, 0, 1, "dump", "export", "latest:portable", "-o", name("stored.jsonl"))
	r.run(t, 0, 1, "inspect", "inspect", db, "--models")
	r.run(t, 0, 2, "portable_file", "list", name("f"))
	r.run(t, 0, 2, "portable_check", "verify", name("f"))
	r.run(t, 13, 1, "portable_check", "verify", name("there.json"))
	r.run(t, 0, 1, "load", "load", name("stored.jsonl"), "--to", db)
	r.run(t, 0, 1, "load", "load", name("stored.jsonl"), "--to", db, "--flush", "--dry-run")
	r.run(t, 0, 1, "load_sql", "load", name("f/latest"), "--to", dst)
	r.run(t, 3, 0, "load", "load", name("missing.json"), "--to", db)
	r.run(t, 0, 2, "portable_decision", "prune", name("f"), "--keep-last", "1", "--dry-run")
}

// touch makes an empty file.
func (r jsonRun) touch(t *testing.T, name string) string {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Every line that a command prints is one object with the documented fields, whatever it says.
// proof runs the commands that prove and keep a backup.
func (r jsonRun) proof(t *testing.T) {
	r.run(t, 0, 1, "drill", "drill", "latest:portable", "--expect", "select count(*) > 0 from t")
	r.run(t, 8, 1, "drill", "drill", "latest:portable", "--expect", "select count(*) < 0 from t")
	file := filepath.Join(t.TempDir(), "it.json")
	r.run(t, 0, 1, "dump", "export", "latest:portable", "-o", file)
	r.run(t, 8, 1, "portable_drill", "drill", file, "--schema-from", "latest:portable", "--expect", "select count(*) < 0 from t")
	r.run(t, 0, 1, "pin", "pin", "latest:portable", "--until", "2999-12-31", "--reason", "the end of the year")
	r.run(t, 0, 1, "pin", "unpin", "latest:portable")
}

func TestJSONOutput(t *testing.T) {
	doc := readJSONDoc(t)
	t.Run("sqlite", func(t *testing.T) {
		r := jsonRun{newHousehold(t), doc}
		db := filepath.Join(t.TempDir(), "shop.sqlite3")
		sql := "CREATE TABLE t (a INTEGER PRIMARY KEY, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000) INSERT INTO t SELECT i, randomblob(500) FROM n"
		if out, err := exec.Command(servers.Program(t, "sqlite3"), db, sql).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		r.every(t, db, db+".restored")
		r.portable(t, db, "sqlite:"+db+".loaded")
		r.proof(t)
		r.run(t, 0, 1, "demo", "demo", filepath.Join(t.TempDir(), "demo"))
		r.damaged(t)
	})
	for _, major := range servers.PostgresVersions() {
		t.Run("postgres"+major, func(t *testing.T) {
			pg := servers.Postgres(t, major)
			r := jsonRun{newHousehold(t, "HOLDFAST_PG_BIN="+pg.BinDir()), doc}
			db, dst := pg.CreateDatabase(t), pg.CreateDatabase(t)
			script, err := os.ReadFile("../../internal/engine/postgres/testdata/everything.sql")
			if err != nil {
				t.Fatal(err)
			}
			pg.SQL(t, db, string(script))
			r.every(t, db, dst)
			pg.SQL(t, db, "CREATE SCHEMA part; CREATE TABLE part.a (i int); CREATE TABLE part.b ()")
			small := pg.CreateDatabase(t)
			pg.SQL(t, small, "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x')")
			r.portable(t, small, small)
			r.run(t, 0, 1, "backup", "backup", db, "--name", "part", "--include-table", "part.*", "--exclude-table", "part.b", "--data-only")
			if m, _ := r.run(t, 0, 1, "show", "show", "latest:part")[0]["manifest"].(map[string]any); m["selection"] == nil || m["data_only"] != true {
				t.Errorf("the manifest does not tell of the selection: %v, %v", m["selection"], m["data_only"])
			}
		})
	}
}

// damaged loses the largest file of a repository, and looks at what is said about it.
func (r jsonRun) damaged(t *testing.T) {
	var largest string
	var size int64
	err := filepath.WalkDir(r.repo, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = name, info.Size()
		}
		return err
	})
	if err != nil || os.Remove(largest) != nil {
		t.Fatalf("remove %q: %v", largest, err)
	}
	v := r.run(t, 13, 1, "verify", "verify", "--all")[0]
	if v["damage"] == nil || v["structure"] == nil {
		t.Errorf("a lost file is not in %v", v)
	}
	if list := r.run(t, 0, 2, "backup", "list"); list[0]["state"] != "damaged" {
		t.Errorf("the list says %v", list[0]["state"])
	}
	if d := r.run(t, 0, 1, "show", "show", "latest")[0]; d["checks"] == nil {
		t.Errorf("no checks in %v", d)
	}
	r.run(t, 0, 1, "repair", "repair")
}
