package postgres

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// MergerOptions tune a [Merger]. The zero value is fine.
type MergerOptions struct {
	LockWait time.Duration                       // how long to wait for other sessions; 0 is 30 seconds
	Observer func(stage string, done, total int) // hears of the steps of Finish; may be nil
}

// Merger puts rows into the tables of a PostgreSQL database, in one transaction on one connection. It implements
// [rows.Merger]. It is not safe for concurrent use.
//
// Rows for a table that is empty are copied straight into it. Other rows wait in a temporary table until Finish,
// which updates what differs and inserts what is missing; equal means equal to the last bit, whatever the type.
//
// Readers go on, unless a foreign key has to be made deferrable or a table is truncated: then readers of the tables of
// that key wait, too. References are checked at the end. A key that isn't deferrable becomes so for the transaction,
// which needs the table's owner; without, tables are written in the order of their references, and a circle is Denied.
//
// Triggers of users run, with the search_path of the role: rows that they change or drop are theirs to answer for. Replacing
// may truncate, which no trigger for rows hears of. Actions of foreign keys
// (ON DELETE CASCADE, SET NULL, …) do not: deleting rows of a merged table never changes rows of another; if a
// row that another table names is gone in the end, that is a violation. ON UPDATE actions run.
//
// Rows may trade values of which there can only be one, such as a position, unless the table is referenced by keys with ON DELETE
// actions, or by ones that can't wait: then that is an error.
//
// A sequence that moved keeps its value when the transaction is undone, as always in PostgreSQL: a dry run, too, draws the
// defaults of Fresh columns.
type Merger struct {
	url string
	opt MergerOptions

	s       *session
	where   string // server and database, for messages
	plan    []*merging
	keys    []*mergeKey
	again   []string // puts back what Begin changed in the definitions
	deleted map[uint32]int64
}

// merging is one merge of the plan and what is known of its table here.
type merging struct {
	*rows.Merge
	mergeTable
	number  int
	empty   bool // the table holds no rows, or none that were there before Begin
	direct  bool // rows are copied into the table itself
	staged  bool // the temporary table exists
	nulls   map[string]bool
	loaded  int64
	result  rows.Merged
	changes bool // rows that were there may change
}

var _ rows.Merger = (*Merger)(nil)

// NewMerger returns a Merger for the database that url means. Begin connects.
func NewMerger(url string, opt MergerOptions) *Merger {
	opt.LockWait = cmp.Or(opt.LockWait, defaultLockWait)
	return &Merger{url: url, opt: opt, deleted: map[uint32]int64{}}
}

// mergeMemory is for joins and for the temporary tables.
const mergeMemory = `SELECT pg_catalog.set_config('work_mem', greatest(setting::int8, 65536)::text || 'kB', false)
	FROM pg_catalog.pg_settings WHERE name = 'work_mem';
SET temp_buffers = '32MB';`

// Begin opens the transaction, locks the tables, and deletes the rows of those that are to be replaced. Kinds: Usage for a
// plan that contradicts itself, NotFound for a table or column that isn't there, Denied for missing rights or a
// server that only reads, Locked when other sessions held a table for longer than LockWait.
func (m *Merger) Begin(ctx context.Context, plan []*rows.Merge) error {
	cfg, err := parseURL(m.url)
	if err != nil {
		return err
	}
	m.where = fmt.Sprintf("database %s on %s", cfg.Database, hostOf(cfg))
	conn, err := connect(ctx, cfg, appName+" load")
	if err != nil {
		return err
	}
	m.s = &session{conn: conn}
	steps := []func(context.Context) error{
		m.open, func(ctx context.Context) error { return m.lock(ctx, plan) }, m.readKeys, m.look, m.stepAside, m.replace,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return fail.Op(explainIn(ctx, err), "load into %s", m.where)
		}
	}
	return nil
}

