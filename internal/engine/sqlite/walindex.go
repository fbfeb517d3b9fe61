package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// The wal-index (the -shm file) as https://sqlite.org/walformat.html describes it: two copies of a
// header of 48 bytes, then the checkpoint information, in blocks of 32 KiB that begin with an
// array of page numbers, one for each frame of the log. Numbers are in the machine's byte order.
const (
	indexVersion   = 3007000
	indexHeader    = 48
	indexBackfill  = 96  // offset of nBackfill
	indexFirst     = 136 // offset of the first page number
	indexBlock     = 32 << 10
	indexPerBlock  = 4096                         // page numbers in a block
	indexPerBlock1 = indexPerBlock - indexFirst/4 // and in the first, which has the headers too
	walHeader      = 32                           // of the log file
	walFrameHeader = 24                           // of each frame
)

// walState is what the wal-index says at one moment.
type walState struct {
	header   [indexHeader]byte
	mxFrame  uint32 // last frame of the last commit
	pages    uint32 // size of the database after it
	pageSize int
	salt     [8]byte // as in the log's header and each of its frames
	backfill uint32  // frames that were copied into the database file
}

var errTorn = errors.New("the wal-index is being changed")

// readWALState reads the wal-index header. errTorn says that a writer was at work, or that it is not valid now.
func readWALState(shm io.ReaderAt) (walState, error) {
	var b [indexFirst]byte
	var again [indexHeader]byte
	if _, err := shm.ReadAt(b[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return walState{}, errTorn
		}
		return walState{}, err
	}
	// A restart of the log writes the header first, then zeroes nBackfill. The same header read after
	// nBackfill proves that the two belong together.
	if _, err := shm.ReadAt(again[:], 0); err != nil || !bytes.Equal(again[:], b[:indexHeader]) {
		return walState{}, errTorn
	}
	return parseWALState(b[:])
}

func parseWALState(b []byte) (walState, error) {
	h := b[:indexHeader]
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(b[off:]) }
	s0, s1 := indexSum(h[:40])
	switch {
	case !bytes.Equal(h, b[indexHeader:2*indexHeader]), h[12] == 0:
		return walState{}, errTorn
	case u32(40) != s0, u32(44) != s1:
		return walState{}, errTorn
	case u32(0) != indexVersion:
		return walState{}, fmt.Errorf("wal-index of version %d", u32(0))
	}
	s := walState{mxFrame: u32(16), pages: u32(20), backfill: u32(indexBackfill)}
	s.pageSize = int(binary.NativeEndian.Uint16(h[14:]))
	if s.pageSize == 1 {
		s.pageSize = 65536
	}
	copy(s.header[:], h)
	copy(s.salt[:], h[32:40])
	return s, nil
}

// indexSum is the checksum of the wal-index header.
func indexSum(b []byte) (s0, s1 uint32) {
	for ; len(b) >= 8; b = b[8:] {
		s0 += binary.NativeEndian.Uint32(b) + s1
		s1 += binary.NativeEndian.Uint32(b[4:]) + s0
	}
	return s0, s1
}

// A frame says which frame of the log holds a page.
type frame struct{ page, number uint32 }

// readFrames returns the newest frame of every page within frames 1 to s.mxFrame, by page. It needs a
// read lock that pins the log.
func readFrames(shm io.ReaderAt, s walState) ([]frame, error) {
	frames := make([]frame, 0, s.mxFrame)
	block := make([]byte, indexPerBlock*4)
	for off := int64(0); uint32(len(frames)) < s.mxFrame; off += indexBlock {
		if _, err := shm.ReadAt(block, off); err != nil {
			return nil, fmt.Errorf("wal-index: %w", err)
		}
		numbers := block
		if off == 0 {
			numbers = block[indexFirst:]
		}
		for ; len(numbers) > 0 && uint32(len(frames)) < s.mxFrame; numbers = numbers[4:] {
			frames = append(frames, frame{binary.NativeEndian.Uint32(numbers), uint32(len(frames)) + 1})
		}
	}
	slices.SortFunc(frames, func(a, b frame) int {
		return cmp.Or(cmp.Compare(a.page, b.page), cmp.Compare(b.number, a.number))
	})
	return slices.CompactFunc(frames, func(a, b frame) bool { return a.page == b.page }), nil
}

