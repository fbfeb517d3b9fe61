package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-db/holdfast/internal/fail"
)

func TestLocation(t *testing.T) {
	ctx := t.Context()
	tests := map[string]fail.Kind{
		"":                            fail.Usage,
		"s3://user:geheim@bucket/x":   fail.Unsupported,
		"sftp://host/x":               fail.Unsupported,
		"file://otherhost/x":          fail.Usage,
		"/nonexistent/folder":         fail.NoRepository,
		"file:///nonexistent/folder":  fail.NoRepository,
		"./nonexistent:with//a-colon": fail.NoRepository,
	}
	for location, want := range tests {
		_, err := Open(ctx, location, testPassword, OpenOptions{})
		if fail.KindOf(err) != want || strings.Contains(fmt.Sprint(err), "geheim") {
			t.Errorf("open %q: got %v (%v), want %v", location, err, fail.KindOf(err), want)
		}
	}
	folder := t.TempDir()
	if err := Init(ctx, "file://"+folder, testPassword, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	if there, err := Exists(ctx, folder); err != nil || !there {
		t.Errorf("exists: %v, %v", there, err)
	}
}

func TestInit(t *testing.T) {
	ctx := t.Context()
	t.Run("refuses what is there already", func(t *testing.T) {
		folder := t.TempDir()
		if there, err := Exists(ctx, folder); err != nil || there {
			t.Errorf("exists in an empty folder: %v, %v", there, err)
		}
		if _, err := Open(ctx, folder, testPassword, OpenOptions{}); fail.KindOf(err) != fail.NoRepository || fail.HintOf(err) == "" {
			t.Errorf("open an empty folder: %v", err)
		}
		if err := Init(ctx, folder, testPassword, InitOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := Init(ctx, folder, testPassword, InitOptions{}); fail.KindOf(err) != fail.Exists {
			t.Errorf("init again: got %v, want Exists", err)
		}
	})
	t.Run("refuses other people's folders and leaves them alone", func(t *testing.T) {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "thesis.doc"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Init(ctx, folder, testPassword, InitOptions{}); fail.KindOf(err) != fail.Exists {
			t.Errorf("init: got %v, want Exists", err)
		}
		if _, err := Open(ctx, folder, testPassword, OpenOptions{}); fail.KindOf(err) != fail.NoRepository {
			t.Errorf("open: got %v, want NoRepository", err)
		}
		if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
			t.Errorf("%d files, %v", len(entries), err)
		}
		if err := Init(ctx, filepath.Join(folder, "thesis.doc"), testPassword, InitOptions{}); fail.KindOf(err) != fail.Exists {
			t.Errorf("init in a file: got %v, want Exists", err)
		}
	})
	t.Run("goes on after an init that was interrupted", func(t *testing.T) {
		folder := t.TempDir()
		for _, name := range []string{".shards", "kopia.blobcfg.f", "kopia.repository.f.tmp.0123456789abcdef"} {
			if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_ = os.WriteFile(filepath.Join(folder, ".shards"), []byte(`{"default":[1,2],"maxNonShardedLength":20}`), 0o600)
		if err := Init(ctx, folder, testPassword, InitOptions{}); err != nil {
			t.Fatal(err)
		}
		openRepo(t, folder)
	})
	t.Run("wants a password and a known compression", func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "x")
		if err := Init(ctx, folder, "", InitOptions{}); fail.KindOf(err) != fail.Password {
			t.Errorf("got %v, want Password", err)
		}
		if err := Init(ctx, folder, testPassword, InitOptions{Compression: "lz4"}); fail.KindOf(err) != fail.Usage {
			t.Errorf("got %v, want Usage", err)
		}
		if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder was made: %v", err)
		}
	})
}

func TestWrongPassword(t *testing.T) {
	folder, _ := closedRepo(t, sampleFiles())
	_, err := Open(t.Context(), folder, "hunter2", OpenOptions{})
	if fail.KindOf(err) != fail.Password || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want Password", err)
	}
}

func TestNewerFormat(t *testing.T) {
	folder, _ := closedRepo(t, sampleFiles())
	for _, name := range blobFiles(t, folder, formatCopyPrefix) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]any
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		c["version"] = formatVersion + 1
		if data, err = json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), folder, testPassword, OpenOptions{}); fail.KindOf(err) != fail.Newer {
		t.Errorf("got %v, want Newer", err)
	}
}

