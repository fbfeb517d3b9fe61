package wire

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func newStore(t testing.TB) *backup.Store {
	t.Helper()
	location := filepath.Join(t.TempDir(), "repo")
	if err := backup.Init(t.Context(), location, "p", backup.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := backup.Open(t.Context(), location, "p", func(w string) { t.Log("warning:", w) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func backUp(t testing.TB, s *backup.Store, db string) backup.Backup {
	t.Helper()
	src, err := Source(t.Context(), db, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	run := s.NewRun(backup.RunOptions{Version: "test"})
	defer func() { _ = run.Abort(context.Background()) }()
	b, err := run.Backup(t.Context(), src)
	if err == nil {
		err = run.Commit(t.Context())
	}
	if err != nil {
		t.Fatalf("back up: %v", err)
	}
	return b
}

// restoreTo restores as the command does.
func restoreTo(t testing.TB, s *backup.Store, b backup.Backup, db string, opt TargetOptions, tables ...string) (backup.Restored, error) {
	t.Helper()
	ctx := t.Context()
	view, err := Stored(ctx, s, b)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	opt.Source, opt.Partial = view, len(tables) > 0
	dest, err := Destination(db, b.Engine, opt)
	if err != nil {
		return backup.Restored{}, err
	}
	return s.Restore(ctx, b, dest, backup.RestoreOptions{Tables: rows.Selection{Include: tables}, SchemaOnly: opt.SchemaOnly, DataOnly: opt.DataOnly})
}

// A backup of any engine restores to any engine.
func TestRestore_EachWay(t *testing.T) {
	s := newStore(t)
	for _, from := range engines() {
		t.Run("from_"+from, func(t *testing.T) {
			source := newPlace(t, from)
			makeEverything(t, source)
			b := backUp(t, s, source.url)
			for _, to := range engines() {
				t.Run("to_"+to, func(t *testing.T) {
					target := newPlace(t, to)
					done, err := restoreTo(t, s, b, target.url, TargetOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if done.Tables != 6 || done.Rows != 18 {
						t.Errorf("restored %d tables and %d rows", done.Tables, done.Rows)
					}
					if across := from != to; across != (done.Compared != nil) || across && (done.Compared.Values != 6 || len(done.Omitted) < 3) {
						t.Errorf("compared %+v, omitted %q", done.Compared, done.Omitted)
					}
					if from != to || to != Postgres {
						checkEverything(t, source, target)
					}
					if _, err := restoreTo(t, s, b, target.url, TargetOptions{}); fail.KindOf(err) != fail.Exists {
						t.Errorf("over what is there: %v, want Exists", err)
					}
					if done, err = restoreTo(t, s, b, target.url, TargetOptions{Clean: true}, "notes"); err != nil || done.Tables != 1 || done.Rows != 2 {
						t.Errorf("one table: %v, %+v", err, done)
					}
				})
			}
		})
	}
}

// Fixtures of a project go from and to MariaDB.
func TestFixture_MariaDB(t *testing.T) {
	release := servers.Django(t, "4.2")
	source, target := newPlace(t, MySQL), newPlace(t, MySQL)
	project := release.Project(t, source.url)
	project.Migrate(t)
	project.Seed(t)
	moved := release.Project(t, target.url)
	moved.Migrate(t)
	opt := DumpOptions{Format: JSON, Models: ModelOptions{ProjectDir: project.Dir}}
	dump := func(db string) string {
		v, err := OpenDump(t.Context(), db, JSON, SourceOptions{})
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
	want := dump(source.url)
	load := LoadOptions{Models: opt.Models}
	load.Fixture.Flush = true
	done, err := Load(t.Context(), strings.NewReader(want), target.url, load)
	if err != nil {
		t.Fatal(err)
	}
	if done.Fixture == nil {
		t.Fatal("nothing is said of the load")
	}
	reads := strings.ReplaceAll(djangoReads, "DIGITS", "30")
	if diff := cmp.Diff(project.Python(t, reads), moved.Python(t, reads)); diff != "" {
		t.Errorf("Django reads something else (-source +loaded):\n%s", diff)
	}
	if diff := cmp.Diff(fmt.Sprint(len(want)), fmt.Sprint(len(dump(target.url)))); diff != "" {
		t.Errorf("a second dump has another length (-first +second):\n%s", diff)
	}
	if done, err := Load(t.Context(), strings.NewReader("SELECT 1;\n"), target.url, LoadOptions{}); err != nil || done.SQL.Statements != 1 {
		t.Errorf("an SQL file: %+v, %v", done, err)
	}
}
