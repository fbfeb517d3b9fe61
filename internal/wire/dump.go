package wire

import (
	"context"
	"encoding/json"
	"io"

	"github.com/holdfast-db/holdfast/internal/engine/mysql"
	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/fixture"
	"github.com/holdfast-db/holdfast/internal/format/fixture/models"
	"github.com/holdfast-db/holdfast/internal/format/sqltext"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A Format is a kind of portable file.
type Format string

// The formats of portable files.
const (
	JSON  Format = "json"  // a Django fixture
	JSONL Format = "jsonl" // the same, one object a line
	SQL   Format = "sql"   // for the engine's own client
)

// Formats lists them.
func Formats() []Format { return []Format{JSON, JSONL, SQL} }

// What a dump and a load can be told; see the packages.
type (
	FixtureOptions = fixture.WriteOptions
	SQLOptions     = sqltext.WriteOptions
	ModelOptions   = models.Options
	Decision       = models.Decision
)

// ParseProfile returns the profile of a fixture by its name.
func ParseProfile(name string) (fixture.Profile, error) { return fixture.ParseProfile(name) }

// MapScript is the Python that prints a project's map when it is fed to «manage.py shell».
func MapScript() string { return models.MapScript() }

// DumpOptions say how a View becomes a file.
type DumpOptions struct {
	Format  Format
	Fixture FixtureOptions
	SQL     SQLOptions
	Models  ModelOptions
}

// Dumped is what was written.
type Dumped struct {
	Tables  int // or models with rows
	Rows    int64
	Content json.RawMessage // what a sidecar says of the file
	Notes   []string
}

// sqlPartPages is how many pages of a table are read as one part for an SQL file, whose rows are written in order: a part
// fits into what a reader may be ahead (8 MiB), so that no connection waits for another's turn.
const sqlPartPages = 768

// OpenDump opens a live database for a dump in a format.
func OpenDump(ctx context.Context, db string, format Format, opt SourceOptions) (rows.View, error) {
	engine, rest, err := split(db)
	if err != nil {
		return nil, err
	}
	if engine == Postgres {
		o := postgres.Options{Jobs: opt.Jobs, DataOnly: format != SQL, LateRights: format != SQL, LockWait: opt.LockWait}
		if format == SQL {
			o.PartPages = sqlPartPages
		}
		return postgres.Open(ctx, rest, o)
	}
	if engine == MySQL {
		return mysql.Open(ctx, rest, mysql.Options{Jobs: opt.Jobs, DataOnly: format != SQL, LockWait: opt.LockWait})
	}
	return sqlite.OpenView(ctx, rest)
}

// Dump writes a live or stored database as one file.
func Dump(ctx context.Context, v rows.View, w io.Writer, opt DumpOptions) (*Dumped, error) {
	if opt.Format == SQL {
		s, err := sqltext.Write(ctx, v, w, opt.SQL)
		if err != nil {
			return nil, err
		}
		content, err := json.Marshal(s)
		return &Dumped{Tables: len(s.Tables), Rows: s.Rows, Content: content, Notes: s.Notes}, fail.Wrap(fail.Internal, err, "", "describe the dump")
	}
	g, err := models.Build(ctx, v, opt.Models)
	if err != nil {
		return nil, err
	}
	opt.Fixture.Lines = opt.Format == JSONL
	s, err := fixture.Write(ctx, v, g, w, opt.Fixture)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(s)
	filled := 0
	for _, m := range s.Models {
		if m.Rows > 0 {
			filled++
		}
	}
	return &Dumped{Tables: filled, Rows: s.Total, Content: content, Notes: s.Notes}, fail.Wrap(fail.Internal, err, "", "describe the dump")
}

// Models says which table of a database is which model, and how that was decided.
func Models(ctx context.Context, v rows.View, opt ModelOptions) ([]Decision, []string, error) {
	g, err := models.Build(ctx, v, opt)
	if err != nil {
		return nil, nil, err
	}
	return g.Explain(), g.Notes, nil
}
