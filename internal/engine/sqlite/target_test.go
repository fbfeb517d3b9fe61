package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
)

// restore writes data through a Target as a caller would: concurrently, and with Abort after an error.
func restore(ctx context.Context, path string, data []byte, opt TargetOptions) (*Target, error) {
	tg, err := NewTarget(path, opt)
	if err != nil {
		return nil, err
	}
	err = func() error {
		if err := tg.Prepare(ctx, image.Info{}, []image.File{{Name: "x.db", Size: int64(len(data))}}); err != nil {
			return err
		}
		var wg sync.WaitGroup
		errs := make(chan error, len(data)/unit+1)
		for off := 0; off < len(data); off += unit {
			wg.Go(func() { errs <- tg.Write(ctx, "x.db", int64(off), data[off:min(off+unit, len(data))]) })
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				return err
			}
		}
		return tg.Finish(ctx)
	}()
	if err != nil {
		if aerr := tg.Abort(context.WithoutCancel(ctx)); aerr != nil {
			return tg, fmt.Errorf("%w; abort: %w", err, aerr)
		}
	}
	return tg, err
}

// sample returns the bytes of a database.
func sample(t *testing.T, sql ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.db")
	build(t, path, append([]string{"CREATE TABLE t(a INTEGER PRIMARY KEY, b)", "CREATE INDEX i ON t(b)",
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3000) INSERT INTO t SELECT x, hex(randomblob(40)) FROM c"}, sql...)...)
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

func TestRestore(t *testing.T) {
	for _, journal := range []string{"DELETE", "WAL"} {
		t.Run(journal, func(t *testing.T) {
			data := sample(t, "PRAGMA journal_mode="+journal)
			path := filepath.Join(t.TempDir(), "new.db")
			tg, err := restore(t.Context(), path, data, TargetOptions{})
			must(t, err)
			if len(tg.Notes()) > 0 {
				t.Errorf("notes %q", tg.Notes())
			}
			got, err := os.ReadFile(path)
			must(t, err)
			if !bytes.Equal(got, data) {
				t.Error("the file differs from what was written")
			}
			info, err := os.Stat(path)
			must(t, err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, want 0600", info.Mode())
			}
			if got := listing(t, filepath.Dir(path)); got != "new.db" {
				t.Errorf("the folder holds %s", got)
			}
			must(t, tg.Abort(t.Context())) // does nothing now
			if got := query(t, path, "SELECT count(*) FROM t"); got != "3000" {
				t.Errorf("got %s rows", got)
			}
		})
	}
}

func TestRestoreEmptyDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.db")
	_, err := restore(t.Context(), path, nil, TargetOptions{})
	must(t, err)
	if got := query(t, path, "SELECT count(*) FROM sqlite_schema"); got != "0" {
		t.Error(got)
	}
}

func TestRestoreRefuses(t *testing.T) {
	data := sample(t)
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string)
		opt  TargetOptions
		data []byte
		kind fail.Kind
		text string
	}{
		{name: "to overwrite", make: func(t *testing.T, path string) { build(t, path, "CREATE TABLE old(a)") }, data: data, kind: fail.Exists, text: "exists"},
		{name: "beside a leftover journal", make: func(t *testing.T, path string) { put(t, path+"-journal", []byte("x")) }, data: data, kind: fail.Exists, text: "new.db-journal"},
		{name: "a missing folder", make: func(t *testing.T, path string) { must(t, os.Remove(filepath.Dir(path))) }, data: data, kind: fail.NotFound, text: "folder"},
		{name: "a directory", make: func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, opt: TargetOptions{Clean: true}, data: data, kind: fail.Unsupported, text: "regular"},
		{name: "to replace what is open", opt: TargetOptions{Clean: true}, make: func(t *testing.T, path string) {
			build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE old(a)")
			start(t, "exec", path, "SELECT * FROM old")
		}, data: data, kind: fail.Locked, text: "in use"},
		{name: "to replace what is read", opt: TargetOptions{Clean: true}, make: func(t *testing.T, path string) {
			build(t, path, "CREATE TABLE old(a)")
			start(t, "exec", path, "BEGIN; SELECT * FROM old")
		}, data: data, kind: fail.Locked, text: "in use"},
		{name: "damage", data: damage(data), kind: fail.Damaged, text: "check "},
		{name: "what is no database", data: bytes.Repeat([]byte("x"), 9000), kind: fail.Damaged, text: "not an SQLite database"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "new.db")
			if tc.make != nil {
				tc.make(t, path)
			}
			before := snapshot(t, filepath.Dir(path))
			_, err := restore(t.Context(), path, tc.data, tc.opt)
			wantKind(t, err, tc.kind, tc.text)
			if after := snapshot(t, filepath.Dir(path)); after != before {
				t.Errorf("the folder was\n%s, now\n%s", before, after)
			}
		})
	}
}

// damage breaks a page in the middle.
func damage(data []byte) []byte {
	data = bytes.Clone(data)
	clear(data[len(data)/2&^4095:][:4096])
	return data
}

