package wire

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/fixture"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// SchemaOf opens what a fixture's tables are copied from: a live database, with its definitions.
func SchemaOf(ctx context.Context, db string, opt SourceOptions) (rows.View, error) {
	v, _, err := openWhole(ctx, db, db, opt)
	return v, err
}

// bare is a database as a Django project's migrations leave it: without rows but those that tell which table is which model.
// Other databases have none of them.
type bare struct{ rows.View }

func (v bare) Parts(t *rows.Table) []rows.Part {
	switch t.Name {
	case "django_content_type", "auth_permission", "django_migrations":
		return v.View.Parts(t)
	}
	return nil
}

// define makes the tables for a fixture, and returns how many rows each of them has.
func (f *fileDrill) define(ctx context.Context) (map[string]int64, error) {
	engine, rest, err := split(f.scratch.url())
	if err != nil {
		return nil, err
	}
	roles := engine == Postgres && f.opt.auto() // on a server of our own they are there
	target, err := newTarget(engine, rest, TargetOptions{Jobs: f.opt.Jobs, NoOwner: engine != SQLite && !roles})
	if err != nil {
		return nil, err
	}
	report, err := rows.Copy(ctx, bare{f.opt.Schema}, target, rows.CopyOptions{Jobs: cmp.Or(f.opt.Jobs, 2)})
	if err != nil {
		return nil, fail.Op(err, "make the fixture's tables")
	}
	have := map[string]int64{}
	for name, c := range report.Tables() {
		have[name] = c.Rows
	}
	return have, nil
}

// fixture drills a fixture: every object must be a row. A second load, which changes nothing, compares the values.
func (f *fileDrill) fixture(ctx context.Context) error {
	have, err := f.define(ctx)
	if err != nil {
		return err
	}
	opt := LoadOptions{Models: f.opt.Models, Sidecar: f.opt.Sidecar}
	opt.Fixture.NaturalKeys = f.opt.Models.NaturalKeys
	start := time.Now()
	done, err := f.load(ctx, opt)
	if err != nil {
		return err
	}
	f.found.Restore = time.Since(start).Round(time.Millisecond).Seconds()
	f.found.Notes = done.Fixture.Warnings
	if err := f.countModels(ctx, done.Fixture, have); err != nil {
		return err
	}
	return f.compare(ctx, done.Fixture, opt)
}

// compare loads the file once more, which must change nothing. What has no key would be put in again, and is left out.
func (f *fileDrill) compare(ctx context.Context, done *fixture.Loaded, opt LoadOptions) error {
	opt.Fixture.DryRun = true
	for _, m := range done.Models {
		if m.Keyless {
			opt.Fixture.Exclude = append(opt.Fixture.Exclude, m.Model)
		}
	}
	if n := len(opt.Fixture.Exclude); n > 0 {
		f.found.Notes = append(f.found.Notes, "without keys, and so counted but not compared: "+strings.Join(opt.Fixture.Exclude, ", "))
		if n == len(done.Models) {
			return nil
		}
	}
	again, err := f.load(ctx, opt)
	if err != nil {
		return fail.Op(err, "compare values")
	}
	for _, m := range again.Fixture.Models {
		if m.Changed > 0 {
			f.finding("%d rows of %s are not as they are in the file", m.Changed, m.Model)
		}
		if m.Inserted > 0 {
			f.finding("%d rows of %s are not there by the keys that they have in the file", m.Inserted, m.Model)
		}
		for _, p := range m.M2M {
			if n := p.Inserted + p.Deleted; n > 0 {
				f.finding("%d pairs of %s.%s are not as they are in the file", n, m.Model, p.Field)
			}
		}
	}
	return nil
}

// countModels compares what a load did with what is in the file, and with what is in the tables. have is what was in them before.
func (f *fileDrill) countModels(ctx context.Context, done *fixture.Loaded, have map[string]int64) error {
	schema, got, err := f.counts(ctx)
	if err != nil {
		return err
	}
	objects, taken := map[string]int64{}, map[string]int64{}
	for _, t := range f.check.Tables {
		objects[t.Name] = t.Rows
	}
	want := map[string]int64{}
	for name, n := range have {
		want[wholeTable(schema, name)] += n
	}
	for _, m := range done.Models {
		taken[m.Model] += m.Inserted + m.Changed + m.Same
		want[m.Table] += m.Inserted - m.Deleted
		for _, p := range m.M2M {
			want[p.Table] += p.Inserted - p.Deleted
		}
	}
	var others, othersTaken int64 // which the database knows by another name than the file
	for _, label := range sortedKeys(objects) {
		f.found.Tables++
		n, same := taken[label]
		if !same {
			others += objects[label]
			continue
		}
		f.found.Rows += n
		delete(taken, label)
		if n != objects[label] {
			f.finding("%d objects of %s are in the file, %d became rows", objects[label], label, n)
		}
	}
	for _, n := range taken {
		othersTaken += n
	}
	if f.found.Rows += othersTaken; othersTaken != others {
		f.finding("%d objects of other models are in the file, %d became rows", others, othersTaken)
	}
	for _, table := range sortedKeys(want) {
		if got[table] != want[table] {
			f.finding("table %s has %d rows, and should have %d", table, got[table], want[table])
		}
	}
	return nil
}
