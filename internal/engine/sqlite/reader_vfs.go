package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A readerVFS shows SQLite one database, read-only and unchanging, whose bytes come from an io.ReaderAt.
type readerVFS struct {
	r     io.ReaderAt
	size  int64
	cause *readFailure
}

// readFailure keeps the first error of the reader, which SQLite would reduce to «disk I/O error».
type readFailure struct {
	mu  sync.Mutex
	err error // guarded by mu
}

func (f *readFailure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *readFailure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// because returns the reader's error, if there was one, instead of what SQLite made of it.
func (f *readFailure) because(err error) error {
	if cause := f.get(); err != nil && cause != nil && !errors.Is(err, sqlite3.INTERRUPT) {
		if fail.KindOf(cause) == fail.Internal {
			return fail.Wrap(fail.Unavailable, cause, "", "read pages")
		}
		return cause
	}
	return err
}

// dialReader opens a connection to the database in r. done, called after the connection was closed, forgets r.
func dialReader(ctx context.Context, r io.ReaderAt, size int64) (conn *sqlite3.Conn, done func(), err error) {
	name, v := registerReader(r, size)
	conn, err = v.dial(ctx, name)
	if err != nil {
		vfs.Unregister(name)
		return nil, nil, err
	}
	return conn, func() { vfs.Unregister(name) }, nil
}

// registerReader makes r known to the driver under a name that nobody else has.
func registerReader(r io.ReaderAt, size int64) (name string, v *readerVFS) {
	name, v = "holdfast-"+rand.Text(), &readerVFS{r: r, size: size, cause: &readFailure{}}
	vfs.Register(name, v)
	return name, v
}

func (v *readerVFS) dial(ctx context.Context, name string) (*sqlite3.Conn, error) {
	conn, err := dialURI(ctx, "file:database?mode=ro&vfs="+name, 0)
	return conn, v.cause.because(err)
}

// Open gives the database; SQLite's temporary files (a sort that is too large for memory) go to the disk.
func (v *readerVFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if name == "" || flags&vfs.OPEN_DELETEONCLOSE != 0 {
		if os, ok := vfs.Find("").(vfs.VFSFilename); ok {
			return os.OpenFilename(nil, flags)
		}
		return nil, flags, sqlite3.CANTOPEN
	}
	if flags&vfs.OPEN_MAIN_DB == 0 {
		return nil, flags, sqlite3.CANTOPEN
	}
	return readerFile{v}, flags | vfs.OPEN_READONLY, nil
}

// Delete refuses.
func (*readerVFS) Delete(string, bool) error { return sqlite3.IOERR_DELETE }

// Access finds no journal.
func (*readerVFS) Access(string, vfs.AccessFlag) (bool, error) { return false, nil }

// FullPathname returns name.
func (*readerVFS) FullPathname(name string) (string, error) { return name, nil }

// readerFile is the database of a readerVFS.
type readerFile struct{ v *readerVFS }

// ReadAt reads, and shows a database in WAL mode as one in rollback mode: it has no log any more, and
// without shared memory SQLite would refuse to open it.
func (f readerFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.v.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		f.v.cause.set(err)
		return n, sqlite3.IOERR_READ
	}
	for i := int64(18); i < 20; i++ {
		if i >= off && i < off+int64(n) && p[i-off] == 2 {
			p[i-off] = 1
		}
	}
	return n, err
}

func (f readerFile) Size() (int64, error) { return f.v.size, nil }
func (readerFile) Close() error           { return nil }
func (readerFile) SectorSize() int        { return 0 }

func (readerFile) WriteAt([]byte, int64) (int, error) { return 0, sqlite3.IOERR_WRITE }
func (readerFile) Truncate(int64) error               { return sqlite3.IOERR_TRUNCATE }
func (readerFile) Sync(vfs.SyncFlag) error            { return sqlite3.IOERR_FSYNC }

func (readerFile) Lock(vfs.LockLevel) error         { return nil }
func (readerFile) Unlock(vfs.LockLevel) error       { return nil }
func (readerFile) CheckReservedLock() (bool, error) { return false, nil }

func (readerFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_IMMUTABLE | vfs.IOCAP_SUBPAGE_READ
}

// A blockCache reads r in blocks and keeps the last ones: SQLite asks for single pages, and a stored
// image answers each question with a chunk that has to be fetched and decrypted.
type blockCache struct {
	r    io.ReaderAt
	size int64

	mu     sync.Mutex
	blocks map[int64]*block // guarded by mu
	clock  int64            // guarded by mu
}

type block struct {
	ready chan struct{} // closed when data and err are set
	data  []byte
	err   error
	used  int64 // guarded by blockCache.mu
}

const (
	blockBytes = 256 << 10
	mostBlocks = 64
)

// ReadAt reads from blocks, and fetches those that are missing, each once.
func (c *blockCache) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	n := 0
	for n < len(p) && off < c.size {
		b := c.block(off / blockBytes)
		if b.err != nil {
			return n, b.err
		}
		k := copy(p[n:], b.data[off%blockBytes:])
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *blockCache) block(i int64) *block {
	c.mu.Lock()
	c.clock++
	if b := c.blocks[i]; b != nil {
		b.used = c.clock
		c.mu.Unlock()
		<-b.ready
		return b
	}
	b := &block{ready: make(chan struct{}), used: c.clock}
	if c.blocks == nil {
		c.blocks = make(map[int64]*block)
	}
	c.evictLocked()
	c.blocks[i] = b
	c.mu.Unlock()

	b.data = make([]byte, min(blockBytes, c.size-i*blockBytes))
	n, err := c.r.ReadAt(b.data, i*blockBytes)
	if n < len(b.data) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.err = err
		c.mu.Lock()
		delete(c.blocks, i) // the next reader may have more luck
		c.mu.Unlock()
	}
	close(b.ready)
	return b
}

// evictLocked drops the block that was not used for longest.
func (c *blockCache) evictLocked() {
	for len(c.blocks) >= mostBlocks {
		oldest, used := int64(-1), c.clock+1
		for i, b := range c.blocks {
			if b.used < used {
				oldest, used = i, b.used
			}
		}
		delete(c.blocks, oldest)
	}
}
