package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// stage is the temporary table in which rows wait.
func (g *merging) stage() string { return fmt.Sprintf("pg_temp.holdfast_merge_%d", g.number) }

// same is the condition that two rows are alike in some columns. NULL is like NULL where there are any.
func (g *merging) same(a, b string, names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		q := quoteIdent(n)
		list[i] = fmt.Sprintf("%s.%s %s %s.%s", a, q, g.columns[n].equal, b, q)
		if g.nulls[n] {
			list[i] = fmt.Sprintf("(%s OR %s.%s IS NULL AND %s.%s IS NULL)", list[i], a, q, b, q)
		}
	}
	return strings.Join(list, " AND ")
}

// differs is the condition that two rows are not the same to the last bit in some columns, whatever their types: json and point have
// no equality, and 1.0 equals 1.00.
func differs(names []string) string {
	return fmt.Sprintf("ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record", idents("t.", names), idents("s.", names))
}

// without returns names but those of list.
func without(names, list []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(list, n) })
}

// merge puts the rows of one merge where they belong.
func (m *Merger) merge(ctx context.Context, g *merging) error {
	err := m.mergeRows(ctx, g)
	if isState(err, "23503") {
		return m.broken(err)
	}
	return fail.Op(g.explain(ctx, err), "merge rows of %s", g.Table)
}

func (m *Merger) mergeRows(ctx context.Context, g *merging) error {
	if g.direct {
		g.result.Inserted = g.loaded
		if g.loaded > 0 && len(g.Key) > 0 && !g.identified() {
			return m.twice(ctx, g, g.from)
		}
		return nil
	}
	if !g.staged {
		return nil
	}
	if err := m.prepareStage(ctx, g); err != nil {
		return err
	}
	if len(g.Set) > 0 {
		if err := m.complete(ctx, g); err != nil {
			return err
		}
	}
	var left int64
	if err := m.s.conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM "+g.stage()).Scan(&left); err != nil {
		return err
	}
	missing := ""
	if len(g.Key) > 0 {
		if err := m.twice(ctx, g, g.stage()); err != nil {
			return err
		}
		if !g.empty {
			if err := m.update(ctx, g); err != nil {
				return err
			}
			missing = fmt.Sprintf(" WHERE NOT EXISTS (SELECT FROM %s t WHERE %s)", g.from, g.same("t", "s", g.Key))
			var there int64
			err := m.s.conn.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.count(*) FROM %s t JOIN %s s ON %s", g.from, g.stage(), g.same("t", "s", g.Key))).Scan(&there)
			if err != nil {
				return err
			}
			if there == left && g.identified() { // as when a backup is loaded over what it was made of; rows of one key were refused above
				g.result.Same = left - g.result.Changed
				return nil
			}
		}
	}
	names := without(g.Columns, g.Fresh)
	var err error
	g.result.Inserted, err = m.affect(ctx, fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s s%s",
		g.name, idents("", names), idents("s.", names), g.stage(), missing))
	g.result.Same = max(0, left-g.result.Inserted-g.result.Changed)
	return err
}

// prepareStage learns which columns of the key are NULL somewhere: to compare those takes a form that is slow.
func (m *Merger) prepareStage(ctx context.Context, g *merging) error {
	what := g.stage()
	if len(g.Key) > 0 { // the columns that rows are found by; statistics of the others are of no use
		what += " (" + idents("", g.Key) + ")"
	}
	if err := m.s.exec(ctx, "ANALYZE "+what); err != nil {
		return err
	}
	g.nulls = map[string]bool{}
	for _, n := range g.Key {
		if g.columns[n].notNull {
			continue
		}
		var some bool
		if err := m.s.conn.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s IS NULL)", g.stage(), quoteIdent(n))).Scan(&some); err != nil {
			return err
		}
		g.nulls[n] = some
	}
	return nil
}

// complete deletes the rows of the loaded groups that were not loaded, and forgets what only named its group.
func (m *Merger) complete(ctx context.Context, g *merging) error {
	others := without(g.Columns, g.Set)
	nameOnly := "false"
	if len(others) > 0 {
		list := make([]string, len(others))
		for i, n := range others {
			list[i] = "s." + quoteIdent(n) + " IS NULL"
		}
		nameOnly = strings.Join(list, " AND ")
	}
	if !g.empty {
		n, err := m.affect(ctx, fmt.Sprintf("DELETE FROM %s t WHERE EXISTS (SELECT FROM %s s WHERE %s) AND NOT EXISTS (SELECT FROM %s s WHERE %s AND NOT (%s))",
			g.from, g.stage(), g.same("t", "s", g.Set), g.stage(), g.same("t", "s", g.Key), nameOnly))
		if err != nil {
			return err
		}
		g.result.Deleted += n
	}
	_, err := m.affect(ctx, fmt.Sprintf("DELETE FROM %s s WHERE %s", g.stage(), nameOnly))
	return err
}

