package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/dchest/siphash"
)

// Bounds of the Splitter's chunks, in bytes.
const (
	MinChunk = 256 << 10
	AvgChunk = 1 << 20
	MaxChunk = 4 << 20
)

// A Splitter cuts row text at row ends, where the content says so, so that equal runs of rows
// make equal chunks wherever they stand. Chunks are MinChunk to MaxChunk long (the last of a stream may
// be shorter) and hold whole rows; only a row longer than MaxChunk is cut into pieces.
//
// Where to cut is decided by a keyed pseudo-random function (SipHash-2-4) of each row's hash, so that
// the lengths of chunks tell nothing about rows to somebody without the key. A row is an end with
// a probability in proportion to its length, which makes the average independent of row length.
//
// A Splitter may be used by many goroutines at once.
type Splitter struct{ k0, k1 uint64 }

// NewSplitter returns a Splitter for a secret key.
func NewSplitter(key [16]byte) *Splitter {
	return &Splitter{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
}

// readSize is how much is asked of the source at once.
const readSize = 256 << 10

// Split reads row text from r to its end and hands each chunk, in order, to emit together with
// what was counted in it; a piece of a cut row counts its bytes, the last piece also the row.
// chunk is valid until emit returns. Split returns the total, or the first error of r or emit.
// It holds one buffer of MaxChunk + 256 KiB.
func (s *Splitter) Split(r io.Reader, emit func(chunk []byte, c Count) error) (Count, error) {
	st := splitState{Splitter: s, emit: emit, buf: make([]byte, 0, MaxChunk+readSize)}
	for {
		n, err := r.Read(st.buf[len(st.buf):min(len(st.buf)+readSize, cap(st.buf))])
		st.buf = st.buf[:len(st.buf)+n]
		if serr := st.scan(); serr != nil {
			return st.total, serr
		}
		if errors.Is(err, io.EOF) {
			err = st.finish()
			return st.total, err
		}
		if err != nil {
			return st.total, err
		}
	}
}

// splitState is one run of Split. buf[:row] is the chunk so far, whole rows all; buf[row:] is
// a row whose end has not been looked at, of which buf[row:seen] has no newline.
type splitState struct {
	*Splitter
	emit  func([]byte, Count) error
	buf   []byte
	row   int
	seen  int
	chunk Count   // rows and hash of buf[:row]; Bytes is set by cut
	long  Counter // the row at the start of buf, when pieces of it were emitted before
	cutUp bool    // whether there are such pieces
	total Count
}

// scan looks at every row end in buf and emits the chunks that are complete. After it
// buf holds at most MaxChunk bytes, so that another read fits.
func (st *splitState) scan() error {
	for {
		nl := bytes.IndexByte(st.buf[st.seen:], '\n')
		end := st.seen + nl
		if nl < 0 {
			end = len(st.buf)
		}
		switch {
		case nl < 0 && end <= MaxChunk:
			st.seen = end
			return nil
		case end >= MaxChunk && st.row > 0: // the row does not fit into this chunk
			st.seen = end
			if err := st.cut(st.row); err != nil {
				return err
			}
		case end >= MaxChunk: // nor into any
			if err := st.cutRow(); err != nil {
				return err
			}
		default:
			if st.rowEnds(end) {
				if err := st.cut(st.row); err != nil {
					return err
				}
			}
		}
	}
}

// rowEnds counts the row that ends before the newline at end, and reports whether the chunk ends with it.
func (st *splitState) rowEnds(end int) bool {
	row := st.buf[st.row:end]
	size := uint64(end + 1 - st.row)
	st.row, st.seen = end+1, end+1
	st.chunk.Rows++
	if st.cutUp { // always an end, so that what follows a huge row is cut as it would be elsewhere
		st.cutUp = false
		_, _ = st.long.Write(st.buf[:st.row])
		st.chunk.Hash = st.chunk.Hash.Add(st.long.count.Hash)
		return true
	}
	h := HashRow(row)
	st.chunk.Hash = st.chunk.Hash.Add(h)
	if st.row < MinChunk {
		return false
	}
	var key [16]byte
	binary.LittleEndian.PutUint64(key[:8], h.Hi)
	binary.LittleEndian.PutUint64(key[8:], h.Lo)
	return siphash.Hash(st.k0, st.k1, key[:]) < size*(math.MaxUint64/(AvgChunk-MinChunk)) || size >= AvgChunk-MinChunk
}

// cutRow emits a piece of the row at the start of buf, which is longer than a chunk may be.
func (st *splitState) cutRow() error {
	if !st.cutUp {
		st.cutUp, st.long = true, Counter{}
	}
	_, _ = st.long.Write(st.buf[:MaxChunk])
	st.seen = MaxChunk // the newline may be right behind; look from there
	return st.cut(MaxChunk)
}

// cut emits buf[:n] and moves what follows to the front.
func (st *splitState) cut(n int) error {
	st.chunk.Bytes = int64(n)
	st.total = st.total.Add(st.chunk)
	if err := st.emit(st.buf[:n], st.chunk); err != nil {
		return err
	}
	st.chunk = Count{}
	st.buf = st.buf[:copy(st.buf, st.buf[n:])]
	st.row, st.seen = 0, st.seen-n
	return nil
}

// finish emits the last chunk, which must end with a row's end.
func (st *splitState) finish() error {
	if st.row < len(st.buf) || st.cutUp {
		return fmt.Errorf("row %d has no end: %w", st.total.Rows+st.chunk.Rows+1, io.ErrUnexpectedEOF)
	}
	if st.row == 0 {
		return nil
	}
	return st.cut(st.row)
}
