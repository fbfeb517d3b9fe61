package mysql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// TargetOptions say what a restore may do. The zero value restores everything into a database
// that exists and is empty.
type TargetOptions struct {
	Jobs       int  // connections that load and build at once; 0 is 2
	Clean      bool // remove what is in the way
	Create     bool // create the database; with Clean drop one of that name before
	SchemaOnly bool // definitions, no rows
	DataOnly   bool // rows into tables that exist, no definitions
	Partial    bool // only the tables of the Schema, into a database that may hold other things
	NoOwner    bool // leave DEFINER clauses out: who restores becomes the definer

	// Observer, when set, hears of the steps before and after the rows: the stage in words and
	// how much of it is done. It may be called from several goroutines.
	Observer func(stage string, done, total int)
}

// Target is a [rows.Target] that restores into a MariaDB or MySQL database, from a View of this engine or any other.
//
// A full restore makes the tables, loads rows on several connections at once, each part a
// transaction, builds the secondary keys of large tables behind their rows, and then makes foreign keys, routines, views, triggers and
// events. [Target.Abort] empties a database that was empty, and drops one that Prepare created.
//
// A partial restore loads tables under other names and puts them into place at the end. A data-only
// restore is one transaction on one connection.
type Target struct {
	cfg   *mysql.Config
	opt   TargetOptions
	where string // server and database, for messages

	schema *rows.Schema
	native bool // the schema is of this engine, and its definitions are at hand
	did    stage
	main   *session
	lock   string // see alone
	server server
	ids    []string // of all sessions
	had    string   // what Clean or Create removed, in words
	pre    []statement
	post   []statement
	seq    []statement
	tables map[*rows.Table]*loadTable
	order  []*loadTable // in the order they are made
	left   []string     // see Omitted
	local  bool         // LOAD DATA LOCAL works
	folds  bool         // the server does not tell names of tables apart by case

	idle chan *session // those that load
	one  chan struct{} // data only: who holds it may use main

	mu    sync.Mutex
	notes []string // guarded by mu
}

// stage is what a Target has done to its database.
type stage uint8

const (
	untouched stage = iota
	adding          // tables of a partial restore are there under other names
	filling         // it was empty, or was emptied, and holds part of a restore
	created         // it did not exist
	inTransaction
)

var (
	_ rows.Target   = (*Target)(nil)
	_ rows.Expecter = (*Target)(nil)
)

// NewTarget returns a Target for the database that url means. It does not connect yet.
// Kinds: Usage for a bad URL or options that contradict each other.
func NewTarget(url string, opt TargetOptions) (*Target, error) {
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	switch {
	case opt.SchemaOnly && opt.DataOnly:
		return nil, fail.New(fail.Usage, "", "schema only and data only exclude each other")
	case opt.Create && opt.DataOnly:
		return nil, fail.New(fail.Usage, "", "a database just created has no tables for data only")
	case opt.Create && opt.Partial && opt.Clean:
		return nil, fail.New(fail.Usage, "leave out --clean, or restore all tables",
			"dropping and creating a database for single tables would lose the others")
	}
	opt.Jobs = cmp.Or(max(0, opt.Jobs), 2)
	return &Target{
		cfg: cfg, opt: opt, where: fmt.Sprintf("database %s on %s", cfg.DBName, cfg.Addr),
		tables: map[*rows.Table]*loadTable{}, one: make(chan struct{}, 1), local: true,
	}, nil
}

// Notes returns what the user should know of a restore that went well otherwise. It is complete after Finish.
func (t *Target) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.notes)
}

// Omitted names what the restore of a schema from another engine leaves out or carries over in another form. There
// is nothing for a schema of this engine's own. It may be called at any time.
func (t *Target) Omitted(s *rows.Schema) []string {
	if s.Origin.Engine == "mysql" {
		return nil
	}
	dry := &Target{schema: s, tables: map[*rows.Table]*loadTable{}}
	_ = dry.planForeign() // Prepare will say what is impossible
	return dry.left
}

// note records a note once.
func (t *Target) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

func (t *Target) observe(stage string, done, total int) {
	if t.opt.Observer != nil {
		t.opt.Observer(stage, done, total)
	}
}

// Prepare makes the tables. Kinds: Exists when the database holds something and TargetOptions do not allow to remove
// it; NotFound when the database or, for data only, a table does not exist; Mismatch when a table there lacks
// columns; Unsupported for a table of another engine that can't be made here; Damaged when definitions can't be read.
func (t *Target) Prepare(ctx context.Context, s *rows.Schema, native fs.FS) error {
	t.schema = s
	err := t.prepare(ctx, native)
	return fail.Op(explainIn(ctx, err), "restore into %s", t.where)
}

