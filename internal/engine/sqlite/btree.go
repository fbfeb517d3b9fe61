package sqlite

import (
	"encoding/binary"
	"fmt"
)

// maxCounted limits the pages of which a tally is kept, and with it memory: about 6 bytes each.
const maxCounted = 24 << 20

// maxDepth is how deep SQLite lets a b-tree be.
const maxDepth = 20

// kinds of b-tree pages, as a tally keeps them.
const (
	notTree = iota
	tableLeaf
	tableInterior
	indexLeaf
	indexInterior
	cellsPerKind = 1 << 13 // more than fit any page: a cell takes at least 8 bytes of 65,536
)

// A tally remembers of every page that passes by how many cells and which children it has, so
// that in the end the rows of each table can be counted by walking its b-tree, without reading
// anything again. A page may pass several times; the last time counts.
type tally struct {
	size  int // of a page
	pages []uint16
	kids  map[uint32][]uint32 // of interior pages
}

func newTally(pageSize int, pages uint32) *tally {
	return &tally{size: pageSize, pages: make([]uint16, min(pages, maxCounted)+1), kids: make(map[uint32][]uint32)}
}

// see takes note of the whole pages in b, which begin at off.
func (t *tally) see(b []byte, off int64) {
	page := uint32(off/int64(t.size)) + 1
	for ; len(b) >= t.size && page <= maxCounted; page++ {
		for int(page) >= len(t.pages) {
			t.pages = append(t.pages, 0)
		}
		if k := t.pages[page] / cellsPerKind; k == tableInterior || k == indexInterior {
			delete(t.kids, page)
		}
		kind, cells, kids := parsePage(b[:t.size], page == 1)
		t.pages[page] = uint16(kind*cellsPerKind + cells)
		if kids != nil {
			t.kids[page] = kids
		}
		b = b[t.size:]
	}
}

// parsePage returns what a page is. Pages that are no b-tree page may look like one; nothing leads to those.
func parsePage(b []byte, first bool) (kind, cells int, kids []uint32) {
	at := 0
	if first {
		at = headerSize
	}
	switch b[at] {
	case 0x0d:
		kind = tableLeaf
	case 0x05:
		kind = tableInterior
	case 0x0a:
		kind = indexLeaf
	case 0x02:
		kind = indexInterior
	default:
		return notTree, 0, nil
	}
	cells = int(binary.BigEndian.Uint16(b[at+3:]))
	interior := kind == tableInterior || kind == indexInterior
	start := at + 8
	if interior {
		start += 4
	}
	if cells >= cellsPerKind || start+2*cells > len(b) {
		return notTree, 0, nil
	}
	if !interior {
		return kind, cells, nil
	}
	kids = make([]uint32, 0, cells+1)
	for i := range cells {
		cell := int(binary.BigEndian.Uint16(b[start+2*i:]))
		if cell+4 > len(b) {
			return notTree, 0, nil
		}
		kids = append(kids, binary.BigEndian.Uint32(b[cell:]))
	}
	return kind, cells, append(kids, binary.BigEndian.Uint32(b[at+8:]))
}

// rows counts the rows of the table whose b-tree begins at page root: the cells of the leaves of a
// rowid table, all cells of the index b-tree that a table WITHOUT ROWID is. An error means that
// the tree is not one: the database is corrupt.
func (t *tally) rows(root, count uint32) (int64, error) {
	w := walk{tally: t, count: count, seen: make(map[uint32]bool)}
	if root == 0 || root > count || int(root) >= len(t.pages) {
		return 0, fmt.Errorf("root page %d of %d pages", root, count)
	}
	switch t.pages[root] / cellsPerKind {
	case tableLeaf, tableInterior:
		w.leaf, w.interior = tableLeaf, tableInterior
	case indexLeaf, indexInterior:
		w.leaf, w.interior = indexLeaf, indexInterior
	default:
		return 0, fmt.Errorf("root page %d is not a b-tree page", root)
	}
	err := w.visit(root, 1)
	return w.rows, err
}

type walk struct {
	*tally
	leaf, interior uint16
	count          uint32
	seen           map[uint32]bool // interior pages; a tree that meets itself would never end
	rows           int64
}

func (w *walk) visit(page uint32, depth int) error {
	if page == 0 || page > w.count || int(page) >= len(w.pages) {
		return fmt.Errorf("b-tree leads to page %d of %d", page, w.count)
	}
	cells := int64(w.pages[page] % cellsPerKind)
	switch w.pages[page] / cellsPerKind {
	case w.leaf:
		w.rows += cells
		return nil
	case w.interior:
	default:
		return fmt.Errorf("page %d is not of the b-tree that leads to it", page)
	}
	if depth >= maxDepth || w.seen[page] {
		return fmt.Errorf("b-tree has no end at page %d", page)
	}
	w.seen[page] = true
	if w.interior == indexInterior {
		w.rows += cells
	}
	for _, kid := range w.kids[page] {
		if err := w.visit(kid, depth+1); err != nil {
			return err
		}
	}
	return nil
}
