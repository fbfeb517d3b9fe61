package backup

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/repo"
)

func TestAssess(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	backup := func(id string, age time.Duration, change ...func(*Backup)) Backup {
		b := Backup{ID: repo.ID(id), Name: "shop", Started: ago(age), State: Stored, Tables: 3, Rows: 1000, Size: 100_000}
		for _, c := range change {
			c(&b)
		}
		return b
	}
	verified := func(age time.Duration) func(*Backup) {
		return func(b *Backup) { b.VerifiedAt, b.State = ago(age), Verified }
	}
	drilled := func(age time.Duration) func(*Backup) {
		return func(b *Backup) { b.VerifiedAt, b.DrilledAt, b.DrillSeconds, b.State = ago(age), ago(age), 42, Drilled }
	}
	promise := Promise{Database: "shop", MaxAge: 25 * time.Hour, WarnAge: 24 * time.Hour, MinCopies: 2, VerifiedWithin: 8 * 24 * time.Hour, DrilledWithin: 35 * 24 * time.Hour, MaxSizeChange: 50, Interval: 24 * time.Hour}
	fine := []Backup{backup("b2", time.Hour), backup("b1", 25*time.Hour, drilled(24*time.Hour))}
	failed := Attempt{Database: "shop", Work: WorkBackup, Started: ago(30 * time.Minute), Error: "connect to db1: refused", Hint: "is it up?", Failures: 3, Since: ago(3 * time.Hour)}
	for _, c := range []struct {
		name  string
		facts Facts
		level Level
		event string // of the worst finding
		text  string
	}{
		{"all_is_well", Facts{Backups: fine}, OK, "", ""},
		{"never_backed_up", Facts{}, Critical, "late", "never backed up"},
		{"others_do_not_count", Facts{Backups: []Backup{{ID: "x", Name: "wiki", Started: ago(time.Hour)}}}, Critical, "late", "never backed up"},
		{"last_one_26_hours_old", Facts{Backups: []Backup{backup("b2", 26*time.Hour, drilled(time.Hour)), backup("b1", 50*time.Hour)}}, Critical, "late", "26h00m old, 25h00m were promised"},
		{"nearly_late", Facts{Backups: []Backup{backup("b2", 24*time.Hour+30*time.Minute, drilled(time.Hour)), backup("b1", 50*time.Hour)}}, Warning, "late", "24h30m"},
		{"last_one_failed", Facts{Backups: fine, Attempts: []Attempt{failed}}, Critical, "failed", "the 3. time since"},
		{"a_later_good_one_ends_a_failure", Facts{Backups: append([]Backup{backup("b3", time.Minute)}, fine...), Attempts: []Attempt{failed}}, OK, "", ""},
		{"never_verified", Facts{Backups: []Backup{backup("b2", time.Hour), backup("b1", 250*time.Hour)}}, Critical, "verify", "no good backup was ever verified"},
		{"verified_too_long_ago", Facts{Backups: []Backup{backup("b2", time.Hour), backup("b1", 25*time.Hour, drilled(200*time.Hour))}}, Critical, "verify", "promised"},
		{"never_drilled", Facts{Backups: []Backup{backup("b2", time.Hour, verified(0)), backup("b1", 1000*time.Hour)}}, Critical, "drill", "ever drilled"},
		{"drill_failed", Facts{Backups: fine, Attempts: []Attempt{{Database: "shop", Work: WorkDrill, Started: ago(time.Hour), Error: "table users is missing", Failures: 1}}}, Critical, "drill", "the last drill failed"},
		{"clock_skewed", Facts{Backups: append([]Backup{backup("b9", -time.Hour)}, fine...)}, Critical, "clock", "from the future"},
		{"a_damaged_one_is_no_copy", Facts{Backups: []Backup{backup("b2", time.Hour, func(b *Backup) { b.State = Damaged }), backup("b1", 26*time.Hour, drilled(time.Hour))}}, Critical, "late", "26h00m"},
		{"the_newest_is_damaged", Facts{Backups: []Backup{backup("b2", time.Hour, func(b *Backup) { b.State = Damaged }), backup("b1", 2*time.Hour, drilled(time.Hour)), backup("b0", 26*time.Hour)}}, Critical, "verify", "the newest backup, b2, is damaged"},
		{"an_older_one_is_damaged", Facts{Backups: append(slices.Clone(fine), backup("b0", 26*time.Hour, func(b *Backup) { b.State = Damaged }))}, OK, "", ""},
		{"all_are_damaged", Facts{Backups: []Backup{backup("b2", time.Hour, func(b *Backup) { b.State = Damaged })}}, Critical, "late", "no good backup: the newest, b2, is damaged"},
		{"too_few_copies", Facts{Backups: []Backup{backup("b1", 50*time.Hour, drilled(24*time.Hour))}}, Warning, "copies", "1 good copies"},
		{"half_the_rows", Facts{Backups: fine, Changes: map[string]Change{"shop": {To: "b2", Rows: [2]int64{1000, 400}, Size: [2]int64{1000, 1000}}}}, Warning, "size", "400 rows, -60%"},
		{"no_rows", Facts{Backups: fine, Changes: map[string]Change{"shop": {To: "b2", Rows: [2]int64{1000, 0}, Size: [2]int64{1000, 900}}}}, Critical, "size", "had 1000 rows"},
		{"a_table_vanished", Facts{Backups: fine, Changes: map[string]Change{"shop": {To: "b2", Vanished: []string{"public.users"}, Rows: [2]int64{1000, 1000}}}}, Warning, "size", "public.users"},
		{"no_tables", Facts{Backups: []Backup{backup("b2", time.Hour, drilled(0), func(b *Backup) { b.Tables = 0 }), fine[1]}}, Critical, "size", "no table"},
		{"prune_failed", Facts{Backups: fine, Attempts: []Attempt{{Database: "shop", Work: WorkPrune, Error: "denied", Failures: 1}}}, Warning, "retention", "prune"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := promise
			if c.name == "too_few_copies" { // b1 alone is late too: this is about the number
				p.MaxAge, p.WarnAge = 72*time.Hour, 0
			}
			h := Assess(p, c.facts, now)
			if h.Level != c.level {
				t.Errorf("level %s, want %s: %+v", h.Level, c.level, h.Findings)
			}
			if c.event == "" {
				if len(h.Findings) > 0 {
					t.Errorf("findings %+v", h.Findings)
				}
				return
			}
			if len(h.Findings) == 0 || h.Findings[0].Event != c.event || !strings.Contains(h.Findings[0].Text, c.text) {
				t.Errorf("findings %+v, want %s with %q", h.Findings, c.event, c.text)
			}
		})
	}
	t.Run("nothing_is_unproven_at_first", func(t *testing.T) {
		if h := Assess(promise, Facts{Backups: []Backup{backup("b1", time.Minute)}}, now); h.Level != OK {
			t.Errorf("%+v", h.Findings)
		}
	})
}

