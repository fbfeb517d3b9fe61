// Package schedule says when work is due. It is pure: it knows times and zones, and neither clocks nor jobs.
package schedule

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Plan is when one piece of work is to run. The zero value is never due.
type Plan struct {
	When     Times          // the times themselves
	Zone     *time.Location // whose wall clock they are on; nil is UTC
	Jitter   time.Duration  // each run is put off by less than this, always by the same for one Seed
	Seed     string         // whose jitter; give each job its own, so that they spread
	Blackout []Window       // a run that falls into one is put off to its end
}

// Empty reports whether the plan never runs anything.
func (p Plan) Empty() bool { return p.When.empty() }

// Next returns the first run after t, or the zero time when there is none within five years.
func (p Plan) Next(t time.Time) time.Time {
	if p.Empty() {
		return time.Time{}
	}
	if p.When.every > 0 { // counted from the last run, which had its jitter
		return p.outside(t.Add(p.When.every).Truncate(time.Second))
	}
	// A run before t may still be put off to a time after it.
	from := t.Add(-p.delay() - longest(p.Blackout))
	for range maxTries {
		at := p.When.next(from, p.zone())
		if at.IsZero() {
			return time.Time{}
		}
		if run := p.postpone(at); run.After(t) {
			return run
		}
		from = at
	}
	return time.Time{}
}

// maxTries bounds the search of Next: times every minute, put off by a day.
const maxTries = 100_000

// Due returns the newest run that should have begun by now and after last, the beginning of the newest run that was:
// runs missed while nobody was there are caught up with one. The zero time means that none is due, or that now is
// in a blackout. With a zero last, which means never, a run is due at once.
func (p Plan) Due(last, now time.Time) time.Time {
	if p.Empty() || !p.outside(now).Equal(now) {
		return time.Time{}
	}
	if last.After(now) { // the clock went back, or somebody's was ahead: that run counts as now
		last = now
	}
	if last.IsZero() {
		return now
	}
	next := p.Next(last)
	if next.IsZero() || next.After(now) {
		return time.Time{}
	}
	// The newest one is found by halving: Next is monotonic.
	low, high := last, now // Next(low) is not after now
	for high.Sub(low) > time.Second {
		mid := low.Add(high.Sub(low) / 2)
		if run := p.Next(mid); !run.IsZero() && !run.After(now) {
			low, next = mid, run
		} else {
			high = mid
		}
	}
	return next
}

// Interval returns the longest time between two runs in the four weeks after t, which is how old the newest
// backup gets when all is well. Zero when it never runs.
func (p Plan) Interval(t time.Time) time.Duration {
	var most time.Duration
	end := t.AddDate(0, 0, 28)
	prev := p.Next(t)
	for n := 0; !prev.IsZero() && (n == 0 || prev.Before(end)) && n < 5000; n++ {
		next := p.Next(prev)
		if next.IsZero() {
			break
		}
		most = max(most, next.Sub(prev))
		prev = next
	}
	return most
}

func (p Plan) zone() *time.Location {
	if p.Zone == nil {
		return time.UTC
	}
	return p.Zone
}

// delay is this plan's share of the jitter.
func (p Plan) delay() time.Duration {
	if p.Jitter <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(p.Seed))
	return time.Duration(h.Sum64() % uint64(p.Jitter)).Truncate(time.Second)
}

// postpone moves a time by the jitter and out of the blackouts.
func (p Plan) postpone(at time.Time) time.Time {
	return p.outside(at.Add(p.delay()))
}

// outside moves a time to the end of the blackouts it is in.
func (p Plan) outside(at time.Time) time.Time {
	for range len(p.Blackout) + 1 { // the end of one may lie in another
		moved := false
		for _, w := range p.Blackout {
			if end := w.endAround(at.In(p.zone())); !end.IsZero() {
				at, moved = end, true
			}
		}
		if !moved {
			break
		}
	}
	return at
}

// Shut reports whether the blackouts leave no time: then nothing is ever begun.
func (p Plan) Shut() bool {
	day := time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC) // any; without changes of the clock
	p.Zone = time.UTC
	for range 7 {
		for _, w := range p.Blackout { // a time without blackout begins with the end of one
			if end := onClock(day, int(w.To/time.Minute)); p.outside(end).Equal(end) {
				return false
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return len(p.Blackout) > 0
}

// A Window is a time of the day, on some days of the week, in which nothing is begun.
type Window struct {
	Days     []time.Weekday // on which it begins; empty: every day
	From, To time.Duration  // since midnight; To before From means that it ends on the next day
}

// ParseWindow reads «08:00-18:00» or «Mon-Fri 08:00-18:00»; days may be a list («Sat,Sun 00:00-24:00»).
func ParseWindow(text string) (Window, error) {
	bad := func() (Window, error) {
		return Window{}, fail.New(fail.Usage, "write 08:00-18:00 or Mon-Fri 08:00-18:00", "blackout window %q", text)
	}
	var w Window
	days, hours, ok := cutLast(text)
	if ok {
		mask, err := parseDays(days)
		if err != nil {
			return bad()
		}
		for d := range 7 {
			if mask&(1<<d) != 0 {
				w.Days = append(w.Days, time.Weekday(d))
			}
		}
	}
	if w.From, w.To, ok = parseHours(hours); !ok {
		return bad()
	}
	return w, nil
}

func (w Window) length() time.Duration {
	if w.To > w.From {
		return w.To - w.From
	}
	return w.To - w.From + 24*time.Hour
}

// longest is how far the windows may put off a run together.
func longest(list []Window) time.Duration {
	var sum time.Duration
	for _, w := range list {
		sum += w.length() + 2*time.Hour // a change of the clock may make it longer
	}
	return sum
}

// endAround returns the end of the window that t is in, or the zero time.
func (w Window) endAround(t time.Time) time.Time {
	for back := range 2 {
		day := time.Date(t.Year(), t.Month(), t.Day()-back, 12, 0, 0, 0, t.Location()) // midnight may not exist
		if len(w.Days) > 0 && !slices.Contains(w.Days, day.Weekday()) {
			continue
		}
		from, to := onClock(day, int(w.From/time.Minute)), onClock(day, int(w.To/time.Minute))
		if w.To <= w.From {
			to = onClock(day, int(w.To/time.Minute)+24*60)
		}
		if !t.Before(from) && t.Before(to) {
			return to
		}
	}
	return time.Time{}
}
