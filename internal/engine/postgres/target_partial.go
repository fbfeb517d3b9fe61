package postgres

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// lockWait is how long a partial restore waits for tables that others use.
const lockWait = "30s"

// single is a restore into a database that holds other things: chosen tables, or rows only. It is one
// transaction on one connection, so that a failure leaves everything as it was, emptied tables included.
//
// Rows come in any order, so foreign keys between the tables restored are dropped first and
// added again, thus checked, before the commit: that takes the owner's rights only, where turning
// triggers off altogether takes a superuser and checks nothing. Keys to other tables stay, and the server
// checks each row. Triggers of the tables are disabled meanwhile: the backup's rows are as they left them.
type single struct {
	t      *Target
	s      *session
	turn   chan struct{} // one token: who holds it uses s
	places []*spot
	post   []statement        // for tables that were created
	again  []string           // SQL that puts back what stood in the rows' way
	fresh  map[qualified]bool // created by this restore
	alone  map[qualified]bool // of those, what is attached to an older table at the end
}

// spot is a table of the backup as the target has it.
type spot struct {
	table   *rows.Table
	exists  bool
	kind    string // relkind
	columns []string
	full    bool // it holds rows
}

func (p *spot) name() qualified { return qualified{cmp.Or(p.table.Schema, "public"), p.table.Name} }

// only names the table without what inherits from it, as TRUNCATE and ALTER TABLE take it.
func (p *spot) only() string {
	if p.kind == "p" {
		return quoteTable(p.table)
	}
	return "ONLY " + quoteTable(p.table)
}

// prepareSingle begins the transaction and makes the tables ready for rows.
func (t *Target) prepareSingle(ctx context.Context) error {
	t.single = &single{t: t, s: t.main, turn: make(chan struct{}, 1), fresh: map[qualified]bool{}, alone: map[qualified]bool{}}
	s := t.single
	if err := s.s.exec(ctx, "BEGIN; SET LOCAL lock_timeout = '"+t.lockWait+"'"); err != nil {
		return explainIn(ctx, err)
	}
	t.did = max(t.did, inTransaction)
	if t.opt.Create {
		t.did = created
	}
	for _, table := range t.schema.Tables {
		p, err := s.look(ctx, table)
		if err != nil {
			return fail.Op(explainIn(ctx, err), "look at table %s", table)
		}
		s.places = append(s.places, p)
	}
	for _, step := range []func(context.Context) error{s.check, s.checkObjects, s.stepAside, s.empty, s.create} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// look finds a table in the target and keeps others from writing to it until the commit.
func (s *single) look(ctx context.Context, table *rows.Table) (*spot, error) {
	p := &spot{table: table}
	if table.Kind == rows.LargeObjects {
		return p, nil
	}
	const find = `SELECT c.relkind::text, ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2`
	err := s.s.conn.QueryRow(ctx, find, p.name().schema, p.name().name).Scan(&p.kind, &p.columns)
	if err == pgx.ErrNoRows {
		return p, nil
	}
	p.exists = err == nil
	if err != nil || p.kind != "r" && p.kind != "p" || table.Kind == rows.MatView || table.Kind == rows.Foreign {
		return p, err
	}
	if err := s.s.exec(ctx, "LOCK TABLE "+p.only()+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return p, err
	}
	from, where := p.only(), ""
	if table.Filter != "" {
		where = " WHERE " + table.Filter // an extension's own rows are not ours
	}
	return p, s.s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+from+where+")").Scan(&p.full)
}

// check refuses before anything is touched: missing tables when only rows are wanted, columns that
// the target lacks, rows in the way.
func (s *single) check(context.Context) error {
	var missing, other, full []string
	for _, p := range s.places {
		name := p.table.String()
		switch {
		case p.table.Kind == rows.LargeObjects:
		case !p.exists:
			missing = append(missing, name)
		case !strings.Contains(map[rows.Kind]string{rows.MatView: "m", rows.Foreign: "f"}[p.table.Kind]+"rp", p.kind):
			other = append(other, name+" is no table there")
		case p.full && !s.t.opt.Clean:
			full = append(full, name)
		}
		for _, c := range p.table.Stored() {
			if p.exists && p.kind != "m" && !slices.Contains(p.columns, c.Name) {
				other = append(other, fmt.Sprintf("%s has no column %s", name, quoteIdent(c.Name)))
			}
		}
	}
	switch {
	case len(missing) > 0 && s.t.opt.DataOnly:
		return fail.New(fail.NotFound, "leave out --data-only to create them", "rows only, but there is no table %s", strings.Join(missing, ", "))
	case len(other) > 0:
		return fail.New(fail.Mismatch, "rename or drop the table; it is then created as it was", "%s", strings.Join(other, "; "))
	case len(full) > 0:
		return fail.New(fail.Exists, "--clean empties the tables first", "rows are in %s", strings.Join(full, ", "))
	}
	return nil
}