// snapshot lists the files of a folder with their sizes.
func snapshot(t *testing.T, dir string) string {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return "missing"
	}
	must(t, err)
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		fmt.Fprintf(&b, "%s %d %v\n", e.Name(), info.Size(), info.ModTime())
	}
	return b.String()
}

// TestRestoreClean replaces databases in every state they may be in.
func TestRestoreClean(t *testing.T) {
	data := sample(t)
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"plain", func(t *testing.T, path string) { build(t, path, "CREATE TABLE old(a)") }},
		{"no database at all", func(t *testing.T, path string) { put(t, path, []byte("text")) }},
		{"with the log of a dead writer", func(t *testing.T, path string) {
			build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE old(a)")
			start(t, "exec", path, "INSERT INTO old VALUES(1)").kill()
			if isEmpty(path + "-wal") {
				t.Fatal("no log was left")
			}
		}},
		{"with a hot journal", func(t *testing.T, path string) { moveDatabase(t, crashed(t), path) }},
		{"damaged, with a hot journal", func(t *testing.T, path string) {
			moveDatabase(t, crashed(t), path)
			poke(t, path, 0, make([]byte, 4096))
		}},
		{"a leftover journal alone", func(t *testing.T, path string) {
			moveDatabase(t, crashed(t), path)
			must(t, os.Remove(path))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "new.db")
			tc.make(t, path)
			if _, err := os.Stat(path); err == nil {
				must(t, os.Chmod(path, 0o644))
			}
			_, err := restore(t.Context(), path, data, TargetOptions{Clean: true})
			must(t, err)
			if got := listing(t, filepath.Dir(path)); got != "new.db" {
				t.Errorf("the folder holds %s", got)
			}
			if got := query(t, path, "SELECT count(*) FROM t"); got != "3000" {
				t.Errorf("got %s rows", got)
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, data) {
				t.Error("the file differs from what was written")
			}
		})
	}
}

func moveDatabase(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-journal"} {
		must(t, os.Rename(from+suffix, to+suffix))
	}
}

// TestRestoreThroughALink keeps a symbolic link and replaces what it points to.
func TestRestoreThroughALink(t *testing.T) {
	dir := t.TempDir()
	build(t, filepath.Join(dir, "real.db"), "CREATE TABLE old(a)")
	link := filepath.Join(dir, "link.db")
	must(t, os.Symlink("real.db", link))
	_, err := restore(t.Context(), link, sample(t), TargetOptions{Clean: true})
	must(t, err)
	if to, err := os.Readlink(link); err != nil || to != "real.db" {
		t.Errorf("the link is %q, %v", to, err)
	}
	if got := query(t, filepath.Join(dir, "real.db"), "SELECT count(*) FROM t"); got != "3000" {
		t.Errorf("got %s rows", got)
	}
}

// TestRestoreNotes tells of what was wrong in the original.
func TestRestoreNotes(t *testing.T) {
	data := sample(t, "CREATE TABLE child(t REFERENCES t(a))", "INSERT INTO child VALUES(99999)")
	tg, err := restore(t.Context(), filepath.Join(t.TempDir(), "x.db"), data, TargetOptions{})
	must(t, err)
	if len(tg.Notes()) != 1 || !strings.Contains(tg.Notes()[0], "row 1 of child") {
		t.Errorf("notes %q", tg.Notes())
	}
}

// TestRestoreKilled kills a restore in the middle. The old database stays as it was, and the next restore
// removes what the dead one left.
func TestRestoreKilled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new.db")
	build(t, path, "CREATE TABLE old(a)", "INSERT INTO old VALUES(42)")
	start(t, "restore", path).kill()
	if got := query(t, path, "SELECT a FROM old"); got != "42" {
		t.Fatalf("the old database holds %q", got)
	}
	if got := listing(t, dir); !strings.Contains(got, ".new.db.holdfast-") {
		t.Fatalf("the killed restore left %s: it did not get far enough", got)
	}
	_, err := restore(t.Context(), path, sample(t), TargetOptions{Clean: true})
	must(t, err)
	if got := listing(t, dir); got != "new.db" {
		t.Errorf("the folder holds %s", got)
	}
}

func TestTargetWrites(t *testing.T) {
	ctx := t.Context()
	tg, err := NewTarget(filepath.Join(t.TempDir(), "x.db"), TargetOptions{})
	must(t, err)
	must(t, tg.Prepare(ctx, image.Info{}, []image.File{{Name: "a.db", Size: 5000}}))
	defer tg.Abort(ctx)
	wantKind(t, tg.Write(ctx, "../b.db", 0, []byte("x")), fail.Damaged, "names a file")
	wantKind(t, tg.Write(ctx, "a.db", 4999, []byte("xx")), fail.Damaged, "do not fit")
	wantKind(t, tg.Write(ctx, "a.db", -1, []byte("xx")), fail.Damaged, "do not fit")
	must(t, tg.Write(ctx, "a.db", 0, make([]byte, 4999)))
	wantKind(t, tg.Finish(ctx), fail.Incomplete, "4999 of 5000")
	_, err = NewTarget("", TargetOptions{})
	wantKind(t, err, fail.Usage, "")
}
