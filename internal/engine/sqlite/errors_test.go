package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
)

// attempt copies the database at path with little patience.
func attempt(ctx context.Context, path string) error {
	im, err := OpenImage(ctx, path, ImageOptions{BusyWait: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	_, err = drain(ctx, im, unit)
	return err
}

func wantKind(t *testing.T, err error, kind fail.Kind, text string) {
	t.Helper()
	if err == nil || fail.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v of kind %v, want kind %v and %q", err, fail.KindOf(err), kind, text)
	}
}

func TestImageErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string)
		kind fail.Kind
		text string
	}{
		{"no such file", func(*testing.T, string) {}, fail.NotFound, "no such file"},
		{"a directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, fail.Unsupported, "is a directory"},
		{"a pipe", func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }, fail.Unsupported, "not a regular file"},
		{"text", func(t *testing.T, path string) { put(t, path, []byte(strings.Repeat("hello ", 1000))) }, fail.Unsupported, "or is encrypted"},
		{"short", func(t *testing.T, path string) { put(t, path, []byte(magic)) }, fail.Unsupported, "or is encrypted"},
		{"page size", func(t *testing.T, path string) {
			build(t, path, "CREATE TABLE t(a)")
			poke(t, path, 16, []byte{3, 7})
		}, fail.Damaged, "page size"},
		{"truncated", func(t *testing.T, path string) {
			build(t, path, "CREATE TABLE t(a)", "INSERT INTO t SELECT randomblob(90000)")
			must(t, os.Truncate(path, 40000))
		}, fail.Damaged, ""},
		{"truncated within the last page", func(t *testing.T, path string) {
			build(t, path, "CREATE TABLE t(a)", "INSERT INTO t SELECT randomblob(90000)")
			info, err := os.Stat(path)
			must(t, err)
			must(t, os.Truncate(path, info.Size()-100))
		}, fail.Damaged, "its header says"},
		{"b-tree page of zeros", func(t *testing.T, path string) {
			build(t, path, "CREATE TABLE t(a)", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<5000) INSERT INTO t SELECT randomblob(50) FROM c")
			poke(t, path, 4096*20, make([]byte, 4096))
		}, fail.Damaged, "table t"},
		{"schema", func(t *testing.T, path string) {
			build(t, path, "CREATE TABLE t(a)")
			poke(t, path, 100, make([]byte, 3996))
		}, fail.Damaged, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			tc.make(t, path)
			err := attempt(t.Context(), path)
			wantKind(t, err, tc.kind, tc.text)
			if tc.kind != fail.NotFound && tc.name != "a pipe" && fail.HintOf(err) == "" {
				t.Errorf("no hint with %v", err)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
		})
	}
}

func TestImageOfAnEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	put(t, path, nil)
	c := copyImage(t, path, unit)
	if len(c.data) != 0 || c.puts != 0 {
		t.Errorf("got %d bytes in %d extents", len(c.data), c.puts)
	}
	if ok, err := IsDatabase(path); ok || err != nil {
		t.Errorf("IsDatabase: %v, %v", ok, err)
	}
}

// TestImageLocked meets a writer that doesn't let go.
func TestImageLocked(t *testing.T) {
	for _, tc := range []struct{ name, journal, lock string }{
		{"exclusive transaction", "DELETE", "BEGIN EXCLUSIVE"},
		{"exclusive mode", "WAL", "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES(1)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			build(t, path, "PRAGMA journal_mode="+tc.journal, "CREATE TABLE t(a)")
			p := start(t, "exec", path, tc.lock)
			begin := time.Now()
			err := attempt(t.Context(), path)
			wantKind(t, err, fail.Locked, "locked")
			if took := time.Since(begin); took < 40*time.Millisecond || took > 30*time.Second {
				t.Errorf("waited %v, want about 50 ms", took)
			}
			if fail.HintOf(err) == "" {
				t.Error("no hint")
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			wantKind(t, attempt(ctx, path), fail.Interrupted, "")
			p.kill()
			must(t, attempt(t.Context(), path))
		})
	}
}

// TestImageInterrupted cancels a copy from within.
func TestImageInterrupted(t *testing.T) {
	for _, journal := range []string{"WAL", "DELETE"} {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, "PRAGMA journal_mode="+journal, "CREATE TABLE t(a)", "INSERT INTO t SELECT randomblob(9000000)")
		im, err := OpenImage(t.Context(), path, ImageOptions{})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err = im.Copy(ctx, unit, func(image.Extent) error { cancel(); return nil })
		wantKind(t, err, fail.Interrupted, path)
		full := fail.New(fail.NoSpace, "", "store")
		_, err = im.Copy(t.Context(), unit, func(image.Extent) error { return full })
		wantKind(t, err, fail.NoSpace, "store")
		// Neither leaves a lock behind.
		build(t, path, "PRAGMA busy_timeout=0; INSERT INTO t VALUES(1)")
		must(t, im.Close())
		must(t, im.Close())
	}
}

