package postgres

import (
	"context"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// notNull is whether a column holds no null: since PostgreSQL 18 a NOT NULL may be not valid, for rows that were there before it.
const notNull = `a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
		WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated AND a.attnum = ANY (k.conkey))`

const columnsQuery = `
SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), ` + notNull + `,
	coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attidentity::text, a.attgenerated <> '',
	coalesce(col_description(a.attrelid, a.attnum), '')
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
	_, err = pgx.ForEachRow(rs, []any{&rel, &c.Name, &typ, &mod, &c.Native, &c.NotNull, &c.Default, &identity, &c.Generated, &c.Comment}, func() error {
		types.describe(&c, typ, mod)
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

	labels []string // of an enum
}

func loadTypes(ctx context.Context, conn *pgx.Conn) (catalogTypes, error) {
	// Row types of tables, the bulk of pg_type, are of no interest, nor are arrays of them.
	rs, err := conn.Query(ctx, `
SELECT t.oid, t.typname::text, t.typtype::text, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, t.typbasetype, t.typtypmod,
	t.typnamespace = 'pg_catalog'::regnamespace,
	CASE WHEN t.typtype = 'e' THEN ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) END
FROM pg_type t WHERE t.typtype <> 'c'`)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	types := catalogTypes{}
	var oid uint32
	var t catalogType
	_, err = pgx.ForEachRow(rs, []any{&oid, &t.name, &t.kind, &t.elem, &t.base, &t.mod, &t.core, &t.labels}, func() error {
		types[oid] = t
		t.labels = nil // Scan would reuse it
		return nil
	})
	return types, explainIn(ctx, err)
}

// describe fills in the portable type of a column, and what belongs to it.
func (types catalogTypes) describe(c *rows.Column, oid uint32, mod int32) {
	c.Type, c.Size, c.Scale, c.Values, c.Literal = rows.Other, 0, 0, nil, nil
	t, ok := types[oid]
	for ok && t.kind == "d" {
		mod = t.mod
		t, ok = types[t.base]
	}
	switch {
	case !ok:
	case t.kind == "e":
		c.Type, c.Values = rows.Enum, t.labels
	case t.elem != 0 && !strings.HasSuffix(t.name, "vector"):
		c.Type = rows.Array
	case !t.core:
		if t.name == "citext" {
			c.Type = rows.Text
		}
	default:
		if p, ok := portableTypes[t.name]; ok {
			c.Type, c.Size = p.typ, p.size
		}
		switch {
		case (t.name == "varchar" || t.name == "bpchar") && mod > 4:
			c.Size = int(mod - 4)
		case t.name == "numeric" && mod > 4:
			c.Size = int((mod - 4) >> 16 & 0xffff)
			c.Scale = int((mod-4)&0x7ff^1024) - 1024 // eleven bits with a sign
		}
	}
	if !c.Generated {
		c.Literal = literalOf(c.Default, c.Type)
	}
}

// A default as the server prints it: a constant in quotes with its type, or a number. Parentheses of casts are gone.
var (
	quotedDefault = regexp.MustCompile(`^(E?)'((?:[^']|'')*)'((?:::[A-Za-z0-9_ ."\[\](),]+)+)$`)
	numberDefault = regexp.MustCompile(`^\(?(-?[0-9]+(?:\.[0-9]+)?)\)?((?:::[A-Za-z0-9_ ."(),]+)*)$`)
	castDefault   = regexp.MustCompile(`^\((.*)\)(::[A-Za-z0-9_ ."\[\](),]+)$`)
)

// literalOf returns the value of a default that is a constant, as row text has it; nil when it is none, or NULL.
func literalOf(expr string, typ rows.Type) *string {
	if m := castDefault.FindStringSubmatch(expr); m != nil && typ == rows.Text && !strings.ContainsAny(m[1], "()") {
		expr = m[1] + m[2] // a text that a cast makes of another can be anything but «now»
	}
	text := ""
	if expr == "true" || expr == "false" {
		text = expr
		if typ == rows.Bool {
			text = expr[:1]
		}
		return &text
	}
	if m := quotedDefault.FindStringSubmatch(expr); m != nil {
		if strings.Count(m[3], "::") > 1 && typ != rows.Text {
			return nil
		}
		text = strings.ReplaceAll(m[2], "''", "'")
		if m[1] != "" {
			text = strings.ReplaceAll(text, `\\`, `\`)
		}
	} else if m := numberDefault.FindStringSubmatch(expr); m != nil {
		text = m[1]
	} else {
		return nil
	}
	if typ == rows.Int && strings.Contains(text, ".") {
		return nil // it is rounded when it is used
	}
	return &text
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
