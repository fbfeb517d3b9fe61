package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// dumped writes a database as a file in memory.
func dumped(t *testing.T, db string, opt DumpOptions) string {
	t.Helper()
	v, err := OpenDump(t.Context(), db, opt.Format, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var out bytes.Buffer
	if _, err := Dump(t.Context(), v, &out, opt); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// drillText drills a file that is there only as texts: what check reads, and then what each reading of the drill gets.
func drillText(t *testing.T, opt FileDrillOptions, texts ...string) (FileDrill, error) {
	t.Helper()
	check, err := CheckFile(t.Context(), strings.NewReader(texts[0]))
	if err != nil || check.Err != nil {
		t.Fatal(err, check)
	}
	n := 0
	open := func() (io.ReadCloser, error) {
		n++
		return io.NopCloser(strings.NewReader(texts[min(n, len(texts)-1)])), nil
	}
	d, err := DrillFile(t.Context(), open, check, opt)
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "holdfast-scratch-*")); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
	return d, err
}

// schemaOf opens the definitions of a database for as long as the test runs.
func schemaOf(t *testing.T, db string) rows.View {
	t.Helper()
	v, err := SchemaOf(t.Context(), db, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// Files of each engine and format load, and what is there is what is in them.
func TestDrillFile(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	for _, engine := range engines() {
		source := newPlace(t, engine)
		makeEverything(t, source)
		before := dumped(t, source.url, DumpOptions{Format: SQL})
		store := newStore(t)
		stored, err := Stored(t.Context(), store, backUp(t, store, source.url))
		if err != nil {
			t.Fatal(err)
		}
		defer stored.Close()
		expect := []string{"SELECT count(*) = 4 FROM kitchen", "SELECT count(*) > 99 FROM kitchen", "SELECT nothing"}
		for _, format := range Formats() {
			t.Run(engine+"_"+string(format), func(t *testing.T) {
				text := dumped(t, source.url, DumpOptions{Format: format})
				opt := FileDrillOptions{Expect: expect}
				switch format {
				case JSON:
					opt.Schema = schemaOf(t, source.url)
				case JSONL:
					opt.Schema = stored
				}
				d, err := drillText(t, opt, text)
				if err != nil {
					t.Fatal(err)
				}
				if len(d.Findings) > 0 || d.Rows != 18 || d.Tables != 6 || d.Seconds < d.Restore {
					t.Errorf("got %+v", d)
				}
				if len(d.Expected) != 3 || !d.Expected[0].OK || d.Expected[1].OK || d.Expected[2].OK || fail.KindOf(d.Err()) != fail.Mismatch {
					t.Errorf("expected %+v, %v", d.Expected, d.Err())
				}
			})
		}
		if after := dumped(t, source.url, DumpOptions{Format: SQL}); sameLines(after) != sameLines(before) {
			t.Errorf("%s: the drills changed the database", engine)
		}
	}
}

// sameLines is an SQL file without the lines that say when it was made, or guard psql.
func sameLines(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "-- ") || strings.Contains(l, "restrict ")
	}), "\n")
}

// server names a server for scratch databases of an engine: that of the tests, which runs already.
func server(t *testing.T, engine string) ScratchOptions {
	switch engine {
	case Postgres:
		return ScratchOptions{To: servers.Postgres(t, servers.PostgresVersions()[0]).URL("postgres")}
	case MySQL:
		return ScratchOptions{To: servers.MariaDB(t).URL("mysql")}
	}
	return ScratchOptions{}
}

// A drill is on a server that the user names, and leaves nothing there.
func TestDrillFile_named(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	pg, m := servers.Postgres(t, servers.PostgresVersions()[0]), servers.MariaDB(t)
	other := map[string]string{Postgres: MySQL, MySQL: Postgres}
	for engine := range other {
		source := newPlace(t, engine)
		makeEverything(t, source)
		for _, format := range []Format{SQL, JSON} {
			opt := FileDrillOptions{ScratchOptions: server(t, engine)}
			if format == JSON {
				opt.Schema = schemaOf(t, source.url)
			}
			d, err := drillText(t, opt, dumped(t, source.url, DumpOptions{Format: format}))
			if err != nil || d.Err() != nil || d.Rows != 18 {
				t.Errorf("%s %s: %+v, %v", engine, format, d, err)
			}
			opt.ScratchOptions = server(t, other[engine])
			if _, err := drillText(t, opt, dumped(t, source.url, DumpOptions{Format: format})); fail.KindOf(err) != fail.Usage {
				t.Errorf("%s on a server of the other kind: %v", engine, err)
			}
		}
	}
	if left := m.SQL(t, "", "SHOW DATABASES LIKE 'holdfast_scratch_%'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if left := pg.SQL(t, pg.URL("postgres"), "SELECT datname FROM pg_database WHERE datname LIKE 'holdfast_scratch_%'"); strings.TrimSpace(left) != "" {
		t.Errorf("left behind: %s", left)
	}
}

