package backup_test

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// Repositories of every released format restore. testdata/formatN.tar.gz holds one of each, written by the
// version that brought the format; the password is «fixture».
func TestFormats(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	fixtures, err := filepath.Glob("testdata/format*.tar.gz")
	if err != nil || len(fixtures) != backup.FormatVersion {
		t.Fatalf("%d fixtures for %d versions of the format (%v)", len(fixtures), backup.FormatVersion, err)
	}
	for _, fixture := range fixtures {
		t.Run(filepath.Base(fixture), func(t *testing.T) {
			dir := t.TempDir()
			untar(t, fixture, dir)
			s, err := backup.Open(t.Context(), filepath.Join(dir, "repo"), "fixture", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close(t.Context())
			if v := verifyAll(t, s); v.Err() != nil || v.Backups != 2 {
				t.Errorf("%d backups: %v: %+v", v.Backups, v.Err(), v.Damage)
			}
			b, err := s.Find(t.Context(), "latest:app")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "app.sqlite3")
			restore(t, s, b, file, wire.TargetOptions{})
			if got, want := sqliteExec(t, file, "select group_concat(name), count(note) from customers;"), "Ada,Grace,Zoë|2\n"; got != want {
				t.Errorf("SQLite: got %q, want %q", got, want)
			}
			if b, err = s.Find(t.Context(), "latest:fx"); err != nil {
				t.Fatal(err)
			}
			db := pg.CreateDatabase(t)
			restore(t, s, b, db, wire.TargetOptions{})
			if got, want := psql(t, pg, db, `select string_agg(name, ',' order by id), max(note) from customers; select count(*), count(b) from "Odd Name"`), "Ada,Grace,Zoë|tab\tand \\ backslash\n2|1"; got != want {
				t.Errorf("PostgreSQL: got %q, want %q", got, want)
			}
		})
	}
}

func untar(t *testing.T, name, dir string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for archive := tar.NewReader(zip); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			if err := root.MkdirAll(filepath.Clean(h.Name), 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		data, err := io.ReadAll(archive)
		if err == nil {
			err = root.WriteFile(h.Name, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
