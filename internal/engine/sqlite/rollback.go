package sqlite

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
)

const (
	batchBytes = 4 << 20               // read under one lock, at most
	batchTime  = 50 * time.Millisecond // likewise, looked at after each extent
	heldBytes  = 128 << 20             // changed extents that the last pass keeps until it has let go of the lock
	mostPasses = 3                     // disturbed ones, before a pass that holds the lock throughout
)

// A rollback is the copy of a database in one of the rollback-journal modes, where a reader's lock keeps writers
// out. Pages are read in batches under short locks; the change counter in the header, which every
// transaction raises, tells whether anybody wrote in between. Passes follow until one was not disturbed, each
// putting only the extents that differ from what was put before. When mostPasses were disturbed, one more
// reads and compares all under a single lock, so that the copy ends whatever writers do.
type rollback struct {
	*copying
	seed     maphash.Seed
	sums     []uint64 // of each extent as it was put last; the seed is secret, so 64 bits do for comparing at one place
	start    [16]byte // header bytes 24..39 as the pass began: change counter, size, free list
	longest  time.Duration
	switched bool // to WAL mode
	moved    bool // somebody wrote during the pass
}

// runRollback copies the database. switched says that it is in WAL mode now, and nothing counts.
func (c *copying) runRollback(ctx context.Context) (switched bool, err error) {
	r := &rollback{copying: c, seed: maphash.MakeSeed()}
	pass := 1
	for ; ; pass++ {
		if pass <= mostPasses {
			err = r.pass(ctx)
		} else {
			err = r.lastPass(ctx)
		}
		if err != nil || r.switched {
			return r.switched, err
		}
		if !r.moved {
			break
		}
	}
	passes := fmt.Sprintf("pass %d, during which nobody wrote", pass)
	if pass > mostPasses {
		passes = fmt.Sprintf("pass %d, under one read lock", pass)
	}
	c.consistency = fmt.Sprintf("as of %s; no lock was held longer than %s", passes, roundTime(r.longest))
	return false, nil
}

// lock takes the read lock and looks at the header. While it is held nobody writes to the file.
// first says that a pass begins.
func (r *rollback) lock(first bool) (*pages, time.Time, error) {
	if err := begin(r.src.conn); err != nil {
		return nil, time.Time{}, err
	}
	since := time.Now()
	h, err := readHeader(r.src.file)
	if err != nil {
		return nil, since, fail.Wrap(fail.Unavailable, bare(err), "", "read the header")
	}
	if err := h.check(r.src.path); err != nil {
		return nil, since, err
	}
	if r.switched = h.wal; r.switched {
		return nil, since, nil
	}
	p, err := r.src.wholeFile()
	if err != nil {
		return nil, since, err
	}
	if first {
		r.start, r.moved = h.stamp, false
		r.taken, r.position, r.size = since.UTC(), fmt.Sprintf("change %d", h.counter), p.bytes()
		if r.tally == nil || r.tally.size != p.size {
			r.tally = newTally(p.size, p.count)
		}
	}
	r.moved = r.moved || h.stamp != r.start
	return p, since, nil
}

// unlock lets writers go on.
func (r *rollback) unlock(since time.Time) {
	end(r.src.conn)
	r.longest = max(r.longest, time.Since(since))
}

// wholeFile returns the pages of a file without a log, as the current transaction sees them.
func (s *source) wholeFile() (*pages, error) {
	p := &pages{file: s.file}
	if err := p.measure(s.conn); err != nil {
		return nil, err
	}
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < p.bytes() {
		return nil, fail.New(fail.Damaged, hintDamaged, "the file has %d bytes, its header says %d", info.Size(), p.bytes())
	}
	return p, nil
}

// pass reads the whole file once, in batches, and puts what differs from what was put before.
func (r *rollback) pass(ctx context.Context) error {
	off := int64(0)
	return r.pipe(ctx, max(r.batch/r.unit, 1), func(_ context.Context, b *batch) (more bool, err error) {
		b.off = off
		p, since, err := r.lock(off == 0)
		if err != nil || r.switched {
			end(r.src.conn)
			return false, err
		}
		for len(b.buf)+r.unit <= cap(b.buf) && off < p.bytes() && (len(b.sizes) == 0 || time.Since(since) < batchTime) {
			if err := r.read(p, b, off); err != nil {
				return false, err
			}
			off += int64(b.sizes[len(b.sizes)-1])
		}
		more = off < p.bytes()
		var roots []root
		if !more && !r.moved {
			if roots, err = readRoots(r.src.conn); err != nil {
				return false, err
			}
		}
		r.unlock(since)
		at := 0
		for _, n := range b.sizes {
			b.wanted = append(b.wanted, r.differs(b.off+int64(at), b.buf[at:at+n]))
			at += n
		}
		r.tally.see(b.buf, b.off)
		if !more && !r.moved {
			err = r.count(roots, p.count)
		}
		return more, err
	})
}

// differs reports whether an extent is not as it was put last, and takes note of what it is now.
func (r *rollback) differs(off int64, b []byte) bool {
	i := int(off / int64(r.unit))
	sum := maphash.Bytes(r.seed, b)
	if i == len(r.sums) {
		r.sums = append(r.sums, sum)
		return true
	}
	same := r.sums[i] == sum
	r.sums[i] = sum
	return !same
}

// lastPass reads and compares the whole file under one lock. What differs is put after the lock was
// let go, as far as memory allows.
func (r *rollback) lastPass(ctx context.Context) error {
	p, since, err := r.lock(true)
	if err != nil || r.switched {
		return err
	}
	var held []*batch
	room := heldBytes
	b := &batch{buf: make([]byte, 0, r.unit)}
	for off := int64(0); off < p.bytes(); off += int64(r.unit) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.buf, b.sizes, b.off = b.buf[:0], b.sizes[:0], off
		if err := r.read(p, b, off); err != nil {
			return err
		}
		r.tally.see(b.buf, off)
		switch {
		case !r.differs(off, b.buf):
		case room >= r.unit:
			room -= r.unit
			held = append(held, b)
			b = &batch{buf: make([]byte, 0, r.unit)}
		default:
			if err := r.putBatch(ctx, b); err != nil {
				return err
			}
		}
	}
	roots, err := readRoots(r.src.conn)
	if err != nil {
		return err
	}
	r.unlock(since)
	if err := r.count(roots, p.count); err != nil {
		return err
	}
	for _, b := range held {
		if err := r.putBatch(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// A batch is a run of extents that was read at once.
type batch struct {
	buf    []byte
	off    int64
	sizes  []int  // of the extents in buf: all but the file's last are one unit
	wanted []bool // which of them to put; empty is all
}

func (c *copying) putBatch(ctx context.Context, b *batch) error {
	at := 0
	for i, n := range b.sizes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(b.wanted) == 0 || b.wanted[i] {
			if err := c.put(image.Extent{File: c.name, Offset: b.off + int64(at), Data: b.buf[at : at+n]}); err != nil {
				return err
			}
		}
		at += n
	}
	return nil
}
