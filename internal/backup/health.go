package backup

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/retain"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A Level is how bad something is. The numbers are the exit codes of Nagios plugins.
type Level int

// The levels.
const (
	OK Level = iota
	Warning
	Critical
	Unknown
)

// String returns the level as Nagios writes it.
func (l Level) String() string { return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[l] }

// MarshalText writes the level for JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(strings.ToLower(l.String())), nil }

// A Promise is what was promised for one database. Zero durations and counts promise nothing.
type Promise struct {
	Database       string
	MaxAge         time.Duration // of the newest good backup
	WarnAge        time.Duration
	MinCopies      int           // good backups
	VerifiedWithin time.Duration // age of the newest good backup that was verified
	DrilledWithin  time.Duration
	MaxSizeChange  float64       // percent, of size and rows
	Interval       time.Duration // longest time between two planned backups; 0 unknown
}

// A Finding is one thing that is not as promised, or not as it was.
type Finding struct {
	Level Level  `json:"level"`
	Event string `json:"event"` // "failed", "late", "verify", "drill", "size", "clock", "copies"
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"` // the next step
}

// Health is whether one database is protected as promised.
type Health struct {
	Database string    `json:"database"`
	Level    Level     `json:"level"`
	Findings []Finding `json:"findings"` // worst first
	Newest   *Backup   `json:"newest,omitempty"`
	Copies   int       `json:"copies"` // good ones

	Verified time.Time `json:"verified,omitzero"`       // when the newest good verified backup was
	Drilled  time.Time `json:"drilled,omitzero"`        // when the newest good drilled backup was
	Recovery float64   `json:"drill_seconds,omitempty"` // that drill's restore took: a measured recovery time
	Attempts []Attempt `json:"attempts,omitempty"`      // the newest of each work
	Promise  Promise   `json:"-"`

	oldest     time.Time // of the good copies
	unverified time.Time // when the oldest good backup that is newer than all verified ones was made
	undrilled  time.Time
}

// Facts are what a repository tells about all databases.
type Facts struct {
	Backups  []Backup // newest first
	Attempts []Attempt
	Changes  map[string]Change // by database: the newest good backup against the one before
}

// A Change is how a backup differs from the one before it of the same series.
type Change struct {
	From, To   repo.ID
	Vanished   []string // tables that are no more
	Emptied    []string // tables that had rows and have none
	Size, Rows [2]int64 // before and after
}

// Facts reads what [Assess] needs. Details of each pair of backups are read once and remembered.
func (s *Store) Facts(ctx context.Context) (Facts, error) {
	list, err := s.List(ctx)
	if err != nil {
		return Facts{}, err
	}
	attempts, err := s.Attempts(ctx)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Backups: list, Attempts: attempts, Changes: map[string]Change{}}
	seen := map[string]bool{}
	for i, b := range list {
		if seen[b.Name] || b.State == Damaged || b.Partial {
			continue
		}
		seen[b.Name] = true
		before, ok := compareWith(b, list[i+1:])
		if !ok {
			continue
		}
		c, err := s.change(ctx, before, b)
		if err != nil {
			continue // damage is what verify is for
		}
		f.Changes[b.Name] = c
	}
	return f, nil
}

// emptyFor is for how long a database that holds no rows is compared with what it held: an alarm that the next backup of nothing ends, in
// an hour, would be gone before anybody looked.
const emptyFor = 7 * 24 * time.Hour

// compareWith picks the good backup before b, of those before it: of a database without rows the last one that had some.
func compareWith(b Backup, older []Backup) (before Backup, ok bool) {
	for _, o := range older {
		if o.group() != b.group() || o.State == Damaged {
			continue
		}
		if !ok {
			before, ok = o, true
		}
		if b.Rows > 0 || b.Started.Sub(o.Started) > emptyFor {
			break
		}
		if o.Rows > 0 {
			return o, true
		}
	}
	return before, ok
}

// change compares two backups. The store remembers the last answer of each database.
func (s *Store) change(ctx context.Context, from, to Backup) (Change, error) {
	s.changesMu.Lock()
	known, ok := s.changes[to.group()]
	s.changesMu.Unlock()
	if ok && known.From == from.ID && known.To == to.ID {
		return known, nil
	}
	c := Change{From: from.ID, To: to.ID, Size: [2]int64{from.Size, to.Size}, Rows: [2]int64{from.Rows, to.Rows}}
	_, old, err := s.open(ctx, from)
	if err != nil {
		return c, err
	}
	_, now, err := s.open(ctx, to)
	if err != nil {
		return c, err
	}
	have := now.tableRows()
	for table, had := range old.tableRows() {
		n, ok := have[table]
		switch {
		case !ok:
			c.Vanished = append(c.Vanished, table)
		case n == 0 && had > 0:
			c.Emptied = append(c.Emptied, table)
		}
	}
	slices.Sort(c.Vanished)
	slices.Sort(c.Emptied)
	s.changesMu.Lock()
	defer s.changesMu.Unlock()
	if s.changes == nil {
		s.changes = map[string]Change{}
	}
	s.changes[to.group()] = c
	return c, nil
}

