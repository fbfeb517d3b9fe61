package sqlite

import (
	"encoding/binary"
	"errors"
	"io"
	"sort"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// pages are the pages of one snapshot: a file, and frames of a log that lie over it.
type pages struct {
	file   io.ReaderAt
	log    io.ReaderAt // nil when the file is all
	frames []frame     // by page
	size   int         // bytes of a page
	count  uint32
	state  walState // in WAL mode
}

// bytes returns the length of the database.
func (p *pages) bytes() int64 { return int64(p.size) * int64(p.count) }

// measure asks SQLite for the size of the snapshot that the transaction of conn sees.
func (p *pages) measure(conn *sqlite3.Conn) error {
	for _, q := range []struct {
		sql string
		put func(int64)
	}{
		{"PRAGMA page_size", func(n int64) { p.size = int(n) }},
		{"PRAGMA page_count", func(n int64) { p.count = uint32(n) }},
	} {
		err := each(conn, q.sql, nil, func(st *sqlite3.Stmt) error {
			q.put(st.ColumnInt64(0))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readAt fills b, whole pages, from offset off within the database.
func (p *pages) readAt(b []byte, off int64) error {
	n, err := p.file.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return fail.Wrap(fail.Unavailable, bare(err), "", "read the database at %d", off)
	}
	// A file may end early: its last pages are in the log, or were never written (free pages).
	clear(b[n:])
	if p.log == nil {
		return nil
	}
	first := uint32(off/int64(p.size)) + 1
	end := first + uint32(len(b)/p.size)
	i := sort.Search(len(p.frames), func(i int) bool { return p.frames[i].page >= first })
	for ; i < len(p.frames) && p.frames[i].page < end; i++ {
		at := int(p.frames[i].page-first) * p.size
		if err := p.readFrame(b[at:at+p.size], p.frames[i]); err != nil {
			return err
		}
	}
	return nil
}

// readFrame reads one page from the log, and checks that the frame is the one that the index means.
func (p *pages) readFrame(b []byte, f frame) error {
	var h [walFrameHeader]byte
	at := walHeader + int64(f.number-1)*int64(walFrameHeader+p.size)
	if _, err := p.log.ReadAt(h[:], at); err != nil {
		return fail.Wrap(fail.Damaged, bare(err), hintDamaged, "read frame %d of the log", f.number)
	}
	if binary.BigEndian.Uint32(h[:]) != f.page || [8]byte(h[8:16]) != p.state.salt {
		return fail.New(fail.Damaged, hintDamaged, "frame %d of the log does not hold page %d as its index says", f.number, f.page)
	}
	if _, err := p.log.ReadAt(b, at+walFrameHeader); err != nil {
		return fail.Wrap(fail.Damaged, bare(err), hintDamaged, "read frame %d of the log", f.number)
	}
	return nil
}
