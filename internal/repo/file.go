package repo

import (
	"container/list"
	"context"
	"errors"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// File is an open file of a [SnapshotFS]. ReadAt may be called concurrently; Read and Seek not.
// Chunks read lately are kept, so that small reads all over a file (a database's pages) are cheap.
type File struct {
	fsys   *SnapshotFS
	info   fileInfo
	chunks []Chunk
	pos    int64
}

// Stat describes the file.
func (f *File) Stat() (fs.FileInfo, error) { return f.info, nil }

// Size returns the file's length in bytes.
func (f *File) Size() int64 { return f.info.Size() }

// Close does nothing.
func (f *File) Close() error { return nil }

// ReadAt reads len(p) bytes at off.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.info.path, Err: fs.ErrInvalid}
	}
	i := sort.Search(len(f.chunks), func(i int) bool { return f.chunks[i].Offset+f.chunks[i].Length > off })
	for ; n < len(p) && i < len(f.chunks); i++ {
		c := f.chunks[i]
		data, err := f.fsys.cache.get(f.fsys.ctx, f.fsys.repo, c)
		if err != nil {
			return n, fail.Op(err, "read %s at byte %d", f.info.path, c.Offset)
		}
		n += copy(p[n:], data[off+int64(n)-c.Offset:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Read reads on from where the last Read or Seek ended.
func (f *File) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Seek sets where Read goes on.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.Size()
	}
	if offset < 0 || whence < 0 || whence > io.SeekEnd {
		return 0, &fs.PathError{Op: "seek", Path: f.info.path, Err: fs.ErrInvalid}
	}
	f.pos = offset
	return offset, nil
}

// cacheBytes is how much of a backup's data is kept for reading again.
const cacheBytes = 32 << 20

// chunkCache keeps the chunks read last, by ID.
type chunkCache struct {
	mu    sync.Mutex
	bytes int                      // guarded by mu
	order *list.List               // of *cached, latest first; guarded by mu
	byID  map[string]*list.Element // guarded by mu
}

type cached struct {
	id     string
	length int
	once   sync.Once
	data   []byte
	err    error
}

func newChunkCache() *chunkCache {
	return &chunkCache{order: list.New(), byID: map[string]*list.Element{}}
}

// get returns a chunk, reading it once however many ask at the same time.
func (cc *chunkCache) get(ctx context.Context, r *Repo, c Chunk) ([]byte, error) {
	entry := cc.entry(c)
	entry.once.Do(func() { entry.data, entry.err = r.ReadChunk(ctx, c) })
	if entry.err != nil {
		cc.drop(entry)
		return nil, entry.err
	}
	if int64(len(entry.data)) != c.Length {
		return nil, damaged("chunk %s: %d bytes are stored, %d were expected", c.ID, len(entry.data), c.Length)
	}
	return entry.data, nil
}

func (cc *chunkCache) entry(c Chunk) *cached {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if el, ok := cc.byID[c.ID]; ok {
		cc.order.MoveToFront(el)
		return el.Value.(*cached)
	}
	entry := &cached{id: c.ID, length: int(c.Length)}
	cc.byID[c.ID] = cc.order.PushFront(entry)
	cc.bytes += entry.length
	for cc.bytes > cacheBytes && cc.order.Len() > 1 {
		last := cc.order.Back()
		old := cc.order.Remove(last).(*cached)
		delete(cc.byID, old.id)
		cc.bytes -= old.length
	}
	return entry
}

// drop forgets a chunk that could not be read, so that the next one to ask tries again.
func (cc *chunkCache) drop(entry *cached) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if el, ok := cc.byID[entry.id]; ok && el.Value.(*cached) == entry {
		cc.order.Remove(el)
		delete(cc.byID, entry.id)
		cc.bytes -= entry.length
	}
}

// Stream reads a file from begin to end, with up to parallel chunks fetched, decrypted and
// decompressed ahead. Close it, also after an error.
func (fsys *SnapshotFS) Stream(ctx context.Context, name string, parallel int) (io.ReadCloser, error) {
	chunks, err := fsys.Chunks(ctx, name)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &streamReader{name: name, stop: stop, queue: make(chan chan fetched, max(parallel, 1))}
	s.running.Go(func() { s.fetch(ctx, fsys.repo, chunks) })
	return s, nil
}

type fetched struct {
	data []byte
	err  error
}

// streamReader hands chunks out in order. Its queue holds the place of each chunk being
// fetched, so its capacity bounds both how many are and how much memory they take.
type streamReader struct {
	name    string
	queue   chan chan fetched
	stop    context.CancelFunc
	running sync.WaitGroup
	cut     error // why the queue ended early; written before it is closed
	rest    []byte
	err     error
}

func (s *streamReader) fetch(ctx context.Context, r *Repo, chunks []Chunk) {
	defer close(s.queue)
	for _, c := range chunks {
		place := make(chan fetched, 1)
		select {
		case s.queue <- place:
		case <-ctx.Done():
			s.cut = ctx.Err()
			return
		}
		s.running.Go(func() {
			data, err := r.ReadChunk(ctx, c)
			place <- fetched{data, fail.Op(err, "read %s at byte %d", s.name, c.Offset)}
		})
	}
}

// Read returns the next bytes. Damage ends it with an error of that kind.
func (s *streamReader) Read(p []byte) (int, error) {
	for len(s.rest) == 0 && s.err == nil {
		place, more := <-s.queue
		if !more {
			if s.err = s.cut; s.err == nil {
				s.err = io.EOF
			}
			break
		}
		got := <-place
		s.rest, s.err = got.data, got.err
	}
	if len(s.rest) == 0 {
		return 0, s.err
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Close ends the reading ahead and waits for it.
func (s *streamReader) Close() error {
	s.stop()
	s.running.Wait()
	if s.err == nil {
		s.err = fs.ErrClosed
	}
	return nil
}
