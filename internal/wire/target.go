package wire

import (
	"context"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/mysql"
	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// TargetOptions tune how a database is written.
type TargetOptions struct {
	Jobs       int  // connections that load rows and build indexes; 0 is 2
	Clean      bool // empty the target first
	Create     bool // make the database
	Partial    bool // chosen tables, into a database that may hold others
	SchemaOnly bool
	DataOnly   bool
	NoOwner    bool
	Stage      func(stage string, done, total int) // progress after the rows; may be nil

	typed bool // rows come with what SQLite stores them as

	// For a target of another engine.
	Source rows.View    // what comes, to find out what its tables are to a Django project; may be nil
	Models ModelOptions // that help with it
	Omit   func(string) // hears, by name, of what can't be carried over, before the rows are copied; may be nil
}

// Destination prepares to restore a backup of the given engine to a database. It connects to nothing yet. A database of another
// engine takes rows: of an image they are in opt.Source, which is then also read for chosen tables of an image.
func Destination(db, engine string, opt TargetOptions) (backup.Destination, error) {
	to, rest, err := split(db)
	if err != nil {
		return backup.Destination{}, err
	}
	if to == SQLite && engine == SQLite && !opt.Partial && !opt.SchemaOnly && !opt.DataOnly {
		if err := fileOptions(opt); err != nil {
			return backup.Destination{}, err
		}
		t, err := sqlite.NewTarget(rest, sqlite.TargetOptions{Clean: opt.Clean})
		if err != nil {
			return backup.Destination{}, err
		}
		return backup.Destination{Image: t}, nil
	}
	if to == engine && engine != SQLite {
		t, err := newTarget(to, rest, opt)
		return backup.Destination{Rows: t}, err
	}
	c, err := newCrossing(db, engine, opt)
	if err != nil {
		return backup.Destination{}, err
	}
	d := backup.Destination{Rows: c}
	if engine == SQLite && opt.Source != nil {
		d.View = typed(opt.Source)
	}
	return d, nil
}

// Across reports whether a database is of another engine than the given one.
func Across(db, engine string) (bool, error) {
	to, _, err := split(db)
	return to != engine, err
}

// newTarget returns the engine's own target of rows.
func newTarget(engine, rest string, opt TargetOptions) (rows.Target, error) {
	switch engine {
	case Postgres:
		return postgres.NewTarget(rest, postgres.TargetOptions{
			Jobs: opt.Jobs, Clean: opt.Clean, Create: opt.Create, Partial: opt.Partial,
			SchemaOnly: opt.SchemaOnly, DataOnly: opt.DataOnly, NoOwner: opt.NoOwner, Observer: opt.Stage,
		})
	case MySQL:
		return mysql.NewTarget(rest, mysql.TargetOptions{
			Jobs: opt.Jobs, Clean: opt.Clean, Create: opt.Create, Partial: opt.Partial,
			SchemaOnly: opt.SchemaOnly, DataOnly: opt.DataOnly, NoOwner: opt.NoOwner, Observer: opt.Stage,
		})
	}
	if err := fileOptions(opt); err != nil {
		return nil, err
	}
	if opt.DataOnly {
		return nil, fail.New(fail.Unsupported, "leave it out: a new file is made", "--data-only into an SQLite file")
	}
	return sqlite.NewRowsTarget(rest, sqlite.RowsTargetOptions{Clean: opt.Clean, Typed: opt.typed})
}

func fileOptions(opt TargetOptions) error {
	if opt.NoOwner || opt.Create {
		return fail.New(fail.Usage, "a file is always created", "--create and --no-owner are for servers")
	}
	return nil
}

// newCrossing prepares a copy of rows of an engine into a database.
func newCrossing(db, from string, opt TargetOptions) (*crossing, error) {
	to, rest, err := split(db)
	if err != nil {
		return nil, err
	}
	opt.typed = from == SQLite && to == SQLite
	c := &crossing{from: from, to: to, opt: opt, open: func(ctx context.Context) (rows.View, error) { return View(ctx, db) }}
	if c.target, err = newTarget(to, rest, opt); err != nil {
		return nil, err
	}
	c.omits = sqlite.Omitted
	if t, ok := c.target.(interface {
		Omitted(*rows.Schema) []string
	}); ok {
		c.omits = t.Omitted
	}
	return c, nil
}

// openWhole opens a live database with its definitions, as far as they are needed. Between engines they only tell what is left behind: when
// they can't be had, a note says so.
func openWhole(ctx context.Context, db, to string, opt SourceOptions) (v rows.View, notes []string, err error) {
	engine, rest, err := split(db)
	if err != nil {
		return nil, nil, err
	}
	target, _, err := split(to)
	if err != nil {
		return nil, nil, err
	}
	if engine == SQLite {
		v, err = sqlite.OpenView(ctx, rest)
		return v, nil, err
	}
	open := func(dataOnly bool) (rows.View, error) {
		if engine == MySQL {
			return mysql.Open(ctx, rest, mysql.Options{Jobs: opt.Jobs, LockWait: opt.LockWait, DataOnly: dataOnly})
		}
		return postgres.Open(ctx, rest, postgres.Options{Jobs: opt.Jobs, LockWait: opt.LockWait, DataOnly: dataOnly})
	}
	if v, err = open(false); err != nil && engine != target && fail.KindOf(err) == fail.Unsupported {
		why := err
		if v, err = open(true); err == nil {
			notes = append(notes, "views, functions and triggers were not looked for: "+why.Error())
		}
	}
	return v, notes, err
}