// A database without rows is compared with what it held, for a week: the next backup of nothing does not end the alarm.
func TestCompareWith(t *testing.T) {
	at := func(days int, rows int64, id string) Backup {
		return Backup{ID: repo.ID(id), Name: "shop", Started: time.Date(2026, 11, 20, 2, 0, 0, 0, time.UTC).AddDate(0, 0, -days), Rows: rows}
	}
	damaged := at(2, 70, "damaged")
	damaged.State = Damaged
	for _, c := range []struct {
		name  string
		b     Backup
		older []Backup
		want  string
	}{
		{"the_one_before", at(0, 5, ""), []Backup{at(1, 0, "before"), at(2, 9, "b")}, "before"},
		{"emptied_yesterday", at(0, 0, ""), []Backup{at(1, 0, "a"), damaged, at(3, 9, "full"), at(4, 8, "c")}, "full"},
		{"emptied_long_ago", at(0, 0, ""), []Backup{at(1, 0, "before"), at(2, 0, "b"), at(8, 9, "c")}, "before"},
		{"always_empty", at(0, 0, ""), []Backup{at(1, 0, "before"), at(2, 0, "b")}, "before"},
		{"the_first", at(0, 0, ""), []Backup{damaged}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := compareWith(c.b, c.older); string(got.ID) != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got.ID, ok, c.want)
			}
		})
	}
}
