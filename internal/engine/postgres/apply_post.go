package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// plan is post-data in the order in which it is run. Each list keeps the script's order.
type plan struct {
	settings []statement // what the script's beginning sets, for every connection
	builds   []job       // indexes, primary keys, unique and exclusion constraints: in parallel
	stats    []statement // extended statistics, which an ANALYZE fills
	attach   []statement // partitions' indexes to their parents'
	foreign  []job       // foreign keys: in parallel where they share no table
	rest     []statement // triggers, rules, policies, publications, refresh of materialized views, …
	last     []statement // event triggers, which would fire on all of the above
}

// planPost sorts post-data. What builds on something that post-data itself creates (an index on a
// materialized view that needs a primary key) stays where it is, in rest.
func (t *Target) planPost(list []statement) plan {
	var p plan
	late := createdBy(list)
	tablespace := ""
	for i := 0; i < len(list); {
		s := list[i]
		if act := classify(s); act.purpose == setting {
			// A tablespace counts for what follows it, wherever that is run.
			if strings.Contains(s.text, "default_tablespace") {
				t.wanted(&act)
				tablespace = act.text
			} else if s.heading == nil {
				p.settings = append(p.settings, s)
			}
			p.rest = append(p.rest, s)
			i++
			continue
		}
		end := i + 1
		for end < len(list) && list[end].heading == s.heading && s.heading != nil && classify(list[end]).purpose != setting {
			end++
		}
		group := list[i:end]
		i = end
		switch dst := p.sort(group, late); {
		case dst != nil:
			*dst = append(*dst, group...)
		case s.Type == "FK CONSTRAINT":
			p.foreign = append(p.foreign, t.foreignJob(group))
		default:
			p.builds = append(p.builds, t.buildJob(group, tablespace))
		}
	}
	if t.opt.SchemaOnly {
		p.rest = withoutRefresh(p.rest)
	}
	return p
}

// withoutRefresh leaves out what fills materialized views.
func withoutRefresh(list []statement) []statement {
	return slices.DeleteFunc(list, func(s statement) bool { return s.heading != nil && s.Type == "MATERIALIZED VIEW DATA" })
}

// sort returns the list that the statements of one entry belong to, nil for a job.
func (p *plan) sort(group []statement, late map[qualified]bool) *[]statement {
	s := group[0]
	if s.heading == nil {
		return &p.rest
	}
	switch s.Type {
	case "INDEX", "CONSTRAINT", "FK CONSTRAINT":
		if len(late) > 0 && mentions(group, late) {
			return &p.rest
		}
		return nil
	case "INDEX ATTACH", "STATISTICS":
		switch {
		case len(late) > 0 && mentions(group, late):
			return &p.rest
		case s.Type == "STATISTICS":
			return &p.stats
		}
		return &p.attach
	case "EVENT TRIGGER":
		return &p.last
	case "COMMENT":
		if strings.HasPrefix(s.Name, "EVENT TRIGGER ") {
			return &p.last
		}
	}
	return &p.rest
}

// createdBy returns the relations and routines that the statements themselves create.
func createdBy(list []statement) map[qualified]bool {
	late := map[qualified]bool{}
	for _, s := range list {
		if s.heading == nil {
			continue
		}
		switch s.Type {
		case "TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "FUNCTION", "PROCEDURE", "AGGREGATE", "OPERATOR":
			name, _, _ := strings.Cut(s.Name, "(")
			late[qualified{s.Schema, name}] = true
		}
	}
	return late
}

// mentions reports whether the statements have one of the names in them.
func mentions(group []statement, set map[qualified]bool) bool {
	for _, s := range group {
		list := tokens(s.text)
		for i := range list {
			if q, ok := qualifiedAt(list, i); ok && set[q] {
				return true
			}
		}
	}
	return false
}