// A project's fixture finds its models and content types by those of the database.
func TestDrillFile_django(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	release := servers.Django(t, "4.2")
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			source := newPlace(t, engine)
			project := release.Project(t, source.url)
			project.Migrate(t)
			project.Seed(t)
			models := ModelOptions{ProjectDir: project.Dir}
			profiles := []string{"portable", "dumpdata", "exact"}
			if engine != SQLite {
				profiles = profiles[:1] // the file is another, and the drill the same
			}
			for _, profile := range profiles {
				opt := DumpOptions{Format: JSON, Models: models}
				var err error
				if opt.Fixture.Profile, err = ParseProfile(profile); err != nil {
					t.Fatal(err)
				}
				d, err := drillText(t, FileDrillOptions{ScratchOptions: server(t, engine), Schema: schemaOf(t, source.url), Models: models}, dumped(t, source.url, opt))
				if err != nil || d.Err() != nil || d.Rows < 40 || d.Tables < 20 {
					t.Errorf("%s: %+v, %v", profile, d, err)
				}
			}
			// A part of a database names rows that it does not have.
			opt := DumpOptions{Format: JSON, Models: models}
			opt.Fixture.Only = []string{"shop"}
			_, err := drillText(t, FileDrillOptions{ScratchOptions: server(t, engine), Schema: schemaOf(t, source.url), Models: models}, dumped(t, source.url, opt))
			if fail.KindOf(err) != fail.Incomplete || !strings.Contains(err.Error(), "neither in the file nor in the database") {
				t.Errorf("a part: %v", err)
			}
		})
	}
}

// What is loaded is not what is in the file: by a file that changes, and by what the database itself does.
func TestDrillFile_finds(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	const object = `{"model": "table.t", "pk": %d, "fields": {"name": %q}}`
	two := "[" + fmt.Sprintf(object, 1, "ann") + "," + fmt.Sprintf(object, 2, "bob") + "]"
	one := "[" + fmt.Sprintf(object, 1, "ann") + "]"
	other := strings.Replace(two, "bob", "rob", 1)
	twice := strings.Replace(two, `"pk": 2`, `"pk": 1`, 1)
	table := map[string]string{
		Postgres: "CREATE TABLE t (id int PRIMARY KEY, name text);", MySQL: "CREATE TABLE t (id int PRIMARY KEY, name varchar(9));", SQLite: "CREATE TABLE t (id integer PRIMARY KEY, name text);",
	}
	for _, engine := range engines() {
		plain := newPlace(t, engine)
		plain.sql(t, table[engine])
		schema := schemaOf(t, plain.url)
		for _, c := range []struct {
			name  string
			texts []string
			want  string
		}{
			{"fewer", []string{two, one}, "2 objects of table.t are in the file, 1 became rows"},
			{"changed", []string{two, two, other}, "1 rows of table.t are not as they are in the file"},
			{"the_same", []string{two}, ""},
		} {
			t.Run(engine+"_"+c.name, func(t *testing.T) {
				d, err := drillText(t, FileDrillOptions{ScratchOptions: server(t, engine), Schema: schema}, c.texts...)
				if err != nil || strings.Join(d.Findings, "; ") != c.want {
					t.Errorf("got %q, %v", d.Findings, err)
				}
			})
		}
		t.Run(engine+"_one_key_twice", func(t *testing.T) {
			d, err := drillText(t, FileDrillOptions{ScratchOptions: server(t, engine), Schema: schema}, twice)
			if err == nil && d.Err() == nil {
				t.Errorf("got %+v", d)
			}
		})
	}
	lite := newPlace(t, SQLite)
	lite.sql(t, table[SQLite]+"CREATE TRIGGER less AFTER INSERT ON t WHEN new.id = 2 BEGIN DELETE FROM t WHERE id = 2; END; CREATE TRIGGER up AFTER INSERT ON t BEGIN UPDATE t SET name = upper(name); END;")
	d, err := drillText(t, FileDrillOptions{Schema: schemaOf(t, lite.url)}, two)
	if want := "table t has 1 rows, and should have 2"; err != nil || len(d.Findings) != 3 || d.Findings[0] != want || !strings.HasPrefix(d.Findings[1], "1 rows of table.t are not as") ||
		!strings.HasPrefix(d.Findings[2], "1 rows of table.t are not there") {
		t.Errorf("got %q, %v", d.Findings, err)
	}
}

