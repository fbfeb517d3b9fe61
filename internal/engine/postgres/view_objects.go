package postgres

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// objectPieceBytes is how much of a large object one row holds.
const objectPieceBytes = 256 << 10

// objectsTable is the pseudo table whose rows are the pieces of large objects: oid, offset, bytes.
// Empty objects have no row: they are made by the definitions.
func objectsTable() *rows.Table {
	return &rows.Table{Schema: "pg_catalog", Name: "large objects", Kind: rows.LargeObjects, Columns: []rows.Column{
		{Name: "oid", Type: rows.Int, Native: "oid", Size: 64, NotNull: true},
		{Name: "offset", Type: rows.Int, Native: "bigint", Size: 64, NotNull: true},
		{Name: "data", Type: rows.Bytes, Native: "bytea", NotNull: true},
	}}
}

// unreadableObjects names the large objects that the role may not read, the first of them.
func unreadableObjects(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rs, err := conn.Query(ctx, `
SELECT m.oid, count(*) OVER () FROM pg_largeobject_metadata m
WHERE NOT pg_has_role(m.lomowner, 'USAGE') AND current_setting('lo_compat_privileges') = 'off'
	AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
	AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a
		WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
ORDER BY m.oid LIMIT 10`)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	var ids []string
	var oid uint32
	var count int64
	_, err = pgx.ForEachRow(rs, []any{&oid, &count}, func() error {
		ids = append(ids, strconv.FormatUint(uint64(oid), 10))
		return nil
	})
	if err != nil || len(ids) == 0 {
		return nil, explainIn(ctx, err)
	}
	if int64(len(ids)) < count {
		ids = append(ids, "…")
	}
	return []string{fmt.Sprintf(`pg_catalog."large objects" (no right to select %d of them: %s)`, count, strings.Join(ids, " "))}, nil
}

// objectParts cuts the large objects into ranges of oids of about partBytes.
func objectParts(ctx context.Context, conn *pgx.Conn, t *rows.Table, partBytes int64) ([]rows.Part, error) {
	// pg_largeobject itself is for superusers, its size is not.
	rs, err := conn.Query(ctx, `
SELECT min(oid)::int8, max(oid)::int8, size / parts FROM (
	SELECT m.oid, s.size, s.parts, ntile(s.parts::int) OVER (ORDER BY m.oid) AS tile FROM pg_largeobject_metadata m,
		(SELECT size, least(1 + size / $1, 10000) AS parts FROM pg_relation_size('pg_largeobject') size) s
) t GROUP BY tile, size, parts ORDER BY 1`, partBytes)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	var parts []rows.Part
	var first, last, bytes int64
	_, err = pgx.ForEachRow(rs, []any{&first, &last, &bytes}, func() error {
		parts = append(parts, rows.Part{Table: t, Number: len(parts) + 1, Bounds: fmt.Sprintf("%d-%d", first, last), Bytes: 2 * bytes})
		t.EstBytes += 2 * bytes // two hexadecimal digits a byte
		return nil
	})
	return parts, explainIn(ctx, err)
}

// objectsSQL reads a range of large objects piece by piece until a piece is short; that needs no rights but those on the
// objects, and gives equal rows for equal content, however the pages of pg_largeobject are filled.
func objectsSQL(p rows.Part) (string, error) {
	from, to, ok := strings.Cut(p.Bounds, "-")
	first, err1 := strconv.ParseUint(from, 10, 32)
	last, err2 := strconv.ParseUint(to, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return "", fail.New(fail.Internal, "", "read %s: bad bounds %q", p.Table, p.Bounds)
	}
	return fmt.Sprintf(`COPY (
SELECT m.oid, p.pos, p.data FROM (SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE oid BETWEEN %d AND %d ORDER BY oid) m
CROSS JOIN LATERAL (
	WITH RECURSIVE piece (pos, data) AS (
		SELECT 0::int8, pg_catalog.lo_get(m.oid, 0, %[3]d)
		UNION ALL
		SELECT pos + %[3]d, pg_catalog.lo_get(m.oid, pos + %[3]d, %[3]d) FROM piece WHERE octet_length(data) = %[3]d)
	SELECT pos, data FROM piece WHERE octet_length(data) > 0) p) TO STDOUT`, first, last, objectPieceBytes), nil
}

// writeObjects writes the definitions of large objects as pg_dump does. Its own are of no use: up to version 16 they are part of the
// section pre-data, since 17 they stand among the data.
func writeObjects(ctx context.Context, conn *pgx.Conn, w io.Writer) error {
	rs, err := conn.Query(ctx, `
SELECT m.oid::text, quote_ident(pg_get_userbyid(m.lomowner)), coalesce(obj_description(m.oid, 'pg_largeobject'), ''), coalesce(
	CASE WHEN m.lomacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.grantee = m.lomowner)
		THEN format(E'REVOKE ALL ON LARGE OBJECT %s FROM %I;\n', m.oid, pg_get_userbyid(m.lomowner)) ELSE '' END ||
	(SELECT string_agg(format(E'GRANT %s ON LARGE OBJECT %s TO %s%s;\n', a.privilege_type, m.oid,
		CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
		CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '' ORDER BY a.pos)
		FROM aclexplode(m.lomacl) WITH ORDINALITY a (grantor, grantee, privilege_type, is_grantable, pos) WHERE a.grantee <> m.lomowner), ''),
	coalesce((SELECT string_agg(format(E'SECURITY LABEL FOR %I ON LARGE OBJECT %s IS %L;\n', s.provider, m.oid, s.label), '')
		FROM pg_seclabel s WHERE s.classoid = 'pg_largeobject'::regclass AND s.objoid = m.oid), '')
FROM pg_largeobject_metadata m ORDER BY m.oid`)
	if err != nil {
		return explainIn(ctx, err)
	}
	var oid, owner, comment, grants, labels string
	_, err = pgx.ForEachRow(rs, []any{&oid, &owner, &comment, &grants, &labels}, func() error {
		sql := fmt.Sprintf("--\n-- Name: %[1]s; Type: BLOB; Schema: -; Owner: -\n--\n\nSELECT pg_catalog.lo_create('%[1]s');\nALTER LARGE OBJECT %[1]s OWNER TO %[2]s;\n", oid, owner)
		if comment != "" {
			sql += fmt.Sprintf("COMMENT ON LARGE OBJECT %s IS %s;\n", oid, quoteLiteral(comment))
		}
		_, err := io.WriteString(w, sql+grants+labels+"\n")
		return err
	})
	return explainIn(ctx, err)
}
