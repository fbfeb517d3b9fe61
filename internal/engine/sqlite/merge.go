package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// MergerOptions tune a Merger.
type MergerOptions struct {
	BusyWait time.Duration // longest wait for another writer; 0 is 10 seconds
}

// mergeCache is SQLite's page cache for a merge, in KiB.
const mergeCache = 48 << 10

const hintProgram = "a trigger, check or index may need functions or modules that only the database's own program has"

// A Merger puts rows into the tables of a database file. It implements [rows.Merger].
//
// Foreign keys are not enforced while rows go in, so that no cascade fires, and checked at the end; triggers fire as ever.
// Rows go straight into a table that is empty, or that needs no look at what is there; else they wait in a temporary table
// for Finish. A key with NULL in it finds the row with the same NULL.
type Merger struct {
	path string
	full string // absolute, without symbolic links
	wait time.Duration

	conn   *sqlite3.Conn
	plan   []*merging
	checks []*keyCheck
	bind   binder
}

var _ rows.Merger = (*Merger)(nil)

// NewMerger returns a Merger for the database at path, which must exist. Kinds: NotFound, Denied, Unsupported.
func NewMerger(path string, opt MergerOptions) (*Merger, error) {
	f, full, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		return nil, fail.Wrap(fail.Unavailable, err, "", "read %s", path)
	}
	if h.empty {
		return nil, fail.New(fail.Unsupported, "make the tables first", "open %s: the file is empty", path)
	}
	if err := h.check(path); err != nil {
		return nil, err
	}
	if opt.BusyWait <= 0 {
		opt.BusyWait = defaultBusyWait
	}
	return &Merger{path: path, full: full, wait: opt.BusyWait}, nil
}

// Begin opens the database, and empties the tables that are to be replaced. Kinds: Locked when another
// writer doesn't end within MergerOptions.BusyWait, Usage for a plan that doesn't fit the database, Denied.
func (m *Merger) Begin(ctx context.Context, plan []*rows.Merge) error {
	if err := m.open(ctx); err != nil {
		return m.wrap(ctx, err, "open %s for writing", m.path)
	}
	defer m.interruptible(ctx)()
	r := &schemaReader{conn: m.conn}
	schema, tables, err := r.read()
	if err != nil {
		return m.wrap(ctx, err, "read the tables of %s", m.path)
	}
	times := make(map[string]int)
	for i, merge := range plan {
		g, err := newMerging(merge, schema, tables, i)
		if err != nil {
			return err
		}
		g.conn = m.conn
		if err := g.collations(); err != nil {
			return m.wrap(ctx, err, "merge into %s", merge.Table)
		}
		times[g.info.name]++
		m.plan = append(m.plan, g)
	}
	if err := m.beginChecks(schema); err != nil {
		return m.wrap(ctx, err, "check the references of %s", m.path)
	}
	for _, g := range m.plan {
		if err := g.begin(times[g.info.name] == 1); err != nil {
			return m.wrap(ctx, err, "merge into %s", g.m.Table)
		}
	}
	return nil
}

func (m *Merger) open(ctx context.Context) error {
	err := makeSiblingsOfWAL(m.full)
	if err != nil {
		return err
	}
	if m.conn, err = dial(ctx, m.full, readWrite, m.wait); err != nil {
		return err
	}
	defer m.interruptible(ctx)()
	// Triggers that keep a full-text index up to date are the most frequent ones.
	if err := fts5.Register(m.conn); err != nil {
		return err
	}
	return m.conn.Exec(fmt.Sprintf(`PRAGMA query_only=OFF; PRAGMA synchronous=FULL; PRAGMA cache_size=-%d; PRAGMA temp_store=FILE;
		PRAGMA recursive_triggers=OFF; BEGIN IMMEDIATE`, mergeCache))
}

// makeSiblingsOfWAL sees to it that the log of a database in WAL mode belongs to the database's owner.
func makeSiblingsOfWAL(full string) error {
	f, _, err := openFile(full)
	if err != nil {
		return err
	}
	defer f.Close()
	if h, err := readHeader(f); err != nil || !h.wal {
		return err
	}
	return makeSiblings(full)
}

func (m *Merger) interruptible(ctx context.Context) (restore func()) {
	conn, old := m.conn, m.conn.SetInterrupt(ctx)
	return func() { conn.SetInterrupt(old) }
}

// Load stores rows in the table or beside it. Kinds: Incomplete for rows that the table refuses or that come
// twice, Damaged for what is no row text, NoSpace.
func (m *Merger) Load(ctx context.Context, merge *rows.Merge, r io.Reader) (rows.Count, error) {
	var g *merging
	for _, of := range m.plan {
		if of.m == merge {
			g = of
		}
	}
	if g == nil || m.conn == nil {
		return rows.Count{}, fail.New(fail.Internal, "", "merge into %s: not in the plan", merge.Table)
	}
	defer m.interruptible(ctx)()
	s := newRowScanner(r, len(merge.Columns))
	for {
		err := s.next()
		if err == io.EOF {
			return s.count.Count()
		}
		if err != nil {
			if s.err == nil || errors.Is(s.err, io.EOF) {
				err = fail.Wrap(fail.Damaged, err, "", "read rows")
			}
			return rows.Count{}, fail.Op(err, "merge into %s", merge.Table)
		}
		if err := m.put(g, s.values); err != nil {
			return rows.Count{}, m.wrap(ctx, &rows.RowError{Row: s.n, Err: g.explain(err, s.values)}, "merge row %d into %s%s", s.n, merge.Table, g.keyText(s.values))
		}
	}
}

