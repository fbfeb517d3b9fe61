package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A Scratch is a place where a backup can be restored for proof, away from every source.
type Scratch interface {
	// Destination is empty, and belongs to this drill.
	Destination() Destination

	// View opens what was restored.
	View(ctx context.Context) (rows.View, error)

	// Check runs the engine's own checks of what was restored: foreign keys, indexes. Each finding is one text.
	Check(ctx context.Context) ([]string, error)

	// Query runs one query and returns whether its single value is true, and the value as text.
	Query(ctx context.Context, sql string) (ok bool, value string, err error)

	// Drop removes everything. It is called in any case, also after an interruption.
	Drop(ctx context.Context) error
}

// DrillOptions tune a drill.
type DrillOptions struct {
	Jobs     int
	Expect   []string // queries that must return true
	Version  string   // of Holdfast, for the record
	Observer Observer
}

// DrillResult is what a drill found.
type DrillResult struct {
	Backup   Backup     `json:"backup"`
	Tables   int        `json:"tables"` // compared
	Rows     int64      `json:"rows"`
	Restore  float64    `json:"restore_seconds"`    // the measured recovery time
	Seconds  float64    `json:"seconds"`            // of the whole drill
	Findings []string   `json:"findings,omitempty"` // what differs from the backup, and what the engine's checks found
	Expected []Expected `json:"expected,omitempty"`
}

// Expected is the answer to one query of the user.
type Expected struct {
	Query string `json:"query"`
	OK    bool   `json:"ok"`
	Value string `json:"value"`
	Error string `json:"error,omitempty"` // why there is no answer
}

// Ask runs a query of the user's. One that fails is not as expected; an error means that nothing can be asked any more.
func Ask(ctx context.Context, s Scratch, query string) (Expected, error) {
	ok, value, err := s.Query(ctx, query)
	e := Expected{Query: query, OK: ok && err == nil, Value: value}
	if err != nil {
		if ctx.Err() != nil {
			return e, err
		}
		e.Error = err.Error()
	}
	return e, nil
}

// WithUnmet returns findings and, behind them, what was expected and is not so.
func WithUnmet(findings []string, expected []Expected) []string {
	all := slices.Clone(findings)
	for _, e := range expected {
		if e.Error != "" {
			all = append(all, fmt.Sprintf("%q has no answer: %s", e.Query, e.Error))
		} else if !e.OK {
			all = append(all, fmt.Sprintf("%q should be true, and is %s", e.Query, e.Value))
		}
	}
	return all
}

// Err returns an error of kind Mismatch when something was found, or was not as expected.
func (d DrillResult) Err() error {
	all := WithUnmet(d.Findings, d.Expected)
	if len(all) == 0 {
		return nil
	}
	more := ""
	if len(all) > 1 {
		more = fmt.Sprintf(" (and %d more findings)", len(all)-1)
	}
	hint := "holdfast verify tells whether the backup is damaged; drill an older one meanwhile"
	if len(d.Findings) == 0 {
		hint = "the backup is what was backed up: look at the database itself"
		if slices.ContainsFunc(d.Expected, func(e Expected) bool { return e.Error != "" }) {
			hint = "the backup is what was backed up: look at the query"
		}
	}
	return fail.New(fail.Mismatch, hint, "drill backup %s: %s%s", d.Backup.ID.Short(), all[0], more)
}

// Drill restores backup b into scratch, reads everything back, compares it with what was backed up, runs the engine's
// checks and the user's queries, and records the result. What it finds is a result; an error means that there is none. The
// scratch is dropped in any case.
func (s *Store) Drill(ctx context.Context, b Backup, scratch Scratch, opt DrillOptions) (d DrillResult, err error) {
	defer func() {
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		if derr := scratch.Drop(dctx); derr != nil {
			err = errors.Join(err, fail.Op(derr, "remove what the drill restored"))
		}
	}()
	start := s.now()
	d.Backup = b
	_, m, err := s.open(ctx, b)
	if err != nil {
		return d, err
	}
	restored, err := s.Restore(ctx, b, scratch.Destination(), RestoreOptions{Jobs: opt.Jobs, Observer: opt.Observer})
	if err != nil && (fail.KindOf(err) != fail.Mismatch && fail.KindOf(err) != fail.Damaged) {
		return d, fail.Op(err, "drill backup %s", b.ID.Short())
	}
	d.Restore = restored.Seconds
	if err != nil {
		d.Findings = append(d.Findings, err.Error())
	} else if err := s.prove(ctx, m, scratch, opt, &d); err != nil {
		return d, fail.Op(err, "drill backup %s", b.ID.Short())
	}
	end := s.now()
	d.Seconds = end.Sub(start).Round(time.Millisecond).Seconds()
	return d, s.recordDrill(ctx, d, end, opt.Version)
}

