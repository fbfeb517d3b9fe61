package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// newest returns the newest server there is.
func newestPostgres(t *testing.T) *servers.PG {
	t.Helper()
	versions := servers.PostgresVersions()
	return servers.Postgres(t, versions[len(versions)-1])
}

// Rows go from PostgreSQL into an SQLite file and back into another PostgreSQL database, by way of fixtures, and are
// the same for Django there: all types but PostgreSQL's own.
func TestPortableBetweenEngines(t *testing.T) {
	t.Parallel()
	django := servers.Django(t, "4.2")
	pg := newestPostgres(t)
	h := newHousehold(t)
	from, to := django.Project(t, pg.CreateDatabase(t)), django.Project(t, pg.CreateDatabase(t))
	lite := django.Project(t, filepath.Join(t.TempDir(), "shop.sqlite3"))
	for _, p := range []*servers.DjangoProject{from, to, lite} {
		p.Migrate(t)
	}
	from.Seed(t)
	// Content types have other ids in the other database, so that those of the file mean something else there.
	to.Python(t, "from django.contrib.contenttypes.models import ContentType as C\nC.objects.filter(app_label='shop').delete()\nfrom django.core.management import call_command\ncall_command('migrate', verbosity=0)")

	dir := t.TempDir()
	carry := func(source *servers.DjangoProject, name string, target *servers.DjangoProject, args ...string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		h.must(t, append([]string{"dump", source.DB, "-o", file, "--django-project", source.Dir}, args...)...)
		p := h.start(t, "load", file, "--to", target.DB, "--django-project", target.Dir, "--flush")
		if code := p.wait(t); code != 0 {
			t.Fatalf("load %s: exit code %d\n%s", name, code, p.stderr.String())
		}
		return p.stderr.String()
	}
	// SQLite has no exact decimals: what it will not keep is said.
	if said := carry(from, "first.json", lite, "--exclude", "pgapp"); !strings.Contains(said, "shop.kitchen: dec: SQLite keeps 15 digits of a decimal") || !strings.Contains(said, ": 1, the first of pk=3") {
		t.Errorf("nothing is said of digits that get lost:\n%s", said)
	}
	from.Python(t, "from shop.models import Kitchen\nKitchen.objects.filter(pk=3).update(dec='1234567.12345678')")
	if said := carry(from, "again.jsonl.zst", lite, "--exclude", "pgapp"); strings.Contains(said, "digits") {
		t.Errorf("digits are said to get lost:\n%s", said)
	}
	carry(lite, "back.json.gz", to)

	compared := []string{"dumpdata", "--all", "--natural-foreign", "--indent", "1", "-e", "contenttypes", "-e", "auth.permission", "-e", "sessions", "-e", "pgapp"}
	want := from.Manage(t, compared...)
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(to.Manage(t, compared...), "\n")); diff != "" || strings.Count(want, `"shop.kitchen"`) < 8 {
		t.Errorf("%d rows of every type; -before +after:\n%s", strings.Count(want, `"shop.kitchen"`), diff)
	}
	// Django goes on where the rows end.
	if got := to.Python(t, "from shop.models import Tag\nprint(Tag.objects.create(slug='next').pk)"); got != "4\n" {
		t.Errorf("the next tag is %s", got)
	}
}

var restrictKey = regexp.MustCompile(`(?m)^\\(un)?restrict \w+$`)

