package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// partsOf cuts a table into ranges of size pages. The boundaries are multiples of size, so that those of a
// table that has grown are where they were. The last range has no end: rows that are updated while
// we read move to new pages, but the versions of our snapshot may only be in old ones.
func partsOf(r *rel, size int64, whole bool) []rows.Part {
	if !r.holdsRows() {
		return nil
	}
	if whole || r.pages <= size || r.table.Filter != "" {
		return []rows.Part{{Table: r.table, Number: 1, Bytes: r.bytes}}
	}
	n := (r.pages + size - 1) / size
	parts := make([]rows.Part, n)
	for i := range parts {
		from := int64(i) * size
		pages := min(size, r.pages-from)
		bounds := fmt.Sprintf("%d-%d", from, from+size)
		if i == len(parts)-1 {
			bounds = fmt.Sprintf("%d-", from)
		}
		parts[i] = rows.Part{Table: r.table, Number: i + 1, Bounds: bounds, Bytes: int64(float64(r.bytes) * float64(pages) / float64(r.pages))}
	}
	return parts
}

// pagesOf reads what partsOf wrote. to is 0 for no end.
func pagesOf(p rows.Part) (from, to uint64, err error) {
	a, b, ok := strings.Cut(p.Bounds, "-")
	from, err = strconv.ParseUint(a, 10, 32)
	if err == nil && b != "" {
		to, err = strconv.ParseUint(b, 10, 32)
	}
	if !ok || err != nil {
		return 0, 0, fail.New(fail.Internal, "", "read %s: bad bounds %q", p.Table, p.Bounds)
	}
	return from, to, nil
}
