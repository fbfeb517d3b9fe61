package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"
)

// TestSchedule_keeps_locks_and_phases runs random jobs on several workers and looks at who is at work together.
func TestSchedule_keeps_locks_and_phases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.Custom(func(t *rapid.T) lock {
			return lock{qualified{"s", rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "table")}, rapid.Bool().Draw(t, "exclusive")}
		})
		jobs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) job {
			return job{
				phase: phase(rapid.IntRange(0, int(phases)-1).Draw(t, "phase")), weight: rapid.Int64Range(0, 100).Draw(t, "weight"),
				// As foreign keys do, a job may name a table twice, but then for itself.
				locks: rapid.SliceOfNDistinct(table, 1, 3, func(l lock) qualified { return l.table }).Draw(t, "locks"),
			}
		}), 0, 20).Draw(t, "jobs")
		for i := range jobs {
			jobs[i].name = fmt.Sprint(i)
		}
		w := &watcher{left: map[lockPhase]int{}, shared: map[qualified]int{}, alone: map[qualified]bool{}}
		for _, j := range jobs {
			for _, l := range j.locks {
				w.left[lockPhase{l.table, j.phase}]++
			}
		}
		// A later phase is never added before an earlier one.
		slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(a.phase, b.phase) })
		half := rapid.IntRange(0, len(jobs)).Draw(t, "half")
		s := newSchedule(jobs[:half]...)
		var g errgroup.Group
		for range rapid.IntRange(1, 4).Draw(t, "workers") {
			g.Go(func() error {
				for {
					j, _, ok := s.take()
					if !ok {
						return nil
					}
					err := w.begin(j)
					runtime.Gosched()
					w.end(j)
					s.end(j, err)
				}
			})
		}
		s.add(jobs[half:]...)
		s.finish()
		if err := g.Wait(); err != nil || s.err != nil {
			t.Fatal(err, s.err)
		}
		if s.done != len(jobs) || s.running != 0 {
			t.Fatalf("%d of %d jobs were done, weight %d is running", s.done, len(jobs), s.running)
		}
	})
}

type lockPhase struct {
	table qualified
	phase phase
}

// watcher knows what jobs must not do together.
type watcher struct {
	mu     sync.Mutex
	left   map[lockPhase]int
	shared map[qualified]int
	alone  map[qualified]bool
}

func (w *watcher) begin(j job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range j.locks {
		if w.alone[l.table] || l.exclusive && w.shared[l.table] > 0 {
			return fmt.Errorf("job %s began while another one had %v", j.name, l.table)
		}
		for p := range j.phase {
			if w.left[lockPhase{l.table, p}] > 0 {
				return fmt.Errorf("job %s of phase %d began before phase %d of %v ended", j.name, j.phase, p, l.table)
			}
		}
		if l.exclusive {
			w.alone[l.table] = true
		} else {
			w.shared[l.table]++
		}
	}
	return nil
}

func (w *watcher) end(j job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range j.locks {
		w.left[lockPhase{l.table, j.phase}]--
		if l.exclusive {
			w.alone[l.table] = false
		} else {
			w.shared[l.table]--
		}
	}
}

func TestSchedule_stops_at_an_error(t *testing.T) {
	one := qualified{"s", "t"}
	s := newSchedule(job{name: "a", locks: []lock{{one, true}}}, job{name: "b", locks: []lock{{one, true}}})
	j, alone, ok := s.take()
	if !ok || alone {
		t.Fatalf("got %v, alone %v; nothing weighs nothing less than nothing", ok, alone)
	}
	s.end(j, errors.New("broken"))
	if _, _, ok := s.take(); ok {
		t.Error("another job was begun after an error")
	}
}

func TestSchedule_says_what_outweighs_the_rest(t *testing.T) {
	a, b := qualified{"s", "a"}, qualified{"s", "b"}
	s := newSchedule(
		job{name: "key", weight: 10, locks: []lock{{a, true}}},
		job{name: "index", weight: 100, locks: []lock{{a, false}}}, // has to wait for the key
		job{name: "other", weight: 9, locks: []lock{{b, false}}},
	)
	if j, alone, _ := s.take(); j.name != "key" || !alone {
		t.Errorf("got %s, alone %v; want key, alone", j.name, alone)
	}
	if j, alone, _ := s.take(); j.name != "other" || alone {
		t.Errorf("got %s, alone %v; want other, not alone", j.name, alone)
	}
}