func TestTempFiles(t *testing.T) {
	r := newRepo(t, InitOptions{})
	backUp(t, r, "one", sampleFiles())
	pack := blobFiles(t, r.Location(), "p")[0]
	old, young, foreign := pack+".tmp.0123456789abcdef", pack+".tmp.0123456789abcdee", filepath.Join(r.Location(), "p", "mine.tmp.txt")
	for _, name := range []string{old, young, foreign} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{old, foreign, pack} {
		ago := time.Now().Add(-25 * time.Hour)
		if err := os.Chtimes(name, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	rec, err := r.Reclaim(t.Context(), ReclaimOptions{})
	if err != nil || rec.TempFiles != 1 {
		t.Errorf("%d removed, %v", rec.TempFiles, err)
	}
	for name, want := range map[string]bool{old: false, young: true, foreign: true, pack: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: there %v, want %v", name, err == nil, want)
		}
	}
}

// required reports whether a test that needs thing must not skip.
func required(thing string) bool {
	for _, r := range strings.FieldsFunc(os.Getenv("HOLDFAST_REQUIRE"), func(c rune) bool { return c == ',' || c == ' ' }) {
		if r == thing {
			return true
		}
	}
	return false
}

// smallDisk mounts a file system of size bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	folder := t.TempDir()
	err := unix.Mount("holdfast-test", folder, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if err != nil {
		msg := fmt.Sprintf("mount a tmpfs: %v (it takes root)", err)
		if required("tmpfs") {
			t.Fatal(msg)
		}
		t.Skip(msg)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

func TestFullDisk(t *testing.T) {
	ctx := t.Context()
	folder := smallDisk(t, 64<<20)
	if err := Init(ctx, folder, testPassword, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, folder)
	files := map[string][]byte{"a": noise(1, 10<<20)}
	id, _ := backUp(t, r, "one", files)
	before, _, err := r.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, _, err := tryBackUp(ctx, r, "two", map[string][]byte{"a": noise(2, 100<<20)})
		if fail.KindOf(err) != fail.NoSpace || fail.HintOf(err) == "" || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v (%v), want NoSpace", err, fail.KindOf(err))
		}
		// The failed backup gave its space back at once.
		if after, _, err := r.Stats(ctx); after != before || err != nil {
			t.Errorf("it left %d bytes: %v", after-before, err)
		}
		if temp, err := filepath.Glob(folder + "/*/*/*.tmp.*"); err != nil || len(temp) > 0 {
			t.Errorf("it left %q", temp)
		}
	}
	checkFiles(t, r, id, files)
	third, _ := backUp(t, r, "three", map[string][]byte{"a": noise(3, 10<<20)})

	// Full to the last byte by somebody else: reading works, writing says why not, and once
	// there is a little space again forgotten backups give theirs back.
	fill := filepath.Join(folder, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	checkFiles(t, openRepo(t, folder), id, files)
	if _, err := r.Begin(ctx, "backup"); fail.KindOf(err) != fail.NoSpace {
		t.Errorf("begin: got %v, want NoSpace", err)
	}
	if err := os.Truncate(fill, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := r.Forget(ctx, id); err != nil {
		t.Fatal(err)
	}
	rec, err := r.Reclaim(ctx, ReclaimOptions{Now: true})
	if err != nil || rec.BytesAfter > rec.BytesBefore-(9<<20) {
		t.Errorf("reclaimed %+v, %v", rec, err)
	}
	checkFiles(t, r, third, map[string][]byte{"a": noise(3, 10<<20)})
}

// TestReadOnly opens a repository from a file system that is mounted read-only, and as a user who may only read.
func TestReadOnly(t *testing.T) {
	ctx := t.Context()
	t.Run("mounted read-only", func(t *testing.T) {
		folder := smallDisk(t, 64<<20)
		if err := Init(ctx, folder, testPassword, InitOptions{}); err != nil {
			t.Fatal(err)
		}
		r, err := Open(ctx, folder, testPassword, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var id ID
		for i := range 20 { // kopia would merge that many records while listing
			id, _ = backUp(t, r, fmt.Sprint(i), sampleFiles())
		}
		if err := r.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("", folder, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		checkReadOnly(t, folder, id, 20)
	})
	t.Run("an unprivileged reader", func(t *testing.T) {
		folder, id := closedRepo(t, sampleFiles())
		err := filepath.WalkDir(folder, func(name string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.Chmod(name, 0o555)
			}
			return os.Chmod(name, 0o444)
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(folder, 0o755) })
		if os.Geteuid() != 0 {
			checkReadOnly(t, folder, id, 1)
			return
		}
		runAsNobody(t, "readonly", folder, string(id))
	})
	t.Run("a user who may not even read", func(t *testing.T) {
		folder, _ := closedRepo(t, sampleFiles())
		if os.Geteuid() != 0 {
			if err := os.Chmod(folder, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(folder, 0o755) })
			if err := jobDenied(ctx, folder); err != nil {
				t.Error(err)
			}
			return
		}
		runAsNobody(t, "denied", folder)
	})
}

func checkReadOnly(t *testing.T, folder string, id ID, n int) {
	t.Helper()
	if err := jobReadOnly(t.Context(), folder, id, n); err != nil {
		t.Error(err)
	}
}

func jobReadOnly(ctx context.Context, folder string, id ID, n int) error {
	r, err := Open(ctx, folder, testPassword, OpenOptions{})
	if err != nil {
		return err
	}
	defer r.Close(ctx)
	list, err := r.List(ctx)
	if err != nil || len(list) != n {
		return fmt.Errorf("%d listed, %w", len(list), err)
	}
	if err := compareFiles(ctx, r, id, sampleFiles()); err != nil {
		return err
	}
	if _, err := r.CheckStructure(ctx); err != nil {
		return err
	}
	_, beginErr := r.Begin(ctx, "backup")
	_, reclaimErr := r.Reclaim(ctx, ReclaimOptions{})
	for _, err := range []error{beginErr, r.Forget(ctx, id), reclaimErr, r.PutRecord(ctx, "x", nil, 1)} {
		if fail.KindOf(err) != fail.Denied || fail.HintOf(err) == "" {
			return fmt.Errorf("writing: got %w, want Denied", err)
		}
	}
	return nil
}

func jobDenied(ctx context.Context, folder string) error {
	start := time.Now()
	if _, err := Open(ctx, folder, testPassword, OpenOptions{}); fail.KindOf(err) != fail.Denied {
		return fmt.Errorf("open: got %w, want Denied", err)
	}
	if err := Init(ctx, filepath.Join(folder, "x"), testPassword, InitOptions{}); fail.KindOf(err) != fail.Denied {
		return fmt.Errorf("init: got %w, want Denied", err)
	}
	if took := time.Since(start); took > time.Minute {
		return fmt.Errorf("it took %s to find out", took)
	}
	return nil
}
