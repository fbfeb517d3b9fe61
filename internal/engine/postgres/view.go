package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// Options tune Open. The zero value reads everything.
type Options struct {
	Jobs      int            // connections kept for reading rows; 0 is 2
	Tables    rows.Selection // which tables; also the definitions of the others are left out
	DataOnly  bool           // no definitions, so that no pg_dump is needed
	LockWait  time.Duration  // how long to wait for locks of tables; 0 is 30 seconds
	BinDir    string         // where pg_dump is looked for first
	PartPages int            // pages of a table in one part; 0 is 8192, 64 MiB

	// LateRights keeps what may not be read in the Schema: only reading it is an error. Sequences that may not be read
	// are left out, and nobody asks for the rights on large objects.
	LateRights bool
}

const (
	defaultJobs      = 2
	defaultLockWait  = 30 * time.Second
	defaultPartPages = 8192
	oldest           = 13 // major version that is supported
	appName          = "holdfast"
)

// View is a live database frozen by one exported snapshot. The leader's connection holds the snapshot
// and a lock (ACCESS SHARE, which only DROP, TRUNCATE and the like conflict with) on each table until
// Close; the readers' connections and pg_dump import the snapshot. It implements [rows.View] and [rows.Scripter].
type View struct {
	opt      Options
	cfg      *pgx.ConnConfig // leads to the leader's server, whatever the URL's hosts do meanwhile
	leader   *pgx.Conn
	version  int // of the server
	snapshot string
	schema   *rows.Schema
	parts    map[*rows.Table][]rows.Part
	refused  map[*rows.Table]error // with LateRights: why a table can't be read
	native   *nativeFS
	stop     context.CancelFunc // ends pg_dump

	mu     sync.Mutex
	idle   []*reader // guarded by mu
	closed bool      // guarded by mu
}

var (
	_ rows.View     = (*View)(nil)
	_ rows.Scripter = (*View)(nil)
)

// Open freezes the database at url and describes it. ctx governs the view until Close: pg_dump
// ends with it. Kinds: Denied names every table that the role can't read, Locked what held a
// table for longer than LockWait, Unsupported a missing pg_dump or an old server, NotFound a
// pattern that fits no table.
func Open(ctx context.Context, url string, opt Options) (*View, error) {
	opt.Jobs = cmp.Or(opt.Jobs, defaultJobs)
	opt.LockWait = cmp.Or(opt.LockWait, defaultLockWait)
	opt.PartPages = cmp.Or(opt.PartPages, defaultPartPages)
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	v := &View{opt: opt, cfg: cfg, stop: func() {}}
	if err := v.open(ctx, url); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func (v *View) open(ctx context.Context, url string) error {
	place := pin(v.cfg)
	var err error
	if v.leader, err = connect(ctx, v.cfg, appName); err != nil {
		return err
	}
	place.hold()
	if v.version = serverVersion(v.leader); v.version < oldest {
		return fail.New(fail.Unsupported, "", "read %s: PostgreSQL %d is older than %d", v.cfg.Database, v.version, oldest)
	}
	// Before the work begins, and not after it.
	var dump *dumper
	if !v.opt.DataOnly {
		if dump, err = findDump(ctx, v.version, v.opt.BinDir); err != nil {
			return err
		}
	}
	f := &freezer{View: v}
	if err := f.freeze(ctx); err != nil {
		return fail.Op(err, "read %s", v.cfg.Database)
	}
	if err := v.describe(ctx, f); err != nil {
		return fail.Op(err, "describe %s", v.cfg.Database)
	}
	v.native = newNative()
	v.native.put("sequences.sql", sequencesSQL(v.schema))
	if v.opt.DataOnly {
		return nil
	}
	text, err := v.globals(ctx)
	if err != nil {
		return fail.Op(err, "describe the roles of %s", hostOf(v.cfg))
	}
	v.native.put("globals.sql", text)
	v.schema.Origin.Tools = dump.String()
	dctx, cancel := context.WithCancel(ctx)
	v.stop = cancel
	return dump.start(dctx, v, f, place.conninfo(url))
}

// Schema describes the tables, in order of name. Origin.Notes is complete from the start.
func (v *View) Schema() *rows.Schema { return v.schema }

// Parts returns the ranges of pages of a table, or none for tables without rows of their own.
func (v *View) Parts(t *rows.Table) []rows.Part { return v.parts[t] }

// Native holds the files that the package comment lists. Opening a definition waits for pg_dump.
func (v *View) Native() fs.FS { return v.native }

// Read returns the rows of one part. It makes a connection of its own when all others are in use.
func (v *View) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	if err := v.refused[p.Table]; err != nil {
		return nil, err
	}
	sql, err := partSQL(p)
	if err != nil {
		return nil, err
	}
	r, err := v.reader(ctx)
	if err != nil {
		return nil, err
	}
	r.copy, err = openCopy(ctx, r.conn.PgConn(), lockSQL(p.Table)+sql, r.buf)
	if err != nil {
		v.discard(r)
		return nil, r.explain(p.Table, err)
	}
	return &rowReader{reader: r, table: p.Table}, nil
}

// partSQL is the COPY of one part.
func partSQL(p rows.Part) (string, error) {
	t := p.Table
	if t.Kind == rows.LargeObjects {
		return objectsSQL(p)
	}
	names := make([]string, 0, len(t.Columns))
	for _, c := range t.Stored() {
		names = append(names, quoteIdent(c.Name))
	}
	list := strings.Join(names, ", ")
	where := t.Filter
	if p.Bounds != "" {
		from, to, err := pagesOf(p)
		if err != nil {
			return "", err
		}
		where = fmt.Sprintf("ctid >= '(%d,0)'", from)
		if to > 0 {
			where += fmt.Sprintf(" AND ctid < '(%d,0)'", to)
		}
	}
	switch {
	case where != "":
		return fmt.Sprintf("COPY (SELECT %s FROM ONLY %s WHERE %s) TO STDOUT", list, quoteTable(t), where), nil
	case list == "":
		return fmt.Sprintf("COPY %s TO STDOUT", quoteTable(t)), nil
	}
	return fmt.Sprintf("COPY %s (%s) TO STDOUT", quoteTable(t), list), nil
}

// Close ends the transaction, the readers and pg_dump, and waits for them.
func (v *View) Close() error {
	v.mu.Lock()
	closed := v.closed
	v.closed = true
	idle := v.idle
	v.idle = nil
	v.mu.Unlock()
	if closed {
		return nil
	}
	v.stop()
	var err error
	if v.native != nil {
		err = v.native.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
	defer cancel()
	for _, r := range idle {
		_ = r.conn.Close(ctx) // nothing is lost with it
	}
	if v.leader != nil {
		_ = v.leader.Close(ctx)
	}
	return err
}
