package retain

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"pgregory.net/rapid"
)

func TestApply(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	list := []Backup{{ID: "a1", Group: "a", Time: t0}, {ID: "a3", Group: "a", Time: t0.Add(3 * time.Hour)},
		{ID: "b1", Group: "b", Time: t0}, {ID: "a2", Group: "a", Time: t0.Add(2 * time.Hour)}}
	kept := func(p Policy) string {
		verdicts, err := Apply(p, list)
		if err != nil {
			t.Fatal(err)
		}
		s := ""
		for _, v := range verdicts {
			if v.Reason == "" {
				t.Errorf("%s: a verdict without a reason", v.ID)
			}
			if v.Keep {
				s += v.ID + " "
			}
		}
		return s
	}
	for p, want := range map[Policy]string{{}: "a3 a2 a1 b1 ", {Last: 1}: "a3 b1 ", {Last: 2}: "a3 a2 b1 ", {Last: 9}: "a3 a2 a1 b1 "} {
		if got := kept(p); got != want {
			t.Errorf("%+v: kept %q, want %q", p, got, want)
		}
	}
	list[1].Bad = true // a3
	if got, want := kept(Policy{Last: 1}), "a3 a2 b1 "; got != want {
		t.Errorf("with the newest damaged: kept %q, want %q", got, want)
	}
	if _, err := Apply(Policy{Last: -1}, list); fail.KindOf(err) != fail.Usage {
		t.Errorf("negative limit: got %v", err)
	}
}

// Whatever the history: the newest of each group stays, a larger limit never deletes more,
// and applying a policy to what it kept deletes nothing.
func TestApplyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []Backup
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			list = append(list, Backup{ID: fmt.Sprint(i), Group: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "group"),
				Time: time.Unix(rapid.Int64Range(0, 20).Draw(t, "time"), 0), Bad: rapid.Bool().Draw(t, "bad")})
		}
		last := rapid.IntRange(1, 10).Draw(t, "last")
		verdicts, _ := Apply(Policy{Last: last}, list)
		more, _ := Apply(Policy{Last: last + 1}, list)
		var kept []Backup
		newest, counts := map[string]time.Time{}, map[string]int{}
		for i, v := range verdicts {
			if v.Keep && !more[i].Keep {
				t.Fatalf("%+v is kept by %d and not by %d", v, last, last+1)
			}
			if v.Keep {
				kept = append(kept, v.Backup)
				if !v.Bad {
					counts[v.Group]++
				}
			}
			if _, ok := newest[v.Group]; !ok && !v.Bad {
				newest[v.Group] = v.Time
				if !v.Keep {
					t.Fatalf("newest of %s goes", v.Group)
				}
			}
		}
		for g, n := range counts {
			if n > last {
				t.Fatalf("group %s keeps %d, more than %d", g, n, last)
			}
		}
		again, _ := Apply(Policy{Last: last}, kept)
		for _, v := range again {
			if !v.Keep {
				t.Fatalf("applied twice, %+v goes", v)
			}
		}
	})
}
