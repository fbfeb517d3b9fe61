package wire

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// exported has a daemon's export made.
func exported(t *testing.T, s *backup.Store, b backup.Backup, db *config.Database, e config.Export) (string, error) {
	t.Helper()
	return Engines("test").Export(t.Context(), s, b, db, e, time.UTC)
}

// What a daemon exports is read back, and loaded where that is asked for.
func TestExport(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	s := newStore(t)
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			source := newPlace(t, engine)
			makeEverything(t, source)
			b := backUp(t, s, source.url)
			db := &config.Database{Name: b.Name, Drill: config.Drill{To: fail.Secret(server(t, engine).To), Expect: []string{"SELECT count(*) = 4 FROM kitchen"}}}
			list := []config.Export{
				{Format: "sql", Drill: true},
				{Format: "jsonl", Compress: "zst", Drill: true},
				{Format: "json", Compress: "gz", Encrypt: "gpg", Secret: "a passphrase of six words", Drill: true},
				{Format: "json", Encrypt: "age", Secret: "a passphrase of six words", Drill: true},
			}
			if engine != SQLite { // to encrypt takes its time, and is the same
				list = list[:2]
			}
			for _, e := range list {
				e.Folder = filepath.Join(t.TempDir(), "out")
				path, err := exported(t, s, b, db, e)
				if err != nil {
					t.Errorf("%s: %v", e.Format, err)
				} else if _, err := os.Stat(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("to_somebody_else", func(t *testing.T) {
		to, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		lite := newPlace(t, SQLite)
		makeEverything(t, lite)
		if _, err := exported(t, s, backUp(t, s, lite.url), &config.Database{}, config.Export{Format: "sql", Folder: t.TempDir(), Encrypt: "age:" + to.Recipient().String()}); err != nil {
			t.Error(err)
		}
	})
	t.Run("not_good_enough", func(t *testing.T) {
		lite := newPlace(t, SQLite)
		makeEverything(t, lite)
		b := backUp(t, s, lite.url)
		e := config.Export{Format: "sql", Folder: t.TempDir(), Drill: true}
		if err := e.Keep.Last.UnmarshalText([]byte("1")); err != nil {
			t.Fatal(err)
		}
		first, err := exported(t, s, b, &config.Database{}, e)
		if err != nil {
			t.Fatal(err)
		}
		_, err = exported(t, s, b, &config.Database{Drill: config.Drill{Expect: []string{"SELECT count(*) > 99 FROM kitchen"}}}, e)
		if fail.KindOf(err) != fail.Mismatch || !strings.Contains(err.Error(), "should be true") {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(first); err != nil {
			t.Errorf("the older file went for one that is not good: %v", err)
		}
	})
}

// What an export keeps is about its own files: not about those of other databases and formats in the same folder.
func TestExport_keepsOthers(t *testing.T) {
	s, lite := newStore(t), newPlace(t, SQLite)
	lite.sql(t, "CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1);")
	shop := backUp(t, s, lite.url)
	wiki, folder := shop, t.TempDir()
	wiki.Name = "wiki"
	all := config.Export{Format: "sql", Folder: folder}
	one := config.Export{Format: "sql", Folder: folder}
	lines := config.Export{Format: "jsonl", Folder: folder, Unmapped: true}
	for _, e := range []*config.Export{&one, &lines} {
		if err := e.Keep.Last.UnmarshalText([]byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		of   backup.Backup
		what config.Export
		left int
	}{
		{shop, all, 1}, {shop, all, 2}, {wiki, one, 3}, {wiki, one, 3}, {shop, lines, 4}, {shop, lines, 4}, {wiki, lines, 5},
	} {
		if _, err := exported(t, s, x.of, &config.Database{}, x.what); err != nil {
			t.Fatal(err)
		}
		if files, _ := filepath.Glob(filepath.Join(folder, "*.meta")); len(files) != x.left {
			t.Errorf("after %s of %s: %q, want %d", x.what.Format, x.of.Name, files, x.left)
		}
	}
}

// A file that does not load as it was written goes; one that is not as was expected stays.
func TestExport_unproven(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	s, lite := newStore(t), newPlace(t, SQLite)
	lite.sql(t, "CREATE TABLE t (id integer PRIMARY KEY, name text); CREATE TABLE seen (id integer PRIMARY KEY); INSERT INTO t VALUES (1, 'a');")
	for _, tc := range []struct {
		trigger, expect, wants string
		stays                  bool
	}{
		{"", "SELECT count(*) = 2 FROM t", "should be true", true},
		{"CREATE TRIGGER up AFTER INSERT ON t BEGIN UPDATE t SET name = upper(name); END", "SELECT 1", "not as they are in the file", false},
	} {
		if tc.trigger != "" {
			lite.sql(t, tc.trigger)
		}
		e := config.Export{Format: "json", Folder: t.TempDir(), Drill: true}
		_, err := exported(t, s, backUp(t, s, lite.url), &config.Database{Drill: config.Drill{Expect: []string{tc.expect}}}, e)
		if err == nil || !strings.Contains(err.Error(), tc.wants) {
			t.Errorf("error %v, want one with %q", err, tc.wants)
		}
		if left, _ := filepath.Glob(filepath.Join(e.Folder, "*")); len(left) > 0 != tc.stays {
			t.Errorf("left: %q", left)
		}
	}
}

// As many rows are counted in a file as were written to it, whatever else the database holds.
func TestExport_counts(t *testing.T) {
	s := newStore(t)
	for engine, script := range map[string]string{Postgres: "../engine/postgres/testdata/everything.sql", MySQL: "../engine/mysql/testdata/everything.sql"} {
		source := newPlace(t, engine)
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		source.sql(t, string(text))
		b := backUp(t, s, source.url)
		if _, err := exported(t, s, b, &config.Database{}, config.Export{Format: "sql", Folder: t.TempDir()}); err != nil {
			t.Errorf("%s: %v", engine, err)
		}
	}
	lite := newPlace(t, SQLite)
	lite.sql(t, "CREATE TABLE a (id integer PRIMARY KEY AUTOINCREMENT, x); INSERT INTO a (x) VALUES (1), (2); CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('word'); ANALYZE;")
	b := backUp(t, s, lite.url)
	if _, err := exported(t, s, b, &config.Database{}, config.Export{Format: "sql", Folder: t.TempDir(), Drill: true}); err != nil {
		t.Error(err)
	}
	empty := newPlace(t, SQLite)
	empty.sql(t, "CREATE TABLE a (x); DROP TABLE a")
	for _, format := range []string{"sql", "json", "jsonl"} {
		if _, err := exported(t, s, backUp(t, s, empty.url), &config.Database{}, config.Export{Format: format, Folder: t.TempDir(), Drill: true}); err != nil {
			t.Errorf("an empty database as %s: %v", format, err)
		}
	}
}

// A table that no model claims is an error, until the export says what is to become of it.
func TestExport_models(t *testing.T) {
	s, lite := newStore(t), newPlace(t, SQLite)
	lite.sql(t, `CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied datetime NOT NULL);
		INSERT INTO django_migrations VALUES (1, 'shop', '0001_initial', '2026-01-01 00:00:00');
		CREATE TABLE django_content_type (id integer PRIMARY KEY, app_label varchar(100) NOT NULL, model varchar(100) NOT NULL); INSERT INTO django_content_type VALUES (1, 'shop', 'book');
		CREATE TABLE shop_book (id integer PRIMARY KEY, title varchar(9) NOT NULL); INSERT INTO shop_book VALUES (1, 'one');
		CREATE TABLE legacy (a integer); INSERT INTO legacy VALUES (1), (2);`)
	b := backUp(t, s, lite.url)
	for _, tc := range []struct {
		what  config.Export
		wants string // part of the error
		holds []string
	}{
		{config.Export{}, "legacy", nil},
		{config.Export{ModelMap: "nowhere.json"}, "read the model map", nil},
		{config.Export{Unmapped: true}, "", []string{"shop.book", "legacy"}},
		{config.Export{Exclude: []string{"table.legacy"}}, "", []string{"shop.book"}},
	} {
		tc.what.Format, tc.what.Folder = "json", t.TempDir()
		name, err := exported(t, s, b, &config.Database{}, tc.what)
		if tc.wants != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wants) {
				t.Errorf("%+v: error %v, want one with %q", tc.what, err, tc.wants)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", tc.what, err)
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"shop.book", "legacy"} {
			if strings.Contains(string(text), want) != slices.Contains(tc.holds, want) {
				t.Errorf("%+v: %s", tc.what, text)
			}
		}
	}
}