// update changes the rows that are there and differ.
func (m *Merger) update(ctx context.Context, g *merging) error {
	if !g.identified() && len(g.Set) == 0 {
		// One row must not stand for several.
		err := m.duplicate(ctx, g, fmt.Sprintf("%s t JOIN %s s ON %s", g.from, g.stage(), g.same("t", "s", g.Key)), "s.",
			"several rows that are there already have the key %s")
		if err != nil {
			return err
		}
	}
	names := without(g.Columns, append(slices.Clone(g.Key), g.Fresh...))
	if len(names) == 0 {
		return nil
	}
	set := make([]string, len(names))
	for i, n := range names {
		set[i] = quoteIdent(n) + " = s." + quoteIdent(n)
	}
	if err := m.s.exec(ctx, "SAVEPOINT update"); err != nil {
		return err
	}
	those := g.same("t", "s", g.Key) + " AND " + differs(names)
	var err error
	g.result.Changed, err = m.affect(ctx, fmt.Sprintf("UPDATE %s t SET %s FROM %s s WHERE %s", g.from, strings.Join(set, ", "), g.stage(), those))
	if isState(err, "23505") && m.unbound(g) {
		return m.move(ctx, g, names, those)
	}
	return err
}

// unbound reports whether rows of a table can be deleted and put back unnoticed by the tables that reference it.
func (m *Merger) unbound(g *merging) bool {
	return !slices.ContainsFunc(m.keys, func(k *mergeKey) bool {
		return slices.Contains(k.to, g.oid) && !k.dropped && (k.acts() || !k.waits())
	})
}

// move is update for rows that trade values of which there can only be one: an index is checked row by row, so all of
// them leave the table before the first one comes back.
func (m *Merger) move(ctx context.Context, g *merging, names []string, those string) error {
	var all, values []string
	for n, c := range g.columns {
		if !c.generated {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	for _, n := range all {
		from := "t."
		if slices.Contains(names, n) {
			from = "s."
		}
		values = append(values, from+quoteIdent(n))
	}
	aside := fmt.Sprintf("pg_temp.holdfast_move_%d", g.number)
	err := m.s.exec(ctx, fmt.Sprintf("ROLLBACK TO update; CREATE TEMPORARY TABLE %s ON COMMIT DROP AS SELECT %s FROM %s t JOIN %s s ON %s; DELETE FROM %s t USING %s s WHERE %s",
		aside, strings.Join(values, ", "), g.from, g.stage(), those, g.from, g.stage(), those))
	if err != nil {
		return err
	}
	g.result.Changed, err = m.affect(ctx, fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s",
		g.name, idents("", all), idents("", all), aside))
	return err
}

// affect runs one statement and returns how many rows it wrote.
func (m *Merger) affect(ctx context.Context, sql string) (int64, error) {
	list, err := m.s.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].CommandTag.RowsAffected(), nil
}

// twice returns an error when two rows of a relation have one key.
func (m *Merger) twice(ctx context.Context, g *merging, relation string) error {
	return m.duplicate(ctx, g, relation+" s", "s.", "two of the rows have the key %s")
}

func (m *Merger) duplicate(ctx context.Context, g *merging, from, prefix, format string) error {
	show := make([]string, len(g.Key))
	for i, n := range g.Key {
		show[i] = "coalesce(" + prefix + quoteIdent(n) + "::pg_catalog.text, 'NULL')"
	}
	var values []string
	err := m.s.conn.QueryRow(ctx, fmt.Sprintf("SELECT ARRAY[%s] FROM %s GROUP BY %s HAVING pg_catalog.count(*) > 1 LIMIT 1",
		strings.Join(show, ", "), from, idents(prefix, g.Key))).Scan(&values)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fail.New(fail.Incomplete, "", format, fmt.Sprintf("(%s) = (%s)", strings.Join(g.Key, ", "), short(strings.Join(values, ", "))))
}

// setSequences moves the sequences of a merged table behind its greatest values: forward only, unless
// its rows were replaced.
func (m *Merger) setSequences(ctx context.Context, g *merging) error {
	return fail.Op(followRows(ctx, m.s, g.name, g.from, g.Replace), "set the sequences of %s", g.Table)
}

