package mysql

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// Options tune Open. The zero value reads everything.
type Options struct {
	Jobs       int            // connections kept for reading rows; 0 is 2
	Tables     rows.Selection // which tables; also the definitions of the others are left out
	DataOnly   bool           // no definitions
	NoDefiners bool           // leave DEFINER clauses out: who restores becomes the definer
	LockWait   time.Duration  // how long to wait for locks and long statements; 0 is 30 seconds
	PartBytes  int64          // about how much of a table is in one part; 0 is 64 MiB

	best level // tests begin further down the ladder
}

const (
	defaultJobs      = 2
	defaultLockWait  = 30 * time.Second
	defaultPartBytes = 64 << 20
	// Readers beyond Jobs, for callers that read several tables side by side: a connection can't join the snapshot later.
	spareReaders = 4
)

// View is a live database frozen by a snapshot on several connections. It implements [rows.View],
// [rows.Scripter] and [rows.Sorter]. At most Jobs+4 readers can be open at once; a further Read waits for one to be closed.
type View struct {
	opt    Options
	cfg    *mysql.Config
	leader *session // describes; it is the first of the readers
	schema *rows.Schema
	parts  map[*rows.Table][]rows.Part
	native nativeFS
	level  level

	idle chan *session
	mu   sync.Mutex
	left int           // sessions in the snapshot; guarded by mu
	lost chan struct{} // closed when none is left
	done bool          // guarded by mu
}

var (
	_ rows.View     = (*View)(nil)
	_ rows.Scripter = (*View)(nil)
	_ rows.Sorter   = (*View)(nil)
)

// Open freezes the database at url and describes it. Locks that writers notice are held only until Open has its
// snapshot. Kinds: Denied names what the user may not read, Locked what a lock was waited for, NotFound
// a pattern that fits no table, Unsupported a server that is too old.
func Open(ctx context.Context, url string, opt Options) (*View, error) {
	opt.Jobs = cmp.Or(max(opt.Jobs, 0), defaultJobs)
	opt.LockWait = cmp.Or(opt.LockWait, defaultLockWait)
	opt.PartBytes = cmp.Or(opt.PartBytes, defaultPartBytes)
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	v := &View{opt: opt, cfg: cfg, lost: make(chan struct{}), parts: map[*rows.Table][]rows.Part{}}
	if err := v.open(ctx); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func (v *View) open(ctx context.Context) error {
	readers, origin, err := v.freeze(ctx)
	v.idle = make(chan *session, len(readers))
	v.left = len(readers)
	for _, r := range readers[min(1, len(readers)):] {
		v.idle <- r
	}
	if len(readers) > 0 {
		v.leader = readers[0]
	}
	if err != nil {
		return fail.Op(explainIn(ctx, err), "read %s", v.cfg.DBName)
	}
	d := &describer{View: v, s: v.leader}
	if v.schema, err = d.describe(ctx, origin); err != nil {
		return fail.Op(explainIn(ctx, err), "describe %s", v.cfg.DBName)
	}
	if err := d.split(ctx); err != nil {
		return fail.Op(explainIn(ctx, err), "describe %s", v.cfg.DBName)
	}
	if v.native, err = d.definitions(ctx); err != nil {
		return fail.Op(explainIn(ctx, err), "describe %s", v.cfg.DBName)
	}
	if err := v.leader.forget(ctx); err != nil {
		return fail.Op(explainIn(ctx, err), "describe %s", v.cfg.DBName)
	}
	v.idle <- v.leader
	v.leader = nil
	return nil
}

// Schema describes the tables, in order of name. Origin.Notes is complete from the start.
func (v *View) Schema() *rows.Schema { return v.schema }

// Parts returns ranges of the primary key, or none for tables without rows of their own.
func (v *View) Parts(t *rows.Table) []rows.Part { return v.parts[t] }

// Native holds the files that the package comment lists.
func (v *View) Native() fs.FS { return v.native }

// Read returns the rows of one part. It waits when all connections of the snapshot are in use.
func (v *View) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	where, err := condition(p)
	if err != nil {
		return nil, err
	}
	columns := p.Table.Stored()
	sql, kinds := selectSQL(p.Table, columns)
	inOrder := ordered(p.Table) && len(p.Table.PrimaryKey) > 0
	if inOrder {
		sql += " FORCE INDEX (PRIMARY)"
	}
	if where != "" {
		sql += " WHERE " + where
	}
	if inOrder {
		sql += " ORDER BY " + quoteIdents(p.Table.PrimaryKey) // the order it is stored in
	}
	return v.read(ctx, p.Table, sql, kinds)
}

// ordered reports whether rows are stored in the order of the primary key.
func ordered(t *rows.Table) bool {
	return native(t, "engine") == "InnoDB" && native(t, "partitioned") == ""
}

// native returns a table's named attribute, or "".
func native(t *rows.Table, name string) string {
	for _, p := range t.Native {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// selectSQL is the query of some columns of all rows.
func selectSQL(t *rows.Table, columns []rows.Column) (sql string, kinds []textKind) {
	list := make([]string, len(columns))
	kinds = make([]textKind, len(columns))
	for i := range columns {
		list[i], kinds[i] = reading(&columns[i])
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + quoteTable(t), kinds
}

// ReadSorted reads a table in an order. It is that of the server for the columns of by: NULLs come first.
func (v *View) ReadSorted(ctx context.Context, table *rows.Table, columns, by []string) (io.ReadCloser, error) {
	picked := make([]rows.Column, len(columns))
	for i, name := range columns {
		c := column(table, name)
		if c == nil {
			return nil, fail.New(fail.NotFound, "", "read %s: no column %s", table, name)
		}
		picked[i] = *c
	}
	sql, kinds := selectSQL(table, picked)
	for i, name := range by {
		name, descending := strings.CutPrefix(name, "-")
		if column(table, name) == nil {
			return nil, fail.New(fail.NotFound, "", "read %s: no column %s", table, name)
		}
		sql += [2]string{", ", " ORDER BY "}[min(1, max(0, 1-i))] + quoteTable(table) + "." + quoteIdent(name)
		if descending {
			sql += " DESC"
		}
	}
	r, err := v.read(ctx, table, sql, kinds)
	if err == nil && v.level == oneConnection {
		return spool(r) // else nobody could read another table meanwhile
	}
	return r, err
}

func column(t *rows.Table, name string) *rows.Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// Close ends the snapshot and its connections.
func (v *View) Close() error {
	v.mu.Lock()
	done := v.done
	v.done = true
	v.mu.Unlock()
	if done {
		return nil
	}
	v.leader.close()
	for v.idle != nil {
		select {
		case s := <-v.idle:
			s.close()
		default:
			return nil
		}
	}
	return nil
}
