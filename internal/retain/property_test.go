package retain

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC) // clocks change in Europe the night after

func drawLimit(t *rapid.T, name string) Limit {
	switch rapid.IntRange(0, 3).Draw(t, name+" is") {
	case 0, 1:
		return Limit{}
	case 2:
		return Limit{Count: rapid.IntRange(1, 6).Draw(t, name)}
	}
	return Limit{Age: Age{rapid.IntRange(1, 40).Draw(t, name), rapid.SampledFrom([]Unit{Hours, Days, Weeks, Months, Years}).Draw(t, name+" unit")}}
}

// drawPolicy draws a policy with a rule at least.
func drawPolicy(t *rapid.T) Policy {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	p := Policy{Last: rapid.IntRange(0, 4).Draw(t, "last"), Within: drawLimit(t, "within").Age,
		Hourly: drawLimit(t, "hourly"), Daily: drawLimit(t, "daily"), Weekly: drawLimit(t, "weekly"), Monthly: drawLimit(t, "monthly"), Yearly: drawLimit(t, "yearly"),
		MinKeep: rapid.IntRange(0, 3).Draw(t, "min"), Zone: rapid.SampledFrom([]*time.Location{nil, paris}).Draw(t, "zone"), FirstDay: Day(rapid.IntRange(0, 6).Draw(t, "first day"))}
	if p.Empty() {
		p.Last = 1
	}
	return p
}

func drawBackups(t *rapid.T) []Backup {
	list := make([]Backup, rapid.IntRange(0, 40).Draw(t, "n"))
	for i := range list {
		span := rapid.SampledFrom([]time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour, 30 * 24 * time.Hour}).Draw(t, "span")
		list[i] = Backup{ID: fmt.Sprint(i), Group: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "group"),
			Time: epoch.Add(time.Duration(rapid.IntRange(-30, 0).Draw(t, "time")) * span), Bad: rapid.IntRange(0, 4).Draw(t, "bad") == 0,
			Verified: rapid.Bool().Draw(t, "verified"), Drilled: rapid.IntRange(0, 5).Draw(t, "drilled") == 0}
		if rapid.IntRange(0, 9).Draw(t, "pinned") == 0 {
			list[i].Pin = &Pin{Reason: "why"}
		}
	}
	return list
}

func decided(t *rapid.T, p Policy, list []Backup, s State) map[string]Verdict {
	verdicts, err := Apply(p, list, s)
	if err != nil || len(verdicts) != len(list) {
		t.Fatalf("%d verdicts on %d backups: %v", len(verdicts), len(list), err)
	}
	byID := map[string]Verdict{}
	for _, v := range verdicts {
		if len(v.Reasons) == 0 {
			t.Fatalf("no reason for %+v", v)
		}
		byID[v.ID] = v
	}
	return byID
}

// noMore fails when b lets go what a keeps.
func noMore(t *rapid.T, what string, a, b map[string]Verdict) {
	for id, v := range b {
		if a[id].Keep && !v.Keep {
			t.Fatalf("%s: %s goes (%s), which stayed (%s)", what, id, v.Reason(), a[id].Reason())
		}
	}
}

func TestApplyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, list, now := drawPolicy(t), drawBackups(t), State{Now: epoch}
		verdicts := decided(t, p, list, now)

		// The newest good one stays, and the newest good ones with proof, and pinned ones.
		newest, drilled, verified := map[string]Backup{}, map[string]Backup{}, map[string]Backup{}
		for _, b := range list {
			for _, c := range []struct {
				of  map[string]Backup
				yes bool
			}{{newest, true}, {drilled, b.Drilled}, {verified, b.Verified}} {
				if old, ok := c.of[b.Group]; c.yes && !b.Bad && (!ok || b.Time.After(old.Time)) {
					c.of[b.Group] = b
				}
			}
			if b.Pin != nil && !verdicts[b.ID].Keep {
				t.Fatalf("pinned %s goes", b.ID)
			}
		}
		for _, of := range []map[string]Backup{newest, drilled, verified} {
			for _, b := range of {
				one := false // of several with one time, any will do
				for _, v := range verdicts {
					one = one || v.Keep && !v.Bad && v.Group == b.Group && v.Time.Equal(b.Time)
				}
				if !one {
					t.Fatalf("%+v goes", b)
				}
			}
		}

		// Applying twice is applying once.
		var kept []Backup
		for _, b := range list {
			if verdicts[b.ID].Keep {
				kept = append(kept, b)
			}
		}
		for id, v := range decided(t, p, kept, now) {
			if !v.Keep {
				t.Fatalf("applied twice, %s goes: %s", id, v.Reason())
			}
		}

		// A pause deletes nothing, however long; nor does a clock that goes back.
		noMore(t, "a year later", verdicts, decided(t, p, list, State{Now: epoch.AddDate(1, 0, 0)}))
		noMore(t, "clock set back", verdicts, decided(t, p, list, State{Now: epoch.Add(-time.Duration(rapid.IntRange(0, 1000).Draw(t, "back")) * time.Hour)}))

		// The order of the list and other groups change nothing.
		shuffled := append([]Backup(nil), list...)
		rand.New(rand.NewPCG(1, uint64(len(list)))).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again := decided(t, p, shuffled, now)
		noMore(t, "shuffled", verdicts, again)
		noMore(t, "shuffled", again, verdicts)
		var alone []Backup
		for _, b := range list {
			if b.Group == "a" {
				alone = append(alone, b)
			}
		}
		single := decided(t, p, alone, now)
		noMore(t, "group alone", verdicts, single)
		for id, v := range single {
			if v.Keep && !verdicts[id].Keep {
				t.Fatalf("%s goes because of another group", id)
			}
		}

		// Nothing goes while the list can't be trusted.
		for id, v := range decided(t, p, list, State{Now: epoch, Incomplete: "cut short"}) {
			if !v.Keep || v.Refused == verdicts[id].Keep {
				t.Fatalf("%s: %+v", id, v)
			}
		}
	})
}

