package daemon_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
)

// bubble runs fn where time passes as soon as everybody waits for it, from now on. It does so in a process of its own:
// what libraries keep for later, such as encoders, can't leave a bubble.
func bubble(t *testing.T, fn func(t *testing.T, w *world)) {
	const inside = "HOLDFAST_TEST_BUBBLE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
		cmd.Env = append(os.Environ(), inside+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	w := newWorld(t)    // out here: in a bubble time stands still while somebody waits for the network
	start := time.Now() // the files of the repository were made by this clock
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(start))
		fn(t, w)
	})
}

// serve runs a daemon until stop is called.
func serve(t *testing.T, w *world, c *config.Config) (stop func()) {
	t.Helper()
	d := w.daemon(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, nil) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := d.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}
}

// Days with two daemons on one repository, days off, and a database that goes away for a day: each night's backup is made
// once, what was missed is caught up with once, and each trouble is told of once, and of its end.
func TestServeForDays(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.config(t, "    schedule: {at: \"0 2 * * *\", jitter: 0s, blackout: \"11:00-12:30\"}\n    verify: {schedule: never}\n    objectives: {max_age: 30h}\n")
		c.Prune.Schedule = config.Schedule{} // kopia reclaims only when its clock is that of the files
		c.RemindEvery = config.Duration(1000 * time.Hour)
		midnight := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		time.Sleep(time.Until(midnight)) // a first backup is made at once, but not in the blackout
		look := w.daemon(t, c)
		at := func(day, hour, want int, told ...string) {
			t.Helper()
			time.Sleep(time.Until(midnight.Add(time.Duration(day*24+hour) * time.Hour)))
			synctest.Wait()
			found, err := look.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n := found.Databases[0].Copies; n != want {
				t.Errorf("day %d: %d backups, want %d", day, n, want)
			}
			got := w.hook.take()
			if len(got) != len(told) {
				t.Errorf("day %d: told %q, want %q", day, got, told)
				return
			}
			for _, text := range told {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, text) }) {
					t.Errorf("day %d: told %q, want %q", day, got, told)
				}
			}
		}
		stopA, stopB := serve(t, w, c), serve(t, w, c)
		at(0, 1, 1)
		at(0, 12, 2)
		at(1, 12, 3)
		stopA()
		stopB()
		at(3, 12, 3)
		stopA, stopB = serve(t, w, c), serve(t, w, c)
		at(3, 13, 4, "2d10h old, 30h00m were promised", "recovered: app: the newest good backup is ")
		stopB()
		if err := os.Rename(w.db, w.db+".away"); err != nil {
			t.Fatal(err)
		}
		at(4, 12, 4, "the last backup failed")
		if err := os.Rename(w.db+".away", w.db); err != nil {
			t.Fatal(err)
		}
		at(5, 12, 5, "old, 30h00m were promised", "recovered: app: the last backup failed", "recovered: app: the newest good backup")
		stopA()
		if err := look.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := strings.Count(w.log.String(), "msg=begin"); n > 20 {
			t.Errorf("%d jobs were begun in days: something goes round and round\n%s", n, w.log)
		}
	})
}

// Work that somebody else is at is asked for now and then, not all the time.
func TestLeftToOthers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.config(t, "")
		other, err := backup.Open(t.Context(), w.repo, password, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		release, err := other.Claim(t.Context(), "backup of app")
		if err != nil {
			t.Fatal(err)
		}
		stop := serve(t, w, c)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := strings.Count(w.log.String(), "left to somebody else"); n < 10 || n > 60 {
			t.Errorf("asked for %d times in an hour", n)
		}
		release()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !strings.Contains(w.log.String(), "msg=done work=backup") {
			t.Error("the work was not taken up after it was left")
		}
		stop()
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
