package retain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// at reads a time as in "2026-03-01 12:00", in UTC.
func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

// apply returns the IDs that are kept, in order, and all verdicts by ID.
func apply(t testing.TB, p Policy, list []Backup, s State) (string, map[string]Verdict) {
	t.Helper()
	verdicts, err := Apply(p, list, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != len(list) {
		t.Fatalf("%d verdicts on %d backups", len(verdicts), len(list))
	}
	var kept []string
	byID := map[string]Verdict{}
	for _, v := range verdicts {
		if v.Reason() == "" {
			t.Errorf("%s: a verdict without a reason", v.ID)
		}
		if v.Keep {
			kept = append(kept, v.ID)
		}
		byID[v.ID] = v
	}
	return strings.Join(kept, " "), byID
}

// series makes one backup each step, oldest first; its ID is its time.
func series(first time.Time, step time.Duration, n int) []Backup {
	list := make([]Backup, n)
	for i := range list {
		list[i].Time = first.Add(time.Duration(i) * step)
		list[i].ID = list[i].Time.UTC().Format("0102T15")
	}
	return list
}

func TestLast(t *testing.T) {
	t0 := at("2026-01-01 00:00")
	list := []Backup{{ID: "a1", Group: "a", Time: t0}, {ID: "a3", Group: "a", Time: t0.Add(3 * time.Hour)},
		{ID: "b1", Group: "b", Time: t0}, {ID: "a2", Group: "a", Time: t0.Add(2 * time.Hour)}}
	for p, want := range map[Policy]string{{}: "a3 a2 a1 b1", {Last: 1}: "a3 b1", {Last: 2}: "a3 a2 b1", {Last: 9}: "a3 a2 a1 b1", {MinKeep: 1}: "a3 a2 a1 b1"} {
		if got, _ := apply(t, p, list, State{}); got != want {
			t.Errorf("%+v: kept %q, want %q", p, got, want)
		}
	}
	list[1].Bad = true // a3
	if got, _ := apply(t, Policy{Last: 1}, list, State{}); got != "a3 a2 b1" {
		t.Errorf("with the newest damaged: kept %q", got)
	}
	if _, err := Apply(Policy{Last: -1}, list, State{}); fail.KindOf(err) != fail.Usage {
		t.Errorf("negative limit: got %v", err)
	}
}

func TestTiers(t *testing.T) {
	daily := series(at("2026-01-20 02:00"), 24*time.Hour, 40) // up to February 28, a Saturday
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		policy Policy
		list   []Backup
		want   string
	}{
		"daily_count":                {Policy{Daily: Limit{Count: 3}}, daily, "0228T02 0227T02 0226T02"},
		"daily_age_is_inclusive":     {Policy{Daily: Limit{Age: Age{2, Days}}}, daily, "0228T02 0227T02 0226T02"},
		"weekly_ends_on_sunday":      {Policy{Weekly: Limit{Count: 3}}, daily, "0228T02 0222T02 0215T02"},
		"weekly_from_sunday":         {Policy{Weekly: Limit{Count: 3}, FirstDay: Sunday}, daily, "0228T02 0221T02 0214T02"},
		"monthly":                    {Policy{Monthly: Limit{Count: 12}}, daily, "0228T02 0131T02"},
		"yearly":                     {Policy{Yearly: Limit{Count: 12}}, daily, "0228T02"},
		"union":                      {Policy{Last: 2, Monthly: Limit{Count: 2}}, daily, "0228T02 0227T02 0131T02"},
		"within_is_inclusive":        {Policy{Within: Age{6, Days}}, series(at("2026-02-01 00:00"), 3*24*time.Hour, 5), "0213T00 0210T00 0207T00"},
		"always_some":                {Policy{Yearly: Limit{Count: 1}, MinKeep: 3}, daily, "0228T02 0227T02 0226T02"},
		"hours":                      {Policy{Hourly: Limit{Age: Age{2, Hours}}}, series(at("2026-02-01 00:00"), 30*time.Minute, 9), "0201T04 0201T03 0201T02"},
		"days_begin_in_the_zone":     {Policy{Daily: Limit{Count: 1}, Zone: paris}, series(at("2026-02-01 22:00"), time.Hour, 2), "0201T23"},
		"days_of_utc_otherwise":      {Policy{Daily: Limit{Count: 2}, Zone: nil}, series(at("2026-02-01 22:00"), time.Hour, 3), "0202T00 0201T23"},
		"hour_that_comes_twice":      {Policy{Hourly: Limit{Count: 9}, Zone: paris}, series(at("2026-10-25 00:00"), time.Hour, 3), "1025T02 1025T01 1025T00"},
		"month_that_is_too_short":    {Policy{Daily: Limit{Age: Age{1, Months}}}, []Backup{{ID: "new", Time: at("2026-03-31 00:00")}, {ID: "in", Time: at("2026-02-28 00:00")}, {ID: "out", Time: at("2026-02-27 23:59")}}, "new in"},
		"count_skips_days_without":   {Policy{Daily: Limit{Count: 2}}, []Backup{{ID: "new", Time: at("2026-03-31 00:00")}, {ID: "old", Time: at("2020-02-28 00:00")}, {ID: "older", Time: at("2019-02-28 00:00")}}, "new old"},
		"newest_stays_at_least":      {Policy{Daily: Limit{Age: Age{1, Hours}}}, []Backup{{ID: "a", Time: at("2020-03-31 00:00")}}, "a"},
		"verified_and_drilled_stay":  {Policy{Last: 1}, []Backup{{ID: "4", Time: at("2026-01-04 00:00")}, {ID: "3", Time: at("2026-01-03 00:00"), Verified: true}, {ID: "2", Time: at("2026-01-02 00:00"), Drilled: true}, {ID: "1", Time: at("2026-01-01 00:00"), Drilled: true}}, "4 3 2"},
		"bad_drilled_one_is_no_help": {Policy{Last: 1}, []Backup{{ID: "3", Time: at("2026-01-03 00:00")}, {ID: "2", Time: at("2026-01-02 00:00"), Drilled: true, Bad: true}, {ID: "1", Time: at("2026-01-01 00:00"), Drilled: true}}, "3 1"},
		"all_bad_all_stay":           {Policy{Last: 1}, []Backup{{ID: "2", Time: at("2026-01-02 00:00"), Bad: true}, {ID: "1", Time: at("2026-01-01 00:00"), Bad: true}}, "2 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			got, _ := apply(t, test.policy, test.list, State{})
			var distinct []string // half-hourly IDs share their hour
			for id := range strings.FieldsSeq(got) {
				if !seen[id] {
					seen[id] = true
					distinct = append(distinct, id)
				}
			}
			if got := strings.Join(distinct, " "); got != test.want {
				t.Errorf("kept %q, want %q", got, test.want)
			}
		})
	}
}