// buildJob makes a job of an index or a constraint. Building an index lets others be built on the
// table at the same time; adding a constraint does not.
func (t *Target) buildJob(group []statement, tablespace string) job {
	list := tokens(group[0].text)
	var table qualified
	for i := range list {
		q, ok := qualifiedAt(list, i)
		if ok && i > 0 && (list[i-1].Is("on") || list[i-1].Is("only") || list[i-1].Is("table")) {
			table = q
			break
		}
	}
	locks := []lock{{table, group[0].Type == "CONSTRAINT" || len(group) > 1}}
	if top := t.top(table); top != table {
		locks = append(locks, lock{top, false}) // for what needs the whole tree
	}
	return job{
		name: group[0].heading.String(), table: table, locks: locks, parallel: true,
		weigh: func() int64 { return t.indexCost(table, list) },
		run: func(ctx context.Context, s *session) error {
			if err := s.exec(ctx, cmp.Or(tablespace, "SET default_tablespace = ''")); err != nil {
				return explainIn(ctx, err)
			}
			a := applier{t: t, conn: s}
			return a.quietly(ctx, group)
		},
	}
}

// foreignJob makes a job of a foreign key, which needs both of its tables for itself.
func (t *Target) foreignJob(group []statement) job {
	var locks []lock
	var tables []qualified
	list := tokens(group[0].text)
	for i := range list {
		q, ok := qualifiedAt(list, i)
		if ok && i > 0 && (list[i-1].Is("only") || list[i-1].Is("table") || list[i-1].Is("references")) {
			// A key of a partitioned table locks its partitions: the topmost table stands for all.
			locks = append(locks, lock{t.top(q), true})
			tables = append(tables, q)
		}
	}
	return job{
		name: group[0].heading.String(), phase: linking, locks: locks,
		weigh: func() (cost int64) {
			for _, q := range tables {
				_, c := t.counted(q)
				cost += c.Rows
			}
			return cost
		},
		run: func(ctx context.Context, s *session) error {
			a := applier{t: t, conn: s}
			return a.quietly(ctx, group)
		},
	}
}

// quietly runs statements without telling the observer; the scheduler does.
func (a *applier) quietly(ctx context.Context, group []statement) error {
	for _, s := range group {
		act := classify(s)
		if !a.t.wanted(&act) {
			continue
		}
		if err := a.one(ctx, act); err != nil {
			return err
		}
	}
	return nil
}

// counted finds a table of the backup, nil when it is none of them, and what was loaded into it.
func (t *Target) counted(q qualified) (*rows.Table, rows.Count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.schema.Tables, func(s *rows.Table) bool { return s.Schema == q.schema && s.Name == q.name })
	if i < 0 {
		return nil, rows.Count{}
	}
	return t.schema.Tables[i], t.loaded[t.schema.Tables[i]]
}

// indexCost says how long an index takes to build, in units of one row of a B-tree on a number. The
// factors are rough measurements; they only decide what is begun first.
func (t *Target) indexCost(table qualified, definition []token) int64 {
	found, c := t.counted(table)
	if found == nil || c.Rows == 0 {
		return 0
	}
	method := "btree"
	cost, first := int64(0), true
	for i, tok := range definition {
		if i > 0 && definition[i-1].Is("using") && tok.Name() != "index" {
			method = tok.Name()
		}
		if i == 0 || definition[i-1].Text != "(" && definition[i-1].Text != "," {
			continue
		}
		kind := rows.Other // an expression
		if k := slices.IndexFunc(found.Columns, func(col rows.Column) bool { return col.Name == tok.Name() }); k >= 0 {
			kind = found.Columns[k].Type
		}
		if first {
			cost = firstCost(method, kind)
		} else {
			cost += firstCost(method, kind) / 2
		}
		first = false
	}
	return c.Rows*cost/10 + 1
}

// firstCost is the cost of an index on a column, in tenths.
func firstCost(method string, kind rows.Type) int64 {
	switch method {
	case "gin":
		if cost, ok := map[rows.Type]int64{rows.JSON: 70, rows.Array: 20, rows.Text: 200}[kind]; ok {
			return cost
		}
		return 80
	case "gist", "spgist":
		return 100
	case "brin":
		return 3
	}
	if cost, ok := map[rows.Type]int64{rows.Text: 60, rows.Decimal: 20, rows.Other: 30, rows.Enum: 15, rows.UUID: 15}[kind]; ok {
		return cost
	}
	return 10
}

