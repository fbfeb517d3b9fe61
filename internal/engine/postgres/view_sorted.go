package postgres

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

var _ rows.Sorter = (*View)(nil)

// sortMemory is what a sort may use before it goes to the server's disk. An administrator's
// higher value is better informed. It lasts until the reader's next ROLLBACK TO.
const sortMemory = `SELECT pg_catalog.set_config('work_mem', greatest(setting::int8, 65536)::text || 'kB', true)
	FROM pg_catalog.pg_settings WHERE name = 'work_mem'; `

// ReadSorted returns the rows of a table in order, in the view's snapshot. Those of a partitioned table are the rows of
// all of its partitions. Kinds: Usage for a column that the table does not have, Unsupported for a kind without rows.
func (v *View) ReadSorted(ctx context.Context, t *rows.Table, columns, by []string) (io.ReadCloser, error) {
	if err := v.refused[t]; err != nil {
		return nil, err
	}
	sql, err := sortedSQL(t, columns, by, "")
	if err != nil {
		return nil, err
	}
	ranges, err := v.ranges(ctx, t, by)
	if err != nil {
		return nil, err
	}
	if len(ranges) < 2 {
		return v.openSorted(ctx, t, sql)
	}
	for i, cond := range ranges {
		if ranges[i], err = sortedSQL(t, columns, by, cond); err != nil {
			return nil, err
		}
	}
	return v.readRanges(ctx, t, ranges), nil
}

// openSorted runs one COPY on a reader of its own.
func (v *View) openSorted(ctx context.Context, t *rows.Table, sql string) (io.ReadCloser, error) {
	r, err := v.reader(ctx)
	if err != nil {
		return nil, err
	}
	r.copy, err = openCopy(ctx, r.conn.PgConn(), sql, r.buf)
	if err != nil {
		v.discard(r)
		return nil, r.explain(t, err)
	}
	return &rowReader{reader: r, table: t}, nil
}

// sortedSQL is the COPY of a table in order, or of the rows that meet a condition; "" is all.
func sortedSQL(t *rows.Table, columns, by []string, cond string) (string, error) {
	lock, from := lockSQL(t), "ONLY "+quoteTable(t)
	switch t.Kind {
	case rows.Ordinary:
	case rows.Partitioned:
		lock, from = strings.Replace(lock, "TABLE ONLY", "TABLE", 1), quoteTable(t)
	default:
		return "", fail.New(fail.Unsupported, "", "read %s in order: a %s has no rows of its own to sort", t, t.Kind)
	}
	has := map[string]bool{}
	for _, c := range t.Columns {
		has[c.Name] = true
	}
	list := make([]string, len(columns))
	for i, name := range columns {
		if !has[name] {
			return "", fail.New(fail.Usage, "", "read %s in order: it has no column %s", t, name)
		}
		list[i] = quoteIdent(name)
	}
	order := make([]string, len(by))
	for i, name := range by {
		direction := ""
		if !has[name] && strings.HasPrefix(name, "-") {
			name, direction = name[1:], " DESC"
		}
		if !has[name] {
			return "", fail.New(fail.Usage, "", "read %s in order: it has no column %s", t, name)
		}
		order[i] = "t." + quoteIdent(name) + direction
	}
	var b strings.Builder
	b.WriteString(lock)
	if len(order) > 0 {
		b.WriteString(sortMemory)
	}
	fmt.Fprintf(&b, "COPY (SELECT %s FROM %s t", strings.Join(list, ", "), from)
	where := "WHERE"
	for _, c := range []string{t.Filter, cond} {
		if c != "" {
			fmt.Fprintf(&b, " %s (%s)", where, c)
			where = "AND"
		}
	}
	if len(order) > 0 {
		fmt.Fprintf(&b, " ORDER BY %s", strings.Join(order, ", "))
	}
	b.WriteString(") TO STDOUT")
	return b.String(), nil
}