// checkObjects does for large objects what look and check do for tables.
func (s *single) checkObjects(ctx context.Context) error {
	if !slices.ContainsFunc(s.places, func(p *spot) bool { return p.table.Kind == rows.LargeObjects }) {
		return nil
	}
	var n int
	if err := s.s.conn.QueryRow(ctx, `SELECT count(*) FROM pg_catalog.pg_largeobject_metadata`).Scan(&n); err != nil {
		return explainIn(ctx, err)
	}
	if n > 0 && !s.t.opt.Clean {
		return fail.New(fail.Exists, "--clean removes them first", "it holds %d large objects", n)
	}
	err := s.s.exec(ctx, `SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata`)
	return fail.Op(explainIn(ctx, err), "remove large objects")
}

// mine returns the SQL array of the tables restored that exist.
func (s *single) mine() string {
	list := []string{}
	for _, p := range s.places {
		if p.exists && (p.kind == "r" || p.kind == "p") {
			list = append(list, quoteLiteral(quoteTable(p.table))+"::pg_catalog.regclass")
		}
	}
	return "ARRAY[" + strings.Join(list, ",") + "]::pg_catalog.regclass[]"
}

// stepAside drops foreign keys between the tables and disables triggers, and plans to undo both.
func (s *single) stepAside(ctx context.Context) error {
	// A partition's key is its parent's: the topmost one is dropped and added.
	keys, err := s.pairs(ctx, `WITH RECURSIVE up AS (
			SELECT k.oid, k.conparentid FROM pg_catalog.pg_constraint k
			WHERE k.contype = 'f' AND k.conrelid = ANY ($MINE) AND k.confrelid = ANY ($MINE)
			UNION SELECT k.oid, k.conparentid FROM pg_catalog.pg_constraint k JOIN up ON up.conparentid = k.oid)
		SELECT pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::pg_catalog.regclass, k.conname),
			pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::pg_catalog.regclass, k.conname, pg_catalog.pg_get_constraintdef(k.oid))
			|| coalesce(pg_catalog.format('; COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, k.conrelid::pg_catalog.regclass,
				pg_catalog.obj_description(k.oid, 'pg_constraint')), '')
		FROM pg_catalog.pg_constraint k WHERE k.oid IN (SELECT oid FROM up WHERE conparentid = 0)`)
	if err != nil {
		return err
	}
	triggers, err := s.pairs(ctx, `SELECT pg_catalog.format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', g.tgrelid::pg_catalog.regclass, g.tgname),
			pg_catalog.format('ALTER TABLE ONLY %s ENABLE %s TRIGGER %I', g.tgrelid::pg_catalog.regclass, CASE g.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE '' END, g.tgname)
		FROM pg_catalog.pg_trigger g WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND g.tgrelid = ANY ($MINE)`)
	if err != nil {
		return err
	}
	for _, p := range append(keys, triggers...) {
		if err := s.s.exec(ctx, p[0]); err != nil {
			return fail.Op(explainIn(ctx, err), "make room for rows")
		}
		s.again = append(s.again, p[1])
	}
	return nil
}

// pairs returns the two columns of a query; $MINE stands for the tables restored.
func (s *single) pairs(ctx context.Context, sql string) ([][2]string, error) {
	r, err := s.s.conn.Query(ctx, strings.ReplaceAll(sql, "$MINE", s.mine()))
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	list, err := pgx.CollectRows(r, func(row pgx.CollectableRow) (p [2]string, err error) {
		err = row.Scan(&p[0], &p[1])
		return p, err
	})
	return list, explainIn(ctx, err)
}

// empty removes the rows of the tables, which --clean allowed.
func (s *single) empty(ctx context.Context) error {
	var names []string
	for _, p := range s.places {
		switch {
		case !p.full:
		case p.table.Filter != "":
			if err := s.s.exec(ctx, "DELETE FROM "+p.only()+" WHERE "+p.table.Filter); err != nil {
				return fail.Op(explainIn(ctx, err), "empty table %s", p.table)
			}
		default:
			names = append(names, p.only())
		}
	}
	if len(names) == 0 {
		return nil
	}
	others, err := s.pairs(ctx, `SELECT DISTINCT k.conrelid::pg_catalog.regclass::pg_catalog.text, k.confrelid::pg_catalog.regclass::pg_catalog.text
		FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = ANY ($MINE) AND k.conrelid <> ALL ($MINE) ORDER BY 1, 2`)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		var list []string
		for _, o := range others {
			list = append(list, o[0]+" references "+o[1])
		}
		return fail.New(fail.Exists, "restore those tables too, or drop their foreign keys first",
			"can't empty what other tables reference: %s", strings.Join(list, ", "))
	}
	err = s.s.exec(ctx, "TRUNCATE "+strings.Join(names, ", "))
	return fail.Op(explainIn(ctx, err), "empty the tables")
}

