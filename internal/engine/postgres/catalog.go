package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// rel is one relation of the database that may hold rows.
type rel struct {
	oid      uint32
	table    *rows.Table
	relkind  string // as in pg_class: r, p, m, f
	unlogged bool
	parents  []uint32 // it inherits from or is a partition of
	why      string   // it can't be read; "" when it can
	absent   bool     // why is not a matter of rights
	state    selection
	pages    int64 // of the table itself
	bytes    int64 // with its TOAST table
}

// selection says whether a relation is part of the view.
type selection uint8

const (
	undecided selection = iota
	chosen
	excluded
)

func (r *rel) holdsRows() bool { return r.relkind == "r" }
func (r *rel) lockable() bool  { return r.relkind == "r" || r.relkind == "p" }

const relationsQuery = `
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'u', c.reltuples::float8,
	coalesce(e.extname::text, ''), coalesce(cfg.cond, ''), cfg.rel IS NOT NULL,
	coalesce(has_schema_privilege(n.oid, 'USAGE'), false), coalesce(has_table_privilege(c.oid, 'SELECT'), false),
	c.relrowsecurity AND coalesce(row_security_active(c.oid), false),
	ARRAY(SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno),
	coalesce(obj_description(c.oid, 'pg_class'), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
		AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	LEFT JOIN pg_extension e ON e.oid = d.refobjid
	LEFT JOIN LATERAL (SELECT u.rel, u.cond FROM unnest(e.extconfig, e.extcondition) u (rel, cond) WHERE u.rel = c.oid) cfg ON true
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't'
	AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' OR cfg.rel IS NOT NULL)
	AND (e.oid IS NULL OR cfg.rel IS NOT NULL)
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`

var kinds = map[string]rows.Kind{"r": rows.Ordinary, "p": rows.Partitioned, "m": rows.MatView, "f": rows.Foreign}

// relations lists every relation of the database that pg_dump would dump as a table.
func relations(ctx context.Context, conn *pgx.Conn, standby bool) ([]*rel, error) {
	rs, err := conn.Query(ctx, relationsQuery)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	defer rs.Close()
	var list []*rel
	for rs.Next() {
		r := &rel{table: &rows.Table{}}
		var tuples float64
		var condition string
		var config, usage, readable, hides bool
		if err := rs.Scan(&r.oid, &r.table.Schema, &r.table.Name, &r.relkind, &r.unlogged, &tuples,
			&r.table.Extension, &condition, &config, &usage, &readable, &hides, &r.parents, &r.table.Comment); err != nil {
			return nil, err
		}
		r.table.Kind = kinds[r.relkind]
		r.table.EstRows = max(0, int64(tuples)) // -1 before the first ANALYZE
		if config {
			r.table.Filter = filterOf(condition)
		}
		switch {
		case !r.lockable():
		case !usage:
			r.why = "no right to use its schema"
		case !readable:
			r.why = "no right to select"
		case hides && r.holdsRows():
			r.why = "row-level security hides rows"
		case r.unlogged && standby:
			r.why, r.absent = "unlogged, so not on a standby", true
		}
		list = append(list, r)
	}
	return list, explainIn(ctx, rs.Err())
}

// filterOf strips the WHERE that conditions of extension configuration tables begin with.
func filterOf(condition string) string {
	condition = strings.TrimSpace(condition)
	if len(condition) >= 5 && strings.EqualFold(condition[:5], "where") {
		return strings.TrimSpace(condition[5:])
	}
	return condition
}