// top returns the partitioned table that a partition belongs to in the end.
func (t *Target) top(q qualified) qualified {
	for depth := 0; depth < 32; depth++ { // foreign data could describe a circle
		i := slices.IndexFunc(t.schema.Tables, func(s *rows.Table) bool { return s.Schema == q.schema && s.Name == q.name })
		if i < 0 || t.schema.Tables[i].Parent == "" {
			return q
		}
		parent := t.schema.Table(t.schema.Tables[i].Parent)
		if parent == nil {
			return q
		}
		q = qualified{parent.Schema, parent.Name}
	}
	return q
}

// analyzeJobs gathers statistics: of tables that got rows, or of materialized views. A partitioned
// table's statistics come with its partitions', so of a tree the top is enough.
func (t *Target) analyzeJobs(views bool) []job {
	var jobs []job
	if t.opt.SchemaOnly {
		return nil
	}
	for table, n := range t.analyzable(views) {
		q := qualified{table.Schema, table.Name}
		jobs = append(jobs, job{
			name: table.String(), phase: analyzing, table: q, locks: []lock{{q, true}},
			weight: 3 * min(n, sampled),
			run: func(ctx context.Context, s *session) error {
				err := s.exec(ctx, "ANALYZE "+quoteTable(table))
				if isState(err, "42501") { // an extension's table, say; autovacuum will do it
					return nil
				}
				return fail.Op(explainIn(ctx, err), "gather statistics of %s", table)
			},
		})
	}
	slices.SortFunc(jobs, func(a, b job) int { return cmp.Compare(a.name, b.name) })
	return jobs
}

// sampled is from how many rows on an ANALYZE takes no longer, or little.
const sampled = 300_000

// analyzable returns the tables to be analyzed, and how many rows they got.
func (t *Target) analyzable(views bool) map[*rows.Table]int64 {
	pick := map[*rows.Table]int64{}
	for _, table := range t.schema.Tables {
		if views {
			if table.Kind == rows.MatView {
				pick[table] = 0
			}
			continue
		}
		t.mu.Lock()
		c := t.loaded[table]
		t.mu.Unlock()
		if c.Rows == 0 || table.Kind == rows.LargeObjects {
			continue
		}
		// An inheritance parent has rows of its own: its children are not analyzed with it.
		if up := t.schema.Table(table.Parent); up != nil && up.Kind == rows.Partitioned {
			top := t.top(qualified{table.Schema, table.Name})
			if root := t.schema.Table((&rows.Table{Schema: top.schema, Name: top.name}).String()); root != nil {
				table = root
			}
		}
		pick[table] += c.Rows
	}
	return pick
}

// setSequences gives the sequences their values.
func (t *Target) setSequences(ctx context.Context, s *session, list []rows.Sequence) error {
	for start := 0; start < len(list); start += window {
		group := list[start:min(start+window, len(list))]
		p := s.conn.PgConn().StartPipeline(ctx)
		for _, q := range group {
			p.SendQueryParams(setval(q), nil, nil, nil, nil)
			p.SendPipelineSync()
		}
		err := p.Flush()
		for i := 0; i < len(group) && err == nil; i++ {
			if err = pipelineResult(p); err != nil {
				err = fail.Op(explainIn(ctx, err), "set sequence %s", qualified{group[i].Schema, group[i].Name})
			}
		}
		if cerr := p.Close(); err == nil {
			err = explainIn(ctx, cerr)
		}
		if err != nil {
			return err
		}
		t.observe("sequences", start+len(group), len(list))
	}
	return nil
}

func setval(q rows.Sequence) string {
	name := quoteIdent(cmp.Or(q.Schema, "public")) + "." + quoteIdent(q.Name)
	return fmt.Sprintf(`SELECT pg_catalog.setval(%s, %d, %t)`, quoteLiteral(name), q.Last, q.Called)
}

// deadlocked reports whether the server picked err's statement as a deadlock's victim.
func deadlocked(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "40P01"
}