func (t *Target) prepare(ctx context.Context, native fs.FS) error {
	if err := t.open(ctx); err != nil {
		return err
	}
	if err := t.readDefinitions(native); err != nil {
		return err
	}
	if err := t.makeRoom(ctx); err != nil {
		return err
	}
	if t.opt.DataOnly {
		return t.prepareRows(ctx)
	}
	if err := t.makeTables(ctx); err != nil {
		return err
	}
	for _, lt := range t.tables {
		if err := t.readFields(ctx, lt); err != nil {
			return err
		}
	}
	return t.openPool(ctx)
}

// Expect notes how many parts and bytes each table has.
func (t *Target) Expect(parts []rows.Part) {
	for _, p := range parts {
		if lt := t.tables[p.Table]; lt != nil {
			lt.bytes += p.Bytes
			lt.parts.Add(1)
			lt.expected = true
		}
	}
}

// Load stores one part's rows and compares the server's count with ours. The last part of a table also
// builds the table's keys.
func (t *Target) Load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	lt := t.tables[p.Table]
	if t.opt.SchemaOnly || lt == nil || lt.skip {
		return rows.Count{}, nil
	}
	c, err := t.load(ctx, lt, p, r)
	return c, fail.Op(explainIn(ctx, err), "restore into %s: table %s", t.where, p.Table)
}

func (t *Target) load(ctx context.Context, lt *loadTable, p rows.Part, r io.Reader) (rows.Count, error) {
	if t.opt.DataOnly {
		select {
		case t.one <- struct{}{}:
			defer func() { <-t.one }()
		case <-ctx.Done():
			return rows.Count{}, ctx.Err()
		}
		return t.loadPart(ctx, t.main, lt, p, r)
	}
	s, err := t.acquire(ctx)
	if err != nil {
		return rows.Count{}, err
	}
	defer func() { t.idle <- s }()
	if err := t.dropKeys(ctx, s, lt); err != nil {
		return rows.Count{}, err
	}
	c, err := t.loadPart(ctx, s, lt, p, r)
	if err != nil {
		return c, err
	}
	if lt.parts.Add(-1) == 0 && lt.expected {
		err = t.buildKeys(ctx, s, lt)
	}
	return c, err
}

// Finish builds what must not be there while rows are loaded.
func (t *Target) Finish(ctx context.Context) error {
	if err := t.finish(ctx); err != nil {
		return fail.Op(explainIn(ctx, err), "restore into %s", t.where)
	}
	t.did = untouched
	t.release(ctx, t.main)
	t.closeSessions()
	return nil
}

// Abort leaves an empty database that was empty, and none where there was none. When Clean
// removed something before, that is gone, and Abort's error says so.
func (t *Target) Abort(ctx context.Context) error {
	did := t.did
	t.did = untouched
	t.killSessions(ctx)
	t.closeSessions()
	var err error
	switch did {
	case untouched, inTransaction: // which ended with its session
		return nil
	case created:
		err = t.dropDatabase(ctx)
	case filling:
		err = t.emptyAgain(ctx)
	case adding:
		err = t.dropAdded(ctx)
	}
	if err != nil {
		return fail.Op(explainIn(ctx, err), "%s holds part of a restore that failed", t.where)
	}
	if t.had != "" {
		return fail.New(fail.Incomplete, "", "%s before the error", t.had)
	}
	return nil
}

// killSessions ends what the server still does for a restore that failed: it would hold the tables until it is done.
func (t *Target) killSessions(ctx context.Context) {
	if len(t.ids) == 0 {
		return
	}
	s, err := connect(ctx, t.cfg, false)
	if err != nil {
		return // nor will anything else work
	}
	defer s.close()
	for _, id := range t.ids {
		_ = s.exec(ctx, "KILL CONNECTION "+id) // most have ended
	}
}

func (t *Target) closeSessions() {
	t.main.close()
	t.main = nil
	for t.idle != nil {
		select {
		case s := <-t.idle:
			s.close()
		default:
			return
		}
	}
}

// readDefinitions reads the definitions of a backup of this engine.
func (t *Target) readDefinitions(native fs.FS) error {
	t.native = t.schema.Origin.Engine == "mysql" && native != nil
	if !t.native || t.opt.DataOnly {
		return nil
	}
	for _, f := range []struct {
		name string
		dst  *[]statement
	}{{preFile, &t.pre}, {postFile, &t.post}, {sequencesFile, &t.seq}} {
		text, err := readLimited(native, f.name)
		if errors.Is(err, fs.ErrNotExist) {
			t.native = false // a backup of rows alone: its schema is portable all the same
			return nil
		}
		if err == nil {
			*f.dst, err = parseScript(text)
		}
		if err != nil {
			return fail.Wrap(fail.Damaged, err, "", "read %s", f.name)
		}
	}
	return nil
}

// maxScript limits a file of definitions.
const maxScript = 64 << 20

func readLimited(files fs.FS, name string) (text string, err error) {
	f, err := files.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var b strings.Builder
	n, err := io.Copy(&b, io.LimitReader(f, maxScript+1))
	if err == nil && n > maxScript {
		err = fail.New(fail.Unsupported, "", "%s is longer than %d bytes", name, maxScript)
	}
	return b.String(), err
}
