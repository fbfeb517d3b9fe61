package mysql

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// MergerOptions tune a Merger.
type MergerOptions struct {
	LockWait time.Duration // longest wait for other sessions; 0 is 30 seconds
}

// A Merger puts rows into tables of a database. It implements [rows.Merger].
//
// It is one transaction of InnoDB; while it lasts the tables are locked against other writers, if the user has the right to
// (LOCK TABLES). Foreign keys are not enforced while rows go in, so that no cascade fires, and are checked at the end. Triggers
// fire as ever. Rows go straight into a table that is empty, or that needs no look at what is there; else they wait in
// a temporary table for Finish. A key with NULL in it finds the row with the same NULL.
type Merger struct {
	cfg    *mysql.Config
	opt    MergerOptions
	s      *session
	where  string
	local  bool
	locked bool
	plan   []*merging
	keys   []*mergeKey
}

var _ rows.Merger = (*Merger)(nil)

// NewMerger returns a Merger for the database that url means. It does not connect yet.
func NewMerger(url string, opt MergerOptions) (*Merger, error) {
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	opt.LockWait = cmp.Or(opt.LockWait, defaultLockWait)
	return &Merger{cfg: cfg, opt: opt, where: fmt.Sprintf("database %s on %s", cfg.DBName, cfg.Addr)}, nil
}

// A merging is one merge of a plan at work.
type merging struct {
	*rows.Merge
	number  int
	name    string // quoted
	columns map[string]there
	unique  [][]string // columns that no two rows have alike
	load    *loadTable // what Load fills: the table itself when direct, else the stage
	direct  bool
	loaded  int64
	result  rows.Merged
}

// rowColumn numbers the rows of a stage.
const rowColumn = "holdfast~row"

func (g *merging) stage() string { return quoteIdent("holdfast~merge~" + strconv.Itoa(g.number)) }

// t is what statements call the table beside its stage: all names must differ when tables are locked.
func (g *merging) t() string { return fmt.Sprintf("`holdfast~t%d`", g.number) }

func (g *merging) column(name string) there { return g.columns[strings.ToLower(name)] }

// Begin opens the transaction, locks the tables and empties those that are to be replaced. Kinds: Locked when other
// sessions don't end within MergerOptions.LockWait, Usage for a plan that doesn't fit the database, NotFound,
// Unsupported for tables whose engine can't undo, Denied.
func (m *Merger) Begin(ctx context.Context, plan []*rows.Merge) error {
	return fail.Op(explainIn(ctx, m.begin(ctx, plan)), "merge into %s", m.where)
}

