package daemon

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/notify"
)

// A backup stands before its exports and hooks are done: what fails there each time is not over in between.
func TestNothingIsOverWhileAtWork(t *testing.T) {
	c, problems := config.Parse([]byte("notify: {ops: \"ntfy://x/y\"}\ndatabases: {app: sqlite:x, web: sqlite:y}\n"), nil, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	now := time.Now()
	told := map[string]time.Time{"ops": now, theLog: now}
	d := New(c, Options{Log: slog.New(slog.DiscardHandler)})
	d.alarms = []notify.Alarm{{Key: "app/failed", Event: "failed", Since: now, Told: told}, {Key: "web/failed", Event: "failed", Since: now, Told: told}}
	d.running["app"] = true
	open, orders := d.step(c, nil, true)
	if len(open) != 2 || len(orders) != 1 || orders[0].Key != "web/failed" || orders[0].Event != "recovered" {
		t.Errorf("at work on app: open %+v, orders %+v", open, orders)
	}
	d.running = map[string]bool{}
	if _, orders := d.step(c, nil, true); len(orders) != 2 {
		t.Errorf("after that: orders %+v", orders)
	}
	d.running["app"] = true
	wrong := []notify.Condition{{Key: "app/failed", Event: "failed", Title: "again"}, {Key: "app/late", Event: "late"}, {Key: "web/failed", Event: "failed"}}
	if open, orders := d.step(c, wrong, true); len(open) != 3 || len(orders) != 1 || orders[0].Key != "app/late" {
		t.Errorf("what is wrong is told all the same: open %+v, orders %+v", open, orders)
	}
}

// What one process could not record, no other one can see: it is not over for that.
func TestOnlyTheOneWhoSeesItEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, problems := config.Parse([]byte("notify: {ops: \"ntfy://x/y\"}\ndatabases: {app: sqlite:x}\n"), nil, nil)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		mine, other := New(c, Options{Log: slog.New(slog.DiscardHandler)}), New(c, Options{Log: slog.New(slog.DiscardHandler)})
		mine.keepUnnoted(backup.Attempt{Database: "app", Work: backup.WorkBackup, Started: time.Now(), Error: "the disk is full"}, false)
		wrong := []notify.Condition{{Key: "app/failed", Event: "failed"}}
		mine.sign(wrong)
		open, orders := mine.step(c, wrong, true)
		open = notify.Done(time.Now(), open, orders[0], nil)
		if len(orders) != 1 || open[0].By != mine.self {
			t.Fatalf("open %+v, orders %+v", open, orders)
		}
		mine.alarms, other.alarms = open, open
		if _, orders := other.step(c, nil, true); len(orders) != 0 {
			t.Errorf("somebody else told %+v", orders)
		}
		if _, orders := mine.step(c, nil, true); len(orders) != 1 || orders[0].Event != "recovered" {
			t.Errorf("who saw it told %+v", orders)
		}
		time.Sleep(3 * time.Hour) // it is no more
		if _, orders := other.step(c, nil, true); len(orders) != 1 || orders[0].Event != "recovered" {
			t.Errorf("somebody else told %+v at last", orders)
		}
	})
}

// What is told of a run's end has a moment more than the run itself.
func TestLasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		after, cancel := lasting(ctx, 5*time.Second)
		defer cancel()
		time.Sleep(time.Hour)
		stop()
		time.Sleep(4 * time.Second)
		if after.Err() != nil {
			t.Error("it ended too soon")
		}
		time.Sleep(2 * time.Second)
		if after.Err() == nil {
			t.Error("it goes on")
		}
	})
}

// A title is cut between letters.
func TestHeadline(t *testing.T) {
	got := headline(strings.Repeat("ü", 200) + "\nmore")
	if want := strings.Repeat("ü", 73) + "…"; got != want {
		t.Errorf("got %q", got)
	}
}
