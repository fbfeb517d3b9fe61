// Package retain decides which backups to keep. It is pure: it knows times and names, and
// neither clocks nor repositories. docs/retention.md explains its rules to users.
package retain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Backup is what a decision needs to know of one backup.
type Backup struct {
	ID       string
	Group    string    // backups of one database and kind; each group is decided on its own
	Time     time.Time // when it was made
	Bad      bool      // known to be damaged, or its time can't be true: takes no good one's place
	Verified bool      // every byte was read back; the newest good one of these never goes
	Drilled  bool      // it was restored and compared; the newest good one of these never goes
	Pin      *Pin      // somebody wants it kept; nil: nobody
}

// A Pin keeps a backup whatever the policy says.
type Pin struct {
	Until  time.Time // zero: for ever
	Reason string    // may be empty
}

// A State is what must be known beside the backups. The zero value trusts the list and has no clock.
type State struct {
	// Now ends pins and tells backups from the future. Zero: pins never end, and no backup is from the
	// future. It never decides what is old: see Policy.
	Now time.Time
	// Incomplete says why the list of backups may not be whole; "" when it is. Then nothing goes.
	Incomplete string
	// Failed says, by group, why its newest run failed. Nothing of such a group goes.
	Failed map[string]string
}

// Slack is how far ahead of this machine's clock the time of a backup may be.
const Slack = 10 * time.Minute

// A Verdict says whether a backup stays, and why.
type Verdict struct {
	Backup
	Keep    bool
	Refused bool     // the policy would let it go, but nothing may go now: the last reason says why
	Reasons []string // all that keep it or, when nothing does, of each rule why it doesn't; never empty
}

// Reason is all reasons in one line.
func (v Verdict) Reason() string { return strings.Join(v.Reasons, "; ") }

// Apply decides on every backup. The verdicts come by group, newest first; backups of the same
// time are ordered by ID, so that the same input gives the same verdicts.
//
// A backup stays when any rule of the policy keeps it, when a pin does, when it is the newest good one of its
// group, or the newest good one that was verified or drilled. A bad one is not counted by any rule, so it
// pushes nothing out, and goes when it would go as a good one; in a group without a good one all stay.
func Apply(p Policy, backups []Backup, s State) ([]Verdict, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	sorted := slices.Clone(backups)
	slices.SortFunc(sorted, func(a, b Backup) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID))
	})
	verdicts := make([]Verdict, 0, len(sorted))
	for from := 0; from < len(sorted); {
		to := from
		for to < len(sorted) && sorted[to].Group == sorted[from].Group {
			to++
		}
		verdicts = append(verdicts, decide(p, sorted[from:to], s)...)
		from = to
	}
	return verdicts, nil
}

// A group is the backups of one group, newest first, while rules look at them.
type group struct {
	backups []Backup
	bad     []bool // damaged, or from the future
	newest  int    // the newest good one; -1: there is none
	keep    [][]string
	drop    [][]string
}

func decide(p Policy, backups []Backup, s State) []Verdict {
	g := group{backups, make([]bool, len(backups)), -1, make([][]string, len(backups)), make([][]string, len(backups))}
	for i, b := range backups {
		g.bad[i] = b.Bad || !s.Now.IsZero() && b.Time.After(s.Now.Add(Slack))
		if !g.bad[i] && g.newest < 0 {
			g.newest = i
		}
	}
	switch {
	case p.Empty():
		g.keepAll("no limit is set")
	case g.newest < 0:
		g.keepAll("damaged or from the future, and there is no good one")
	default:
		g.last(p.Last)
		g.within(p)
		for _, t := range p.tiers() {
			g.tier(p, t)
		}
		g.protect(p.MinKeep)
	}
	g.pins(s.Now)
	refusal := ""
	switch why, failed := s.Failed[backups[0].Group]; {
	case s.Incomplete != "":
		refusal = "the list of backups is not complete: " + s.Incomplete
	case failed:
		refusal = strings.TrimSuffix("the newest run failed: "+why, ": ")
	}
	return g.verdicts(refusal)
}

func (g *group) keepAll(reason string) {
	for i := range g.backups {
		g.keep[i] = append(g.keep[i], reason)
	}
}

// last keeps the newest n good ones, and the bad ones among them.
func (g *group) last(n int) {
	if n == 0 {
		return
	}
	rank := 0
	for i := range g.backups {
		if !g.bad[i] {
			rank++
		}
		switch {
		case g.bad[i] && rank < n:
			g.keep[i] = append(g.keep[i], fmt.Sprintf("damaged or from the future, and only %d newer good ones", rank))
		case rank <= n && !g.bad[i]:
			g.keep[i] = append(g.keep[i], fmt.Sprintf("last %d of %d", rank, n))
		default:
			g.drop[i] = append(g.drop[i], fmt.Sprintf("%d newer ones are kept", n))
		}
	}
}

