package mysql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// mostExamples is how many rows of a violation are told.
const mostExamples = 5

// mergeKey is a foreign key of or to a merged table.
type mergeKey struct {
	number              int
	child, parent, name string
	columns, references []string
	primary             []string // of child
}

// c and p are what its statements call the two tables: all names must differ when tables are locked.
func (k *mergeKey) c() string { return fmt.Sprintf("`holdfast~c%d`", k.number) }
func (k *mergeKey) p() string { return fmt.Sprintf("`holdfast~p%d`", k.number) }

// readKeys finds the foreign keys that the plan can break.
func (m *Merger) readKeys(ctx context.Context) error {
	if len(m.plan) == 0 {
		return nil
	}
	names := make([]string, len(m.plan))
	for i, g := range m.plan {
		names[i] = quoteLiteral(g.Table.Name)
	}
	list := strings.Join(names, ", ")
	err := m.s.each(ctx, `SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name
		FROM information_schema.key_column_usage WHERE table_schema = database() AND referenced_table_schema = database()
			AND (table_name IN (`+list+") OR referenced_table_name IN ("+list+")) ORDER BY table_name, constraint_name, ordinal_position", func(row []cell) error {
		n := len(m.keys)
		if n == 0 || m.keys[n-1].child != row[0].s || m.keys[n-1].name != row[1].s {
			m.keys = append(m.keys, &mergeKey{number: n + 1, child: row[0].s, name: row[1].s, parent: row[3].s})
			n++
		}
		k := m.keys[n-1]
		k.columns, k.references = append(k.columns, row[2].s), append(k.references, row[4].s)
		return nil
	})
	for _, k := range m.keys {
		if err == nil {
			err = m.s.each(ctx, "SELECT column_name FROM information_schema.statistics WHERE table_schema = database() AND index_name = 'PRIMARY' AND table_name = "+
				quoteLiteral(k.child)+" ORDER BY seq_in_index", func(row []cell) error {
				k.primary = append(k.primary, row[0].s)
				return nil
			})
		}
	}
	return err
}

// checkKeys returns *rows.Violations, of kind Incomplete, for references that the merge has broken.
func (m *Merger) checkKeys(ctx context.Context) error {
	var found rows.Violations
	for _, k := range m.keys {
		where, needed := m.affected(k)
		if !needed {
			continue
		}
		v, err := m.violation(ctx, k, where)
		if err != nil {
			return fail.Op(explainIn(ctx, err), "check foreign key %s of %s", k.name, k.child)
		}
		if v.Count > 0 {
			found.List = append(found.List, v)
		}
	}
	if len(found.List) == 0 {
		return nil
	}
	return fail.Wrap(fail.Incomplete, &found, "load the rows that are missing too", "broken references")
}

// affected returns the condition of the child rows that the merge can have broken; none means all.
func (m *Merger) affected(k *mergeKey) (where string, needed bool) {
	for _, g := range m.plan { // values that rows name may be gone
		if g.Table.Name != k.parent {
			continue
		}
		changed := g.result.Changed > 0 && slices.ContainsFunc(k.references, func(n string) bool { return slices.Contains(g.Columns, n) })
		if g.result.Deleted > 0 || changed {
			return "", true
		}
	}
	var some []string
	for _, g := range m.plan {
		switch {
		case g.Table.Name != k.child || g.loaded == 0:
		case g.direct || len(g.Key) == 0:
			return "", true // nothing tells the new rows from the others, or there are no others
		default:
			some = append(some, fmt.Sprintf("EXISTS (SELECT 1 FROM %s s WHERE %s)", g.stage(), same(k.c(), "s", g.Key)))
		}
	}
	return strings.Join(some, " OR "), len(some) > 0
}

// violation counts the broken rows of a key, and shows some.
func (m *Merger) violation(ctx context.Context, k *mergeKey, where string) (rows.Violation, error) {
	parent := rows.Table{Name: k.parent}
	v := rows.Violation{Table: &rows.Table{Name: k.child}, Columns: k.columns, References: parent.String(), To: k.references}
	for _, g := range m.plan {
		if g.Table.Name == k.child {
			v.Table = g.Table
		}
	}
	var match, set []string
	for i, c := range k.columns {
		set = append(set, k.c()+"."+quoteIdent(c)+" IS NOT NULL")
		match = append(match, k.p()+"."+quoteIdent(k.references[i])+" = "+k.c()+"."+quoteIdent(c))
	}
	if where != "" {
		set = append(set, "("+where+")")
	}
	from := fmt.Sprintf("FROM %s %s WHERE %s AND NOT EXISTS (SELECT 1 FROM %s %s WHERE %s)", quoteIdent(k.child), k.c(), strings.Join(set, " AND "),
		quoteIdent(k.parent), k.p(), strings.Join(match, " AND "))
	tail := ""
	if !m.locked {
		tail = " LOCK IN SHARE MODE" // what others have committed since
	}
	row, err := m.s.one(ctx, "SELECT count(*) "+from+tail)
	if err != nil {
		return v, err
	}
	if v.Count, _ = strconv.ParseInt(row[0].s, 10, 64); v.Count == 0 {
		return v, nil
	}
	show := append(slices.Clone(k.primary), k.columns...)
	err = m.s.each(ctx, fmt.Sprintf("SELECT %s %s LIMIT %d%s", prefixed(k.c()+".", show), from, mostExamples, tail), func(row []cell) error {
		values := shown(row)
		v.Examples = append(v.Examples, rows.BrokenRow{Key: values[:len(k.primary)], Values: values[len(k.primary):]})
		return nil
	})
	return v, err
}
