package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// LoadUpdate is news of a running Load of a fixture.
type LoadUpdate = fixture.LoadUpdate

// LoadOptions tune a Load.
type LoadOptions struct {
	Fixture       fixture.LoadOptions
	Models        ModelOptions
	Sidecar       json.RawMessage // the content of the file's sidecar; nil when there is none
	NoTransaction bool            // SQL only
	NoOwner       bool            // SQL of MySQL and MariaDB only: DEFINER clauses are left out
}

// Loaded is what a load did: one of the two is set.
type Loaded struct {
	Fixture *fixture.Loaded
	SQL     *LoadedSQL
}

// LoadedSQL is what running an SQL file did.
type LoadedSQL = rows.ScriptResult

// isFixture looks at the beginning of a text without taking it away.
func isFixture(r *bufio.Reader) bool {
	for n := 64; ; n *= 2 {
		head, err := r.Peek(min(n, r.Size()))
		text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
		if len(text) > 0 {
			return text[0] == '[' || text[0] == '{'
		}
		if err != nil || n >= r.Size() {
			return false
		}
	}
}

// notText recognizes what is neither a fixture nor SQL.
func notText(r *bufio.Reader) error {
	head, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil // reading says so again
	}
	switch {
	case bytes.HasPrefix(head, []byte("PGDMP")):
		return fail.New(fail.Unsupported, "make it SQL first: pg_restore -f - FILE | holdfast load - --to DATABASE", "read the file: it is an archive of pg_dump")
	case bytes.HasPrefix(head, []byte("SQLite format 3\x00")):
		return fail.New(fail.Unsupported, "dump it first: holdfast dump FILE", "read the file: it is an SQLite database")
	case bytes.IndexByte(head, 0) >= 0:
		return fail.New(fail.Unsupported, "", "read the file: it is neither a fixture nor SQL, but binary data")
	}
	return nil
}

// Load puts a portable file into a database: a fixture (json, jsonl) or SQL, as its content says.
func Load(ctx context.Context, r io.Reader, db string, opt LoadOptions) (*Loaded, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	engine, rest, err := split(db)
	if err != nil {
		return nil, err
	}
	if !isFixture(in) {
		if _, err := in.Peek(1); errors.Is(err, io.EOF) {
			return nil, fail.New(fail.Damaged, "an empty file holds no database", "read the file: it is empty")
		}
		if err := notText(in); err != nil {
			return nil, err
		}
		head, _ := in.Peek(4 << 10)
		if e := sqltext.Engine(string(head)); e != "" && e != engine {
			return nil, fail.New(fail.Unsupported, "dump --format json: fixtures load into any engine", "read the file: it is SQL for %s, and the target is %s", e, engine)
		}
		f := opt.Fixture
		if len(f.Only) > 0 || len(f.Exclude) > 0 || f.Flush || f.WithReferences {
			return nil, fail.New(fail.Unsupported, "leave them out; the SQL itself says what it replaces", "--only, --exclude, --with-references and --flush with an SQL file")
		}
		done, err := loadSQL(ctx, engine, rest, sqltext.Whole(in), opt)
		return &Loaded{SQL: done}, err
	}
	if opt.NoTransaction {
		return nil, fail.New(fail.Usage, "leave it out", "--no-transaction with a fixture")
	}
	done, err := loadFixture(ctx, engine, rest, in, opt)
	return &Loaded{Fixture: done}, err
}

func loadSQL(ctx context.Context, engine, rest string, r io.Reader, opt LoadOptions) (*LoadedSQL, error) {
	switch engine {
	case Postgres:
		return postgres.ExecScript(ctx, rest, r, postgres.ScriptOptions{NoTransaction: opt.NoTransaction, DryRun: opt.Fixture.DryRun})
	case MySQL:
		return mysql.ExecScript(ctx, rest, r, mysql.ScriptOptions{NoTransaction: opt.NoTransaction, DryRun: opt.Fixture.DryRun, NoOwner: opt.NoOwner})
	default:
		return sqlite.ExecScript(ctx, rest, r, sqlite.ScriptOptions{DryRun: opt.Fixture.DryRun})
	}
}

func loadFixture(ctx context.Context, engine, rest string, r io.Reader, opt LoadOptions) (*fixture.Loaded, error) {
	var target fixture.Database
	var err error
	switch engine {
	case Postgres:
		target.Merger = postgres.NewMerger(rest, postgres.MergerOptions{})
		target.View, err = postgres.Open(ctx, rest, postgres.Options{DataOnly: true, LateRights: true})
	case MySQL:
		if target.Merger, err = mysql.NewMerger(rest, mysql.MergerOptions{}); err != nil {
			return nil, err
		}
		target.View, err = mysql.Open(ctx, rest, mysql.Options{DataOnly: true})
	default:
		if target.Merger, err = sqlite.NewMerger(rest, sqlite.MergerOptions{}); err != nil {
			return nil, err
		}
		target.View, err = sqlite.OpenView(ctx, rest)
	}
	if err != nil {
		return nil, err
	}
	defer target.View.Close()
	if target.Graph, err = models.Build(ctx, target.View, opt.Models); err != nil {
		return nil, err
	}
	if opt.Sidecar != nil {
		var s fixture.Summary
		if err := json.Unmarshal(opt.Sidecar, &s); err == nil && s.Format == fixture.SummaryFormat {
			opt.Fixture.Summary = &s
		}
	}
	return fixture.Load(ctx, r, target, opt.Fixture)
}

// FileCheck is what a look through a portable file found.
type FileCheck struct {
	Format string           `json:"format"` // json, jsonl or sql
	State  string           `json:"state"`  // complete, or what is wrong in a word
	Rows   int64            `json:"rows"`   // or objects
	Tables []rows.TableRows `json:"tables,omitempty"`
	Notes  []string         `json:"notes,omitempty"`
	Err    error            `json:"-"` // what is wrong

	Engine, Version string `json:"-"` // of the database that SQL is of, as far as it says
	Bytes           int64  `json:"-"` // of the text
}

// CheckFile reads a portable file to its end without a database.
func CheckFile(ctx context.Context, r io.Reader) (*FileCheck, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	if isFixture(in) {
		c, err := fixture.Check(ctx, in)
		if err != nil {
			return nil, err
		}
		f := &FileCheck{Format: c.Format, State: c.State, Rows: c.Objects, Err: c.Err, Bytes: c.Bytes}
		for _, label := range sortedKeys(c.Models) {
			f.Tables = append(f.Tables, rows.TableRows{Name: label, Rows: c.Models[label]})
		}
		if c.State == fixture.EmptyArray {
			f.State = "no rows"
		} else if c.State == fixture.Whole {
			f.State = "complete"
		}
		return f, nil
	}
	if err := notText(in); err != nil {
		return nil, err
	}
	c, err := sqltext.Check(ctx, in)
	if err != nil {
		return nil, err
	}
	f := &FileCheck{Format: string(SQL), State: string(c.State), Rows: c.Rows, Tables: c.Tables, Notes: c.Notes, Engine: c.Engine, Version: c.Version, Bytes: c.Bytes}
	switch c.State {
	case sqltext.Empty:
		f.Err = fail.New(fail.Damaged, "", "the file is empty")
	case sqltext.Truncated, sqltext.Broken:
		why := c.Err
		if why == "" {
			why = "its end is missing"
		}
		f.Err = fail.New(fail.Damaged, "", "%s: %s", c.State, why)
	}
	return f, nil
}