func (m *Merger) open(ctx context.Context) error {
	var standby bool
	if err := m.s.conn.QueryRow(ctx, `SELECT pg_catalog.pg_is_in_recovery()`).Scan(&standby); err != nil {
		return err
	}
	if standby {
		return fail.New(fail.Denied, "name the primary", "the server is a standby and can only be read")
	}
	return m.s.exec(ctx, mergeMemory+fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '%dms'", m.opt.LockWait.Milliseconds()))
}

// Load takes rows for one merge of the plan. Kinds: Incomplete for rows that the table does not take; the message names
// the row and column, or the key, without the rest of the row.
func (m *Merger) Load(ctx context.Context, merge *rows.Merge, r io.Reader) (rows.Count, error) {
	i := slices.IndexFunc(m.plan, func(g *merging) bool { return g.Merge == merge })
	if i < 0 {
		return rows.Count{}, fail.New(fail.Internal, "", "load rows of %s: it is not in the plan", merge.Table)
	}
	g := m.plan[i]
	into := g.name
	if !g.direct {
		into = g.stage()
	}
	if !g.direct && !g.staged {
		// The same types and collations, and no constraints.
		sql := fmt.Sprintf("CREATE TEMPORARY TABLE %s ON COMMIT DROP AS SELECT %s FROM ONLY %s WITH NO DATA", into, idents("", g.Columns), g.name)
		if err := m.s.exec(ctx, sql); err != nil {
			return rows.Count{}, fail.Op(explainIn(ctx, err), "load rows of %s", g.Table)
		}
		g.staged = true
	}
	count, err := copyIn(ctx, m.s, fmt.Sprintf("COPY %s (%s) FROM STDIN", into, idents("", g.Columns)), r)
	if isState(err, "23503") {
		return count, m.broken(err)
	}
	if err != nil {
		return count, fail.Op(g.explain(ctx, err), "load rows of %s", g.Table)
	}
	g.loaded += count.Rows
	return count, nil
}

// Finish merges, checks and commits; see [rows.Merger]. Kinds: Incomplete, with a *[rows.Violations] in the chain,
// for broken references, and for rows that break another constraint.
func (m *Merger) Finish(ctx context.Context, dry bool) ([]rows.Merged, error) {
	list, err := m.finish(ctx, dry)
	if err != nil {
		return nil, fail.Op(explainIn(ctx, err), "load into %s", m.where)
	}
	_ = m.s.conn.Close(ctx) // nothing is pending; the server ends the session either way
	m.s = nil
	return list, nil
}

func (m *Merger) finish(ctx context.Context, dry bool) ([]rows.Merged, error) {
	order, err := m.order()
	if err != nil {
		return nil, err
	}
	for i, g := range order {
		m.observe("merge", i, len(order))
		if len(g.Fresh) > 0 && !dry {
			// Defaults must not meet keys that other merges brought.
			if err := m.setSequences(ctx, g); err != nil {
				return nil, err
			}
		}
		if err := m.merge(ctx, g); err != nil {
			return nil, err
		}
	}
	m.observe("merge", len(order), len(order))
	if err := m.check(ctx); err != nil {
		return nil, err
	}
	if err := m.settle(ctx); err != nil {
		return nil, err
	}
	if dry {
		return m.results(), m.s.exec(ctx, "ROLLBACK")
	}
	// Last, because a sequence keeps its value when the transaction does not commit.
	for _, g := range m.plan {
		if err := m.setSequences(ctx, g); err != nil {
			return nil, err
		}
	}
	if err := m.s.exec(ctx, "COMMIT"); err != nil {
		return nil, fail.Op(explainIn(ctx, err), "commit")
	}
	return m.results(), nil
}

// settle lets the server check what was deferred, and puts the definitions back.
func (m *Merger) settle(ctx context.Context) error {
	m.observe("constraints", 0, 1+len(m.again))
	if err := m.s.exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		if isState(err, "23503") {
			return m.broken(err)
		}
		return explainRows(ctx, err, nil)
	}
	for i, sql := range m.again {
		m.observe("constraints", 1+i, 1+len(m.again))
		if err := m.s.exec(ctx, sql); err != nil {
			if isState(err, "23503") {
				return m.broken(err)
			}
			return fail.Op(explainIn(ctx, err), "put back %.200s", sql)
		}
	}
	m.observe("constraints", 1+len(m.again), 1+len(m.again))
	return nil
}

func (m *Merger) results() []rows.Merged {
	list := make([]rows.Merged, len(m.plan))
	for i, g := range m.plan {
		list[i] = g.result
	}
	return list
}

// Abort ends the transaction and the connection.
func (m *Merger) Abort(ctx context.Context) error {
	if m.s == nil {
		return nil
	}
	s := m.s
	m.s = nil
	if !s.conn.IsClosed() && !s.conn.PgConn().IsBusy() {
		_ = s.exec(ctx, "ROLLBACK") // what isn't committed is undone when the session ends, too
	}
	_ = s.conn.Close(ctx)
	return nil
}

func (m *Merger) observe(stage string, done, total int) {
	if m.opt.Observer != nil {
		m.opt.Observer(stage, done, total)
	}
}

// idents quotes names of columns, each behind prefix.
func idents(prefix string, names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = prefix + quoteIdent(n)
	}
	return strings.Join(list, ", ")
}
