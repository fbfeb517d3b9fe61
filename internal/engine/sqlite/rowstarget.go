package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// RowsTargetOptions tune a copy into an SQLite file. The zero value overwrites nothing.
type RowsTargetOptions struct {
	Clean bool // replace a database that is there
	Typed bool // rows come as [View.Typed] gives them
}

// A RowsTarget is a new SQLite file that receives tables of any engine. It implements [rows.Target]. The file is made aside
// and takes its place in Finish, after SQLite checked it, as that of [Target] does.
//
// Tables that come from SQLite are made by their own definitions, with indexes, triggers and, when all tables come, views. Those of
// other engines are made as Django would: bool, integer, decimal, varchar, datetime (UTC), char(32) for a uuid without hyphens,
// bigint microseconds for an interval, text with a CHECK for JSON and enums, text for all that SQLite has no word for.
// What is not carried over, [Omitted] lists. Values that SQLite can't hold are kept as near as it can, and noted: numbers of more than
// 15 digits are rounded, integers beyond 64 bits become floats, the months of an interval count 30 days, «NaN» and what is no date are texts.
type RowsTarget struct {
	file  *Target
	typed bool

	mu     sync.Mutex
	conn   *sqlite3.Conn       // guarded by mu
	tables map[string]*loading // by the source's text form
	after  []string            // SQL for when the rows are there
	noted  []string            // guarded by mu
	bind   binder              // guarded by mu
}

var _ rows.Target = (*RowsTarget)(nil)

// A loading is where the rows of a table go.
type loading struct {
	sql     string
	put     *sqlite3.Stmt // nil until it is needed
	columns []importer    // of the row text
}

// NewRowsTarget returns a target for the file at path, which Prepare will look at.
func NewRowsTarget(path string, opt RowsTargetOptions) (*RowsTarget, error) {
	file, err := NewTarget(path, TargetOptions{Clean: opt.Clean})
	if err != nil {
		return nil, err
	}
	return &RowsTarget{file: file, typed: opt.Typed, tables: make(map[string]*loading)}, nil
}

// Notes returns what became of values that SQLite can't hold, and what Finish found.
func (t *RowsTarget) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	notes := slices.Clone(t.noted)
	for _, n := range t.file.Notes() {
		notes = append(notes, strings.TrimSuffix(n, ", in the original too")) // not when its other end was left behind
	}
	return notes
}

func (t *RowsTarget) noteLocked(text string) {
	if !slices.Contains(t.noted, text) {
		t.noted = append(t.noted, text)
	}
}

// Prepare makes the file and its tables. Kinds: those of [Target.Prepare], and Unsupported for definitions
// that SQLite doesn't understand.
func (t *RowsTarget) Prepare(ctx context.Context, s *rows.Schema, native fs.FS) error {
	if err := t.file.Prepare(ctx, image.Info{}, []image.File{{Name: "rows"}}); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.conn, err = dial(ctx, t.file.temp.Name(), readWrite, 0); err != nil {
		return sqlError(ctx, err, "open a new database for %s", t.file.path)
	}
	defer t.conn.SetInterrupt(t.conn.SetInterrupt(ctx))
	// Nobody sees the file before it is complete, and a broken one is thrown away: no journal, one sync at the end.
	err = t.conn.Exec(fmt.Sprintf("PRAGMA query_only=OFF; %s PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-%d; BEGIN", settings(&s.Origin), mergeCache))
	if err == nil {
		if native != nil && s.Origin.Engine == "sqlite" {
			err = t.prepareNative(s, native)
		} else {
			err = t.preparePortable(s)
		}
	}
	if errors.Is(err, sqlite3.ERROR) {
		err = fail.Wrap(fail.Unsupported, err, "", "run a definition")
	}
	return sqlError(ctx, err, "make the tables of %s", t.file.path)
}

// settings returns the PRAGMAs that must come before the first table.
func settings(o *rows.Origin) string {
	var b strings.Builder
	for _, name := range []string{"page_size", "auto_vacuum", "application_id", "user_version"} {
		if i, _, err := number(o.Attribute(name)); o.Engine == "sqlite" && err == nil {
			fmt.Fprintf(&b, "PRAGMA %s=%d;", name, i)
		}
	}
	if o.Engine == "sqlite" && slices.Contains([]string{"UTF-16le", "UTF-16be"}, o.Encoding) {
		fmt.Fprintf(&b, "PRAGMA encoding='%s';", o.Encoding)
	}
	return b.String()
}

// preparePortable makes tables from the portable description.
func (t *RowsTarget) preparePortable(s *rows.Schema) error {
	l := newLayout(s)
	for _, p := range l.tables {
		if p.into == p {
			sql, err := p.create(l, t.literal)
			if err != nil {
				return err
			}
			if err := t.conn.Exec(sql); err != nil {
				return fmt.Errorf("table %s: %w", p.src, err)
			}
			t.after = append(t.after, p.indexes...)
		}
		if p.into != nil {
			t.tables[p.src.String()] = p.loading(s.Origin.Engine)
			for i := range t.tables[p.src.String()].columns {
				if t.typed {
					t.tables[p.src.String()].columns[i].storage = typedStorage
				}
			}
		} else {
			t.tables[p.src.String()] = nil // its rows are counted and dropped
		}
	}
	t.after = append(t.after, l.counters(s)...)
	return nil
}