func (m *Merger) begin(ctx context.Context, plan []*rows.Merge) (err error) {
	if m.s, err = connect(ctx, m.cfg, true); err != nil {
		return err
	}
	wait := max(1, int(m.opt.LockWait.Seconds()))
	err = m.s.exec(ctx, fmt.Sprintf("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO', SESSION foreign_key_checks = 0, "+
		"SESSION lock_wait_timeout = %d, SESSION innodb_lock_wait_timeout = %d", wait, wait))
	if err != nil {
		return err
	}
	m.s.keepWarnings(ctx)
	row, err := m.s.one(ctx, "SELECT @@local_infile")
	if err != nil {
		return err
	}
	m.local = row[0].s == "1"
	times := map[string]int{}
	for i, merge := range plan {
		g := &merging{Merge: merge, number: i + 1, name: quoteTable(merge.Table), result: rows.Merged{Merge: merge}}
		if err := m.describe(ctx, g); err != nil {
			return fail.Op(err, "table %s", merge.Table)
		}
		times[merge.Table.Name]++
		m.plan = append(m.plan, g)
	}
	if err := m.readKeys(ctx); err != nil {
		return err
	}
	for _, g := range m.plan {
		if err := m.s.exec(ctx, g.stageSQL()); err != nil {
			return fail.Op(explainIn(ctx, err), "make a place for rows of %s", g.Table)
		}
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	for _, g := range m.plan {
		if err := m.start(ctx, g, times[g.Table.Name] == 1); err != nil {
			return fail.Op(explainIn(ctx, err), "table %s", g.Table)
		}
	}
	return nil
}

// describe reads what the merge needs to know of its table, and compares both.
func (m *Merger) describe(ctx context.Context, g *merging) (err error) {
	row, err := m.s.one(ctx, "SELECT engine, table_type FROM information_schema.tables WHERE table_schema = database() AND table_name = "+quoteLiteral(g.Table.Name))
	switch {
	case err != nil:
		return explainIn(ctx, err)
	case row == nil:
		return fail.New(fail.NotFound, "", "it is not there")
	case !transactional[row[0].s]:
		return fail.New(fail.Unsupported, "ALTER TABLE … ENGINE=InnoDB", "its engine (%s) can't undo what fails", cmp.Or(row[0].s, row[1].s))
	}
	if g.columns, err = columnsOf(ctx, m.s, g.Table.Name); err != nil {
		return explainIn(ctx, err)
	}
	index := map[string][]string{}
	skip := map[string]bool{}
	err = m.s.each(ctx, `SELECT index_name, column_name, sub_part, nullable FROM information_schema.statistics
		WHERE table_schema = database() AND non_unique = 0 AND table_name = `+quoteLiteral(g.Table.Name)+" ORDER BY index_name, seq_in_index", func(row []cell) error {
		index[row[0].s] = append(index[row[0].s], row[1].s)
		skip[row[0].s] = skip[row[0].s] || !row[2].null || row[3].s == "YES" || row[1].null
		return nil
	})
	if err != nil {
		return explainIn(ctx, err)
	}
	for name, columns := range index {
		if !skip[name] {
			g.unique = append(g.unique, columns)
		}
	}
	return g.validate()
}

// validate compares a merge with its table.
func (g *merging) validate() error {
	if len(g.Columns) == 0 {
		return fail.New(fail.Usage, "", "the rows have no columns")
	}
	for i, name := range g.Columns {
		c := column(g.Table, name)
		switch {
		case g.column(name).data == "" || c == nil:
			return fail.New(fail.Usage, "", "no column %s", name)
		case c.Generated:
			return fail.New(fail.Usage, "", "column %s is computed", name)
		case slices.Contains(g.Columns[:i], name):
			return fail.New(fail.Usage, "", "column %s is there twice", name)
		}
	}
	for _, list := range [][]string{g.Key, g.Set} {
		for _, name := range list {
			if !slices.Contains(g.Columns, name) {
				return fail.New(fail.Usage, "", "the rows have no column %s", name)
			}
		}
	}
	if len(g.Set) > 0 {
		g.Key = g.Columns
	}
	return nil
}

// identified reports whether no two rows of the table can have one key.
func (g *merging) identified() bool {
	return slices.ContainsFunc(g.unique, func(u []string) bool {
		return !slices.ContainsFunc(u, func(n string) bool { return !slices.Contains(g.Key, n) })
	})
}

// stageSQL makes the temporary table in which rows wait: the same types, without rules.
func (g *merging) stageSQL() string {
	lines := []string{quoteIdent(rowColumn) + " bigint AUTO_INCREMENT PRIMARY KEY"}
	for _, name := range g.Columns {
		c := g.column(name)
		line := quoteIdent(name) + " " + c.native
		if c.charset != "" && wordPattern.MatchString(c.charset) && wordPattern.MatchString(c.collation) && c.data != "json" {
			line += " CHARACTER SET " + c.charset + " COLLATE " + c.collation
		}
		lines = append(lines, line+" NULL DEFAULT NULL")
	}
	var key []string
	for _, name := range g.Key {
		q := quoteIdent(name)
		switch data := g.column(name).data; {
		case data == "json" || g.spatial(name):
			continue
		case strings.HasSuffix(data, "text") || strings.HasSuffix(data, "blob") || longType.MatchString(g.column(name).native):
			q += "(40)"
		}
		if key = append(key, q); len(key) == 6 {
			break
		}
	}
	if len(key) > 0 {
		lines = append(lines, "KEY ("+strings.Join(key, ", ")+")")
	}
	return "CREATE TEMPORARY TABLE " + g.stage() + " (" + strings.Join(lines, ", ") + ") ENGINE=InnoDB"
}

// longType is a type whose values may be too long for a key of several columns.
var longType = regexp.MustCompile(`^(?:var)?(?:char|binary)\((?:1[0-9]{2}|[2-9][0-9]{2}|[0-9]{4,})\)`)

func (g *merging) spatial(name string) bool {
	switch g.column(name).data {
	case "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection":
		return true
	}
	return false
}

// lock keeps other writers away until the end of the transaction. A table must be locked under each name that
// a statement calls it by.
func (m *Merger) lock(ctx context.Context) error {
	if err := m.s.exec(ctx, "SET SESSION autocommit = 0"); err != nil {
		return err
	}
	var list []string
	seen := map[string]bool{}
	for _, g := range m.plan {
		if !seen[g.name] {
			seen[g.name] = true
			list = append(list, g.name+" WRITE")
		}
		list = append(list, g.name+" AS "+g.t()+" WRITE")
	}
	for _, k := range m.keys {
		list = append(list, quoteIdent(k.child)+" AS "+k.c()+" READ", quoteIdent(k.parent)+" AS "+k.p()+" READ")
	}
	if len(list) == 0 {
		return nil
	}
	err := m.s.exec(ctx, "LOCK TABLES "+strings.Join(list, ", "))
	if isNumber(err, 1044, 1142) { // no right to: rows that are touched are locked all the same
		return nil
	}
	m.locked = err == nil
	return fail.Op(explainIn(ctx, err), "lock the tables")
}

// start empties the table if it must, and chooses where rows go. alone says that no other merge of the plan is for this table.
func (m *Merger) start(ctx context.Context, g *merging, alone bool) (err error) {
	if g.Replace {
		if g.result.Deleted, err = m.s.affect(ctx, "DELETE FROM "+g.name); err != nil {
			return err
		}
	}
	row, err := m.s.one(ctx, "SELECT 1 FROM "+g.name+" LIMIT 1")
	if err != nil {
		return err
	}
	g.direct = len(g.Set) == 0 && (len(g.Key) == 0 || alone && row == nil && g.identified()) && len(g.Fresh) < len(g.Columns)
	g.load = &loadTable{table: g.Table, name: g.Table.Name, into: g.Table.Name, joined: true}
	if !g.direct {
		g.load.into = "holdfast~merge~" + strconv.Itoa(g.number)
	}
	for _, name := range g.Columns {
		f := newField(name, g.column(name))
		_, kind := reading(column(g.Table, name))
		f.hex = kind == hexed
		if f.counts = f.counts && g.direct; g.direct && slices.Contains(g.Fresh, name) {
			f.drop = true
		}
		g.load.fields = append(g.load.fields, f)
	}
	return nil
}

// Load stores rows in the table or beside it. Kinds: Incomplete for rows that the table refuses or that come
// twice, Damaged for what is no row text, NoSpace.
func (m *Merger) Load(ctx context.Context, merge *rows.Merge, r io.Reader) (rows.Count, error) {
	at := slices.IndexFunc(m.plan, func(g *merging) bool { return g.Merge == merge })
	if at < 0 || m.s == nil {
		return rows.Count{}, fail.New(fail.Internal, "", "merge into %s: not in the plan", merge.Table)
	}
	g := m.plan[at]
	t := &Target{local: m.local}
	c, err := t.loadPart(ctx, m.s, g.load, rows.Part{Table: merge.Table, Number: 1}, r)
	if fail.KindOf(err) == fail.Mismatch {
		err = fail.Wrap(fail.Incomplete, err, "", "the table refuses a row")
	}
	g.loaded += c.Rows
	return c, fail.Op(m.explain(ctx, err), "merge into %s", merge.Table)
}

// Finish merges, checks and commits; see [rows.Merger]. Kinds: Incomplete for rows that don't fit.
func (m *Merger) Finish(ctx context.Context, dry bool) ([]rows.Merged, error) {
	if m.s == nil {
		return nil, fail.New(fail.Internal, "", "merge into %s: finish before begin", m.where)
	}
	result := make([]rows.Merged, 0, len(m.plan))
	for _, g := range m.plan {
		if err := m.merge(ctx, g); err != nil {
			return nil, fail.Op(m.explain(ctx, err), "merge into %s: table %s", m.where, g.Table)
		}
		result = append(result, g.result)
	}
	if err := m.checkKeys(ctx); err != nil {
		return nil, fail.Op(explainIn(ctx, err), "merge into %s", m.where)
	}
	if dry {
		return result, m.Abort(ctx)
	}
	if err := m.s.exec(ctx, "COMMIT"); err != nil {
		return nil, fail.Op(explainIn(ctx, err), "commit to %s", m.where)
	}
	m.s.close()
	m.s = nil
	return result, nil
}

// explain makes Incomplete of what a table's own rules refuse.
func (m *Merger) explain(ctx context.Context, err error) error {
	if isNumber(err, 1062, 1586) {
		return fail.Wrap(fail.Incomplete, err, "", "the table refuses a row")
	}
	return explainIn(ctx, err)
}

// Abort rolls back.
func (m *Merger) Abort(ctx context.Context) error {
	if m.s == nil {
		return nil
	}
	_ = m.s.exec(ctx, "ROLLBACK") // without an answer it happens when the connection ends
	m.s.close()
	m.s = nil
	return nil
}
