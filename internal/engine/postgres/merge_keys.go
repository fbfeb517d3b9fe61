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

// examples is how many rows of a violation are shown.
const examples = 5

// mergeKey is a foreign key of or to a merged table. That of a partition is its topmost parent's.
type mergeKey struct {
	of, to     []uint32 // tables on both sides, with those merged ones that are partitions of them
	table      *rows.Table
	name       string
	References string // text form of the referenced table
	deferrable bool
	owned      bool // whether the definition may be changed
	onDelete   string
	from, into string   // both tables as relations
	primary    []string // of table
	columns    []string
	references []string
	equal      []string // operators: referenced column, then ours
	alter      string   // ALTER TABLE … ALTER CONSTRAINT …
	drop, add  string
	dropped    bool
	lax        bool // not enforced
	period     bool // its last column is contained in the referenced ones, not equal to one: the server alone checks it
}

// acts reports whether deleting a referenced row does more than to look whether it was referenced.
func (k *mergeKey) acts() bool { return k.onDelete != "a" && !k.lax }

// waits reports whether references may be broken until the end of the transaction.
func (k *mergeKey) waits() bool { return k.deferrable || k.dropped || k.lax }

const mergeKeysQuery = `
WITH RECURSIVE up AS (
	SELECT k.conrelid, k.confrelid, k.oid, k.conparentid FROM pg_catalog.pg_constraint k
	WHERE k.contype = 'f' AND (k.conrelid = ANY ($1) OR k.confrelid = ANY ($1))
	UNION SELECT up.conrelid, up.confrelid, p.oid, p.conparentid FROM up JOIN pg_catalog.pg_constraint p ON p.oid = up.conparentid
), root AS (
	SELECT oid, array_agg(DISTINCT conrelid) AS ofs, array_agg(DISTINCT confrelid) AS tos FROM up WHERE conparentid = 0 GROUP BY oid)
SELECT r.ofs || k.conrelid, r.tos || k.confrelid, n.nspname::text, c.relname::text, k.conname::text, fn.nspname::text, f.relname::text,
	k.condeferrable, pg_has_role(c.relowner, 'USAGE'), k.confdeltype::text,
	NOT coalesce((to_jsonb(k) ->> 'conenforced')::bool, true), coalesce((to_jsonb(k) ->> 'conperiod')::bool, false),
	CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || k.conrelid::regclass, CASE f.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || k.confrelid::regclass,
	ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY u (num, pos), pg_attribute a
		WHERE i.indrelid = k.conrelid AND i.indisprimary AND u.pos <= i.indnkeyatts AND a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.pos),
	ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (num, pos) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.pos),
	ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (num, pos) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.pos),
	ARRAY(SELECT format('OPERATOR(%I.%s)', m.nspname, o.oprname) FROM unnest(k.conpfeqop) WITH ORDINALITY u (op, pos)
		JOIN pg_operator o ON o.oid = u.op JOIN pg_namespace m ON m.oid = o.oprnamespace ORDER BY u.pos),
	format('ALTER TABLE %s ALTER CONSTRAINT %I', k.conrelid::regclass, k.conname),
	format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname),
	format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
		|| coalesce(format('; COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, k.conrelid::regclass, obj_description(k.oid, 'pg_constraint')), '')
FROM root r JOIN pg_constraint k ON k.oid = r.oid JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", k.conname COLLATE "C"`

// readKeys reads the foreign keys of and to the merged tables.
func (m *Merger) readKeys(ctx context.Context) error {
	var mine []uint32
	for _, g := range m.plan {
		mine = append(mine, g.oid)
	}
	rs, err := m.s.conn.Query(ctx, mergeKeysQuery, mine)
	if err != nil {
		return explainIn(ctx, err)
	}
	m.keys, err = pgx.CollectRows(rs, func(row pgx.CollectableRow) (*mergeKey, error) {
		k := &mergeKey{table: &rows.Table{}}
		var to rows.Table
		err := row.Scan(&k.of, &k.to, &k.table.Schema, &k.table.Name, &k.name, &to.Schema, &to.Name, &k.deferrable, &k.owned, &k.onDelete, &k.lax, &k.period,
			&k.from, &k.into, &k.primary, &k.columns, &k.references, &k.equal, &k.alter, &k.drop, &k.add)
		k.References = to.String()
		for _, g := range m.plan {
			if g.Table.String() == k.table.String() {
				k.table = g.Table // as the caller knows it
			}
		}
		return k, err
	})
	return explainIn(ctx, err)
}

// member reports whether one of the tables is merged.
func (m *Merger) member(tables []uint32) bool {
	return slices.ContainsFunc(m.plan, func(g *merging) bool { return slices.Contains(tables, g.oid) })
}

// deletes reports whether rows of one of the tables may be deleted.
func (m *Merger) deletes(tables []uint32) bool {
	return slices.ContainsFunc(m.plan, func(g *merging) bool {
		return slices.Contains(tables, g.oid) && (g.Replace || len(g.Set) > 0)
	})
}

