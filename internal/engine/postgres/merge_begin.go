package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// mergeTable is what the catalog says of a merged table.
type mergeTable struct {
	oid     uint32
	name    string // quoted
	from    string // its rows, without those of tables that inherit from it
	owned   bool
	filters bool // triggers may drop rows before they are inserted
	columns map[string]mergeColumn
	unique  [][]string // columns that no two rows have alike, none of them null
}

type mergeColumn struct {
	notNull   bool
	generated bool
	equal     string // its equality, as an operator that does not depend on search_path
}

// lock finds the tables and keeps other writers away, always in the same order.
func (m *Merger) lock(ctx context.Context, plan []*rows.Merge) error {
	known := map[string]mergeTable{}
	for i, merge := range plan {
		name := quoteTable(merge.Table)
		t, ok := known[name]
		if !ok {
			var err error
			if t, err = m.find(ctx, merge.Table); err != nil {
				return err
			}
			known[name] = t
		}
		m.plan = append(m.plan, &merging{Merge: merge, mergeTable: t, number: i, result: rows.Merged{Merge: merge}})
	}
	var names []string
	for _, t := range known {
		names = append(names, t.from)
	}
	slices.Sort(names)
	if len(names) > 0 {
		if err := m.s.exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return fail.Op(explainIn(ctx, err), "lock the tables")
		}
	}
	for _, g := range m.plan {
		// Only now nobody can change them.
		columns, err := m.readColumns(ctx, g.oid)
		if err != nil {
			return err
		}
		g.columns = columns
		if g.unique, err = m.readUnique(ctx, g.oid, columns); err != nil {
			return err
		}
		if err := g.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Merger) find(ctx context.Context, table *rows.Table) (t mergeTable, err error) {
	t.name = quoteTable(table)
	var kind string
	err = m.s.conn.QueryRow(ctx, `SELECT c.oid, c.relkind::pg_catalog.text, pg_catalog.pg_has_role(c.relowner, 'USAGE'),
			EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgtype & 7 = 7)
		FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)`, t.name).Scan(&t.oid, &kind, &t.owned, &t.filters)
	t.from = "ONLY " + t.name
	switch {
	case err == pgx.ErrNoRows:
		return t, fail.New(fail.NotFound, "", "there is no table %s", table)
	case err != nil:
		return t, explainIn(ctx, err)
	case kind == "p":
		t.from = t.name
	case kind != "r":
		return t, fail.New(fail.Unsupported, "", "%s is not a table", table)
	}
	return t, nil
}

const mergeColumnsQuery = `
WITH RECURSIVE base AS (
	SELECT a.attnum, a.atttypid AS typ FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL SELECT b.attnum, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typ WHERE t.typtype = 'd')
SELECT a.attname::text, ` + notNull + `, a.attgenerated <> '', coalesce((
	SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
	FROM base b JOIN pg_catalog.pg_opclass c ON c.opcintype = b.typ AND c.opcdefault
		JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
		JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3 AND p.amoplefttype = b.typ AND p.amoprighttype = b.typ
		JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
	WHERE b.attnum = a.attnum LIMIT 1), 'OPERATOR(pg_catalog.=)')
FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped`

func (m *Merger) readColumns(ctx context.Context, oid uint32) (map[string]mergeColumn, error) {
	rs, err := m.s.conn.Query(ctx, mergeColumnsQuery, oid)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	set := map[string]mergeColumn{}
	var name string
	var c mergeColumn
	_, err = pgx.ForEachRow(rs, []any{&name, &c.notNull, &c.generated, &c.equal}, func() error {
		set[name] = c
		return nil
	})
	return set, explainIn(ctx, err)
}

func (m *Merger) readUnique(ctx context.Context, oid uint32, columns map[string]mergeColumn) ([][]string, error) {
	rs, err := m.s.conn.Query(ctx, `SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (num, pos)
			JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num WHERE k.pos <= i.indnkeyatts)
		FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL`, oid)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	list, err := pgx.CollectRows(rs, pgx.RowTo[[]string])
	list = slices.DeleteFunc(list, func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return !columns[n].notNull })
	})
	return list, explainIn(ctx, err)
}

// validate compares a merge with its table.
func (g *merging) validate() error {
	if len(g.Columns) == 0 {
		return fail.New(fail.Unsupported, "", "rows of %s have no columns", g.Table)
	}
	seen := map[string]bool{}
	for _, name := range g.Columns {
		c, ok := g.columns[name]
		switch {
		case !ok:
			return fail.New(fail.NotFound, "", "table %s has no column %s", g.Table, name)
		case c.generated:
			return fail.New(fail.Usage, "", "column %s of %s is computed by the database and can't be loaded", name, g.Table)
		case seen[name]:
			return fail.New(fail.Usage, "", "column %s of %s is named twice", name, g.Table)
		}
		seen[name] = true
	}
	for _, name := range append(slices.Clone(g.Key), g.Set...) {
		if !seen[name] {
			return fail.New(fail.Usage, "", "rows of %s are told apart by %s, which they don't carry", g.Table, name)
		}
	}
	if len(g.Set) > 0 {
		g.Key = g.Columns
	}
	return nil
}

