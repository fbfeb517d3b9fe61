package daemon_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/retain"
)

// life is a database under the production preset, with everything but the bytes.
type life struct {
	t      *testing.T
	cfg    *config.Config
	facts  backup.Facts
	ever   []backup.Backup // all that were made and verified or drilled, newest last
	rand   *rand.Rand
	pruned int
	made   int // backups, this day
}

// TestYear lives through 400 days of the production preset: runs that fail, days without the daemon, a clock that goes back,
// changes of the clock in spring and autumn. Each day what is kept is what the policy says of all that was ever made.
func TestYear(t *testing.T) {
	text := "repository: /nowhere\ntime_zone: Europe/Berlin\npreset: production\ndatabases: {shop: \"sqlite:/shop\"}\n"
	c, problems := config.Parse([]byte(text), os.LookupEnv, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l := &life{t: t, cfg: c, rand: rand.New(rand.NewPCG(1, 2))}
	begin := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	ahead := time.Duration(0) // of this machine's clock
	failing := 0              // steps for which runs fail
	const step = 20 * time.Minute
	lateDays := 0
	for day := range 400 {
		l.made = 0
		off := day%90 == 40 || day%90 == 41 || day > 200 && day < 221 // nobody is there: some weekends, and three weeks
		switch day {
		case 100:
			ahead = 2 * time.Hour
		case 103:
			ahead = 0 // somebody sets the clock, which goes back
		case 300:
			ahead = -26 * time.Hour
		case 302:
			ahead = 0
		}
		now := begin.AddDate(0, 0, day).Add(ahead)
		for range 24 * 3 {
			now = now.Add(step)
			if off {
				continue
			}
			if failing--; failing < 0 && l.rand.IntN(400) == 0 {
				failing = l.rand.IntN(100)
			}
			due, _ := daemon.Due(c, l.facts, now)
			for i, task := range due {
				l.work(task.Work, now.Add(time.Duration(i)*time.Minute), failing > 0)
			}
		}
		if len(l.facts.Backups) == 0 {
			t.Fatalf("day %d: nothing is left", day)
		}
		newest := slices.MaxFunc(l.ever, func(a, b backup.Backup) int { return a.Started.Compare(b.Started) })
		if !slices.ContainsFunc(l.facts.Backups, func(b backup.Backup) bool { return b.ID == newest.ID }) {
			t.Fatalf("day %d: the newest good backup %s is gone", day, newest.ID)
		}
		if l.made > 13 {
			t.Errorf("day %d: %d backups in one day", day, l.made)
		}
		if n := len(l.facts.Backups); n > 250 {
			t.Errorf("day %d: %d backups are kept", day, n)
		}
		late := false
		for _, f := range backup.Assess(daemon.Promise(c, c.Databases[0], l.facts, now), l.facts, now).Findings {
			late = late || f.Event == "late" && f.Level == backup.Critical
		}
		if late {
			lateDays++
		}
		if off && (day%90 == 41 || day > 202) && !late {
			t.Errorf("day %d: nobody was there for days, and that is not late", day)
		}
	}
	if l.pruned < 300 || lateDays < 20 || lateDays > 120 {
		t.Errorf("%d prunes and %d late days: a simulation that did nothing", l.pruned, lateDays)
	}
}

func (l *life) work(work string, now time.Time, fails bool) {
	a := backup.Attempt{Database: "shop", Work: work, Started: now, OK: true}
	if work == backup.WorkPrune {
		a.Database = ""
	}
	switch {
	case work == backup.WorkBackup && fails:
		a.OK, a.Kind, a.Error, a.Failures = false, "denied", "no", 1
	case work == backup.WorkBackup:
		b := backup.Backup{ID: repo.ID(fmt.Sprint(len(l.ever))), Name: "shop", Engine: "sqlite", Kind: "image", Started: now, TakenAt: now, Tables: 1}
		l.ever = append(l.ever, b)
		l.facts.Backups = append(l.facts.Backups, b)
		l.made++
	case work == backup.WorkPrune:
		l.prune(now)
	default:
		l.prove(work, now)
	}
	slices.SortFunc(l.facts.Backups, func(a, b backup.Backup) int { return b.Started.Compare(a.Started) })
	l.facts.Attempts = append(slices.DeleteFunc(l.facts.Attempts, func(o backup.Attempt) bool { return o.Work == work }), a)
}

// prove marks the newest backup.
func (l *life) prove(work string, now time.Time) {
	newest := l.facts.Backups[0]
	for _, list := range [][]backup.Backup{l.facts.Backups, l.ever} {
		for i := range list {
			if list[i].ID == newest.ID {
				list[i].VerifiedAt = now
				if work == backup.WorkDrill {
					list[i].DrilledAt = now
				}
			}
		}
	}
}

func (l *life) prune(now time.Time) {
	failed := map[string]string{}
	for _, a := range l.facts.Attempts {
		if a.Work == backup.WorkBackup && !a.OK {
			failed["shop"] = a.Error
		}
	}
	var list []retain.Backup
	behind := false // the clock: what went by the right one stays gone
	for _, b := range l.facts.Backups {
		behind = behind || b.Started.After(now.Add(retain.Slack))
		list = append(list, retain.Backup{ID: string(b.ID), Group: "shop", Time: b.Started, Drilled: !b.DrilledAt.IsZero()})
	}
	policy, _ := daemon.Policies(l.cfg)("shop")
	verdicts, err := retain.Apply(policy, list, retain.State{Now: now, Failed: failed})
	if err != nil {
		l.t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, v := range verdicts {
		kept[v.ID] = v.Keep
	}
	l.facts.Backups = slices.DeleteFunc(l.facts.Backups, func(b backup.Backup) bool { return !kept[string(b.ID)] })
	l.pruned++
	want := l.policy(now)
	for id := range want {
		if stays, there := kept[id]; !stays && (there || !behind) {
			l.t.Fatalf("%s: backup %s is gone, and the policy says that it stays", now, id)
		}
	}
	if len(failed) > 0 || behind {
		return // then nothing goes, or the model, which forgets nothing, wants what went by the right clock
	}
	for id, k := range kept {
		if k && !want[id] {
			l.t.Fatalf("%s: backup %s stays, and the policy does not say so", now, id)
		}
	}
}

// policy says, in other words than package retain, what production keeps of all backups that ever were.
func (l *life) policy(now time.Time) map[string]bool {
	zone := l.cfg.TimeZone.Location
	good := slices.DeleteFunc(slices.Clone(l.ever), func(b backup.Backup) bool { return b.Started.After(now.Add(retain.Slack)) })
	slices.SortFunc(good, func(a, b backup.Backup) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID))
	})
	newest := good[0].Started.In(zone)
	want := map[string]bool{}
	drilled := false
	seen := map[string]bool{}
	for i, b := range good {
		at := b.Started.In(zone)
		year, week := at.ISOWeek()
		for bucket, since := range map[string]time.Time{
			"hour " + b.Started.UTC().Format("2006-01-02 15"): newest.Add(-48 * time.Hour),
			"day " + at.Format("2006-01-02"):                  newest.AddDate(0, 0, -30),
			"week " + fmt.Sprint(year, week):                  newest.AddDate(0, -6, 0),
			"month " + at.Format("2006-01"):                   newest.AddDate(-1, 0, 0),
		} {
			if !seen[bucket] && !at.Before(since) {
				seen[bucket], want[string(b.ID)] = true, true
			}
		}
		if i < 5 || !b.DrilledAt.IsZero() && !drilled {
			want[string(b.ID)] = true
		}
		drilled = drilled || !b.DrilledAt.IsZero()
	}
	return want
}
