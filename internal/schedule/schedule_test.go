package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(t testing.TB, text string, z *time.Location) time.Time {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02 15:04:05", text+":00"[:max(0, 19-len(text))], z)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func parse(t interface{ Fatal(...any) }, text string) Times {
	s, err := ParseTimes(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNext(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	const form = "2006-01-02 15:04 MST"
	for _, c := range []struct {
		name, when, after string
		want              []string
	}{
		{"cron_fields", "15 2 * * *", "2026-11-23 03:00", []string{"2026-11-24 02:15 CET", "2026-11-25 02:15 CET"}},
		{"daily_is_midnight", "@daily", "2026-11-23 03:00", []string{"2026-11-24 00:00 CET"}},
		{"systemd_word", "weekly", "2026-11-23 03:00", []string{"2026-11-29 00:00 CET"}},
		{"systemd_time_alone", "02:15", "2026-11-23 03:00", []string{"2026-11-24 02:15 CET"}},
		{"systemd_days_and_hours", "Mon..Fri *-*-* 08..18/5:00", "2026-11-20 13:30", []string{"2026-11-20 18:00 CET", "2026-11-23 08:00 CET"}},
		{"systemd_day_and_date_both_hold", "Fri *-*-13 12:00", "2026-11-23 00:00", []string{"2027-08-13 12:00 CEST"}},
		{"cron_day_or_date", "0 12 13 * 5", "2026-11-23 00:00", []string{"2026-11-27 12:00 CET", "2026-12-04 12:00 CET", "2026-12-11 12:00 CET", "2026-12-13 12:00 CET"}},
		{"month_end_is_skipped_where_it_is_not", "0 0 31 * *", "2026-11-23 00:00", []string{"2026-12-31 00:00 CET", "2027-01-31 00:00 CET", "2027-03-31 00:00 CEST"}},
		{"cron_day_7_is_sunday", "0 12 * * 7", "2026-11-23 00:00", []string{"2026-11-29 12:00 CET", "2026-12-06 12:00 CET"}},
		{"cron_days_to_7", "0 12 * * 6-7", "2026-11-23 00:00", []string{"2026-11-28 12:00 CET", "2026-11-29 12:00 CET", "2026-12-05 12:00 CET"}},
		{"leap_day", "0 0 29 2 *", "2026-11-23 00:00", []string{"2028-02-29 00:00 CET"}},
		{"a_time_that_spring_leaps_over_comes_later", "30 2 * * *", "2026-03-28 12:00", []string{"2026-03-29 03:30 CEST", "2026-03-30 02:30 CEST"}},
		{"a_time_that_comes_twice_in_autumn_counts_once", "30 2 * * *", "2026-10-24 12:00", []string{"2026-10-25 02:30 CET", "2026-10-26 02:30 CET"}},
		{"every_hour_has_both_of_them", "30 * * * *", "2026-10-25 01:00", []string{"2026-10-25 01:30 CEST", "2026-10-25 02:30 CEST", "2026-10-25 02:30 CET", "2026-10-25 03:30 CET"}},
		{"every", "@every 90m", "2026-11-23 03:00", []string{"2026-11-23 04:30 CET", "2026-11-23 06:00 CET"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Plan{When: parse(t, c.when), Zone: berlin}
			now := at(t, c.after, berlin)
			for _, want := range c.want {
				now = p.Next(now)
				if got := now.In(berlin).Format(form); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
		})
	}
}

// In Santiago and Havana the clock leaps over midnight: days without one begin all the same.
func TestDaysWithoutMidnight(t *testing.T) {
	santiago := zone(t, "America/Santiago") // on 2026-09-06, a Sunday, 00:00 is 01:00
	for _, c := range []struct{ when, after, want string }{
		{"0 * * * Mon", "2026-09-04 12:00", "2026-09-07 00:00"},
		{"30 * * * Sun", "2026-09-04 12:00", "2026-09-06 01:30"},
		{"@daily", "2026-09-05 12:00", "2026-09-06 01:00"},
	} {
		got := make(chan time.Time, 1)
		go func() { got <- Plan{When: parse(t, c.when), Zone: santiago}.Next(at(t, c.after, santiago)) }()
		select {
		case next := <-got:
			if want := at(t, c.want, santiago); !next.Equal(want) {
				t.Errorf("%s after %s: %s, want %s", c.when, c.after, next, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s after %s: no answer", c.when, c.after)
		}
	}
	sunday, err := ParseWindow("Sun 08:00-18:00")
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{When: parse(t, "0 10 * * *"), Zone: santiago, Blackout: []Window{sunday}}
	if got, want := p.Next(at(t, "2026-09-05 12:00", santiago)), at(t, "2026-09-06 18:00", santiago); !got.Equal(want) {
		t.Errorf("in the blackout: %s, want %s", got, want)
	}
}

func TestParseTimesRefuses(t *testing.T) {
	for _, text := range []string{"61 * * * *", "nonsense", "* * * *", "@every 5s", "25:00", "Foo 02:00", "2026-01-01 02:00", "02:15:30",
		"0 0 31 2 *", "*-02-30 00:00", "CRON_TZ=UTC 0 0 * * *", "1:2:3:4", ":", "5..2:00", "*/0:00", "@daily-ish"} {
		if s, err := ParseTimes(text); err == nil {
			t.Errorf("%q was read as %+v", text, s)
		}
	}
	for _, text := range []string{"", "never"} {
		if s, err := ParseTimes(text); err != nil || !s.empty() {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestBlackout(t *testing.T) {
	window := func(s string) Window {
		w, err := ParseWindow(s)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	utc := time.UTC
	p := Plan{When: parse(t, "0 * * * *"), Blackout: []Window{window("Mon-Fri 08:00-18:00"), window("23:30-01:30")}}
	for after, want := range map[string]string{
		"2026-11-23 07:30": "2026-11-23 18:00", // Monday: 08:00 is put off
		"2026-11-28 07:30": "2026-11-28 08:00", // Saturday
		"2026-11-27 23:00": "2026-11-28 01:30", // over midnight
		"2026-11-28 01:30": "2026-11-28 02:00",
	} {
		if got := p.Next(at(t, after, utc)); !got.Equal(at(t, want, utc)) {
			t.Errorf("after %s: got %s, want %s", after, got, want)
		}
	}
	if due := p.Due(at(t, "2026-11-20 00:00", utc), at(t, "2026-11-23 12:00", utc)); !due.IsZero() {
		t.Errorf("due at %s in a blackout", due)
	}
	for _, text := range []string{"", "8-18", "25:00-26:00", "08:00-08:00", "Xyz 08:00-09:00", "24:00-08:00"} {
		if w, err := ParseWindow(text); err == nil {
			t.Errorf("%q was read as %+v", text, w)
		}
	}
}

func TestDue(t *testing.T) {
	utc := time.UTC
	p := Plan{When: parse(t, "0 2 * * *")}
	for _, c := range []struct{ name, last, now, want string }{
		{"not_yet", "2026-11-23 02:00", "2026-11-23 23:00", ""},
		{"just_now", "2026-11-23 02:00", "2026-11-24 02:00", "2026-11-24 02:00"},
		{"many_missed_are_caught_up_with_one", "2026-11-01 02:00", "2026-11-23 12:00", "2026-11-23 02:00"},
		{"a_last_run_in_the_future_counts_as_now", "2027-01-01 00:00", "2026-11-23 12:00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := p.Due(at(t, c.last, utc), at(t, c.now, utc))
			if c.want == "" && !got.IsZero() || c.want != "" && !got.Equal(at(t, c.want, utc)) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	now := at(t, "2026-11-23 12:00", utc)
	if got := p.Due(time.Time{}, now); !got.Equal(now) {
		t.Errorf("never run: due at %s, want now", got)
	}
	if got := (Plan{}).Due(time.Time{}, now); !got.IsZero() {
		t.Errorf("a plan without times is due at %s", got)
	}
}

func TestInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"@hourly": time.Hour, "@daily": 24 * time.Hour, "Mon..Fri *-*-* 08..18:00": 62 * time.Hour, "never": 0, "@every 6h": 6 * time.Hour,
	} {
		if got := (Plan{When: parse(t, text)}).Interval(at(t, "2026-11-23 12:00", time.UTC)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// Whatever the plan: Next is after its argument and monotonic, and what Due says is a time that Next gives.
func TestPlanProperties(t *testing.T) {
	zones := []*time.Location{time.UTC, zone(t, "Europe/Berlin"), zone(t, "America/St_Johns"), zone(t, "Australia/Lord_Howe")}
	specs := []string{"*/7 * * * *", "30 2 * * *", "0 8-18 * * 1-5", "15 1,13 1,15 * *", "Sun 03:00", "@every 45m", "59 23 * * *"}
	windows := []string{"08:00-18:00", "22:00-03:00", "Sun 00:00-24:00"}
	rapid.Check(t, func(t *rapid.T) {
		p := Plan{
			When: parse(t, rapid.SampledFrom(specs).Draw(t, "spec")), Zone: rapid.SampledFrom(zones).Draw(t, "zone"),
			Jitter: time.Duration(rapid.IntRange(0, 7200).Draw(t, "jitter")) * time.Second, Seed: rapid.String().Draw(t, "seed"),
		}
		for _, w := range rapid.SliceOfNDistinct(rapid.SampledFrom(windows), 0, 2, rapid.ID).Draw(t, "windows") {
			window, err := ParseWindow(w)
			if err != nil {
				t.Fatal(err)
			}
			p.Blackout = append(p.Blackout, window)
		}
		a := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "a"), 0)
		b := a.Add(time.Duration(rapid.IntRange(0, 1_000_000).Draw(t, "gap")) * time.Second)
		na, nb := p.Next(a), p.Next(b)
		if !na.After(a) || nb.Before(na) {
			t.Fatalf("Next(%s) = %s, Next(%s) = %s", a, na, b, nb)
		}
		if due := p.Due(a, b); !due.IsZero() {
			if due.After(b) || !due.After(a) || p.When.every == 0 && !p.Next(due.Add(-time.Nanosecond)).Equal(due) {
				t.Fatalf("Due(%s, %s) = %s", a, b, due)
			}
		} else if !na.After(b) && p.outside(b).Equal(b) {
			t.Fatalf("nothing due at %s though %s was missed", b, na)
		}
	})
}

// Blackouts that follow each other all week leave no time; any gap is one.
func TestShut(t *testing.T) {
	for _, c := range []struct {
		windows []string
		want    bool
	}{
		{nil, false},
		{[]string{"00:00-24:00"}, true},
		{[]string{"22:00-06:00", "06:00-22:00"}, true},
		{[]string{"22:00-06:00", "06:01-22:00"}, false},
		{[]string{"Mon-Fri 00:00-24:00", "Sat,Sun 00:00-24:00"}, true},
		{[]string{"Mon-Fri 00:00-24:00", "Sat 00:00-24:00"}, false},
		{[]string{"Mon-Fri 08:00-18:00"}, false},
	} {
		var p Plan
		for _, text := range c.windows {
			w, err := ParseWindow(text)
			if err != nil {
				t.Fatal(err)
			}
			p.Blackout = append(p.Blackout, w)
		}
		if got := p.Shut(); got != c.want {
			t.Errorf("%q: got %v, want %v", c.windows, got, c.want)
		}
	}
}
