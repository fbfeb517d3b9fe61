package postgres

import (
	"context"
	"slices"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// full is a restore of a whole database: definitions, rows, then indexes and constraints. As soon as
// a table has all its rows, its indexes may be built while other tables are still being loaded. The connections
// that load do that too, once no part is left to begin; otherwise the last parts would leave cores idle.
type full struct {
	t    *Target
	plan plan
	jobs *schedule

	// Guarded by t.mu.
	left  map[*rows.Table]int // parts that have not ended
	total int                 // parts that were announced
	begun int
	ended int
	given map[qualified]bool // tables whose jobs are in the schedule
	all   bool               // everything is in the schedule
}

// Expect learns what will be loaded; see [rows.Expecter].
func (t *Target) Expect(parts []rows.Part) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full == nil {
		return
	}
	for _, p := range parts {
		if t.foreign != nil {
			if p.Table = t.foreign.local[p.Table]; p.Table == nil {
				continue // it is left out
			}
		}
		t.full.left[p.Table]++
		t.full.total++
	}
}

// newFull plans what comes after the rows.
func (t *Target) newFull() *full {
	f := &full{t: t, plan: t.planPost(t.script.post), jobs: newSchedule(), left: map[*rows.Table]int{}, given: map[qualified]bool{}}
	t.pool.prepare(func(ctx context.Context, s *session) error {
		a := applier{t: t, conn: s}
		return a.quietly(ctx, f.plan.settings)
	})
	return f
}

// serial runs statements one after the other on the main connection.
func (f *full) serial(ctx context.Context, stage string, list []statement) error {
	if len(list) == 0 {
		return nil
	}
	a := applier{t: f.t, conn: f.t.main, stage: stage}
	return a.run(ctx, append(slices.Clone(f.plan.settings), list...))
}

// load copies one part, and then helps with what can be done already.
func (f *full) load(ctx context.Context, p rows.Part, copyRows func(*session) (rows.Count, error)) (rows.Count, error) {
	s, err := f.t.pool.get(ctx)
	if err != nil {
		return rows.Count{}, err
	}
	defer f.t.pool.put(s)
	f.t.mu.Lock()
	f.begun++
	f.t.mu.Unlock()
	c, err := copyRows(s)
	if err != nil {
		return c, fail.Op(explainIn(ctx, err), "load rows of %s, part %d", p.Table, p.Number)
	}
	if !f.loaded(p, c) {
		return c, nil
	}
	return c, f.t.work(ctx, s, "indexes", f.jobs)
}

// loaded takes note of a part that was loaded, and reports whether the connection is needed for no
// other part.
func (f *full) loaded(p rows.Part, c rows.Count) bool {
	f.t.mu.Lock()
	f.t.loaded[p.Table] = f.t.loaded[p.Table].Add(c)
	f.ended++
	f.left[p.Table]--
	whole := f.total > 0 && f.left[p.Table] == 0
	every := f.total > 0 && f.ended == f.total
	free := f.total > 0 && f.begun >= f.total
	f.t.mu.Unlock()
	if whole {
		f.give(qualified{p.Table.Schema, p.Table.Name})
	}
	if every {
		f.giveAll()
	}
	return free
}

// give puts the jobs of a table into the schedule, now that its rows are counted.
func (f *full) give(table qualified) {
	f.jobs.add(f.take(func(q qualified) bool { return q == table })...)
}

// take returns the jobs of tables that were not given out before.
func (f *full) take(wanted func(qualified) bool) []job {
	analyze := f.t.analyzeJobs(false)
	f.t.mu.Lock()
	var jobs []job
	for _, j := range slices.Concat(f.plan.builds, analyze) {
		if !f.given[j.table] && wanted(j.table) {
			jobs = append(jobs, j)
		}
	}
	for _, j := range jobs {
		f.given[j.table] = true
	}
	f.t.mu.Unlock()
	for i := range jobs {
		if jobs[i].weigh != nil {
			jobs[i].weight = jobs[i].weigh()
		}
	}
	return jobs
}

// giveAll puts everything else into the schedule that may run at the same time.
func (f *full) giveAll() {
	f.t.mu.Lock()
	again := f.all
	f.all = true
	f.t.mu.Unlock()
	if again {
		return
	}
	f.jobs.add(f.take(func(qualified) bool { return true })...)
	if len(f.plan.attach) == 0 {
		// No key refers to a partitioned table, whose own key is complete once indexes are attached.
		f.jobs.add(f.linking()...)
	}
	f.jobs.finish()
}

// linking returns the jobs of foreign keys.
func (f *full) linking() []job {
	jobs := slices.Clone(f.plan.foreign)
	for i := range jobs {
		jobs[i].weight = jobs[i].weigh()
	}
	return jobs
}

// finish does all that comes after the rows.
func (f *full) finish(ctx context.Context) error {
	t := f.t
	if !t.opt.SchemaOnly {
		if err := t.setSequences(ctx, t.main, t.schema.Sequences); err != nil {
			return err
		}
	}
	f.giveAll()
	if err := t.runJobs(ctx, "indexes", f.jobs); err != nil {
		return err
	}
	if len(f.plan.attach) > 0 {
		if err := f.serial(ctx, "index attachments", f.plan.attach); err != nil {
			return err
		}
		if err := t.runJobs(ctx, "foreign keys", newSchedule(f.linking()...)); err != nil {
			return err
		}
	}
	if err := f.serial(ctx, "triggers and rules", f.plan.rest); err != nil {
		return err
	}
	if err := t.runJobs(ctx, "statistics of materialized views", newSchedule(t.analyzeJobs(true)...)); err != nil {
		return err
	}
	if err := f.serial(ctx, "event triggers", f.plan.last); err != nil {
		return err
	}
	if t.did == created {
		if err := t.dress(ctx); err != nil {
			return err
		}
	}
	return t.flushDisk(ctx)
}

// flushDisk makes what was committed without waiting durable: a commit that waits for its own
// record waits for all before it.
func (t *Target) flushDisk(ctx context.Context) error {
	err := t.main.exec(ctx, `SET synchronous_commit = on; BEGIN; SELECT pg_catalog.pg_current_xact_id(); COMMIT`)
	return fail.Op(explainIn(ctx, err), "write to disk")
}