// What others' tools got wrong, and users reported.
func TestKnownBugs(t *testing.T) {
	t.Run("databases_do_not_share_places", func(t *testing.T) {
		list := series(at("2026-01-01 00:00"), time.Hour, 4)
		for i := range list {
			list[i].Group = fmt.Sprint(i % 2)
		}
		if got, _ := apply(t, Policy{Daily: Limit{Count: 1}}, list, State{}); got != "0101T02 0101T03" {
			t.Errorf("kept %q", got)
		}
	})
	t.Run("hourly_ones_do_not_block_daily_cleaning", func(t *testing.T) {
		got, _ := apply(t, Policy{Hourly: Limit{Count: 3}, Daily: Limit{Count: 2}}, series(at("2026-01-01 00:00"), time.Hour, 60), State{})
		if got != "0103T11 0103T10 0103T09 0102T23" {
			t.Errorf("kept %q", got)
		}
	})
	t.Run("daily_ones_become_weekly_and_monthly_ones", func(t *testing.T) {
		p := Policy{Daily: Limit{Count: 1}, Weekly: Limit{Count: 2}, Monthly: Limit{Count: 3}}
		var store []Backup // pruned after each backup
		for _, b := range series(at("2026-01-01 02:00"), 24*time.Hour, 100) {
			_, verdicts := apply(t, p, append(store, b), State{Now: b.Time})
			store = store[:0]
			for _, v := range verdicts {
				if v.Keep {
					store = append(store, v.Backup)
				}
			}
		}
		if got, _ := apply(t, p, store, State{}); got != "0410T02 0405T02 0331T02 0228T02" {
			t.Errorf("kept %q", got)
		}
	})
	t.Run("nothing_is_remembered_elsewhere", func(t *testing.T) { // a policy applied once is the policy applied daily
		p := Policy{Daily: Limit{Count: 7}, Weekly: Limit{Age: Age{1, Months}}, Monthly: Limit{Count: 4}}
		all := series(at("2026-01-01 02:00"), 7*time.Hour, 500)
		var store []Backup
		for _, b := range all {
			verdicts, _ := Apply(p, append(store, b), State{})
			store = store[:0]
			for _, v := range verdicts {
				if v.Keep {
					store = append(store, v.Backup)
				}
			}
		}
		once, _ := apply(t, p, all, State{})
		if daily, _ := apply(t, p, store, State{}); daily != once {
			t.Errorf("daily:\n%s\nonce:\n%s", daily, once)
		}
	})
}

