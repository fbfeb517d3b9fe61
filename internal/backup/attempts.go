package backup

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
)

// attemptKind is the kind of the records of attempts.
const attemptKind = "attempt"

// The pieces of work that attempts are at.
const (
	WorkBackup = "backup"
	WorkVerify = "verify"
	WorkDrill  = "drill"
	WorkPrune  = "prune"
	WorkExport = "export"
)

// An Attempt is the newest try at one piece of work on one database. Backups tell of those that went well; that the
// last one failed only its record can tell.
type Attempt struct {
	Database string    `json:"database"`
	Work     string    `json:"work"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	OK       bool      `json:"ok"`
	Backup   repo.ID   `json:"backup,omitempty"` // what it made or looked at
	Error    string    `json:"error,omitempty"`
	Kind     string    `json:"kind,omitempty"` // of the error
	Hint     string    `json:"hint,omitempty"`
	Failures int       `json:"failures,omitempty"` // in a row, this one included
	Since    time.Time `json:"since,omitzero"`     // the first of these began
	Passing  int       `json:"passing,omitempty"`  // those in a row that may pass by themselves: a server or lock was not to be had
	Host     string    `json:"host,omitempty"`     // where it ran
	Version  string    `json:"holdfast,omitempty"`
}

// Outcome fills in how an attempt ended.
func (a Attempt) Outcome(err error) Attempt {
	a.OK = err == nil
	if err != nil {
		a.Error, a.Kind, a.Hint = err.Error(), fail.KindOf(err).String(), fail.HintOf(err)
	}
	return a
}

// mayPass reports whether it failed for want of something that may be there again soon.
func (a Attempt) mayPass() bool {
	return a.Kind == fail.Unavailable.String() || a.Kind == fail.Locked.String()
}

// Before reports whether a backup was begun after the attempt had ended: by hand, or by another run. One that the attempt itself made was
// not, though what came behind it, an export or a hook, failed.
func (a Attempt) Before(b Backup) bool {
	return b.ID != a.Backup && b.Started.After(a.Started.Add(time.Duration(a.Seconds*float64(time.Second))))
}

// Note records an attempt in the place of the one before it.
func (s *Store) Note(ctx context.Context, a Attempt) error {
	labels := map[string]string{"database": a.Database, "work": a.Work}
	records, err := s.repo.Records(ctx, attemptKind, labels)
	if err != nil {
		return fail.Op(err, "record the %s of %s", a.Work, a.Database)
	}
	if !a.OK {
		a.Failures, a.Since = 1, a.Started
		var last Attempt
		if n := len(records); n > 0 && records[n-1].Decode(&last) == nil && !last.OK {
			a.Failures, a.Since = last.Failures+1, last.Since
		}
		if a.mayPass() {
			a.Passing = last.Passing + 1
		}
	}
	return fail.Op(s.repo.SetRecord(ctx, attemptKind, labels, a), "record the %s of %s", a.Work, a.Database)
}

// Attempts returns the newest attempt at each work on each database, by name and work.
func (s *Store) Attempts(ctx context.Context) ([]Attempt, error) {
	records, err := s.repo.Records(ctx, attemptKind, nil)
	if err != nil {
		return nil, fail.Op(err, "read what was tried")
	}
	newest := map[[2]string]Attempt{}
	for _, r := range records { // oldest first
		var a Attempt
		if err := r.Decode(&a); err != nil {
			return nil, fail.Op(err, "read what was tried")
		}
		newest[[2]string{a.Database, a.Work}] = a
	}
	list := make([]Attempt, 0, len(newest))
	for _, a := range newest {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Attempt) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Work, b.Work))
	})
	return list, nil
}

// memoryKind is the kind of the records behind Remember.
const memoryKind = "memory"

// Remember keeps v, as JSON, under a name in the place of what was kept there. Recall reads it back into v, and leaves v as it is
// when nothing is kept.
func (s *Store) Remember(ctx context.Context, name string, v any) error {
	return fail.Op(s.repo.SetRecord(ctx, memoryKind, map[string]string{"name": name}, v), "remember %s", name)
}

// Recall reads what [Store.Remember] kept.
func (s *Store) Recall(ctx context.Context, name string, v any) error {
	records, err := s.repo.Records(ctx, memoryKind, map[string]string{"name": name})
	if err != nil || len(records) == 0 {
		return fail.Op(err, "recall %s", name)
	}
	return fail.Op(records[len(records)-1].Decode(v), "recall %s", name)
}

// Claim makes a piece of work this process's until release is called. Kind: Locked, naming who is at it.
func (s *Store) Claim(ctx context.Context, name string) (release func(), err error) {
	return s.repo.Claim(ctx, name)
}