// followRows sets the sequences of a table's serial and identity columns behind the greatest values in
// the rows: backward too when reset is set.
func followRows(ctx context.Context, s *session, name, from string, reset bool) error {
	rs, err := s.conn.Query(ctx, `SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.format('%I', a.attname)
		FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
			JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid AND q.seqincrement > 0
		WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
			AND d.refobjid = $1::pg_catalog.text::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
			AND a.atttypid IN ('pg_catalog.int2'::pg_catalog.regtype, 'pg_catalog.int4'::pg_catalog.regtype, 'pg_catalog.int8'::pg_catalog.regtype)`, name)
	if err != nil {
		return explainIn(ctx, err)
	}
	list, err := pgx.CollectRows(rs, func(row pgx.CollectableRow) (p [2]string, err error) {
		err = row.Scan(&p[0], &p[1])
		return p, err
	})
	if err != nil {
		return explainIn(ctx, err)
	}
	for _, p := range list {
		// A greatest value below the sequence's least is that of no value that it gave.
		sql := fmt.Sprintf(`SELECT pg_catalog.setval(q.seqrelid, greatest(x.top, q.seqmin), x.top >= q.seqmin)
			FROM (SELECT pg_catalog.max(%s)::pg_catalog.int8 AS top FROM %s) x, %s s, pg_catalog.pg_sequence q
			WHERE q.seqrelid = %s::pg_catalog.regclass AND x.top <= q.seqmax AND (x.top > s.last_value OR x.top = s.last_value AND NOT s.is_called)`,
			p[1], from, p[0], quoteLiteral(p[0]))
		if reset {
			sql = fmt.Sprintf(`SELECT pg_catalog.setval(q.seqrelid, greatest(x.top, q.seqmin), coalesce(x.top >= q.seqmin, false))
				FROM (SELECT pg_catalog.max(%s)::pg_catalog.int8 AS top FROM %s) x, pg_catalog.pg_sequence q
				WHERE q.seqrelid = %s::pg_catalog.regclass AND coalesce(x.top <= q.seqmax, true)`, p[1], from, quoteLiteral(p[0]))
		}
		if err := s.exec(ctx, sql); err != nil {
			return fail.Op(explainIn(ctx, err), "set sequence %s", p[0])
		}
	}
	return nil
}

var (
	copyPlace  = regexp.MustCompile(`(?s)^COPY [^,]*, line (\d+)(?:, column ([^:]+))?`)
	brokenPair = regexp.MustCompile(`(?s)^Key \(.*?\)=\((.*)\) is`)
)

// explain says what a table did not take, without the rest of the row, which the server would show.
func (g *merging) explain(ctx context.Context, err error) error { return explainRows(ctx, err, g) }

func explainRows(ctx context.Context, err error, g *merging) error {
	var pg *pgconn.PgError
	var done *fail.Error
	if err == nil || errors.As(err, &done) || !errors.As(err, &pg) || (!strings.HasPrefix(pg.Code, "23") && !strings.HasPrefix(pg.Code, "22")) {
		return explainIn(ctx, err)
	}
	text := short(pg.Message)
	if pg.Detail != "" && pg.Code != "23502" && pg.Code != "23514" { // of which the detail is the row
		text += ": " + short(pg.Detail)
	}
	var row int64
	if p := copyPlace.FindStringSubmatch(pg.Where); p != nil {
		where := "row " + p[1]
		if p[2] != "" {
			where += ", column " + p[2]
		}
		text = where + ": " + text
		row, _ = strconv.ParseInt(p[1], 10, 64)
	}
	var why error = &plain{text + " [SQLSTATE " + pg.Code + "]", err}
	if row > 0 {
		why = &rows.RowError{Row: row, Err: why}
	}
	return &fail.Error{Kind: fail.Incomplete, Err: why}
}

// short cuts what may quote a value.
func short(text string) string {
	const most = 300
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// broken makes a violation of what the server says of the first broken reference that it meets.
func (m *Merger) broken(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	v := rows.Violation{Table: &rows.Table{Schema: pg.SchemaName, Name: pg.TableName}, Count: 1}
	for _, k := range m.keys {
		if k.name == pg.ConstraintName && k.table.Name == pg.TableName && k.table.Schema == pg.SchemaName {
			v.Table, v.Columns, v.References, v.To = k.table, k.columns, k.References, k.references
		}
	}
	if p := brokenPair.FindStringSubmatch(pg.Detail); p != nil {
		v.Examples = []rows.BrokenRow{{Values: []string{short(p[1])}}}
	}
	return fail.Wrap(fail.Incomplete, &rows.Violations{List: []rows.Violation{v}}, "", "check references")
}