// load copies one part; one at a time, since a transaction has one connection.
func (s *single) load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return rows.Count{}, context.Cause(ctx)
	}
	defer func() { <-s.turn }()
	if p.Table.Kind == rows.LargeObjects {
		return loadObjects(ctx, s.s, r)
	}
	table := *p.Table
	if table.LoadInto != "" {
		// The table that would spread the rows need not be part of the restore.
		var there bool
		if err := s.s.conn.QueryRow(ctx, `SELECT pg_catalog.to_regclass($1) IS NOT NULL`, loadInto(&table)).Scan(&there); err != nil {
			return rows.Count{}, err
		}
		if !there || s.alone[qualified{table.Schema, table.Name}] {
			table.LoadInto = ""
		}
	}
	return copyIn(ctx, s.s, copySQL(&table), r)
}

// finish creates what belongs to new tables, puts back what stood in the way, and commits.
func (s *single) finish(ctx context.Context) error {
	a := applier{t: s.t, conn: s.s, stage: "indexes and constraints", inTx: true}
	if err := a.run(ctx, s.post); err != nil {
		return err
	}
	for _, sql := range s.again {
		if err := s.s.exec(ctx, sql); err != nil {
			kind := fail.KindOf(explainIn(ctx, err))
			if isState(err, "23503") {
				kind = fail.Mismatch
			}
			return fail.Wrap(kind, explainIn(ctx, err), "", "put back after loading: %.200s", sql)
		}
	}
	if s.t.opt.SchemaOnly {
		return explainIn(ctx, s.s.exec(ctx, "SET LOCAL synchronous_commit = on; COMMIT"))
	}
	if err := s.derive(ctx); err != nil {
		return err
	}
	// Last, because a sequence keeps its value when the transaction does not commit.
	list, err := s.sequences(ctx)
	if err == nil {
		err = s.t.setSequences(ctx, s.s, list)
	}
	if s.t.foreign != nil {
		// Sequences of another engine have no names here.
		for _, p := range s.places {
			if err == nil {
				err = followRows(ctx, s.s, quoteTable(p.table), p.only(), false)
			}
		}
	}
	if err != nil {
		return err
	}
	return explainIn(ctx, s.s.exec(ctx, "SET LOCAL synchronous_commit = on; COMMIT"))
}

// derive computes what follows from rows: materialized views and statistics.
func (s *single) derive(ctx context.Context) error {
	var names []string
	for _, p := range s.places {
		if p.table.Kind == rows.MatView && p.kind == "m" { // the definitions refresh new ones
			names = append(names, quoteLiteral(quoteTable(p.table))+"::pg_catalog.regclass")
		}
	}
	if len(names) > 0 {
		// In the order in which they were made, since one may read another.
		list, err := column(ctx, s.s, `SELECT v::pg_catalog.text FROM pg_catalog.unnest(ARRAY[`+strings.Join(names, ",")+`]) v ORDER BY v::pg_catalog.oid`)
		if err != nil {
			return explainIn(ctx, err)
		}
		for _, v := range list {
			if err := s.s.exec(ctx, "REFRESH MATERIALIZED VIEW "+v); err != nil {
				return fail.Op(explainIn(ctx, err), "refresh %s", v)
			}
		}
	}
	for _, j := range s.t.analyzeJobs(false) {
		if err := j.run(ctx, s.s); err != nil {
			return err
		}
	}
	return nil
}

// sequences returns those whose values are the restored tables' concern: owned by one of them, made
// for one, or, when rows of the whole database are restored, every one that exists.
func (s *single) sequences(ctx context.Context) ([]rows.Sequence, error) {
	var list []rows.Sequence
	for _, q := range s.t.schema.Sequences {
		owned := slices.ContainsFunc(s.places, func(p *spot) bool { return q.Table != "" && p.table.String() == q.Table })
		if !owned && !s.fresh[qualified{q.Schema, q.Name}] && s.t.opt.Partial {
			continue
		}
		var there bool
		name := qualified{cmp.Or(q.Schema, "public"), q.Name}.String()
		err := s.s.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class
			WHERE oid = pg_catalog.to_regclass($1) AND relkind = 'S')`, name).Scan(&there)
		if err != nil {
			return nil, explainIn(ctx, err)
		}
		if !there {
			s.t.note("sequence %s does not exist here: its value was not set", name)
			continue
		}
		list = append(list, q)
	}
	return list, nil
}
