package wire

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// FileDrillOptions tune a drill of a portable file.
type FileDrillOptions struct {
	ScratchOptions
	Expect []string // queries that must return true

	// Of a fixture, which holds no definitions:
	Schema  rows.View       // a database, live or stored, whose definitions it is loaded into; it is only read
	Models  ModelOptions    // that help to find out what its tables are
	Sidecar json.RawMessage // the content of the file's sidecar; nil when there is none
}

// FileDrill is what a drill of a portable file found.
type FileDrill struct {
	Tables   int               `json:"tables"` // or models, compared
	Rows     int64             `json:"rows"`
	Restore  float64           `json:"restore_seconds"`    // of the load
	Seconds  float64           `json:"seconds"`            // of the whole drill
	Findings []string          `json:"findings,omitempty"` // what is not in the database as it is in the file, and what the engine's checks found
	Expected []backup.Expected `json:"expected,omitempty"`
	Notes    []string          `json:"notes,omitempty"`
}

// Err returns an error of kind Mismatch when something was found, or was not as expected.
func (d *FileDrill) Err() error {
	all := backup.WithUnmet(d.Findings, d.Expected)
	if len(all) == 0 {
		return nil
	}
	hint := "make another dump, and keep this one until that passes"
	if len(d.Findings) == 0 {
		hint = "the file loads as it is: look at the database itself"
	}
	return fail.New(fail.Mismatch, hint, "%s", strings.Join(all, "; "))
}

// DrillFile loads a file that check read before into a scratch place, compares what is there with what is in the file, and runs
// the engine's own checks and the user's queries. open opens the file anew, without what it is wrapped in. What it finds is a result.
// Kinds: Usage, for a fixture without a Schema; NoSpace; those of [Load] for a file that does not load.
func DrillFile(ctx context.Context, open func() (io.ReadCloser, error), check *FileCheck, opt FileDrillOptions) (d FileDrill, err error) {
	start := time.Now()
	scratch, err := fileScratch(ctx, check, opt)
	if err != nil {
		return d, err
	}
	defer func() {
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		err = errors.Join(err, fail.Op(scratch.Drop(dctx), "remove what the drill loaded"))
	}()
	f := &fileDrill{open: open, check: check, opt: opt, scratch: scratch, found: &d}
	if check.Format == string(SQL) {
		err = f.sql(ctx)
	} else {
		err = f.fixture(ctx)
	}
	if err != nil {
		return d, err
	}
	found, err := scratch.Check(ctx)
	if err != nil {
		return d, fail.Op(err, "check keys and indexes")
	}
	d.Findings = append(d.Findings, found...)
	if d.Expected, err = ask(ctx, scratch, opt.Expect); err != nil {
		return d, err
	}
	d.Seconds = time.Since(start).Round(time.Millisecond).Seconds()
	return d, nil
}

// fileScratch makes a place for what a file holds.
func fileScratch(ctx context.Context, check *FileCheck, opt FileDrillOptions) (placed, error) {
	if opt.auto() {
		if err := roomFor(check.Bytes*2+128<<20, os.TempDir(), "load the file"); err != nil {
			return nil, err
		}
	}
	if check.Format != string(SQL) {
		if opt.Schema == nil {
			return nil, fail.New(fail.Usage, "--schema-from DATABASE, whose definitions are copied, or --schema-from BACKUP", "a fixture holds no tables to load it into")
		}
		if opt.Schema.Native() == nil {
			return nil, fail.New(fail.Incomplete, "name a database, or a backup with definitions", "make the fixture's tables: what they should be copied from holds no definitions")
		}
		origin := opt.Schema.Schema().Origin
		return newScratch(ctx, origin, opt.Schema.Native(), opt.ScratchOptions)
	}
	origin := rows.Origin{Engine: check.Engine, Version: check.Version}
	switch check.Engine {
	case "":
		return nil, fail.New(fail.Unsupported, "holdfast load runs it on a database of yours", "nothing in the file tells which engine its SQL is for")
	case MySQL:
		origin.Version = cmp.Or(origin.Version, "MariaDB") // any
	}
	return newScratch(ctx, origin, nil, opt.ScratchOptions)
}

// ask runs the user's queries. One that fails is not as expected.
func ask(ctx context.Context, s backup.Scratch, queries []string) (answers []backup.Expected, err error) {
	for _, q := range queries {
		e, err := backup.Ask(ctx, s, q)
		if err != nil {
			return nil, err
		}
		answers = append(answers, e)
	}
	return answers, nil
}

// A fileDrill is one drill at work.
type fileDrill struct {
	open    func() (io.ReadCloser, error)
	check   *FileCheck
	opt     FileDrillOptions
	scratch placed
	found   *FileDrill
}

func (f *fileDrill) finding(format string, args ...any) {
	f.found.Findings = append(f.found.Findings, fmt.Sprintf(format, args...))
}

// load puts the file into the scratch place.
func (f *fileDrill) load(ctx context.Context, opt LoadOptions) (done *Loaded, err error) {
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if s, ok := f.scratch.(*scratchFile); ok {
		s.loaded = true
	}
	return Load(ctx, r, f.scratch.url(), opt)
}

// counts reads what is in the scratch place to its end.
func (f *fileDrill) counts(ctx context.Context) (*rows.Schema, map[string]int64, error) {
	view, err := f.scratch.View(ctx)
	if err != nil {
		return nil, nil, fail.Op(err, "open what was loaded")
	}
	defer view.Close()
	report, err := rows.Measure(ctx, view, rows.CopyOptions{Jobs: cmp.Or(f.opt.Jobs, 2)})
	if err != nil {
		return nil, nil, fail.Op(err, "read what was loaded")
	}
	got := map[string]int64{}
	for name, c := range report.Tables() {
		got[wholeTable(view.Schema(), name)] += c.Rows
	}
	return view.Schema(), got, nil
}

// sql drills SQL, whose tables are counted.
func (f *fileDrill) sql(ctx context.Context) error {
	start := time.Now()
	done, err := f.load(ctx, LoadOptions{NoOwner: true}) // owners' accounts are not in a scratch place
	if err != nil {
		return err
	}
	f.found.Restore = time.Since(start).Round(time.Millisecond).Seconds()
	if f.opt.auto() || f.check.Engine != MySQL { // of MySQL it says that what stays after an error stays; nothing does
		f.found.Notes = slices.DeleteFunc(done.SQL.Notes, func(string) bool { return f.check.Engine == MySQL })
	}
	schema, got, err := f.counts(ctx)
	if err != nil {
		return err
	}
	want := map[string]int64{}
	for _, t := range f.check.Tables {
		want[wholeTable(schema, t.Name)] += t.Rows
	}
	for _, name := range sortedKeys(want) {
		f.found.Tables++
		f.found.Rows += got[name]
		if got[name] != want[name] {
			f.finding("table %s has %d rows, %d are in the file", name, got[name], want[name])
		}
	}
	return nil
}

// wholeTable returns the table that a partition is of: files name either for its rows.
func wholeTable(s *rows.Schema, name string) string {
	for _, t := range s.Tables {
		if t.String() != name || t.Parent == "" {
			continue
		}
		if slices.ContainsFunc(s.Tables, func(up *rows.Table) bool { return up.String() == t.Parent && up.Kind == rows.Partitioned }) {
			return wholeTable(s, t.Parent)
		}
	}
	return name
}