func TestPins(t *testing.T) {
	list := series(at("2026-01-01 00:00"), 24*time.Hour, 3)
	list[0].Pin = &Pin{Until: at("2026-06-01 00:00"), Reason: "audit"}
	list[1].Pin = &Pin{}
	_, before := apply(t, Policy{Last: 1}, list, State{Now: at("2026-05-31 23:59")})
	if v := before["0101T00"]; !v.Keep || v.Reason() != "pinned until 2026-06-01 00:00 UTC: audit" {
		t.Errorf("got %+v", v)
	}
	_, after := apply(t, Policy{Last: 1}, list, State{Now: at("2026-06-01 00:00")})
	if v := after["0101T00"]; v.Keep || !strings.Contains(v.Reason(), "was pinned until") {
		t.Errorf("got %+v", v)
	}
	if v := after["0102T00"]; !v.Keep || v.Reason() != "pinned" {
		t.Errorf("got %+v", v)
	}
}

func TestRefusal(t *testing.T) {
	list := series(at("2026-01-01 00:00"), 24*time.Hour, 4)
	list[0].Group, list[1].Group = "b", "b"
	for name, test := range map[string]struct {
		state State
		want  string
	}{
		"whole_list":          {State{}, "0104T00 0102T00"},
		"incomplete_list":     {State{Incomplete: "2 files can't be read"}, "0104T00 0103T00 0102T00 0101T00"},
		"failed_run_of_b":     {State{Failed: map[string]string{"b": "disk full"}}, "0104T00 0102T00 0101T00"},
		"failed_without_text": {State{Failed: map[string]string{"": ""}}, "0104T00 0103T00 0102T00"},
	} {
		t.Run(name, func(t *testing.T) {
			got, verdicts := apply(t, Policy{Last: 1}, list, test.state)
			if got != test.want {
				t.Errorf("kept %q, want %q", got, test.want)
			}
			for id, v := range verdicts {
				if refused := v.Keep && (id == "0103T00" || id == "0101T00"); v.Refused != refused {
					t.Errorf("%s: refused %v: %s", id, v.Refused, v.Reason())
				}
				if v.Refused && !strings.HasPrefix(v.Reason(), "1 newer ones are kept; stays for now: ") {
					t.Errorf("%s: %s", id, v.Reason())
				}
			}
		})
	}
}