// TestImageAfterACrash finds what a killed writer left.
func TestImageAfterACrash(t *testing.T) {
	t.Run("hot journal", func(t *testing.T) {
		path := crashed(t)
		c := copyImage(t, path, unit)
		out := filepath.Join(t.TempDir(), "copy.db")
		c.write(t, out)
		if got := query(t, out, "PRAGMA integrity_check"); got != "ok" {
			t.Error(got)
		}
		if got := query(t, out, "SELECT sum(a=1), count(*) FROM t"); got != "2000" {
			t.Errorf("%s rows as they were, want 2000", got)
		}
	})
	t.Run("log without its index", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
		p := start(t, "exec", path, "INSERT INTO t VALUES(1),(2),(3)")
		p.kill()
		must(t, os.Remove(path+"-shm"))
		c := copyImage(t, path, unit)
		out := filepath.Join(t.TempDir(), "copy.db")
		c.write(t, out)
		if got := query(t, out, "SELECT count(*) FROM t"); got != "3" {
			t.Errorf("got %s rows, want 3", got)
		}
		if _, err := os.Stat(path + "-wal"); err != nil {
			t.Errorf("the log was taken away from its database: %v", err)
		}
	})
}

// crashed makes a database whose writer died in the middle of writing pages.
func crashed(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "CREATE TABLE t(a, b)", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<2000) INSERT INTO t SELECT 1, randomblob(1000) FROM c")
	p := start(t, "exec", path, "PRAGMA cache_size=5; PRAGMA cache_spill=1; BEGIN; UPDATE t SET a=2, b=randomblob(1000)")
	p.kill()
	if info, err := os.Stat(path + "-journal"); err != nil || info.Size() == 0 {
		t.Fatalf("there is no hot journal: %v", err)
	}
	return path
}

// TestImageUnprivileged runs as somebody who may not do everything. Rights are looked at in another process, since
// this one may be root's.
func TestImageUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	const uid = 65534
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755))
	}
	self := filepath.Join(dir, "test")
	exe, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(self, exe, 0o755))
	for _, tc := range []struct {
		name string
		make func(path string)
		kind string
	}{
		{"no rights", func(path string) { build(t, path, "CREATE TABLE t(a)"); must(t, os.Chmod(path, 0o600)) }, "denied"},
		{"read-only", func(path string) { build(t, path, "CREATE TABLE t(a)"); must(t, os.Chmod(path, 0o644)) }, "ok"},
		{"read-only in WAL mode", func(path string) {
			build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
			must(t, os.Chmod(path, 0o644))
		}, "denied"},
		{"stale index in WAL mode", func(path string) {
			build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
			put(t, path+"-wal", nil)
			put(t, path+"-shm", make([]byte, 32768))
			for _, f := range []string{path, path + "-wal", path + "-shm"} {
				must(t, os.Chmod(f, 0o644))
			}
		}, "denied"},
		{"hot journal", func(path string) {
			was := crashed(t)
			for _, suffix := range []string{"", "-journal"} {
				data, err := os.ReadFile(was + suffix)
				must(t, err)
				must(t, os.WriteFile(path+suffix, data, 0o644))
			}
		}, "denied"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := filepath.Join(dir, strings.ReplaceAll(tc.name, " ", "_"))
			must(t, os.Mkdir(folder, 0o755))
			path := filepath.Join(folder, "x.db")
			tc.make(path)
			before := listing(t, folder)
			if got := asUser(t, self, uid, "kind", path); got != tc.kind {
				t.Errorf("got %q, want %q", got, tc.kind)
			}
			if after := listing(t, folder); after != before {
				t.Errorf("the folder held %s, now %s", before, after)
			}
		})
	}
}

// TestImageLeavesOwners backs up as root what belongs to somebody else, and looks who owns what is left.
func TestImageLeavesOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to give files away")
	}
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	must(t, os.Chown(path, 65534, 65534))
	must(t, os.Chmod(path, 0o640))
	im, err := OpenImage(t.Context(), path, ImageOptions{})
	must(t, err)
	for _, suffix := range []string{"-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		must(t, err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 65534 || info.Mode().Perm() != 0o640 {
			t.Errorf("%s belongs to %d, mode %v", suffix, st.Uid, info.Mode())
		}
	}
	_, err = drain(t.Context(), im, unit)
	must(t, err)
	if got := listing(t, filepath.Dir(path)); got != "x.db" {
		t.Errorf("left behind: %s", got)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o600))
}

// poke overwrites bytes of a file.
func poke(t testing.TB, path string, off int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(data, off)
	must(t, err)
}

// TestOddPaths has names that mean something to SQLite's URIs.
func TestOddPaths(t *testing.T) {
	for _, name := range []string{"a b.db", "50%.db", "a?mode=memory", "x#y", "file:z.db", "ü%20.db", ":memory:", "-x"} {
		path := filepath.Join(t.TempDir(), name)
		build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)", "INSERT INTO t VALUES(1),(2)")
		t.Chdir(filepath.Dir(path))
		c := copyImage(t, name, unit)
		if len(c.info.Tables) != 1 || c.info.Tables[0].Rows != 2 {
			t.Errorf("%s: tables %v", name, c.info.Tables)
		}
		v, err := OpenView(t.Context(), name)
		must(t, err)
		if got := readAll(t, v, v.Schema().Tables[0]); got != "1\n2\n" {
			t.Errorf("%s: rows %q", name, got)
		}
		must(t, v.Close())
		if got := listing(t, filepath.Dir(path)); got != name {
			t.Errorf("%s: the folder holds %s", name, got)
		}
	}
}
