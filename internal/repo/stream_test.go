package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// step is one call of a stream: an Append (index -1), a Put, or a Truncate (chunk nil).
type step struct {
	index int
	chunk []byte
}

// model applies steps to a plain list of chunks.
func model(steps []step) (chunks [][]byte) {
	for _, s := range steps {
		switch {
		case s.chunk == nil:
			chunks = chunks[:min(s.index, len(chunks))]
		case s.index < 0:
			chunks = append(chunks, s.chunk)
		default:
			chunks[s.index] = s.chunk
		}
	}
	return chunks
}

func genSteps(t *rapid.T) []step {
	var steps []step
	length := 0
	for range rapid.IntRange(0, 14).Draw(t, "steps") {
		what := rapid.IntRange(0, 9).Draw(t, "what")
		switch {
		case what == 0:
			n := rapid.IntRange(0, length+1).Draw(t, "keep")
			steps = append(steps, step{index: n})
			length = min(n, length)
		case what < 4 && length > 0:
			steps = append(steps, step{rapid.IntRange(0, length-1).Draw(t, "index"), genChunk(t)})
		default:
			steps = append(steps, step{-1, genChunk(t)})
			length++
		}
	}
	return steps
}

func genChunk(t *rapid.T) []byte {
	n := rapid.OneOf(rapid.IntRange(1, 50), rapid.IntRange(1, 70_000), rapid.Just(MaxChunk)).Draw(t, "size")
	seed := uint64(rapid.IntRange(0, 5).Draw(t, "seed")) // few, so that chunks repeat
	if rapid.Bool().Draw(t, "random") {
		return noise(seed, n)
	}
	return bytes.Repeat([]byte{byte(seed)}, n)
}

func run(ctx context.Context, st *Stream, steps []step) (StreamInfo, error) {
	buf := make([]byte, MaxChunk)
	for _, s := range steps {
		var err error
		chunk := buf[:copy(buf, s.chunk)] // reused from call to call, as callers may
		switch {
		case s.chunk == nil:
			st.Truncate(s.index)
		case s.index < 0:
			err = st.Append(ctx, chunk)
		default:
			err = st.Put(ctx, s.index, chunk)
		}
		if err != nil {
			return StreamInfo{}, err
		}
	}
	return st.Close(ctx)
}