// Adding a rule never deletes more, and neither does reaching further, nor damage to another backup.
func TestApplyGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, list, now := drawPolicy(t), drawBackups(t), State{Now: epoch}
		verdicts := decided(t, p, list, now)

		more := drawPolicy(t)
		more.Zone, more.FirstDay = p.Zone, p.FirstDay
		further := func(a, b Limit) Limit { // a, or b where a is no rule; a count or an age of a grows
			switch {
			case a == (Limit{}):
				return b
			case a.Count > 0:
				a.Count += b.Count
			default:
				a.Age.N += b.Count
			}
			return a
		}
		more.Last, more.MinKeep = more.Last+p.Last, more.MinKeep+p.MinKeep
		more.Within = further(Limit{Age: p.Within}, Limit{Age: more.Within}).Age
		more.Hourly, more.Daily, more.Weekly = further(p.Hourly, more.Hourly), further(p.Daily, more.Daily), further(p.Weekly, more.Weekly)
		more.Monthly, more.Yearly = further(p.Monthly, more.Monthly), further(p.Yearly, more.Yearly)
		noMore(t, fmt.Sprintf("%+v", more), verdicts, decided(t, more, list, now))

		if len(list) > 0 {
			i := rapid.IntRange(0, len(list)-1).Draw(t, "damaged")
			list[i].Bad = true
			after := decided(t, p, list, now)
			delete(after, list[i].ID) // damage may end its own claim, as the drilled one
			noMore(t, "after damage", verdicts, after)
		}
	})
}

// A production database lives through 400 days with outages, damage and a prune after each run. On each day the newest
// good backup is there, the last seven days that have one are, and so are the ends of weeks and months.
func TestSimulatedYear(t *testing.T) {
	p := Policy{Hourly: Limit{Age: Age{48, Hours}}, Daily: Limit{Age: Age{30, Days}}, Weekly: Limit{Age: Age{6, Months}}, Monthly: Limit{Age: Age{1, Years}}, MinKeep: 3}
	random := rand.New(rand.NewPCG(7, 7))
	var store, history []Backup
	outage := 0
	for hour := range 400 * 24 {
		now := epoch.Add(time.Duration(hour) * time.Hour)
		if outage > 0 {
			outage--
		} else if random.IntN(500) == 0 {
			outage = random.IntN(24 * 20)
		}
		if h := now.Hour(); outage == 0 && (h == 2 || h >= 8 && h <= 18) {
			b := Backup{ID: now.Format(time.RFC3339), Time: now, Bad: random.IntN(50) == 0}
			store, history = append(store, b), append(history, b)
		}
		if now.Hour() != 3 { // prunes run in outages too
			continue
		}
		verdicts, err := Apply(p, store, State{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		store = store[:0]
		have := map[string]bool{}
		for _, v := range verdicts {
			if v.Keep {
				store = append(store, v.Backup)
				have[v.ID] = true
			}
		}
		if now.Weekday() != time.Monday && hour < 398*24 {
			continue // the rest takes long
		}
		// What the policy says of all that ever was holds for what is left of it.
		ideal, _ := Apply(p, history, State{Now: now})
		for _, v := range ideal {
			if v.Keep && !v.Bad && !have[v.ID] {
				t.Fatalf("on %s %s is gone, which should be there: %s", now, v.ID, v.Reason())
			}
		}
	}
	if len(history) < 2000 || len(store) > 48+30+27+13+20 {
		t.Errorf("%d backups were made and %d are left: not the year that was meant", len(history), len(store))
	}
}
