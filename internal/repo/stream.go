package repo

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// StreamOptions tune one file of a tree.
type StreamOptions struct {
	NoCompress bool // the data is compressed already
	Vital      bool // small, and worth more than the data: kept in other files of the repository, beside the folders
}

// StreamInfo is what a finished stream came to.
type StreamInfo struct {
	Size     int64 // bytes of the file
	NewBytes int64 // bytes it added to the repository, compressed
}

// A Stream is one file of a tree in the making: a row of chunks, each stored and deduplicated
// by itself. Its methods may be called concurrently; Close must be called, also after an error,
// and last. Chunks are compressed and stored behind the caller's back, a few at a time for the
// whole session; the first error is returned by every later call.
type Stream struct {
	tree *Tree
	path string
	kind contentKind

	inFlight sync.WaitGroup

	mu     sync.Mutex
	chunks []chunkRef // guarded by mu
	calls  uint32     // guarded by mu
	added  int64      // guarded by mu
	err    error      // guarded by mu
	closed bool       // guarded by mu
}

// chunkRef is a chunk of a stream. There may be millions, so it is small.
type chunkRef struct {
	hash   hash
	length uint32
	call   uint32 // which call wrote it last; 0 is none
}

// Append adds one chunk of at most MaxChunk bytes at the end. The chunk may be reused when it returns.
func (st *Stream) Append(ctx context.Context, chunk []byte) error {
	return st.put(ctx, -1, chunk)
}

// Put stores a chunk at index, counted in chunks. It may replace an earlier one: the last call counts.
func (st *Stream) Put(ctx context.Context, index int, chunk []byte) error {
	if index < 0 {
		return fail.New(fail.Internal, "", "put chunk %d of %s", index, st.path)
	}
	return st.put(ctx, index, chunk)
}

// Truncate keeps the first n chunks.
func (st *Stream) Truncate(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if n < len(st.chunks) {
		st.chunks = st.chunks[:max(n, 0)]
	}
}

func (st *Stream) put(ctx context.Context, index int, chunk []byte) error {
	s := st.tree.session
	if len(chunk) > MaxChunk || len(chunk) == 0 {
		return st.fail(fail.New(fail.Internal, "", "store %s: a chunk of %d bytes", st.path, len(chunk)))
	}
	index, call, err := st.reserve(index, len(chunk))
	if err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return st.fail(ctx.Err())
	}
	ow := s.newWriter(ctx, st.kind)
	if _, err := ow.Write(chunk); err != nil { // copies it
		_ = ow.Close()
		<-s.slots
		return st.fail(wrapWrite(err, "store %s", st.path))
	}
	var again []byte
	if len(s.suspect) > 0 { // the chunk may be needed once more
		again = append(again, chunk...)
	}
	s.busy.Add(1)
	st.inFlight.Go(func() {
		defer s.busy.Done()
		defer func() { <-s.slots }()
		defer ow.Close()
		cid, added, err := s.finishContent(ctx, st.kind, ow, again)
		if err != nil {
			st.fail(wrapWrite(err, "store %s", st.path))
			return
		}
		st.record(index, call, hash(cid.Hash()), added)
	})
	return nil
}

// reserve makes room for a chunk at index, or at the end for -1, in the order of calls.
func (st *Stream) reserve(index, length int) (int, uint32, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err != nil {
		return 0, 0, st.err
	}
	if st.closed {
		return 0, 0, fail.New(fail.Internal, "", "write to %s after it was closed", st.path)
	}
	if index < 0 {
		index = len(st.chunks)
	}
	if missing := index + 1 - len(st.chunks); missing > 0 {
		st.chunks = append(st.chunks, make([]chunkRef, missing)...)
	}
	st.calls++
	st.chunks[index] = chunkRef{length: uint32(length), call: st.calls}
	return index, st.calls, nil
}

func (st *Stream) record(index int, call uint32, h hash, added int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.added += added
	if index < len(st.chunks) && st.chunks[index].call == call {
		st.chunks[index].hash = h
	}
}