func TestStreams(t *testing.T) {
	r := newRepo(t, InitOptions{})
	r.segment = 100_000 // so that most files get an index of indexes
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		plans := make([][]step, rapid.IntRange(1, 4).Draw(t, "streams"))
		files := map[string][]byte{}
		s, err := r.Begin(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abort(ctx)
		tree := s.NewTree()
		var g errgroup.Group
		for i := range plans {
			plans[i] = genSteps(t)
			name := fmt.Sprintf("d%d/f%d", i%2, i)
			want := bytes.Join(model(plans[i]), nil)
			files[name] = want
			g.Go(func() error {
				info, err := run(ctx, tree.Create(name, StreamOptions{NoCompress: i == 1, Vital: i == 2}), plans[i])
				if err == nil && info.Size != int64(len(want)) {
					err = fmt.Errorf("%s: size %d, want %d", name, info.Size, len(want))
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		id, err := tree.Seal(ctx, entry("one"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if err := compareFiles(ctx, r, id, files); err != nil {
			t.Fatal(err)
		}
		checkReadAt(t, r, id, files)
	})
}

// checkReadAt reads pieces of files at random places, concurrently.
func checkReadAt(t *rapid.T, r *Repo, id ID, files map[string][]byte) {
	tree, err := r.Tree(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for name, data := range files {
		f, err := tree.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			off := rapid.IntRange(0, len(data)+10).Draw(t, "off")
			p := make([]byte, rapid.IntRange(0, 100_000).Draw(t, "len"))
			g.Go(func() error {
				n, err := f.(io.ReaderAt).ReadAt(p, int64(off))
				want := data[min(off, len(data)):min(off+len(p), len(data))]
				if !bytes.Equal(p[:n], want) || (err != nil && (err != io.EOF || n == len(p))) || (err == nil && n < len(p)) {
					return fmt.Errorf("%s: read %d bytes at %d: got %d, %v", name, len(p), off, n, err)
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestStream(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	s, err := r.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort(ctx)

	t.Run("refuses names that are not clean relative paths", func(t *testing.T) {
		for _, name := range []string{"", ".", "/etc/passwd", "../x", "a//b", "a/../b", "a/", "a\x00b", `a\b`} {
			tree := s.NewTree()
			if _, err := tree.WriteFile(ctx, name, []byte("x")); err == nil {
				t.Errorf("%q was taken", name)
			}
		}
	})
	t.Run("refuses a name twice", func(t *testing.T) {
		tree := s.NewTree()
		if _, err := tree.WriteFile(ctx, "a", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.WriteFile(ctx, "a", nil); err == nil {
			t.Error("it was taken")
		}
	})
	t.Run("a file can't be a folder too", func(t *testing.T) {
		tree := s.NewTree()
		for _, name := range []string{"a", "a/b"} {
			if _, err := tree.WriteFile(ctx, name, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tree.Seal(ctx, entry("x")); err == nil {
			t.Error("it was sealed")
		}
	})
	t.Run("refuses a hole", func(t *testing.T) {
		st := s.NewTree().Create("a", StreamOptions{})
		if err := st.Put(ctx, 2, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Close(ctx); err == nil {
			t.Error("it was stored")
		}
	})
	t.Run("refuses a chunk that is too large, and stays refused", func(t *testing.T) {
		tree := s.NewTree()
		st := tree.Create("a", StreamOptions{})
		if err := st.Append(ctx, make([]byte, MaxChunk+1)); err == nil {
			t.Error("it was taken")
		}
		if err := st.Append(ctx, []byte("x")); err == nil {
			t.Error("the error did not stick")
		}
		if _, err := st.Close(ctx); err == nil {
			t.Error("it was stored")
		}
		if _, err := tree.Seal(ctx, entry("x")); err == nil {
			t.Error("a tree with a failed file was sealed")
		}
	})
	t.Run("an interruption is one", func(t *testing.T) {
		cctx, cancel := context.WithCancel(ctx)
		st := s.NewTree().Create("a", StreamOptions{})
		cancel()
		var err error
		for i := 0; err == nil && i < 1000; i++ {
			err = st.Append(cctx, noise(uint64(i), 1000))
		}
		_, cerr := st.Close(cctx)
		if fail.KindOf(err) != fail.Interrupted || fail.KindOf(cerr) != fail.Interrupted {
			t.Errorf("got %v, then %v", err, cerr)
		}
	})
}

func TestSession(t *testing.T) {
	ctx := t.Context()
	t.Run("200 trees share blobs", func(t *testing.T) {
		r := newRepo(t, InitOptions{})
		_, before, err := r.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Begin(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abort(ctx)
		for i := range 200 {
			tree := s.NewTree()
			if _, err := storeFile(ctx, tree, "image/app.db", noise(uint64(i), 5000)); err != nil {
				t.Fatal(err)
			}
			if _, err := tree.Seal(ctx, entry(fmt.Sprint("db", i))); err != nil {
				t.Fatal(err)
			}
		}
		if list, err := r.List(ctx); err != nil || len(list) != 0 {
			t.Errorf("before the commit: %d listed, %v", len(list), err)
		}
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		_, after, err := r.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if after-before != 3 {
			t.Errorf("%d blobs came, want 3: a pack of data, one of metadata, an index", after-before)
		}
		if list, err := r.List(ctx); err != nil || len(list) != 200 {
			t.Errorf("after the commit: %d listed, %v", len(list), err)
		}
	})
	t.Run("abort leaves nothing", func(t *testing.T) {
		r := newRepo(t, InitOptions{})
		bytesBefore, before, err := r.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Begin(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		tree := s.NewTree()
		if _, err := storeFile(ctx, tree, "a", noise(1, 50<<20)); err != nil { // more than two packs
			t.Fatal(err)
		}
		if bytes, _, _ := r.Stats(ctx); bytes < 20<<20 {
			t.Fatalf("%d bytes stored: the test is too small", bytes)
		}
		cctx, cancel := context.WithCancel(ctx)
		cancel()
		if err := errors.Join(s.Abort(cctx), s.Abort(ctx)); err != nil {
			t.Error(err)
		}
		if bytes, after, err := r.Stats(ctx); after != before || bytes != bytesBefore || err != nil {
			t.Errorf("%d blobs, %d bytes were left of %d, %d: %v", after, bytes, before, bytesBefore, err)
		}
	})
	t.Run("many small page chunks", func(t *testing.T) {
		r := newRepo(t, InitOptions{})
		data := noise(3, 300*4096+100)
		s, err := r.Begin(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abort(ctx)
		tree := s.NewTree()
		st := tree.Create("image/app.db", StreamOptions{})
		i := 0
		for page := range slices.Chunk(data, 4096) {
			if err := st.Put(ctx, i, page); err != nil {
				t.Fatal(err)
			}
			i++
		}
		if _, err := st.Close(ctx); err != nil {
			t.Fatal(err)
		}
		id, err := tree.Seal(ctx, entry("x"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		checkFiles(t, r, id, map[string][]byte{"image/app.db": data})
		stored, err := r.Tree(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := stored.Chunks(ctx, "image/app.db")
		if err != nil || len(chunks) != 301 || chunks[300].Length != 100 {
			t.Errorf("%d chunks: %v", len(chunks), err)
		}
	})
}

func TestReading(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	data := noise(1, 3*MaxChunk)
	id, _ := backUp(t, r, "one", map[string][]byte{"a/b": data})
	tree, err := r.Tree(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("an interrupted stream does not look like its end", func(t *testing.T) {
		cctx, cancel := context.WithCancel(ctx)
		st, err := tree.Stream(cctx, "a/b", 1)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		if _, err := io.ReadFull(st, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if n, err := io.Copy(io.Discard, st); fail.KindOf(err) != fail.Interrupted && n != int64(len(data)-10) {
			t.Errorf("%d bytes, then %v", n, err)
		}
	})
	t.Run("a stream can be closed early", func(t *testing.T) {
		st, err := tree.Stream(ctx, "a/b", 4)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		if _, err := st.Read(make([]byte, 1)); err == nil {
			t.Error("read on")
		}
	})
	t.Run("what is not there is not found", func(t *testing.T) {
		for _, name := range []string{"x", "a/x", "x/y", "a/b/c"} {
			_, err := tree.Open(name)
			if !errors.Is(err, fs.ErrNotExist) || fail.KindOf(err) != fail.NotFound {
				t.Errorf("open %s: %v", name, err)
			}
		}
		if _, err := tree.Open("../a"); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open ../a: %v", err)
		}
		if _, err := r.Tree(ctx, ID(strings.Repeat("a", 32))); fail.KindOf(err) != fail.NotFound {
			t.Errorf("tree of no backup: %v", err)
		}
	})
}