// What comes out of a stored backup is what the live database gave at that time.
func TestExportIsDump(t *testing.T) {
	check := func(t *testing.T, db string, least int, env ...string) {
		t.Helper()
		h := newHousehold(t, append(env, "DATABASE_URL="+db)...)
		h.must(t, "backup", "--name", "it")
		for _, format := range []string{"json", "jsonl", "sql"} {
			args := []string{"--format", format, "-o", "-", "-q"}
			if format != "sql" {
				args = append(args, "--allow-unmapped")
			}
			live := h.start(t, append([]string{"dump"}, args...)...)
			stored := h.start(t, append([]string{"export", "latest:it"}, args...)...)
			if a, b := live.wait(t), stored.wait(t); a != 0 || b != 0 {
				t.Fatalf("%s: exit codes %d, %d\n%s%s", format, a, b, live.stderr.String(), stored.stderr.String())
			}
			want, got := restrictKey.ReplaceAllString(live.stdout.String(), ""), restrictKey.ReplaceAllString(stored.stdout.String(), "")
			if want != got {
				t.Errorf("%s: -live +stored:\n%.5000s", format, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
			}
			if live.stderr.String() != stored.stderr.String() {
				t.Errorf("%s: live says %q, stored %q", format, live.stderr.String(), stored.stderr.String())
			}
			if strings.Contains(live.stderr.String(), "rows only") {
				t.Errorf("a dump with definitions says that it has none")
			}
			if len(want) < least {
				t.Errorf("%s: only %d bytes", format, len(want))
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		p := servers.Django(t, "4.2").Project(t, filepath.Join(t.TempDir(), "shop.sqlite3"))
		p.Migrate(t)
		p.Seed(t)
		check(t, p.DB, 8000)
	})
	for _, major := range servers.PostgresVersions() {
		t.Run("postgres"+major, func(t *testing.T) {
			t.Parallel()
			pg := servers.Postgres(t, major)
			db := pg.CreateDatabase(t)
			script, err := os.ReadFile("../../internal/engine/postgres/testdata/everything.sql")
			if err != nil {
				t.Fatal(err)
			}
			pg.SQL(t, db, string(script))
			check(t, db, 1_000_000, "HOLDFAST_PG_BIN="+pg.BinDir())
		})
	}
}

// A load that is stopped halfway, however rudely, changed nothing, and the next one works.
func TestPortableInterrupted(t *testing.T) {
	t.Parallel()
	pg := newestPostgres(t)
	for name, sig := range map[string]syscall.Signal{"interrupt": syscall.SIGINT, "terminate": syscall.SIGTERM, "kill": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHousehold(t)
			db := pg.CreateDatabase(t)
			pg.SQL(t, db, "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'old')")
			file := filepath.Join(t.TempDir(), "x.json")
			text := `[{"model": "table.a", "pk": 1, "fields": {"v": "new"}}, {"model": "table.a", "pk": 2, "fields": {"v": "new"}}, {"model": "table.b", "pk": 1, "fields": {"v": "new"}}]`
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			// Somebody writes to the second table, and the load waits for it.
			writer := pg.Command("psql", "-XqAt", "-d", strings.TrimPrefix(db[strings.LastIndex(db, "/"):], "/"))
			in, err := writer.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := writer.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = in.Close(); _ = writer.Wait() })
			if _, err := in.Write([]byte("BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE;\n")); err != nil {
				t.Fatal(err)
			}
			const waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND relation = 'b'::regclass AND "
			until(t, "the writer has its lock", func() bool { return pg.SQL(t, db, waiting+"granted") == "1" })
			p := h.start(t, "load", file, "--to", db)
			until(t, "the load waits", func() bool { return pg.SQL(t, db, waiting+"NOT granted") == "1" })
			p.signal(t, sig)
			if sig == syscall.SIGKILL {
				p.wait(t)
			} else {
				p.wantInterrupted(t)
			}
			if _, err := in.Write([]byte("ROLLBACK;\n")); err != nil {
				t.Fatal(err)
			}
			until(t, "the load's connection is gone", func() bool {
				return pg.SQL(t, db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'holdfast'") == "0"
			})
			const all = "SELECT 'a', * FROM a UNION ALL SELECT 'b', * FROM b ORDER BY 1, 2"
			if got := pg.SQL(t, db, all); got != "a|1|old" {
				t.Errorf("the database holds %q", got)
			}
			h.must(t, "load", file, "--to", db)
			if got := pg.SQL(t, db, all); got != "a|1|new\na|2|new\nb|1|new" {
				t.Errorf("then, the database holds %q", got)
			}
		})
	}
}

// Who may read some tables may dump these, when the others are left out; and no row that is hidden is passed over.
func TestDumpWithFewRights(t *testing.T) {
	t.Parallel()
	pg := newestPostgres(t)
	h := newHousehold(t, "HOLDFAST_PG_BIN="+pg.BinDir())
	db := pg.CreateDatabase(t)
	role := pg.User(t, "")
	pg.SQL(t, db, `CREATE TABLE a (id serial PRIMARY KEY, v text); INSERT INTO a (v) VALUES ('x'); CREATE TABLE secret (id serial PRIMARY KEY, v text); INSERT INTO secret (v) VALUES ('y');
		CREATE TABLE own (id int PRIMARY KEY, who name); INSERT INTO own VALUES (1, 'me'), (2, 'you'); ALTER TABLE own ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON own USING (who = 'me');
		GRANT SELECT ON a, own TO `+role.Name)
	url := role.URL(db[strings.LastIndex(db, "/")+1:])
	dump := func(code int, want string, args ...string) {
		t.Helper()
		p := h.start(t, append([]string{"dump", url, "-o", "-"}, args...)...)
		if got := p.wait(t); got != code || !strings.Contains(p.stderr.String(), want) || code == 0 && !strings.Contains(p.stdout.String(), `"v": "x"`) {
			t.Errorf("dump %v: exit code %d, want %d\n%s%s", args, got, code, p.stderr.String(), p.stdout.String())
		}
	}
	dump(5, "secret", "--exclude", "table.own")
	dump(5, "own", "--exclude", "table.secret")
	dump(0, "1 row", "--exclude", "table.secret", "--exclude", "table.own")
	dump(0, "1 row", "--only", "table.a")
	dump(5, "secret", "--format", "sql")
}

// A reader that has enough ends a dump, and nothing is left of it.
func TestDumpIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	h := newHousehold(t)
	db := filepath.Join(t.TempDir(), "big.sqlite3")
	sql := "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, hex(randomblob(50)) FROM n"
	if out, err := exec.Command(servers.Program(t, "sqlite3"), db, sql).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, format := range []string{"json", "sql"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := h.startTo(t, w, "dump", db, "-o", "-", "--format", format)
		_ = w.Close()
		if _, err := r.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		if code := p.wait(t); code == 0 || strings.Contains(p.stderr.String(), "panic") {
			t.Errorf("%s: exit code %d\n%s", format, code, p.stderr.String())
		}
	}
}
