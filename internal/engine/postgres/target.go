package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

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
	NoOwner    bool // leave out ownership and grants

	// Observer, when set, hears of the steps before and after the rows: the stage in words and
	// how much of it is done. It may be called from several goroutines.
	Observer func(stage string, done, total int)
}

// Target is a [rows.Target] that restores into a PostgreSQL database.
//
// A full restore creates the definitions, loads rows on several connections at once, then
// builds indexes and constraints. Every statement commits by itself; [Target.Abort] empties a
// database that was empty, and drops one that Prepare created.
//
// A partial or data-only restore is one transaction on one connection: all or nothing.
type Target struct {
	cfg   *pgx.ConnConfig
	opt   TargetOptions
	where string // server and database, for messages

	schema   *rows.Schema
	foreign  *foreign // of a schema from another engine
	version  int      // the server's major version
	did      stage    // how far Prepare came; what Abort has to undo
	main     *session
	pool     *pool
	script   *definitions // definitions; nil for data only
	public   publicState
	had      string // what --clean or --create removed, in words
	full     *full  // one of both, once Prepare returned nil
	single   *single
	lockWait string // of a partial restore; a test shortens it
	known    known

	mu     sync.Mutex
	loaded map[*rows.Table]rows.Count // guarded by mu
	notes  []string                   // guarded by mu
}

// stage is what a Target has done to its database.
type stage uint8

const (
	untouched stage = iota
	filling         // it was empty, or was emptied, and holds part of a restore
	created         // it did not exist
	inTransaction
)

var _ rows.Target = (*Target)(nil)

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
	opt.Jobs = max(0, opt.Jobs)
	opt.Jobs = cmp.Or(opt.Jobs, 2)
	return &Target{
		cfg: cfg, opt: opt, where: fmt.Sprintf("database %s on %s", cfg.Database, hostOf(cfg)),
		loaded: map[*rows.Table]rows.Count{}, lockWait: lockWait,
	}, nil
}

// Notes returns what the user should know of a restore that went well otherwise: roles that
// were missing, settings that an older server does not have. It is complete after Finish.
func (t *Target) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.notes)
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

// Prepare creates the definitions that rows need. Kinds: Exists when the database holds
// something and TargetOptions do not allow to remove it; NotFound when the database or, for data only,
// a table does not exist; Mismatch when a table there lacks columns; Unsupported when a backup of PostgreSQL has no
// definitions; Damaged when they can't be read. The schema of another engine is translated, less what [Target.Omitted] names.
func (t *Target) Prepare(ctx context.Context, s *rows.Schema, native fs.FS) error {
	t.schema = s
	if s.Origin.Engine != "postgres" {
		t.foreign = translate(s)
		t.schema = t.foreign.schema
	}
	if err := t.readScript(s, native); err != nil {
		return err
	}
	if err := t.open(ctx); err != nil {
		return err
	}
	t.compareVersions()
	if t.opt.Partial || t.opt.DataOnly {
		return fail.Op(t.prepareSingle(ctx), "restore into %s", t.where)
	}
	if err := t.makeRoom(ctx); err != nil {
		return err
	}
	t.did = max(t.did, filling)
	a := applier{t: t, conn: t.main, stage: "definitions"}
	err := a.run(ctx, t.script.pre)
	if err == nil {
		t.full = t.newFull()
		err = t.full.serial(ctx, "extended statistics", t.full.plan.stats)
	}
	return fail.Op(err, "restore into %s", t.where)
}

// Load copies one part's rows into its table, counting them on the way, and compares the
// count with the server's. In a full restore a Load may stay to build indexes when no part is left
// to be begun; what goes wrong there is its error, too.
func (t *Target) Load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	if t.opt.SchemaOnly {
		return rows.Count{}, nil
	}
	if t.foreign != nil {
		if p.Table = t.foreign.local[p.Table]; p.Table == nil {
			return rows.Count{}, nil // it is left out, as Omitted said
		}
		r = scales(p.Table, r)
	}
	if t.single == nil {
		c, err := t.full.load(ctx, p, func(s *session) (rows.Count, error) { return load(ctx, s, p, r) })
		return c, fail.Op(explainIn(ctx, err), "restore into %s", t.where)
	}
	c, err := t.single.load(ctx, p, r)
	if err != nil {
		return c, fail.Op(explainIn(ctx, err), "load rows of %s, part %d", p.Table, p.Number)
	}
	t.mu.Lock()
	t.loaded[p.Table] = t.loaded[p.Table].Add(c)
	t.mu.Unlock()
	return c, nil
}

