package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// storeTarget is the rows.Target that writes a View into a tree of the repository. Nothing of
// it is reachable before the session commits, so Abort has nothing to undo.
type storeTarget struct {
	tree     *repo.Tree
	splitter *rows.Splitter
	dirs     map[*rows.Table]string // read-only once Prepare returned

	mu       sync.Mutex
	newBytes int64 // guarded by mu
}

func (t *storeTarget) Prepare(_ context.Context, s *rows.Schema, _ fs.FS) error {
	t.dirs = make(map[*rows.Table]string, len(s.Tables))
	taken := map[string]bool{}
	for _, table := range s.Tables {
		t.dirs[table] = tableDir(table, taken)
	}
	return nil
}

func (t *storeTarget) path(p rows.Part) string {
	return fmt.Sprintf("%s/%04d.tsv", t.dirs[p.Table], p.Number)
}

func (t *storeTarget) Load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	stream := t.tree.Create(t.path(p), repo.StreamOptions{})
	count, err := t.splitter.Split(r, func(chunk []byte, _ rows.Count) error { return stream.Append(ctx, chunk) })
	// Close even after an error: it waits for the chunks in flight.
	info, cerr := stream.Close(ctx)
	if err == nil {
		err = cerr
	}
	if err != nil {
		return rows.Count{}, fail.Op(err, "store part %d of table %s", p.Number, p.Table)
	}
	t.added(info)
	return count, nil
}

func (t *storeTarget) added(info repo.StreamInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newBytes += info.NewBytes
}

func (t *storeTarget) Finish(context.Context) error { return nil }
func (t *storeTarget) Abort(context.Context) error  { return nil }

// storeNative copies the definitions into the tree. It runs beside the rows, so that a failing
// pg_dump ends the backup at once and not after hours.
func (t *storeTarget) storeNative(ctx context.Context, native fs.FS) error {
	if native == nil {
		return nil
	}
	return fs.WalkDir(native, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(native, name)
		if err != nil {
			return err
		}
		info, err := t.tree.WriteFile(ctx, name, data)
		if err != nil {
			return fail.Op(err, "store %s", name)
		}
		t.added(info)
		return nil
	})
}

// pageUnit is the size of an image's chunks in bytes, a multiple of every database page. Smaller ones cost
// index entries and compress worse, larger ones store more around each changed page: docs/design/0003-chunk-sizes.md.
const pageUnit = 64 << 10

// storeImage writes an image into the tree. Extents that come again replace the earlier ones.
func storeImage(ctx context.Context, tree *repo.Tree, img image.Image, observe func(n int)) (files []image.File, newBytes int64, err error) {
	streams := map[string]*repo.Stream{}
	files, err = img.Copy(ctx, pageUnit, func(e image.Extent) error {
		s := streams[e.File]
		if s == nil {
			s = tree.Create(ImageDir+"/"+e.File, repo.StreamOptions{})
			streams[e.File] = s
		}
		observe(len(e.Data))
		for off := 0; off < len(e.Data); off += pageUnit {
			index := int((e.Offset + int64(off)) / pageUnit)
			if err := s.Put(ctx, index, e.Data[off:min(off+pageUnit, len(e.Data))]); err != nil {
				return err
			}
		}
		return nil
	})
	for _, f := range files {
		s := streams[f.Name]
		if s == nil { // an empty file
			s = tree.Create(ImageDir+"/"+f.Name, repo.StreamOptions{})
			streams[f.Name] = s
		}
		s.Truncate(int((f.Size + pageUnit - 1) / pageUnit))
	}
	sizes := map[string]int64{}
	for name, s := range streams {
		info, cerr := s.Close(ctx)
		err = errors.Join(err, cerr)
		newBytes += info.NewBytes
		sizes[name] = info.Size
	}
	if err != nil {
		return nil, 0, err
	}
	for _, f := range files {
		if sizes[f.Name] != f.Size {
			return nil, 0, fail.New(fail.Internal, "", "store %s: %d bytes arrived, the image says %d", f.Name, sizes[f.Name], f.Size)
		}
	}
	return files, newBytes, nil
}
