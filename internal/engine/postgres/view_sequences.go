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

// sequencesQuery lists sequences and what owns them: serial columns (deptype a) and identity (i).
const sequencesQuery = `
SELECT n.nspname::text, c.relname::text, coalesce(d.refobjid, 0), coalesce(o.relname::text, ''), coalesce(m.nspname::text, ''), coalesce(a.attname::text, ''),
	coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'SELECT'), false)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
		AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
	LEFT JOIN pg_class o ON o.oid = d.refobjid LEFT JOIN pg_namespace m ON m.oid = o.relnamespace
	LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
	AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
		AND NOT EXISTS (SELECT FROM pg_extension x WHERE x.oid = e.refobjid AND c.oid = ANY (x.extconfig)))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`

// sequence is one row of sequencesQuery.
type sequence struct {
	rows.Sequence
	readable bool
}

// sequencesOf lists the sequences but those that belong to tables that are left out.
func sequencesOf(ctx context.Context, conn *pgx.Conn, all []*rel) ([]sequence, error) {
	rs, err := conn.Query(ctx, sequencesQuery)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	byOID := index(all)
	var list []sequence
	var s sequence
	var owner uint32
	var table rows.Table
	_, err = pgx.ForEachRow(rs, []any{&s.Schema, &s.Name, &owner, &table.Name, &table.Schema, &s.Column, &s.readable}, func() error {
		s.Table = ""
		if owner != 0 {
			if r := byOID[owner]; r == nil || r.state != chosen {
				return nil
			}
			s.Table = table.String()
		}
		list = append(list, s)
		return nil
	})
	return list, explainIn(ctx, err)
}

func unreadableSequences(ctx context.Context, conn *pgx.Conn, all []*rel) ([]string, error) {
	list, err := sequencesOf(ctx, conn, all)
	var names []string
	for _, s := range list {
		if !s.readable {
			names = append(names, (&rows.Table{Schema: s.Schema, Name: s.Name}).String()+" (sequence: no right to select)")
		}
	}
	return names, err
}

// sequenceBatch is how many sequences one query reads.
const sequenceBatch = 200

// readSequences reads the sequences' values. Sequences are outside of transactions: a value is that of now, never
// below what the rows of the snapshot use. They are read on a connection of its own, since in the leader's
// transaction each would keep a lock until the end.
func (v *View) readSequences(ctx context.Context, all []*rel) ([]rows.Sequence, error) {
	list, err := sequencesOf(ctx, v.leader, all)
	list = slices.DeleteFunc(list, func(s sequence) bool { return !s.readable })
	if err != nil || len(list) == 0 {
		return nil, err
	}
	conn, err := connect(ctx, v.cfg, appName)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	out := make([]rows.Sequence, 0, len(list))
	for batch := range slices.Chunk(list, sequenceBatch) {
		var sql strings.Builder
		for i, s := range batch {
			if i > 0 {
				sql.WriteString(" UNION ALL ")
			}
			fmt.Fprintf(&sql, "SELECT %d, last_value, is_called FROM %s", i, quoteIdent(s.Schema)+"."+quoteIdent(s.Name))
		}
		rs, err := conn.Query(ctx, sql.String())
		if err != nil {
			return nil, explainIn(ctx, err)
		}
		var i int
		var last int64
		var called bool
		_, err = pgx.ForEachRow(rs, []any{&i, &last, &called}, func() error {
			batch[i].Last, batch[i].Called = last, called
			return nil
		})
		if err != nil {
			return nil, fail.Op(explainIn(ctx, err), "read the values of sequences")
		}
		for _, s := range batch {
			out = append(out, s.Sequence)
		}
	}
	return out, nil
}

// sequencesSQL sets the sequences. pg_dump counts that among the data, so its definitions don't.
func sequencesSQL(schema *rows.Schema) []byte {
	var b strings.Builder
	b.WriteString("-- Values of sequences at the time of the backup.\n")
	for _, s := range schema.Sequences {
		name := quoteIdent(s.Schema) + "." + quoteIdent(s.Name)
		fmt.Fprintf(&b, "SELECT pg_catalog.setval(%s, %d, %t);\n", quoteLiteral(name), s.Last, s.Called)
	}
	return []byte(b.String())
}
