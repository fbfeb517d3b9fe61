package sqlite

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/holdfast-db/holdfast/internal/rows"
)

const (
	partBytes = 64 << 20 // a part is about as large
	mostNodes = 256      // pages of one level that are read to find the cuts
)

// estimate sets t's estimates and cuts it into parts, by the upper levels of its b-tree alone: an inner page gives
// the largest rowid below each of its children. Where a page makes no sense the table stays whole.
func (r *schemaReader) estimate(t *rows.Table, info *table, root uint32) {
	e := estimator{pages: r.pages, kids: []uint32{root}}
	if err := e.descend(); err != nil {
		r.notes = append(r.notes, fmt.Sprintf("size of table %s is not known: %v", t, err))
		return
	}
	t.EstRows, t.EstBytes = e.rows, e.leaves*int64(r.pages.size)
	parts := int(min(t.EstBytes/r.part, int64(len(e.keys))))
	if parts < 2 || info.rowid == "" {
		return
	}
	slices.Sort(e.keys)
	for i := 1; i < parts; i++ {
		info.cuts = append(info.cuts, e.keys[i*len(e.keys)/parts])
	}
	info.cuts = slices.Compact(info.cuts)
}

// estimator goes down a b-tree.
type estimator struct {
	pages  *pages
	kids   []uint32 // pages of the level that was reached
	keys   []int64  // rowids between them
	leaves int64
	rows   int64
}

// node is one page of a b-tree.
type node struct {
	kind, cells int
	kids        []uint32
	keys        []int64 // of a table's inner page
}

// descend reads whole levels while they are narrow, and then one path to the leaves, whose width it
// takes for all.
func (e *estimator) descend() error {
	width := int64(1) // pages of the last level for each of e.kids
	path := uint32(0) // page to sample; 0 while levels are read whole
	for depth := 0; ; depth++ {
		if depth > maxDepth {
			return fmt.Errorf("b-tree has no end")
		}
		if path == 0 && len(e.kids) <= mostNodes {
			leaf, cells, err := e.level()
			if err != nil {
				return err
			}
			if leaf {
				e.leaves = int64(len(e.kids))
				e.rows = cells
				return nil
			}
			continue
		}
		if path == 0 {
			path = e.kids[len(e.kids)/2]
		}
		n, err := e.node(path)
		if err != nil {
			return err
		}
		if n.kids == nil {
			e.leaves = int64(len(e.kids)) * width
			e.rows = e.leaves * int64(n.cells)
			return nil
		}
		width *= int64(len(n.kids))
		path = n.kids[len(n.kids)/2]
	}
}

// level replaces e.kids by their children, unless they are leaves: then it counts the cells of the middle one for all.
func (e *estimator) level() (leaf bool, cells int64, err error) {
	n, err := e.node(e.kids[len(e.kids)/2])
	if err != nil {
		return false, 0, err
	}
	if n.kids == nil {
		return true, int64(n.cells) * int64(len(e.kids)), nil
	}
	var kids []uint32
	var keys []int64
	for i, page := range e.kids {
		n, err := e.node(page)
		if err != nil {
			return false, 0, err
		}
		kids = append(kids, n.kids...)
		keys = append(keys, n.keys...)
		if i < len(e.keys) {
			keys = append(keys, e.keys[i])
		}
	}
	e.kids, e.keys = kids, keys
	return false, 0, nil
}

func (e *estimator) node(page uint32) (node, error) {
	if page == 0 || page > e.pages.count {
		return node{}, fmt.Errorf("b-tree leads to page %d of %d", page, e.pages.count)
	}
	b := make([]byte, e.pages.size)
	if err := e.pages.readAt(b, int64(page-1)*int64(e.pages.size)); err != nil {
		return node{}, err
	}
	n := node{}
	if n.kind, n.cells, n.kids = parsePage(b, page == 1); n.kind == notTree {
		return n, fmt.Errorf("page %d is not a b-tree page", page)
	}
	if n.kind == tableInterior {
		start := 12
		if page == 1 {
			start += headerSize
		}
		for i := range n.cells {
			cell := int(binary.BigEndian.Uint16(b[start+2*i:]))
			n.keys = append(n.keys, varint(b[cell+4:]))
		}
	}
	return n, nil
}

// varint reads SQLite's number of 1 to 9 bytes. One that is cut off gives what there is of it.
func varint(b []byte) int64 {
	var v uint64
	for i, c := range b[:min(len(b), 9)] {
		if i == 8 {
			return int64(v<<8 | uint64(c))
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			break
		}
	}
	return int64(v)
}