// within keeps all that are not older than an age.
func (g *group) within(p Policy) {
	if p.Within == (Age{}) {
		return
	}
	since := p.Within.before(g.backups[g.newest].Time.In(p.zone()))
	for i, b := range g.backups {
		if b.Time.Before(since) {
			g.drop[i] = append(g.drop[i], fmt.Sprintf("more than %s older than the newest", p.Within))
		} else {
			g.keep[i] = append(g.keep[i], fmt.Sprintf("within %s of the newest", p.Within))
		}
	}
}

// tier keeps the newest good one of each bucket, in the newest buckets that have one. Buckets are looked up by name:
// where clocks are set back over midnight, a day can come in two pieces.
func (g *group) tier(p Policy, t tier) {
	since := time.Time{}
	if t.limit.Age != (Age{}) {
		since = t.limit.Age.before(g.backups[g.newest].Time.In(p.zone()))
	}
	taken := map[string]bool{}
	for i, b := range g.backups {
		bucket := t.bucket(b.Time.In(p.zone()), p.FirstDay)
		open := t.limit.Count > len(taken)
		if !since.IsZero() {
			open = !b.Time.Before(since)
		}
		switch {
		case taken[bucket]:
			g.drop[i] = append(g.drop[i], fmt.Sprintf("%s: there is a newer one of %s", t.name, t.label(bucket)))
			continue
		case !open && since.IsZero():
			g.drop[i] = append(g.drop[i], fmt.Sprintf("%s: %d newer %ss have one", t.name, t.limit.Count, t.unit))
		case !open:
			g.drop[i] = append(g.drop[i], fmt.Sprintf("%s: more than %s older than the newest", t.name, t.limit))
		case g.bad[i]:
			g.keep[i] = append(g.keep[i], fmt.Sprintf("%s: damaged or from the future, and no newer good one of %s", t.name, t.label(bucket)))
		case since.IsZero():
			g.keep[i] = append(g.keep[i], fmt.Sprintf("%s %d of %d: %s", t.name, len(taken)+1, t.limit.Count, t.label(bucket)))
		default:
			g.keep[i] = append(g.keep[i], fmt.Sprintf("%s within %s: %s", t.name, t.limit, t.label(bucket)))
		}
		if !g.bad[i] {
			taken[bucket] = true
		}
	}
}

// protect keeps what no policy may remove: the newest least good ones, and the newest with proof.
func (g *group) protect(least int) {
	good, verified, drilled := 0, false, false
	for i, b := range g.backups {
		if g.bad[i] {
			continue
		}
		good++
		if good == 1 {
			g.keep[i] = append(g.keep[i], "newest good one")
		} else if good <= least {
			g.keep[i] = append(g.keep[i], fmt.Sprintf("%d of the %d that always stay", good, least))
		}
		if b.Verified && !verified {
			verified = true
			g.keep[i] = append(g.keep[i], "newest verified one")
		}
		if b.Drilled && !drilled {
			drilled = true
			g.keep[i] = append(g.keep[i], "newest drilled one")
		}
	}
}

// pins keeps what is pinned. It comes after the policy, so that the reasons name both.
func (g *group) pins(now time.Time) {
	for i, b := range g.backups {
		if b.Pin == nil {
			continue
		}
		text := "pinned"
		if !b.Pin.Until.IsZero() {
			text += " until " + b.Pin.Until.UTC().Format("2006-01-02 15:04 UTC")
		}
		if b.Pin.Reason != "" {
			text += ": " + b.Pin.Reason
		}
		if over := !b.Pin.Until.IsZero() && !now.IsZero() && !now.Before(b.Pin.Until); over {
			g.drop[i] = append(g.drop[i], "was "+text)
		} else {
			g.keep[i] = append(g.keep[i], text)
		}
	}
}

func (g *group) verdicts(refusal string) []Verdict {
	all := make([]Verdict, len(g.backups))
	for i, b := range g.backups {
		v := Verdict{Backup: b, Keep: len(g.keep[i]) > 0, Reasons: g.drop[i]}
		if v.Keep {
			v.Reasons = g.keep[i]
		} else if refusal != "" {
			v.Keep, v.Refused, v.Reasons = true, true, append(v.Reasons, "stays for now: "+refusal)
		}
		all[i] = v
	}
	return all
}