// put stores one row.
func (m *Merger) put(g *merging, values []rows.Value) error {
	for _, k := range g.key {
		if values[k].IsNull && (g.sets[k] || g.notNull[k] && len(g.m.Set) == 0) {
			return fail.New(fail.Incomplete, "", "%s, which is part of the key, is NULL", g.m.Columns[k])
		}
	}
	for i, v := range values {
		if g.param[i] > 0 {
			if err := m.bind.bind(g.put, g.param[i], g.storage[i], v); err != nil {
				return err
			}
		}
	}
	if err := g.put.Exec(); err != nil {
		return err
	}
	g.loaded++
	return nil
}

// Finish merges, checks and commits; see [rows.Merger]. Kinds: Incomplete for rows that don't fit, Locked when
// readers keep the database from being written to, NoSpace.
func (m *Merger) Finish(ctx context.Context, dry bool) ([]rows.Merged, error) {
	if m.conn == nil {
		return nil, fail.New(fail.Internal, "", "merge into %s: finish before begin", m.path)
	}
	defer m.interruptible(ctx)()
	result := make([]rows.Merged, 0, len(m.plan))
	for _, g := range m.plan {
		if err := g.finish(); err != nil {
			return nil, m.wrap(ctx, err, "merge into %s", g.m.Table)
		}
		result = append(result, g.result)
	}
	if err := m.checkReferences(); err != nil {
		return nil, m.wrap(ctx, err, "check the references of %s", m.path)
	}
	if err := m.raiseCounters(); err != nil {
		return nil, m.wrap(ctx, err, "set the counters of %s", m.path)
	}
	if dry {
		return result, m.Abort(ctx)
	}
	if err := m.conn.Exec("COMMIT"); err != nil {
		return nil, m.wrap(ctx, err, "commit to %s", m.path)
	}
	m.closeStatements()
	_ = m.conn.Close() // it is committed; what Close may miss, the next to open the file makes up for
	m.conn = nil
	return result, nil
}

// raiseCounters sets the AUTOINCREMENT counters behind the greatest keys. SQLite does so by itself,
// unless a counter was wrong before.
func (m *Merger) raiseCounters() error {
	n, err := one(m.conn, "SELECT count(*) FROM main.sqlite_schema WHERE name='sqlite_sequence'")
	if err != nil || n == "0" {
		return err
	}
	for _, g := range m.plan {
		if g.info.rowid == "" {
			continue
		}
		max := "(SELECT max(" + g.info.rowid + ") FROM " + g.table + ")"
		if err := m.conn.Exec("UPDATE main.sqlite_sequence SET seq=" + max + " WHERE name=" + literal(g.info.name) + " AND seq<" + max); err != nil {
			return err
		}
	}
	return nil
}

// Abort rolls back and closes.
func (m *Merger) Abort(context.Context) error {
	if m.conn == nil {
		return nil
	}
	m.closeStatements()
	end(m.conn)
	err := m.conn.Close()
	m.conn = nil
	return sqlError(context.Background(), err, "close %s", m.path)
}

func (m *Merger) closeStatements() {
	for _, g := range m.plan {
		_ = g.put.Close() // repeats the error of the last row
	}
}

// wrap gives an error its kind. What a table's own rules refuse is Incomplete; a statement that SQLite doesn't
// understand needs something of the database's own program.
func (m *Merger) wrap(ctx context.Context, err error, format string, args ...any) error {
	var known *fail.Error
	switch {
	case err == nil || errors.As(err, &known) || ctx.Err() != nil:
	case errors.Is(err, sqlite3.CONSTRAINT), errors.Is(err, sqlite3.MISMATCH), errors.Is(err, sqlite3.TOOBIG):
		err = fail.Wrap(fail.Incomplete, err, "", "the table refuses it")
	case errors.Is(err, sqlite3.ERROR):
		err = fail.Wrap(fail.Unsupported, err, hintProgram, "run SQL")
	case errors.Is(err, sqlite3.BUSY):
		err = fail.Wrap(fail.Locked, err, "another program is reading or writing for longer than was waited; stop it, or try again", "wait for the lock")
	case errors.Is(err, sqlite3.READONLY):
		err = fail.Wrap(fail.Denied, err, "run as the database's owner", "write")
	}
	return sqlError(ctx, err, format, args...)
}

// keyText names the row for an error: its key, or nothing when it has none.
func (g *merging) keyText(values []rows.Value) string {
	if len(g.key) == 0 {
		return ""
	}
	var b strings.Builder
	for i, k := range g.key {
		if i > 0 {
			b.WriteString(", ")
		}
		text := string(values[k].Text)
		if values[k].IsNull {
			text = "NULL"
		}
		if len(text) > 60 {
			text = strings.ToValidUTF8(text[:60], "") + "…"
		}
		b.WriteString(g.m.Columns[k] + " " + text)
	}
	return " (" + b.String() + ")"
}

// explain says that a key came twice, where that is what err means.
func (g *merging) explain(err error, values []rows.Value) error {
	unique := errors.Is(err, sqlite3.CONSTRAINT_UNIQUE) || errors.Is(err, sqlite3.CONSTRAINT_PRIMARYKEY) || errors.Is(err, sqlite3.CONSTRAINT_ROWID)
	if len(g.key) == 0 || !unique || g.direct && !g.stored(values) {
		return err
	}
	return fail.New(fail.Incomplete, "", "two rows have this key")
}