// freezeWAL starts a read transaction of s and returns where its pages are.
//
// A reader's snapshot is the wal-index header at the moment it takes its lock: frames 1 to mxFrame
// of the log lie over the database file. Which lock it takes SQLite doesn't tell, and it matters:
//
//   - lock 0, taken only when all frames were backfilled (nBackfill = mxFrame): the file alone is the snapshot.
//     No checkpoint writes to it while the lock is held, but the log may begin again and be overwritten.
//   - lock 1 to 4: the log up to mxFrame stays, since it can't begin again. A checkpoint may go on and write to
//     the file, but only frames up to our mark, which is at most mxFrame: what may be torn in the file
//     is covered by the log, all other pages are stable.
//
// So the header is read before and after the transaction is begun. Equal headers mean that nobody committed
// or restarted the log in between (both change the header: a commit its counter, a restart its salts), so that the
// header is our snapshot's. nBackfill only grows while the log is the same, hence:
//
//   - nBackfill = mxFrame before: everything is in the file. With lock 0 it stays as it is. With another lock
//     (a checkpoint was holding lock 0) no frame after mxFrame can be backfilled past our mark. File only.
//   - nBackfill < mxFrame after: lock 0 was impossible. File and log.
//   - it reached mxFrame in between: either lock is possible. Roll back and try again.
//
// A change of mode out of WAL needs the exclusive lock of the database file, on which our connection holds a
// shared one for as long as it is open. Two connections begun between equal headers see one snapshot.
func (s *source) freezeWAL(ctx context.Context, begin func() error, end func()) (*pages, error) {
	deadline := time.Now().Add(defaultBusyWait)
	for {
		before, err := readWALState(s.shm)
		if err == nil {
			if err := begin(); err != nil {
				return nil, err
			}
			var after walState
			after, err = readWALState(s.shm)
			switch {
			case err != nil || after.header != before.header:
				err = errTorn
			case before.backfill == before.mxFrame:
				return s.measured(&pages{file: s.file, state: before})
			case after.backfill < after.mxFrame:
				return s.withLog(after)
			default:
				err = errTorn
			}
			end()
		} else if berr := s.touch(begin, end); berr != nil { // SQLite repairs an index that isn't valid
			return nil, berr
		}
		switch {
		case !errors.Is(err, errTorn):
			return nil, fail.Wrap(fail.Unsupported, err, "", "read the wal-index")
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case time.Now().After(deadline):
			return nil, fail.New(fail.Locked, "try again when fewer transactions are committed", "no moment without a commit in %s", defaultBusyWait)
		}
	}
}

// touch is one empty read transaction.
func (s *source) touch(begin func() error, end func()) error {
	err := begin()
	end()
	return err
}

// withLog returns the pages of a snapshot whose log is pinned.
func (s *source) withLog(state walState) (*pages, error) {
	frames, err := readFrames(s.shm, state)
	if err != nil {
		return nil, fail.Wrap(fail.Damaged, err, hintDamaged, "read the log's index")
	}
	return s.measured(&pages{file: s.file, log: s.wal, frames: frames, state: state})
}

// measured asks SQLite for the size of the snapshot and checks that it is the one that was worked out.
func (s *source) measured(p *pages) (*pages, error) {
	if err := p.measure(s.conn); err != nil {
		return nil, err
	}
	// A log that was empty when it was opened gives no sizes.
	if w := p.state; w.pages != 0 && (w.pages != p.count || w.pageSize != p.size) {
		return nil, fail.New(fail.Internal, "", "the wal-index gives %d pages of %d bytes, SQLite %d of %d", w.pages, w.pageSize, p.count, p.size)
	}
	return p, nil
}

// openWAL opens the log and its index, which exist once the connection has read.
func (s *source) openWAL() (err error) {
	if s.shm != nil {
		return nil
	}
	// For writing, though nothing is written: where that is refused, SQLite may keep an index of its own
	// in memory, and the file may be a stale one.
	shm, err := os.OpenFile(s.full+"-shm", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return fail.Wrap(fail.Denied, bare(err), hintReadOnly, "open %s-shm", s.path)
	}
	if err != nil {
		return pathError(err, "open %s-shm", s.path)
	}
	wal, err := os.Open(s.full + "-wal")
	if err != nil {
		_ = shm.Close()
		return pathError(err, "open %s-wal", s.path)
	}
	s.shm, s.wal = shm, wal
	return nil
}