// choose marks what sel picks. A table that is left out takes its partitions and children along;
// one that is picked brings them, and the parents without which it can't be defined.
// Patterns that fit no table are an error: most likely they are typing errors.
func choose(list []*rel, sel rows.Selection) error {
	in, err := rows.Selection{Include: sel.Include}.Matcher()
	if err != nil {
		return fail.Wrap(fail.Usage, err, "", "read --include")
	}
	out, err := rows.Selection{Include: sel.Exclude}.Matcher()
	if err != nil {
		return fail.Wrap(fail.Usage, err, "", "read --exclude-table")
	}
	byOID := index(list)
	for _, r := range list {
		picked := in.Match(r.table.Schema, r.table.Name)
		left := len(sel.Exclude) > 0 && out.Match(r.table.Schema, r.table.Name)
		switch {
		case left:
			r.state = excluded
		case picked:
			r.state = chosen
		}
	}
	if unused := append(in.Unused(), out.Unused()...); len(unused) > 0 {
		return fail.New(fail.NotFound, "patterns look like users, public.log_*, \"Odd Name\"",
			"select tables: no table fits %s", strings.Join(unused, ", "))
	}
	inheritStates(list, byOID)
	return nil
}

// inheritStates spreads states along inheritance, which has no cycles.
func inheritStates(list []*rel, byOID map[uint32]*rel) {
	done := map[uint32]bool{}
	var down func(r *rel)
	down = func(r *rel) {
		if done[r.oid] {
			return
		}
		done[r.oid] = true
		for _, p := range r.parents {
			parent := byOID[p]
			if parent == nil {
				continue
			}
			down(parent)
			if parent.state == excluded || r.state == undecided {
				r.state = parent.state
			}
		}
	}
	for _, r := range list {
		down(r)
	}
	var up func(r *rel)
	up = func(r *rel) {
		for _, p := range r.parents {
			if parent := byOID[p]; parent != nil && parent.state == undecided {
				parent.state = chosen
				up(parent)
			}
		}
	}
	for _, r := range list {
		if r.state == chosen {
			up(r)
		}
	}
	for _, r := range list {
		if r.state == undecided {
			r.state = excluded
		}
	}
}

func index(list []*rel) map[uint32]*rel {
	m := make(map[uint32]*rel, len(list))
	for _, r := range list {
		m[r.oid] = r
	}
	return m
}

// chosenOf returns the part of list that is chosen.
func chosenOf(list []*rel) []*rel {
	return slices.DeleteFunc(slices.Clone(list), func(r *rel) bool { return r.state != chosen })
}

// unreadable returns one error that names every chosen table that can't be read.
func unreadable(list []*rel, more ...string) error {
	var names []string
	kind := fail.Incomplete
	for _, r := range list {
		if r.state == chosen && r.why != "" {
			names = append(names, fmt.Sprintf("%s (%s)", r.table, r.why))
			if !r.absent {
				kind = fail.Denied
			}
		}
	}
	if len(more) > 0 {
		kind = fail.Denied
		names = append(names, more...)
	}
	if len(names) == 0 {
		return nil
	}
	hint := "leave them out with --exclude-table, or grant pg_read_all_data (and BYPASSRLS where row-level security is on) to the role"
	if kind == fail.Incomplete {
		hint = "leave them out with --exclude-table, or back up the primary"
	}
	return fail.New(kind, hint, "read %d of the tables: %s", len(names), strings.Join(names, ", "))
}

// measure fills in the sizes of relations. They are those of now, not of the snapshot: files only grow.
func measure(ctx context.Context, conn *pgx.Conn, list []*rel, blockSize int64) error {
	byOID := index(list)
	rs, err := conn.Query(ctx, `
SELECT c.oid, coalesce(pg_relation_size(c.oid), 0), coalesce(pg_table_size(nullif(c.reltoastrelid, 0)), 0)
FROM pg_class c WHERE c.oid = ANY ($1) AND c.relkind = 'r'`, oids(list))
	if err != nil {
		return explainIn(ctx, err)
	}
	var oid uint32
	var main, toast int64
	_, err = pgx.ForEachRow(rs, []any{&oid, &main, &toast}, func() error {
		r := byOID[oid]
		r.pages = main / blockSize
		r.bytes = main + toast
		r.table.EstBytes = r.bytes
		if r.table.EstRows == 0 && main > 0 { // never analyzed
			r.table.EstRows = cmp.Or(main/100, 1)
		}
		return nil
	})
	return explainIn(ctx, err)
}

func oids(list []*rel) []uint32 {
	ids := make([]uint32, len(list))
	for i, r := range list {
		ids[i] = r.oid
	}
	return ids
}