// loses reports whether values that k's rows name may vanish.
func (m *Merger) loses(k *mergeKey) bool {
	return m.deletes(k.to) || slices.ContainsFunc(m.plan, func(g *merging) bool {
		return slices.Contains(k.to, g.oid) && g.changes && slices.ContainsFunc(k.references, func(n string) bool {
			return slices.Contains(g.Columns, n) && !slices.Contains(g.Key, n)
		})
	})
}

// order returns the merges so that defaults are drawn last and, where references can't wait, what is
// referenced comes first.
func (m *Merger) order() ([]*merging, error) {
	var order []*merging
	state := map[*merging]int{} // 1 begun, 2 done
	var visit func(g *merging, path []string) error
	visit = func(g *merging, path []string) error {
		path = append(path, g.Table.String())
		switch state[g] {
		case 1:
			return fail.New(fail.Denied, "connect as the owner of the tables, who can make their foreign keys wait",
				"tables reference each other in a circle: %s", strings.Join(path, ", "))
		case 2:
			return nil
		}
		state[g] = 1
		for _, k := range m.keys {
			if k.waits() || !slices.Contains(k.of, g.oid) {
				continue
			}
			for _, other := range m.plan {
				if other.oid != g.oid && slices.Contains(k.to, other.oid) {
					if err := visit(other, path); err != nil {
						return err
					}
				}
			}
		}
		state[g] = 2
		order = append(order, g)
		return nil
	}
	for _, fresh := range []bool{false, true} {
		for _, g := range m.plan {
			if (len(g.Fresh) > 0) == fresh {
				if err := visit(g, nil); err != nil {
					return nil, err
				}
			}
		}
	}
	return order, nil
}

// check looks for broken references with one query for each key, before the server does it row by row.
func (m *Merger) check(ctx context.Context) error {
	broken := &rows.Violations{}
	for i, k := range m.keys {
		m.observe("references", i, len(m.keys))
		where, needed := m.suspects(k)
		if !needed {
			continue
		}
		v, err := m.violation(ctx, k, where)
		if err != nil {
			return fail.Op(explainIn(ctx, err), "check foreign key %s of %s", k.name, k.table)
		}
		if v.Count > 0 {
			broken.List = append(broken.List, v)
		}
	}
	m.observe("references", len(m.keys), len(m.keys))
	if len(broken.List) > 0 {
		return fail.Wrap(fail.Incomplete, broken, "", "check references")
	}
	return nil
}

// suspects returns a condition on the rows of a key's table, c, that may be broken now, and whether there can be any.
func (m *Merger) suspects(k *mergeKey) (where string, needed bool) {
	if k.lax || k.period {
		return "", false
	}
	if m.lost(k) {
		return "", true
	}
	var some []string
	for _, g := range m.plan {
		switch {
		case !slices.Contains(k.of, g.oid) || g.loaded == 0:
		case g.direct || len(g.Key) == 0 || g.oid != k.of[len(k.of)-1]:
			return "", true // nothing tells the new rows from the others, or there are no others
		default:
			some = append(some, fmt.Sprintf("EXISTS (SELECT FROM %s s WHERE %s)", g.stage(), g.same("c", "s", g.Key)))
		}
	}
	return strings.Join(some, " OR "), len(some) > 0
}

// lost reports whether values that k's rows name did vanish, perhaps.
func (m *Merger) lost(k *mergeKey) bool {
	return slices.ContainsFunc(m.plan, func(g *merging) bool {
		if !slices.Contains(k.to, g.oid) {
			return false
		}
		return g.result.Deleted > 0 || m.deleted[g.oid] > 0 || g.result.Changed > 0 && slices.ContainsFunc(k.references, func(n string) bool {
			return slices.Contains(g.Columns, n) && !slices.Contains(g.Key, n)
		})
	})
}

// violation counts the broken rows of a key, and shows some.
func (m *Merger) violation(ctx context.Context, k *mergeKey, where string) (rows.Violation, error) {
	v := rows.Violation{Table: k.table, Columns: k.columns, References: k.References, To: k.references}
	var match, set, show []string
	for i, c := range k.columns {
		set = append(set, "c."+quoteIdent(c)+" IS NOT NULL")
		match = append(match, fmt.Sprintf("p.%s %s c.%s", quoteIdent(k.references[i]), k.equal[i], quoteIdent(c)))
	}
	for _, c := range append(slices.Clone(k.primary), k.columns...) {
		show = append(show, "c."+quoteIdent(c)+"::pg_catalog.text")
	}
	if where != "" {
		set = append(set, "("+where+")")
	}
	from := fmt.Sprintf("FROM %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)", k.from, strings.Join(set, " AND "), k.into, strings.Join(match, " AND "))
	if err := m.s.conn.QueryRow(ctx, "SELECT pg_catalog.count(*) "+from).Scan(&v.Count); err != nil || v.Count == 0 {
		return v, err
	}
	rs, err := m.s.conn.Query(ctx, fmt.Sprintf("SELECT ARRAY[%s] %s ORDER BY %s LIMIT %d", strings.Join(show, ", "), from, show[0], examples))
	if err != nil {
		return v, err
	}
	list, err := pgx.CollectRows(rs, pgx.RowTo[[]string])
	for _, values := range list {
		v.Examples = append(v.Examples, rows.BrokenRow{Key: values[:len(k.primary)], Values: values[len(k.primary):]})
	}
	return v, err
}