func (st *Stream) fail(err error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == nil {
		st.err = err
	}
	return st.err
}

// Close waits for all chunks and makes them a file of the tree. On error the tree has no such file.
func (st *Stream) Close(ctx context.Context) (StreamInfo, error) {
	st.inFlight.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return StreamInfo{}, fail.New(fail.Internal, "", "close %s twice", st.path)
	}
	st.closed = true
	st.tree.session.streamClosed()
	if st.err != nil {
		return StreamInfo{}, st.err
	}
	oid, size, err := st.spliceLocked(ctx)
	st.chunks = nil
	if err != nil {
		return StreamInfo{}, wrapWrite(err, "store %s", st.path)
	}
	if err := st.tree.addFile(st.path, oid, size); err != nil {
		return StreamInfo{}, err
	}
	return StreamInfo{Size: size, NewBytes: st.added}, nil
}

// maxSegment and maxEntries bound what one index of an object covers, so that opening a file
// never needs a large one: a larger object is an index of indexes.
const (
	maxSegment = 1 << 30
	maxEntries = 1 << 15
)

// spliceLocked makes the chunks one ordinary kopia object.
func (st *Stream) spliceLocked(ctx context.Context) (object.ID, int64, error) {
	var top, segment []object.IndirectObjectEntry
	var start, inSegment int64
	flush := func() error {
		if len(segment) == 0 {
			return nil
		}
		oid, err := st.indexLocked(ctx, segment)
		top = append(top, object.IndirectObjectEntry{Start: start, Length: inSegment, Object: oid})
		start += inSegment
		segment, inSegment = nil, 0
		return err
	}
	for i, c := range st.chunks {
		if c.call == 0 {
			return object.EmptyID, 0, fail.New(fail.Internal, "", "chunk %d was never written", i)
		}
		cid, err := content.IDFromHash(st.kind.prefix, c.hash[:])
		if err != nil {
			return object.EmptyID, 0, err
		}
		if len(segment) == maxEntries || (len(segment) > 0 && inSegment+int64(c.length) > st.tree.session.repo.segment) {
			if err := flush(); err != nil {
				return object.EmptyID, 0, err
			}
		}
		segment = append(segment, object.IndirectObjectEntry{Start: inSegment, Length: int64(c.length), Object: object.DirectObjectID(cid)})
		inSegment += int64(c.length)
	}
	if err := flush(); err != nil {
		return object.EmptyID, 0, err
	}
	if len(top) == 0 { // an empty file is one empty content
		cid, added, err := st.tree.session.putContent(ctx, contentKind{}, nil)
		st.added += added
		return object.DirectObjectID(cid), 0, err
	}
	for len(top) > maxEntries {
		return object.EmptyID, 0, fail.New(fail.Unsupported, "", "the file is larger than %d segments", maxEntries)
	}
	oid, err := st.indexLocked(ctx, top)
	return oid, start, err
}

// indirectObject is the content of an index of an object, as kopia defines it.
type indirectObject struct {
	Stream  string                       `json:"stream"`
	Entries []object.IndirectObjectEntry `json:"entries"`
}

const indirectStream = "kopia:indirect"

// indexLocked stores an index over entries and returns the object it makes. One entry needs none.
func (st *Stream) indexLocked(ctx context.Context, entries []object.IndirectObjectEntry) (object.ID, error) {
	if len(entries) == 1 {
		return entries[0].Object, nil
	}
	data, err := json.Marshal(indirectObject{indirectStream, entries})
	if err != nil {
		return object.EmptyID, err
	}
	cid, added, err := st.tree.session.putContent(ctx, contentKind{prefix: "x", compressor: metadataCompressor}, data)
	if err != nil {
		return object.EmptyID, err
	}
	st.added += added
	return object.ParseID("I" + cid.String())
}

func (s *Session) streamOpened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
}

func (s *Session) streamClosed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

func (t *Tree) compressor(opt StreamOptions) compression.Name {
	if opt.NoCompress {
		return ""
	}
	return t.session.repo.compressor
}
