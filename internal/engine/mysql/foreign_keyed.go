package mysql

import (
	"github.com/holdfast-db/holdfast/internal/rows"
)

// What a key has for a column at least and, when its type is of a fixed size, at most.
const (
	leastShare = 256
	fixedShare = 128
)

// keyedColumns are those that a key or foreign key has, with the bytes that each may take of those that don't say how long they may be: the
// longest of such columns is what the tightest of its keys leaves.
func (t *Target) keyedColumns(table *rows.Table) map[string]int {
	keyed := map[string]int{}
	add := func(names []string) {
		share := t.share(table, names)
		for _, n := range names {
			if old, ok := keyed[n]; !ok || share < old {
				keyed[n] = share
			}
		}
	}
	add(table.PrimaryKey)
	for _, u := range table.Unique {
		add(u)
	}
	for _, i := range table.Indexes {
		if i.Unique {
			add(i.Columns)
		}
	}
	for _, k := range table.ForeignKeys {
		add(k.Columns)
	}
	for _, other := range t.schema.Tables {
		for _, k := range other.ForeignKeys {
			if k.Table == table.String() {
				add(k.References)
			}
		}
	}
	open := 0
	for n := range keyed {
		if c := column(table, n); c != nil && t.unbounded(c) {
			open++
		}
	}
	for n := range keyed {
		keyed[n] = min(keyed[n], max(leastShare, rowBytes/max(1, open)))
	}
	return keyed
}

// share is how many bytes a key over these columns has for each that does not say how long it may be.
func (t *Target) share(table *rows.Table, names []string) int {
	room, open := keyBytes, 0
	for _, n := range names {
		switch c := column(table, n); {
		case c != nil && t.unbounded(c):
			open++
		case c != nil && sized(c):
			room -= c.Size * 4
		default:
			room -= fixedShare
		}
	}
	return max(leastShare, room/max(1, open))
}

// sized reports whether a text says how long it may be.
func sized(c *rows.Column) bool {
	return c.Size > 0 && c.Size <= maxVarchar && (c.Type == rows.Text || c.Type == rows.Enum)
}

// unbounded reports whether a column's values may be of any length.
func (t *Target) unbounded(c *rows.Column) bool {
	switch t.portableType(c) {
	case rows.Bool, rows.Int, rows.Float, rows.Decimal, rows.Date, rows.Time, rows.Timestamp, rows.Instant, rows.Interval, rows.UUID, rows.JSON:
		return false
	case rows.Bytes:
		return true
	case rows.Enum:
		return len(c.Values) == 0 && !sized(c)
	}
	return !sized(c)
}