func TestReasons(t *testing.T) {
	p := Policy{Last: 1, Daily: Limit{Count: 2}, Weekly: Limit{Age: Age{2, Weeks}}, Monthly: Limit{Count: 1}}
	list := series(at("2026-02-01 02:00"), 24*time.Hour, 20) // up to Friday the 20th
	list = append(list, Backup{ID: "future", Time: at("2027-01-01 00:00")})
	_, verdicts := apply(t, p, list, State{Now: at("2026-02-20 03:00")})
	for id, want := range map[string]string{
		"future":  "damaged or from the future, and only 0 newer good ones; daily: damaged or from the future, and no newer good one of 2027-01-01",
		"0220T02": "last 1 of 1; daily 1 of 2: 2026-02-20; weekly within 2w: week of 2026-02-16; monthly 1 of 1: 2026-02; newest good one",
		"0219T02": "daily 2 of 2: 2026-02-19",
		"0215T02": "weekly within 2w: week of 2026-02-09",
		"0214T02": "1 newer ones are kept; daily: 2 newer days have one; weekly: there is a newer one of week of 2026-02-09; monthly: there is a newer one of 2026-02",
		"0201T02": "1 newer ones are kept; daily: 2 newer days have one; weekly: more than 2w older than the newest; monthly: there is a newer one of 2026-02",
	} {
		if got := verdicts[id].Reason(); !strings.HasPrefix(got, want) || id != "future" && got != want {
			t.Errorf("%s:\n got %s\nwant %s", id, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Limit{"7": {Count: 7}, "0": {}, " 48h ": {Age: Age{48, Hours}}, "7d": {Age: Age{7, Days}},
		"2w": {Age: Age{2, Weeks}}, "6mo": {Age: Age{6, Months}}, "1y": {Age: Age{1, Years}}} {
		var got Limit
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
		if s := got.String(); s != strings.TrimSpace(text) {
			t.Errorf("%q prints as %q", text, s)
		}
	}
	for _, text := range []string{"", "d", "-1", "7 d", "7m", "0d", "1y6mo", "1.5d", "99999999999999999999", "70000", "７", "7D"} {
		if got, err := ParseLimit(text); fail.KindOf(err) != fail.Usage || fail.HintOf(err) == "" {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	var p Policy
	for rule, text := range map[string]string{"last": "3", "hourly": "48h", "daily": "7", "weekly": "4", "monthly": "1y", "yearly": "10"} {
		if err := p.Set(rule, text); err != nil {
			t.Error(err)
		}
	}
	if want := (Policy{Last: 3, Hourly: Limit{Age: Age{48, Hours}}, Daily: Limit{Count: 7}, Weekly: Limit{Count: 4}, Monthly: Limit{Age: Age{1, Years}}, Yearly: Limit{Count: 10}}); p != want {
		t.Errorf("got %+v", p)
	}
	if err := p.Set("last", "7d"); err != nil || p.Last != 0 || p.Within != (Age{7, Days}) {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, rule := range []string{"fortnightly", ""} {
		if err := p.Set(rule, "7"); fail.KindOf(err) != fail.Usage {
			t.Errorf("%q: got %v", rule, err)
		}
	}
	for _, bad := range []Policy{{MinKeep: -1}, {Daily: Limit{Count: -1}}, {Daily: Limit{Count: 1, Age: Age{1, Days}}}, {Weekly: Limit{Age: Age{1, "x"}}}, {Within: Age{-1, Days}}, {FirstDay: 7}} {
		if err := bad.Validate(); fail.KindOf(err) != fail.Usage {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
	for text, want := range map[string]Day{"monday": Monday, "Sun": Sunday, "SATURDAY": Saturday} {
		if got, err := ParseDay(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	if _, err := ParseDay("su"); fail.KindOf(err) != fail.Usage {
		t.Errorf("got %v", err)
	}
}