// Size returns how many bytes the repository takes. It lists all of its files.
func (s *Store) Size(ctx context.Context) (int64, error) {
	bytes, _, err := s.repo.Stats(ctx)
	return bytes, err
}

// tableRows returns the number of rows by table, of either kind of backup.
func (m *Manifest) tableRows() map[string]int64 {
	sums := map[string]int64{}
	if m.Image != nil {
		for _, t := range m.Image.Tables {
			sums[(&rows.Table{Name: t.Name}).String()] = t.Rows
		}
		return sums
	}
	for _, t := range m.Schema.Tables {
		sums[t.String()] = 0
	}
	for _, p := range m.Parts {
		sums[p.Table] += p.Rows
	}
	return sums
}

// Assess compares what a repository tells of one database with what was promised. It is pure.
func Assess(p Promise, f Facts, now time.Time) Health {
	h := Health{Database: p.Database, Promise: p}
	a := assessor{Health: &h, now: now}
	for _, at := range f.Attempts {
		if at.Database == p.Database {
			h.Attempts = append(h.Attempts, at)
		}
	}
	var future, damaged *Backup
	for _, b := range f.Backups { // newest first
		if b.Name == p.Database && b.State == Damaged && !b.Partial && damaged == nil && h.Newest == nil {
			damaged = &b
		}
		if b.Name != p.Database || b.State == Damaged || b.Partial {
			continue
		}
		if b.Started.After(now.Add(retain.Slack)) {
			if future == nil {
				future = &b
			}
			continue
		}
		h.Copies++
		h.oldest = b.Started
		if h.Newest == nil {
			h.Newest = &b
		}
		if h.Verified.IsZero() && !b.VerifiedAt.IsZero() {
			h.Verified = b.VerifiedAt
		}
		if h.Drilled.IsZero() && !b.DrilledAt.IsZero() {
			h.Drilled, h.Recovery = b.DrilledAt, b.DrillSeconds
		}
		if h.Verified.IsZero() {
			h.unverified = b.Started
		}
		if h.Drilled.IsZero() {
			h.undrilled = b.Started
		}
	}
	if future != nil {
		a.add(Critical, "clock", "set the clock of the machine that makes the backups, and of this one",
			"backup %s is from the future: %s; the clocks of two machines differ", future.ID.Short(), future.Started.Local().Format(time.DateTime))
	}
	a.failures()
	a.age(damaged)
	if c := h.Copies; c < p.MinCopies && c > 0 && a.started(p.Interval*time.Duration(p.MinCopies)) {
		a.add(Warning, "copies", "wait for more, or keep more", "%d good copies are kept, %d were promised", c, p.MinCopies)
	}
	a.proof("verify", "verified", h.Verified, h.unverified, p.VerifiedWithin)
	a.proof("drill", "drilled", h.Drilled, h.undrilled, p.DrilledWithin)
	if c, ok := f.Changes[p.Database]; ok && h.Newest != nil && c.To == h.Newest.ID {
		a.change(c)
	} else if h.Newest != nil && h.Newest.Tables == 0 {
		a.add(Critical, "size", "is it the right database?", "the newest backup holds no table")
	}
	slices.SortStableFunc(h.Findings, func(x, y Finding) int { return int(y.Level) - int(x.Level) })
	if len(h.Findings) > 0 {
		h.Level = h.Findings[0].Level
	}
	return h
}

type assessor struct {
	*Health
	now time.Time
}

func (a assessor) add(l Level, event, hint, format string, args ...any) {
	a.Findings = append(a.Findings, Finding{Level: l, Event: event, Hint: hint, Text: fmt.Sprintf(format, args...)})
}

// started reports whether backups are made for long enough to expect something that takes so long.
func (a assessor) started(d time.Duration) bool { return a.now.Sub(a.oldest) > d }

// events maps work to the event of its failure.
var workEvents = map[string]string{WorkBackup: "failed", WorkVerify: "verify", WorkDrill: "drill", WorkPrune: "retention", WorkExport: "failed"}

// EventOf is the event of a Finding that says that some work failed.
func EventOf(work string) string { return cmp.Or(workEvents[work], "failed") }