// Finish sets sequences, builds indexes and constraints, and creates everything else that
// must not be there while rows are loaded.
func (t *Target) Finish(ctx context.Context) error {
	var err error
	if t.single != nil {
		err = t.single.finish(ctx)
	} else {
		err = t.full.finish(ctx)
	}
	if err != nil {
		return fail.Op(err, "restore into %s", t.where)
	}
	t.did = untouched
	release(ctx, t.main)
	t.closeSessions(ctx)
	return nil
}

// Abort leaves an empty database that was empty, and none where there was none. When --clean
// removed something before, that is gone, and Abort's error says so.
func (t *Target) Abort(ctx context.Context) error {
	did := t.did
	t.endSessions(ctx)
	t.did = untouched
	var err error
	switch did {
	case untouched:
		return nil
	case inTransaction:
		return nil // it ended with its session
	case created:
		err = t.dropDatabase(ctx)
	case filling:
		err = t.emptyAgain(ctx)
	}
	if err != nil {
		return fail.Op(err, "%s holds part of a restore that failed; empty it", t.where)
	}
	if t.had != "" {
		return fail.New(fail.Incomplete, "", "%s before the error", t.had)
	}
	return nil
}

// closeSessions ends all connections in good order.
func (t *Target) closeSessions(ctx context.Context) {
	if t.pool != nil {
		t.pool.close(ctx)
	}
	if t.main != nil {
		_ = t.main.conn.Close(ctx) // nothing is pending; the server ends the session either way
		t.main = nil
	}
}

// compareVersions notes when the server is older than the one the backup was taken from.
func (t *Target) compareVersions() {
	from := major(t.schema.Origin.Version)
	if from > t.version {
		t.note("the backup is from PostgreSQL %d, the target is %d: definitions may use what it does not know", from, t.version)
	}
	if t.version < 13 {
		t.note("PostgreSQL %d is older than what is tested", t.version)
	}
}

// major returns the number in front of a server's version, 0 when there is none.
func major(version string) int {
	digits := strings.TrimPrefix(version, "PostgreSQL ")
	end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		digits = digits[:end]
	}
	n, _ := strconv.Atoi(digits)
	return n
}

// definitions are the scripts of a backup.
type definitions struct{ pre, post []statement }

// readScript reads the definitions, unless only rows are wanted.
func (t *Target) readScript(s *rows.Schema, native fs.FS) error {
	if t.opt.DataOnly {
		return nil
	}
	if t.foreign != nil {
		t.script = &t.foreign.script
		return nil
	}
	if native == nil {
		return fail.New(fail.Unsupported, "create the tables and restore with --data-only",
			"the backup has no definitions for PostgreSQL")
	}
	t.script = &definitions{}
	for _, f := range []struct {
		name string
		dst  *[]statement
	}{{"schema/pre-data.sql", &t.script.pre}, {"schema/post-data.sql", &t.script.post}} {
		text, err := readLimited(native, f.name)
		if errors.Is(err, fs.ErrNotExist) {
			return fail.Wrap(fail.Unsupported, err, "create the tables and restore with --data-only", "read the definitions")
		}
		if err != nil {
			return fail.Op(err, "read the definitions")
		}
		if *f.dst, err = parseScript(f.name, text); err != nil {
			return err
		}
	}
	return nil
}

func readLimited(files fs.FS, name string) (text string, err error) {
	f, err := files.Open(name)
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	var b strings.Builder
	n, err := io.Copy(&b, io.LimitReader(f, maxScript+1))
	if err == nil && n > maxScript {
		err = fail.New(fail.Unsupported, "", "%s is longer than %d bytes", name, maxScript)
	}
	return b.String(), err
}