// literal returns a default as SQL.
func (t *RowsTarget) literal(c importer, text string) (string, error) {
	st, _, err := t.conn.Prepare("SELECT quote(?)")
	if err != nil {
		return "", err
	}
	defer st.Close()
	if err := c.bindLocked(t, st, 1, rows.Value{Text: []byte(text)}); err != nil {
		return "", err
	}
	st.Step()
	return st.ColumnText(0), st.Err()
}

// Load stores rows. Loads may run at once; they take turns. Kinds: Incomplete for rows that a table
// refuses, Damaged for what is no row text, NoSpace.
func (t *RowsTarget) Load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	l, ok := t.tables[p.Table.String()]
	if !ok {
		return rows.Count{}, fail.New(fail.Internal, "", "load %s: not in the schema", p.Table)
	}
	if l == nil {
		var c rows.Counter
		if _, err := io.Copy(&c, r); err != nil {
			return rows.Count{}, fail.Op(err, "load %s", p.Table)
		}
		return c.Count()
	}
	s := newRowScanner(r, len(l.columns))
	for {
		err := s.next()
		if err == io.EOF {
			return s.count.Count()
		}
		if err != nil && (s.err == nil || errors.Is(s.err, io.EOF)) {
			err = fail.Wrap(fail.Damaged, err, "", "read rows")
		}
		if err == nil {
			err = t.putAll(ctx, l, s)
		}
		if err != nil {
			return rows.Count{}, fail.Op(err, "load %s", p.Table)
		}
	}
}

// putAll stores the row that s stands on, and those behind it as far as they have been read.
func (t *RowsTarget) putAll(ctx context.Context, l *loading, s *rowScanner) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return fail.New(fail.Internal, "", "load after the end")
	}
	defer t.conn.SetInterrupt(t.conn.SetInterrupt(ctx))
	for {
		err := t.putLocked(l, s.values)
		if errors.Is(err, sqlite3.CONSTRAINT) || errors.Is(err, sqlite3.MISMATCH) || errors.Is(err, sqlite3.TOOBIG) {
			err = fail.Wrap(fail.Incomplete, err, "", "the table refuses it")
		}
		if errors.Is(err, sqlite3.ERROR) {
			err = fail.Wrap(fail.Unsupported, err, hintProgram, "run SQL")
		}
		if err != nil {
			return sqlError(ctx, err, "row %d", s.n)
		}
		if !s.ready() {
			return nil
		}
		if err := s.next(); err != nil {
			return fail.Wrap(fail.Damaged, err, "", "read rows")
		}
	}
}

func (t *RowsTarget) putLocked(l *loading, values []rows.Value) (err error) {
	if l.put == nil {
		if l.put, _, err = t.conn.Prepare(l.sql); err != nil {
			return err
		}
	}
	for i, v := range values {
		if err := l.columns[i].bindLocked(t, l.put, i+1, v); err != nil {
			return err
		}
	}
	return l.put.Exec()
}

// Finish makes what follows the rows, has SQLite check the file and puts it in place. Kinds: those of [Target.Finish], and
// Incomplete when rows don't fit an index.
func (t *RowsTarget) Finish(ctx context.Context) error {
	if err := t.complete(ctx); err != nil {
		return err
	}
	info, err := t.file.temp.Stat()
	if err != nil {
		return pathError(err, "look at the new %s", t.file.path)
	}
	t.file.size = info.Size()
	t.file.written.Store(info.Size())
	return t.file.Finish(ctx)
}

// complete runs what is left to do and closes the connection.
func (t *RowsTarget) complete(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return fail.New(fail.Internal, "", "finish %s before prepare", t.file.path)
	}
	restore := t.conn.SetInterrupt(ctx)
	for _, sql := range append(t.after, "COMMIT") {
		err := t.conn.Exec(sql)
		if errors.Is(err, sqlite3.CONSTRAINT) {
			err = fail.Wrap(fail.Incomplete, err, "", "rows don't fit")
		}
		if errors.Is(err, sqlite3.ERROR) {
			err = fail.Wrap(fail.Unsupported, err, hintProgram, "run SQL")
		}
		if err != nil {
			t.conn.SetInterrupt(restore)
			return sqlError(ctx, err, "complete %s: %.200s", t.file.path, sql)
		}
	}
	return sqlError(ctx, t.closeLocked(), "close %s", t.file.path)
}

func (t *RowsTarget) closeLocked() error {
	if t.conn == nil {
		return nil
	}
	for _, l := range t.tables {
		if l != nil && l.put != nil {
			_ = l.put.Close()
		}
	}
	conn := t.conn
	t.conn = nil
	return conn.Close()
}

// Abort removes the file.
func (t *RowsTarget) Abort(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.closeLocked() // what it says of a file to be removed is of no interest
	return t.file.Abort(ctx)
}
