package repo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

const testPassword fail.Secret = "correct horse"

// newRepo makes a repository in a fresh folder and opens it.
func newRepo(t testing.TB, opt InitOptions) *Repo {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "repository")
	if err := Init(t.Context(), folder, testPassword, opt); err != nil {
		t.Fatal(err)
	}
	return openRepo(t, folder)
}

// openRepo opens a repository and closes it with the test. Warnings are logged.
func openRepo(t testing.TB, folder string) *Repo {
	t.Helper()
	r, err := Open(t.Context(), folder, testPassword, OpenOptions{Warn: func(s string) { t.Log("warning:", s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return r
}

func entry(name string) Entry {
	now := time.Now()
	return Entry{Host: "db1", Path: "/test/" + name, Started: now.Add(-time.Second), Ended: now, Labels: map[string]string{"name": name}}
}

// backUp stores files as one backup in a session of its own.
func backUp(t testing.TB, r *Repo, name string, files map[string][]byte) (ID, int64) {
	t.Helper()
	id, added, err := tryBackUp(t.Context(), r, name, files)
	if err != nil {
		t.Fatalf("back up %s: %v", name, err)
	}
	return id, added
}

func tryBackUp(ctx context.Context, r *Repo, name string, files map[string][]byte) (id ID, added int64, err error) {
	s, err := r.Begin(ctx, "backup")
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if aerr := s.Abort(ctx); err == nil {
			err = aerr
		}
	}()
	tree := s.NewTree()
	for name, data := range files {
		info, err := storeFile(ctx, tree, name, data)
		if err != nil {
			return "", 0, err
		}
		added += info.NewBytes
	}
	if id, err = tree.Seal(ctx, entry(name)); err != nil {
		return "", 0, err
	}
	return id, added, s.Commit(ctx)
}

// storeFile stores a file as a backup does: what describes it is vital, all else is data.
func storeFile(ctx context.Context, tree *Tree, name string, data []byte) (StreamInfo, error) {
	if name == "backup.json" {
		return tree.WriteFile(ctx, name, data)
	}
	st := tree.Create(name, StreamOptions{})
	for chunk := range slices.Chunk(data, MaxChunk) {
		if err := st.Append(ctx, chunk); err != nil {
			break
		}
	}
	return st.Close(ctx)
}

// noise returns n bytes that don't compress.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// lines returns about n bytes of text that compresses like rows do.
func lines(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d\tcustomer-%d\t%x\t2026-05-%02d\t%d.%02d\n", i, rnd.IntN(5000), rnd.Uint64(), rnd.IntN(28)+1, rnd.IntN(1000), rnd.IntN(100))
	}
	return b.Bytes()
}

func checkFiles(t testing.TB, r *Repo, id ID, files map[string][]byte) {
	t.Helper()
	if err := compareFiles(t.Context(), r, id, files); err != nil {
		t.Error(err)
	}
}

// compareFiles reads a backup in full and compares it with what was stored.
func compareFiles(ctx context.Context, r *Repo, id ID, files map[string][]byte) error {
	tree, err := r.Tree(ctx, id)
	if err != nil {
		return err
	}
	n := 0
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		st, err := tree.Stream(ctx, name, 3)
		if err != nil {
			return err
		}
		defer st.Close()
		got, err := io.ReadAll(st)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, files[name]) {
			return fmt.Errorf("%s: %d bytes came back, not the %d that were stored", name, len(got), len(files[name]))
		}
		return nil
	})
	if err == nil && n != len(files) {
		err = fmt.Errorf("%d files came back of %d", n, len(files))
	}
	return err
}

func sampleFiles() map[string][]byte {
	return map[string][]byte{
		"backup.json":                  []byte(`{"a":1}`),
		"empty":                        {},
		"tables/public.users/0001.tsv": lines(1, 3<<20),
		"tables/public.users/0002.tsv": lines(2, 9<<20),
		"schema/pre-data.sql":          []byte("create table users();\n"),
	}
}

func TestRoundTrip(t *testing.T) {
	r := newRepo(t, InitOptions{})
	files := sampleFiles()
	id, added := backUp(t, r, "one", files)
	if added == 0 {
		t.Error("new bytes: got 0")
	}
	checkFiles(t, r, id, files)
	tree, err := r.Tree(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	if err := fstest.TestFS(tree, names...); err != nil {
		t.Error(err)
	}
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != id || list[0].Labels["name"] != "one" || list[0].Host != "db1" {
		t.Errorf("list: got %+v", list)
	}
}

func TestModes(t *testing.T) {
	r := newRepo(t, InitOptions{})
	backUp(t, r, "one", sampleFiles())
	n := 0
	err := filepath.WalkDir(r.Location(), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n++
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", name, got, want)
		}
		return nil
	})
	if err != nil || n < 8 {
		t.Errorf("walked %d files: %v", n, err)
	}
}

func TestDedup(t *testing.T) {
	r := newRepo(t, InitOptions{})
	files := sampleFiles()
	_, first := backUp(t, r, "one", files)
	id, second := backUp(t, r, "two", files)
	if second != 0 {
		t.Errorf("new bytes of the same data: got %d (first %d), want 0", second, first)
	}
	checkFiles(t, r, id, files)
}
