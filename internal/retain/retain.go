// Package retain decides which backups to keep. It is pure: it knows times and names, and
// neither clocks nor repositories.
package retain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Backup is what a decision needs to know of one backup.
type Backup struct {
	ID    string
	Group string    // backups of one database and kind; each group is decided on its own
	Time  time.Time // when it was made
	Bad   bool      // known to be damaged, or its time can't be true: takes no good one's place
}

// A Policy says what to keep. The zero value keeps everything.
type Policy struct {
	Last int // the newest so many of each group; 0 sets no limit
}

// Validate refuses policies that make no sense.
func (p Policy) Validate() error {
	if p.Last < 0 {
		return fail.New(fail.Usage, "use a number of 1 or more", "keep the last %d backups", p.Last)
	}
	return nil
}

// A Verdict says whether a backup stays, and why.
type Verdict struct {
	Backup
	Keep   bool
	Reason string
}

// Apply decides on every backup. The verdicts come by group, newest first; backups of the same
// time are ordered by ID, so that the same input gives the same verdicts. The newest good
// backup of a group is always kept; a bad one is not counted, and goes when it would go as a good one.
func Apply(p Policy, backups []Backup) ([]Verdict, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	sorted := slices.Clone(backups)
	slices.SortFunc(sorted, func(a, b Backup) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID))
	})
	verdicts := make([]Verdict, len(sorted))
	rank := 0 // of b among the good ones of its group
	for i, b := range sorted {
		if i == 0 || sorted[i-1].Group != b.Group {
			rank = 0
		}
		v := Verdict{Backup: b}
		if !b.Bad {
			rank++
		}
		switch {
		case p.Last == 0:
			v.Keep, v.Reason = true, "no limit is set"
		case b.Bad && rank < p.Last:
			v.Keep, v.Reason = true, fmt.Sprintf("damaged or from the future, and only %d newer good ones", rank)
		case rank <= p.Last && !b.Bad:
			v.Keep, v.Reason = true, fmt.Sprintf("last %d of %d", rank, p.Last)
		default:
			v.Reason = fmt.Sprintf("%d newer ones are kept", p.Last)
		}
		verdicts[i] = v
	}
	return verdicts, nil
}
