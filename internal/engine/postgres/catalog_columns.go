package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/rows"
)

const columnsQuery = `
SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), a.attnotnull,
	coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attidentity::text, a.attgenerated <> ''
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum`

// describeColumns fills in the columns of list.
func describeColumns(ctx context.Context, conn *pgx.Conn, list []*rel) error {
	types, err := loadTypes(ctx, conn)
	if err != nil {
		return err
	}
	byOID := index(list)
	rs, err := conn.Query(ctx, columnsQuery, oids(list))
	if err != nil {
		return explainIn(ctx, err)
	}
	var c rows.Column
	var rel, typ uint32
	var mod int32
	var identity string
	_, err = pgx.ForEachRow(rs, []any{&rel, &c.Name, &typ, &mod, &c.Native, &c.NotNull, &c.Default, &identity, &c.Generated}, func() error {
		c.Type, c.Size = types.portable(typ, mod)
		c.Identity = map[string]string{"a": "always", "d": "default"}[identity]
		t := byOID[rel].table
		t.Columns = append(t.Columns, c)
		return nil
	})
	return explainIn(ctx, err)
}

// catalogTypes holds what must be known of types that are not built in.
type catalogTypes map[uint32]catalogType

type catalogType struct {
	name string
	kind string // typtype
	elem uint32 // of a true array
	base uint32 // of a domain
	mod  int32  // the domain's modifier of its base
	core bool   // from pg_catalog, so that its name says what it is
}

func loadTypes(ctx context.Context, conn *pgx.Conn) (catalogTypes, error) {
	// Row types of tables, the bulk of pg_type, are of no interest, nor are arrays of them.
	rs, err := conn.Query(ctx, `
SELECT t.oid, t.typname::text, t.typtype::text, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, t.typbasetype, t.typtypmod,
	t.typnamespace = 'pg_catalog'::regnamespace
FROM pg_type t WHERE t.typtype <> 'c'`)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	types := catalogTypes{}
	var oid uint32
	var t catalogType
	_, err = pgx.ForEachRow(rs, []any{&oid, &t.name, &t.kind, &t.elem, &t.base, &t.mod, &t.core}, func() error {
		types[oid] = t
		return nil
	})
	return types, explainIn(ctx, err)
}

// portable translates a type and its modifier.
func (types catalogTypes) portable(oid uint32, mod int32) (rows.Type, int) {
	t, ok := types[oid]
	for ok && t.kind == "d" {
		mod = t.mod
		t, ok = types[t.base]
	}
	switch {
	case !ok:
		return rows.Other, 0
	case t.kind == "e":
		return rows.Enum, 0
	case t.elem != 0 && !strings.HasSuffix(t.name, "vector"):
		return rows.Array, 0
	case !t.core:
		if t.name == "citext" {
			return rows.Text, 0
		}
		return rows.Other, 0
	}
	if p, ok := portableTypes[t.name]; ok {
		if (t.name == "varchar" || t.name == "bpchar") && mod > 4 {
			return p.typ, int(mod - 4)
		}
		return p.typ, p.size
	}
	return rows.Other, 0
}

// portableTypes are the built-in types that every engine has a word for.
var portableTypes = map[string]struct {
	typ  rows.Type
	size int
}{
	"bool": {rows.Bool, 0}, "int2": {rows.Int, 16}, "int4": {rows.Int, 32}, "int8": {rows.Int, 64}, "oid": {rows.Int, 64},
	"float4": {rows.Float, 32}, "float8": {rows.Float, 64}, "numeric": {rows.Decimal, 0},
	"text": {rows.Text, 0}, "varchar": {rows.Text, 0}, "bpchar": {rows.Text, 0}, "name": {rows.Text, 63}, "char": {rows.Text, 1},
	"bytea": {rows.Bytes, 0}, "date": {rows.Date, 0}, "time": {rows.Time, 0}, "timestamp": {rows.Timestamp, 0},
	"timestamptz": {rows.Instant, 0}, "interval": {rows.Interval, 0}, "uuid": {rows.UUID, 0}, "json": {rows.JSON, 0}, "jsonb": {rows.JSON, 0},
}