// recordDrill keeps the result. A query that is not as expected says nothing against the backup, and nothing for it.
func (s *Store) recordDrill(ctx context.Context, d DrillResult, end time.Time, version string) error {
	check := Check{Backup: d.Backup.ID, What: WorkDrill, At: end.UTC(), Seconds: d.Restore, Percent: 100, Version: version}
	for _, f := range d.Findings {
		check.Damage = append(check.Damage, Damage{Backup: d.Backup.ID, Path: WorkDrill, Reason: f})
	}
	if len(d.Findings) == 0 && d.Err() != nil {
		return nil
	}
	err := s.repo.PutRecord(ctx, checkKind, map[string]string{repo.BackupLabel: string(d.Backup.ID)}, check)
	if fail.KindOf(err) == fail.Denied { // a read-only repository can be drilled as well
		return nil
	}
	return fail.Op(err, "record the drill of backup %s", d.Backup.ID.Short())
}

// prove compares what stands in the scratch with the manifest.
func (s *Store) prove(ctx context.Context, m *Manifest, scratch Scratch, opt DrillOptions, d *DrillResult) error {
	if err := compareScratch(ctx, m, scratch, opt.Jobs, d); err != nil {
		return err
	}
	found, err := scratch.Check(ctx)
	if err != nil {
		return fail.Op(err, "check keys and indexes")
	}
	d.Findings = append(d.Findings, found...)
	for _, q := range opt.Expect {
		e, err := Ask(ctx, scratch, q)
		if err != nil {
			return err
		}
		d.Expected = append(d.Expected, e)
	}
	return nil
}

// foldPartitions counts the rows of partitions that are loaded through another table as that table's: which of them a row is in
// may change with a restore.
func foldPartitions(s *rows.Schema, counts map[string]rows.Count) {
	for _, t := range s.Tables {
		name := t.String()
		if c, ok := counts[name]; ok && t.LoadInto != "" && t.LoadInto != name {
			counts[t.LoadInto] = counts[t.LoadInto].Add(c)
			delete(counts, name)
		}
	}
}

// compareScratch reads every row back and compares counts and hashes by table. Of an image only counts are known.
func compareScratch(ctx context.Context, m *Manifest, scratch Scratch, jobs int, d *DrillResult) error {
	view, err := scratch.View(ctx)
	if err != nil {
		return fail.Op(err, "open what was restored")
	}
	defer view.Close()
	report, err := rows.Measure(ctx, view, rows.CopyOptions{Jobs: cmp.Or(jobs, 2)})
	if err != nil {
		return fail.Op(err, "read what was restored")
	}
	got, want := report.Tables(), m.TableCounts()
	if m.Image == nil {
		foldPartitions(m.Schema, got)
		foldPartitions(m.Schema, want)
	} else {
		for name, n := range m.tableRows() {
			want[name] = rows.Count{Rows: n}
		}
	}
	names := make([]string, 0, len(want))
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w := want[name]
		g, ok := got[name]
		d.Tables++
		d.Rows += g.Rows
		switch {
		case !ok && w.Rows > 0:
			d.Findings = append(d.Findings, fmt.Sprintf("table %s is missing", name))
		case g.Rows != w.Rows:
			d.Findings = append(d.Findings, fmt.Sprintf("table %s has %d rows, %d were backed up", name, g.Rows, w.Rows))
		case m.Image == nil && g.Hash != w.Hash:
			d.Findings = append(d.Findings, fmt.Sprintf("rows of table %s differ from those backed up", name))
		}
	}
	return nil
}
