package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/rows"
)

const indexesQuery = `
SELECT i.indrelid, c.relname::text, i.indisprimary, i.indisunique, i.indpred IS NULL AND i.indexprs IS NULL AND i.indisvalid, pg_get_indexdef(i.indexrelid),
	ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (num, pos)
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num WHERE k.pos <= i.indnkeyatts ORDER BY k.pos),
	(m.amname IN ('btree', 'hash') AND coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') = 'false'
		AND NOT EXISTS (SELECT FROM unnest(i.indclass::oid[]) o (id) JOIN pg_opclass p ON p.oid = o.id WHERE NOT p.opcdefault))
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = ANY ($1)
ORDER BY i.indrelid, c.relname COLLATE "C"`

// describeIndexes fills in primary keys, unique sets of columns and indexes.
func describeIndexes(ctx context.Context, conn *pgx.Conn, list []*rel) error {
	byOID := index(list)
	rs, err := conn.Query(ctx, indexesQuery, oids(list))
	if err != nil {
		return explainIn(ctx, err)
	}
	var rel uint32
	var ix rows.Index
	var primary, plain, common bool
	var columns []string
	_, err = pgx.ForEachRow(rs, []any{&rel, &ix.Name, &primary, &ix.Unique, &plain, &ix.Definition, &columns, &common}, func() error {
		t := byOID[rel].table
		if primary {
			t.PrimaryKey = columns
			columns = nil
			return nil
		}
		ix.Columns = nil
		if plain && common {
			ix.Columns = columns
		}
		t.Indexes = append(t.Indexes, ix)
		if ix.Unique && plain {
			t.Unique = append(t.Unique, columns)
		}
		columns = nil // Scan would reuse it
		return nil
	})
	return explainIn(ctx, err)
}

const foreignKeysQuery = `
SELECT k.conrelid, k.confrelid, k.conname::text, n.nspname::text, c.relname::text, k.condeferrable, k.confdeltype::text, k.confupdtype::text,
	coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::bool, false),
	ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (num, pos)
		JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.pos),
	ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (num, pos)
		JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.pos)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1)
ORDER BY k.conrelid, k.conname COLLATE "C"`

// actions are what confdeltype and confupdtype say, but for no action.
var actions = map[string]string{"r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}

// describeForeignKeys fills in the foreign keys of list. Those to tables that are not in list can't be
// kept; they are returned, as header lines of pg_dump's text name them. Those of periods and those that are not enforced,
// since PostgreSQL 18, are in the definitions alone: what a foreign key says elsewhere is not true of them.
func describeForeignKeys(ctx context.Context, conn *pgx.Conn, list []*rel) (dangling []danglingKey, err error) {
	byOID := index(list)
	rs, err := conn.Query(ctx, foreignKeysQuery, oids(list))
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	var rel, ref uint32
	var k rows.ForeignKey
	var to rows.Table
	var usual bool
	_, err = pgx.ForEachRow(rs, []any{&rel, &ref, &k.Name, &to.Schema, &to.Name, &k.Deferrable, &k.OnDelete, &k.OnUpdate, &usual, &k.Columns, &k.References}, func() error {
		t := byOID[rel].table
		k.Table = to.String()
		k.OnDelete, k.OnUpdate = actions[k.OnDelete], actions[k.OnUpdate]
		if byOID[ref] == nil {
			dangling = append(dangling, danglingKey{schema: t.Schema, table: t.Name, key: k.Name})
		} else if usual {
			t.ForeignKeys = append(t.ForeignKeys, k)
		}
		k.Columns, k.References = nil, nil // Scan would reuse them
		return nil
	})
	return dangling, explainIn(ctx, err)
}

// danglingKey is a foreign key that refers to a table that is left out.
type danglingKey struct{ schema, table, key string }

func (k danglingKey) String() string {
	return fmt.Sprintf("%s of %s", k.key, &rows.Table{Schema: k.schema, Name: k.table})
}

// describeParents fills in Parent, and LoadInto where the rows of a partition may belong to
// another one after a restore.
func describeParents(ctx context.Context, conn *pgx.Conn, list []*rel) error {
	byOID := index(list)
	unstable, err := unstableHash(ctx, conn)
	if err != nil {
		return err
	}
	for _, r := range list {
		if len(r.parents) == 0 || byOID[r.parents[0]] == nil {
			continue
		}
		r.table.Parent = byOID[r.parents[0]].table.String()
		root, moves := r, false
		for len(root.parents) > 0 && byOID[root.parents[0]] != nil {
			root = byOID[root.parents[0]]
			moves = moves || unstable[root.oid]
		}
		if moves {
			r.table.LoadInto = quoteTable(root.table)
		}
	}
	return nil
}

// unstableHash returns the tables partitioned by a hash that is not the same everywhere: that of an
// enum is of the oids of its labels, containers may hold enums, an extension may do anything, and a
// collation that is not deterministic hashes what its library's version makes of the text.
func unstableHash(ctx context.Context, conn *pgx.Conn) (map[uint32]bool, error) {
	rs, err := conn.Query(ctx, `
SELECT DISTINCT p.partrelid FROM pg_partitioned_table p, unnest(p.partclass, p.partcollation) u (class, coll)
	JOIN pg_opclass o ON o.oid = u.class LEFT JOIN pg_collation c ON c.oid = u.coll
WHERE p.partstrat = 'h' AND (o.opcnamespace <> 'pg_catalog'::regnamespace
	OR o.opcname IN ('enum_ops', 'array_ops', 'record_ops', 'range_ops', 'multirange_ops') OR NOT c.collisdeterministic)`)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	ids, err := pgx.CollectRows(rs, pgx.RowTo[uint32])
	set := map[uint32]bool{}
	for _, id := range ids {
		set[id] = true
	}
	return set, explainIn(ctx, err)
}