func (a assessor) failures() {
	for _, at := range a.Attempts {
		if at.OK {
			continue
		}
		if at.Work == WorkBackup && a.Newest != nil && at.Before(*a.Newest) {
			continue // somebody made one by hand since
		}
		level := Critical
		if at.Work == WorkPrune || at.Work == WorkExport {
			level = Warning
		}
		again := ""
		if at.Failures > 1 {
			again = fmt.Sprintf(", the %d. time since %s", at.Failures, at.Since.Local().Format(time.DateTime))
		}
		a.add(level, EventOf(at.Work), at.Hint, "the last %s failed at %s%s: %s", at.Work, at.Started.Local().Format(time.DateTime), again, at.Error)
	}
}

// age tells whether the newest good backup is too old, and whether a newer one is damaged: one that somebody drilled or verified by
// hand as well.
func (a assessor) age(damaged *Backup) {
	p := a.Promise
	if damaged != nil {
		hint := "holdfast run " + p.Database + " makes another; holdfast verify " + damaged.ID.Short() + " tells what is wrong"
		if a.Newest == nil {
			a.add(Critical, "late", hint, "no good backup: the newest, %s, is damaged or was not restored as it was", damaged.ID.Short())
			return
		}
		defer a.add(Critical, "verify", hint, "the newest backup, %s, is damaged or was not restored as it was", damaged.ID.Short())
	}
	if a.Newest == nil {
		a.add(Critical, "late", "holdfast run "+p.Database+" makes one now", "never backed up")
		return
	}
	age := a.now.Sub(a.Newest.Started)
	switch {
	case p.MaxAge > 0 && age > p.MaxAge:
		a.add(Critical, "late", "holdfast run "+p.Database+" makes one now; is anything scheduled, and running?",
			"the newest good backup is %s old, %s were promised", ageText(age), ageText(p.MaxAge))
	case p.WarnAge > 0 && age > p.WarnAge:
		a.add(Warning, "late", "", "the newest good backup is %s old, %s were promised", ageText(age), ageText(p.MaxAge))
	}
}

// proof tells when the newest proof is too old, or is that of an old backup while newer ones have none.
func (a assessor) proof(event, done string, at, without time.Time, within time.Duration) {
	hint := "holdfast " + event + " " + a.Database + " does it now"
	switch {
	case within == 0 || a.Newest == nil:
	case at.IsZero() && !a.started(within):
	case at.IsZero():
		a.add(Critical, event, hint, "no good backup was ever %s", done)
	case a.now.Sub(at) > within:
		a.add(Critical, event, hint, "the last good backup that was %s was so %s ago, %s were promised", done, ageText(a.now.Sub(at)), ageText(within))
	case !without.IsZero() && a.now.Sub(without) > within:
		a.add(Critical, event, hint, "the newest backup was not %s, nor was any made in the last %s; %s were promised", done, ageText(a.now.Sub(without)), ageText(within))
	}
}

func (a assessor) change(c Change) {
	const hint = "compare it with the one before (holdfast show); when all is right, the next backup ends this"
	if a.Newest.Tables == 0 || c.Rows[0] > 0 && c.Rows[1] == 0 {
		const empty = "is it the right database? holdfast restore brings back what was in it; when it is meant to be empty, this ends after a week"
		a.add(Critical, "size", empty, "the newest backup holds %d rows in %d tables, backup %s had %d rows", c.Rows[1], a.Newest.Tables, c.From.Short(), c.Rows[0])
		return
	}
	if len(c.Vanished) > 0 {
		a.add(Warning, "size", hint, "%d tables are no more: %s", len(c.Vanished), rows.Few(c.Vanished))
	}
	if len(c.Emptied) > 0 {
		a.add(Warning, "size", hint, "%d tables that had rows are empty: %s", len(c.Emptied), rows.Few(c.Emptied))
	}
	for _, m := range []struct {
		what string
		n    [2]int64
	}{{"bytes", c.Size}, {"rows", c.Rows}} {
		limit := a.Promise.MaxSizeChange
		if moved := percentMoved(m.n); limit > 0 && math.Abs(moved) > limit && max(m.n[0], m.n[1]) > smallChange {
			a.add(Warning, "size", hint, "%d %s, %+.0f%% against the %d before; at most %.0f%% were expected", m.n[1], m.what, moved, m.n[0], limit)
		}
	}
}

// smallChange is the number of bytes or rows below which a change in percent says nothing.
const smallChange = 100

func percentMoved(n [2]int64) float64 {
	if n[0] == 0 {
		return 0 // from nothing to something: a first filling
	}
	return 100 * float64(n[1]-n[0]) / float64(n[0])
}

// ageText writes an age for people: 45m, 3h12m, 2d5h.
func ageText(d time.Duration) string {
	d = d.Round(time.Minute)
	h, m := int(d.Hours()), int(d.Minutes())%60
	switch {
	case h == 0:
		return fmt.Sprintf("%dm", m)
	case h < 48:
		return fmt.Sprintf("%dh%02dm", h, m)
	}
	return fmt.Sprintf("%dd%dh", h/24, h%24)
}
