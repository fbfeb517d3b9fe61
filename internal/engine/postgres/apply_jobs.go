package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// lock is a table that a job needs: alone, or together with other jobs that share it.
type lock struct {
	table     qualified
	exclusive bool
}

// job is work that may be done at the same time as other jobs whose locks allow it.
type job struct {
	name     string
	phase    phase
	table    qualified    // whose rows it needs; none for a foreign key
	weight   int64        // roughly how long it takes, in rows of a simple index
	weigh    func() int64 // finds the weight once the rows were counted
	locks    []lock
	parallel bool // the server may help itself to another core
	run      func(ctx context.Context, s *session) error
}

// phase orders the jobs that have a table in common: all of an earlier phase end before one of
// a later phase begins. Jobs of other tables don't wait, so that no core idles between phases.
type phase uint8

const (
	building phase = iota
	analyzing
	linking // foreign keys, whose checks are queries and like statistics
	phases
)

func (j *job) exclusive() bool {
	return slices.ContainsFunc(j.locks, func(l lock) bool { return l.exclusive })
}

// schedule hands out jobs such that no two wait for each other's locks in the server: a waiting
// connection would be a core not used. Jobs that need a table for themselves go first, since later they
// would have to wait until nobody else uses it; then the heaviest, since one begun last would outlast all.
type schedule struct {
	mu       sync.Mutex
	changed  *sync.Cond                // a job was added or ended, or all is over
	jobs     []job                     // not begun; guarded by mu, as all below
	held     map[qualified]int         // by how many jobs, or exclusiveHold
	open     map[qualified][phases]int // jobs not ended
	running  int64                     // weight of jobs begun and not ended
	complete bool                      // no jobs will be added
	done     int
	total    int
	err      error
}

// exclusiveHold marks a table in held that one job has for itself.
const exclusiveHold = -1

func newSchedule(jobs ...job) *schedule {
	s := &schedule{held: map[qualified]int{}, open: map[qualified][phases]int{}}
	s.changed = sync.NewCond(&s.mu)
	s.add(jobs...)
	return s
}

// add takes more jobs in.
func (s *schedule) add(jobs ...job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs = append(s.jobs, jobs...)
	slices.SortStableFunc(s.jobs, func(a, b job) int {
		return cmp.Or(cmp.Compare(a.phase, b.phase), cmp.Compare(btoi(!a.exclusive()), btoi(!b.exclusive())), cmp.Compare(b.weight, a.weight))
	})
	for _, j := range jobs {
		s.countLocked(j, 1)
	}
	s.total += len(jobs)
	s.changed.Broadcast()
}

// finish says that no jobs will be added, so that take need not wait for any.
func (s *schedule) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete = true
	s.changed.Broadcast()
}

// countLocked adds n to the open jobs of j's tables. Requires s.mu to be held.
func (s *schedule) countLocked(j job, n int) {
	for _, l := range j.locks {
		open := s.open[l.table]
		open[j.phase] += n
		s.open[l.table] = open
	}
}

// take returns the next job that can be begun, waiting for one if need be; ok is false when none is left
// and none will be added, or another one failed. alone says that the job outweighs all that can be done beside it.
func (s *schedule) take() (j job, alone, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && (len(s.jobs) > 0 || !s.complete) {
		i := slices.IndexFunc(s.jobs, s.freeLocked)
		if i < 0 {
			s.changed.Wait()
			continue
		}
		j = s.jobs[i]
		s.jobs = slices.Delete(s.jobs, i, i+1)
		for _, l := range j.locks {
			if l.exclusive {
				s.held[l.table] = exclusiveHold
			} else {
				s.held[l.table]++
			}
		}
		beside := s.running
		for _, other := range s.jobs {
			if s.freeLocked(other) {
				beside += other.weight
			}
		}
		s.running += j.weight
		return j, j.weight > beside, true
	}
	return job{}, false, false
}

// freeLocked reports whether a job can begin. Requires s.mu to be held.
func (s *schedule) freeLocked(j job) bool {
	for _, l := range j.locks {
		if n := s.held[l.table]; n == exclusiveHold || l.exclusive && n > 0 {
			return false
		}
		for p := range j.phase {
			if s.open[l.table][p] > 0 {
				return false
			}
		}
	}
	return true
}

// end gives a job's tables back, and returns how many jobs ended of how many there are.
func (s *schedule) end(j job, err error) (done, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range j.locks {
		if l.exclusive {
			delete(s.held, l.table)
		} else {
			s.held[l.table]--
		}
	}
	s.countLocked(j, -1)
	s.running -= j.weight
	s.done++
	if s.err == nil {
		s.err = err
	}
	s.changed.Broadcast()
	return s.done, s.total
}

// maxDeadlocks is how often a job that the server ended to resolve a deadlock is tried again.
const maxDeadlocks = 3

// runJobs runs what is left of a schedule on all connections of the pool.
func (t *Target) runJobs(ctx context.Context, stage string, s *schedule) error {
	s.finish()
	if s.total == s.done {
		return s.err
	}
	g, gctx := errgroup.WithContext(ctx)
	for range min(t.opt.Jobs, s.total-s.done) {
		g.Go(func() error {
			conn, err := t.pool.get(gctx)
			if err != nil {
				s.stop(err)
				return err
			}
			defer t.pool.put(conn)
			return t.work(gctx, conn, stage, s)
		})
	}
	return g.Wait()
}

// work runs jobs on one connection until there is none left that nobody else has taken. What
// another connection's job failed with is reported there.
func (t *Target) work(ctx context.Context, conn *session, stage string, s *schedule) error {
	defer context.AfterFunc(ctx, func() { s.stop(context.Cause(ctx)) })()
	for {
		j, alone, ok := s.take()
		if !ok {
			return context.Cause(ctx)
		}
		err := t.runJob(ctx, conn, j, alone)
		done, total := s.end(j, err)
		t.observe(stage, done, total)
		if err != nil {
			return err
		}
	}
}

// stop makes take end.
func (s *schedule) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.changed.Broadcast()
}

func (t *Target) runJob(ctx context.Context, conn *session, j job, alone bool) error {
	if j.parallel {
		// Other connections keep the cores busy; only a job that outlasts them may use more.
		workers := 0
		if alone {
			workers = t.opt.Jobs - 1
		}
		if err := conn.exec(ctx, fmt.Sprintf("SET max_parallel_maintenance_workers = %d", workers)); err != nil {
			return explainIn(ctx, err)
		}
	}
	for n := 0; ; n++ {
		err := j.run(ctx, conn)
		if n >= maxDeadlocks || !deadlocked(err) {
			return err
		}
	}
}