// What has no key is counted, and said not to be compared: in a table without one, and objects without theirs.
func TestDrillFile_keyless(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	lite := newPlace(t, SQLite)
	lite.sql(t, "CREATE TABLE log (a int, b text); CREATE TABLE tag (id integer PRIMARY KEY, slug text UNIQUE); CREATE TABLE t (id integer PRIMARY KEY, name text);")
	const text = `[{"model": "table.log", "fields": {"a": 1, "b": "x"}}, {"model": "table.log", "fields": {"a": 1, "b": "x"}},
		{"model": "table.tag", "fields": {"slug": "a"}}, {"model": "table.tag", "fields": {"slug": "b"}}, {"model": "table.t", "pk": 1, "fields": {"name": "n"}}]`
	d, err := drillText(t, FileDrillOptions{Schema: schemaOf(t, lite.url)}, text)
	if err != nil || d.Err() != nil || d.Rows != 5 || !slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, "counted but not compared: table.log, table.tag") }) {
		t.Errorf("got %+v, %v", d, err)
	}
}

// A fixture needs definitions, which not everything has.
func TestDrillFile_needs(t *testing.T) {
	const text = `[{"model": "table.t", "pk": 1, "fields": {}}]`
	if _, err := drillText(t, FileDrillOptions{}, text); fail.KindOf(err) != fail.Usage || !strings.Contains(fail.HintOf(err), "--schema-from") {
		t.Errorf("without a schema: %v", err)
	}
	pg := newPlace(t, Postgres)
	pg.sql(t, "CREATE TABLE t (id int PRIMARY KEY)")
	src, err := Source(t.Context(), pg.url, SourceOptions{DataOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	s := newStore(t)
	run := s.NewRun(backup.RunOptions{})
	b, err := run.Backup(t.Context(), src)
	if err = errors.Join(err, run.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	v, err := Stored(t.Context(), s, b)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := drillText(t, FileDrillOptions{Schema: v}, text); fail.KindOf(err) != fail.Incomplete {
		t.Errorf("without definitions: %v", err)
	}
	if _, err := drillText(t, FileDrillOptions{}, "INSERT INTO t VALUES (1);\n"); fail.KindOf(err) != fail.Unsupported {
		t.Errorf("SQL of nobody knows what: %v", err)
	}
}

// What MariaDB's own program wrote goes into a server of the version that it names.
func TestDrillFile_mysqldump(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	m, source := servers.MariaDB(t), newPlace(t, MySQL)
	makeEverything(t, source)
	source.sql(t, "DROP SEQUENCE alone") // which is in it with a name that the file does not make
	text, err := m.Command("mysqldump", "--routines", source.url[strings.LastIndex(source.url, "/")+1:]).Output()
	if err != nil {
		t.Fatal(err)
	}
	check, err := CheckFile(t.Context(), bytes.NewReader(text))
	if err != nil || !strings.Contains(check.Version, "MariaDB") {
		t.Fatalf("of version %q, %v", check.Version, err)
	}
	d, err := drillText(t, FileDrillOptions{Expect: []string{"SELECT count(*) = 4 FROM kitchen"}}, string(text))
	if err != nil || d.Err() != nil || d.Rows != 18 {
		t.Errorf("got %+v, %v", d, err)
	}
	// One of MySQL needs a server that the user names.
	of8 := strings.Replace(string(text), check.Version, "8.0.36", 1)
	if _, err := drillText(t, FileDrillOptions{}, of8); fail.KindOf(err) != fail.Unsupported || !strings.Contains(fail.HintOf(err), "--to-scratch") {
		t.Errorf("of MySQL: %v", err)
	}
	// Cut off within, and what is loaded first goes with the server.
	broken := strings.Replace(string(text), "INSERT INTO `kitchen`", "INSERT INTO `nothing`", 1)
	if d, err := drillText(t, FileDrillOptions{ScratchOptions: server(t, MySQL)}, broken); err == nil && d.Err() == nil {
		t.Errorf("a broken file: %+v", d)
	}
	if left := m.SQL(t, "", "SHOW DATABASES LIKE 'holdfast_scratch_%'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}
