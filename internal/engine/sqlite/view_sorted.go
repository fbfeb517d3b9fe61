package sqlite

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

var _ rows.Sorter = (*View)(nil)

// ReadSorted returns columns of all rows of t in the order of by; see [rows.Sorter]. Without by the order is that of
// Read. An index serves where there is one; else SQLite sorts, in files when there is much. Kinds: NotFound for a
// table or column that isn't there, Unsupported for an order by a collation that only the database's own program has.
func (v *View) ReadSorted(ctx context.Context, t *rows.Table, columns, by []string) (io.ReadCloser, error) {
	info := v.tables[t.Name]
	if info == nil || info.virtual {
		return nil, fail.New(fail.NotFound, "", "read %s: no such table", t)
	}
	sorted := &table{name: info.name, order: info.order, withoutRowid: info.withoutRowid}
	for _, name := range columns {
		c := columnNamed(t, name)
		if c == nil { // asked of SQLite, the quoted name would be a text
			return nil, fail.New(fail.NotFound, "", "read %s: no column %s", t, name)
		}
		sorted.columns = append(sorted.columns, column{c.Name, affinity(c.Native) == 'r'})
	}
	var order []string
	for _, name := range by {
		name, descending := strings.CutPrefix(name, "-")
		c := columnNamed(t, name)
		if c == nil {
			return nil, fail.New(fail.NotFound, "", "read %s in order: no column %s", t, name)
		}
		term := quote(c.Name)
		if descending {
			term += " DESC"
		}
		order = append(order, term)
	}
	if len(order) > 0 {
		sorted.order, sorted.mustSort = strings.Join(order, ","), true
	}
	r, err := v.start(ctx, sorted, bounds{})
	if errors.Is(err, sqlite3.ERROR) { // the statement makes no sense to this SQLite
		err = fail.Wrap(fail.Unsupported, err, "", "sort")
	}
	return r, err
}

// columnNamed finds a column; nil when there is none.
func columnNamed(t *rows.Table, name string) *rows.Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}
