package repo

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Chunk is a run of bytes of a stored file that is stored as one.
type Chunk struct {
	Offset, Length int64
	ID             string // equal IDs are equal bytes
}

// parseChunkID returns the content behind a chunk and whether kopia compressed it in its old way.
func parseChunkID(id string) (content.ID, bool, error) {
	oid, err := object.ParseID(id)
	if err != nil {
		return content.EmptyID, false, damaged("chunk %q: not a chunk's name", id)
	}
	cid, compressed, ok := oid.ContentID()
	if !ok {
		return content.EmptyID, false, damaged("chunk %q: not a chunk's name", id)
	}
	return cid, compressed, nil
}

// ReadChunk returns the bytes of a chunk. They are authenticated: altered or missing data is
// Damaged, never wrong bytes.
func (r *Repo) ReadChunk(ctx context.Context, c Chunk) ([]byte, error) {
	data, err := r.readContent(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != c.Length {
		return nil, damaged("chunk %s: %d bytes are stored, %d were expected", c.ID, len(data), c.Length)
	}
	return data, nil
}

func (r *Repo) readContent(ctx context.Context, id string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cid, compressed, err := parseChunkID(id)
	if err != nil {
		return nil, err
	}
	if compressed {
		oid, _ := object.ParseID(id)
		return r.readOld(ctx, oid)
	}
	data, err := r.reader().GetContent(ctx, cid)
	if err == nil {
		return data, nil
	}
	where := ""
	if info, ierr := r.reader().ContentInfo(ctx, cid); ierr == nil {
		where = " in blob " + string(info.PackBlobID)
	}
	if isMissing(err) && where == "" {
		return nil, fail.Wrap(fail.Damaged, err, hintRepair, "read chunk %s: the index does not know it", id)
	}
	return nil, wrapRead(err, "read chunk %s%s", id, where)
}

// readOld reads an object that an old kopia compressed outside its content.
func (r *Repo) readOld(ctx context.Context, oid object.ID) ([]byte, error) {
	or, err := r.kopia.OpenObject(ctx, oid)
	if err != nil {
		return nil, wrapRead(err, "read chunk %s", oid)
	}
	defer or.Close()
	data, err := io.ReadAll(io.LimitReader(or, maxForeignChunk+1))
	if len(data) > maxForeignChunk {
		err = errors.New("too large")
	}
	return data, wrapRead(err, "read chunk %s", oid)
}

// Limits for what is read back, which may be anything.
const (
	maxForeignChunk = 64 << 20 // kopia's own chunks are 8 MiB at most
	maxDepth        = 8        // of indexes of indexes
	maxChunks       = 1 << 28
)

// chunksOf returns the chunks of an object, with indexes resolved, all of which lie within limit bytes.
func (r *Repo) chunksOf(ctx context.Context, oid object.ID, size int64) ([]Chunk, error) {
	f := flattener{r: r, ctx: ctx}
	if err := f.add(oid, 0, size, 0); err != nil {
		return nil, err
	}
	return f.chunks, nil
}

// flattener collects the chunks of one object. It lives for one call, so it may hold its context.
type flattener struct {
	r      *Repo
	ctx    context.Context
	chunks []Chunk
}

// add appends the chunks of oid, which lies at offset and has length bytes; -1 is unknown.
func (f *flattener) add(oid object.ID, offset, length int64, depth int) error {
	index, indirect := oid.IndexObjectID()
	if !indirect {
		return f.addChunk(oid, offset, length)
	}
	if depth == maxDepth {
		return damaged("object %s: indexes of indexes, too deep", oid)
	}
	entries, err := f.r.index(f.ctx, index, depth)
	if err != nil {
		return err
	}
	var at int64
	for _, e := range entries {
		if e.Start != at || e.Length < 0 || e.Length > 1<<56 || (length >= 0 && e.Length > length-at) {
			return damaged("object %s: its index does not fit together at byte %d", oid, at)
		}
		if err := f.add(e.Object, offset+at, e.Length, depth+1); err != nil {
			return err
		}
		at += e.Length
	}
	if length >= 0 && at != length {
		return damaged("object %s: its index covers %d of %d bytes", oid, at, length)
	}
	return nil
}

func (f *flattener) addChunk(oid object.ID, offset, length int64) error {
	if len(f.chunks) == maxChunks {
		return damaged("object %s: too many chunks", oid)
	}
	if length == 0 {
		return nil
	}
	f.chunks = append(f.chunks, Chunk{Offset: offset, Length: length, ID: oid.String()})
	return nil
}

// index reads and checks an object that is an index.
func (r *Repo) index(ctx context.Context, oid object.ID, depth int) ([]object.IndirectObjectEntry, error) {
	data, err := r.readObject(ctx, oid, depth+1)
	if err != nil {
		return nil, err
	}
	var ind indirectObject
	if err := json.Unmarshal(data, &ind); err != nil {
		return nil, damaged("index %s: %v", oid, err)
	}
	if ind.Stream != indirectStream {
		return nil, damaged("index %s: it is no index", oid)
	}
	return ind.Entries, nil
}

// maxObject bounds objects that are read whole: folders and indexes.
const maxObject = 1 << 30

// readObject returns a whole object of unknown length.
func (r *Repo) readObject(ctx context.Context, oid object.ID, depth int) ([]byte, error) {
	if _, indirect := oid.IndexObjectID(); !indirect {
		return r.readContent(ctx, oid.String())
	}
	f := flattener{r: r, ctx: ctx}
	if err := f.add(oid, 0, -1, depth); err != nil {
		return nil, err
	}
	var data []byte
	for _, c := range f.chunks {
		chunk, err := r.ReadChunk(ctx, c)
		if err != nil {
			return nil, err
		}
		if data = append(data, chunk...); len(data) > maxObject {
			return nil, damaged("object %s: larger than %d bytes", oid, maxObject)
		}
	}
	return data, nil
}