// identified reports whether the table itself keeps two rows from having one key.
func (g *merging) identified() bool {
	return slices.ContainsFunc(g.unique, func(names []string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(g.Key, n) })
	})
}

// look finds out which tables are empty, and decides where rows go.
func (m *Merger) look(ctx context.Context) error {
	for _, g := range m.plan {
		if g.Replace {
			if _, done := m.deleted[g.oid]; !done {
				var n int64
				if err := m.s.conn.QueryRow(ctx, "SELECT count(*) FROM "+g.from).Scan(&n); err != nil {
					return fail.Op(explainIn(ctx, err), "count the rows of %s", g.Table)
				}
				m.deleted[g.oid] = n
				g.result.Deleted = n
			}
		}
	}
	for _, g := range m.plan {
		_, g.empty = m.deleted[g.oid]
		if !g.empty {
			if err := m.s.conn.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM "+g.from+")").Scan(&g.empty); err != nil {
				return fail.Op(explainIn(ctx, err), "look at %s", g.Table)
			}
		}
		g.changes = !g.empty && len(g.Key) > 0
	}
	return nil
}

// stepAside makes references wait for the end of the transaction where they would not, and removes the keys whose
// actions would carry deletions into other tables.
func (m *Merger) stepAside(ctx context.Context) error {
	for _, k := range m.keys {
		switch {
		case k.acts() && m.deletes(k.to):
			if !k.owned && !slices.ContainsFunc(k.of, func(of uint32) bool { _, ok := m.deleted[of]; return !ok }) {
				continue // its rows go as well
			}
			if !k.owned {
				return fail.New(fail.Denied, "connect as the owner of "+k.table.String(),
					"delete rows of %s: foreign key %s of %s would change that table, too", k.References, k.name, k.table)
			}
			if err := m.s.exec(ctx, k.drop); err != nil {
				return fail.Op(explainIn(ctx, err), "set foreign key %s of %s aside", k.name, k.table)
			}
			m.again = append(m.again, k.add)
			k.dropped = true
		case k.waits() || !k.owned:
		case m.member(k.of) || m.loses(k):
			if err := m.s.exec(ctx, k.alter+" DEFERRABLE INITIALLY DEFERRED"); err != nil {
				return fail.Op(explainIn(ctx, err), "defer foreign key %s of %s", k.name, k.table)
			}
			m.again = append(m.again, k.alter+" NOT DEFERRABLE")
			k.deferrable = true
		}
	}
	for _, g := range m.plan {
		immediate := slices.ContainsFunc(m.keys, func(k *mergeKey) bool { return !k.waits() && slices.Contains(k.of, g.oid) })
		partly := slices.ContainsFunc(g.Fresh, func(n string) bool { return slices.Contains(g.Columns, n) })
		early := len(g.Fresh) > 0 && slices.ContainsFunc(m.plan, func(o *merging) bool { return o != g && o.oid == g.oid })
		g.direct = (g.empty || len(g.Key) == 0) && len(g.Set) == 0 && !immediate && !partly && !early && !g.filters
	}
	// From here on triggers may run, whose functions take the role's own search_path for granted.
	return m.s.exec(ctx, `SET CONSTRAINTS ALL DEFERRED; SELECT pg_catalog.set_config('search_path', reset_val, true)
		FROM pg_catalog.pg_settings WHERE name = 'search_path'`)
}

// replace deletes the rows of tables that are to be replaced: by TRUNCATE, which refuses a table that
// another one references, or row by row, children first.
func (m *Merger) replace(ctx context.Context) error {
	truncate, total := map[uint32]string{}, int64(0)
	for _, g := range m.plan {
		n, ok := m.deleted[g.oid]
		if ok && g.owned {
			truncate[g.oid] = g.from
		}
		total += n
	}
	for shrunk := true; shrunk; {
		shrunk = false
		for _, k := range m.keys {
			for _, to := range k.to {
				if _, ok := truncate[to]; ok && !k.dropped && slices.ContainsFunc(k.of, func(of uint32) bool { return truncate[of] == "" }) {
					delete(truncate, to)
					shrunk = true
				}
			}
		}
	}
	if len(truncate) > 0 && total > 0 {
		var names []string
		for _, name := range truncate {
			names = append(names, name)
		}
		slices.Sort(names)
		if err := m.s.exec(ctx, "TRUNCATE "+strings.Join(names, ", ")); err != nil {
			return fail.Op(explainIn(ctx, err), "empty the tables")
		}
	}
	order, err := m.order()
	if err != nil {
		return err
	}
	slices.Reverse(order)
	for _, g := range order {
		if g.result.Deleted == 0 || truncate[g.oid] != "" {
			continue
		}
		if err := m.s.exec(ctx, fmt.Sprintf("DELETE FROM %s", g.from)); err != nil {
			if isState(err, "23503") {
				return m.broken(err)
			}
			return fail.Op(explainIn(ctx, err), "empty %s", g.Table)
		}
	}
	return nil
}
