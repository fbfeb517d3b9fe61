package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/metrics"
	"github.com/holdfast-db/holdfast/internal/notify"
)

// tell looks at the repository, brings the metrics up to date and sends the alarms that are new, over, or to be
// repeated. The error says that the repository can't be read, which was told too.
func (d *Daemon) tell(ctx context.Context) (backup.Facts, error) {
	c, now := d.Config(), time.Now()
	var facts backup.Facts
	err := d.with(ctx, func(s *backup.Store) (err error) {
		if facts, err = s.Facts(ctx); err != nil {
			return err
		}
		return d.recall(ctx, s)
	})
	if fail.KindOf(err) == fail.Interrupted {
		return facts, err
	}
	state := metrics.State{Reachable: err == nil}
	var wrong []notify.Condition
	if err != nil {
		wrong = append(wrong, unreachable(c, err))
	} else {
		for _, db := range c.Databases {
			h := backup.Assess(Promise(c, db, now), facts, now)
			state.Health = append(state.Health, h)
			wrong = append(wrong, conditions(h)...)
		}
		wrong = append(wrong, pruneFailed(facts)...)
	}
	if state.DiskFree, state.DiskSize = disk(c.Repository); state.DiskSize > 0 && float64(state.DiskFree) < float64(state.DiskSize)*float64(c.DiskFree)/100 {
		wrong = append(wrong, notify.Condition{Key: "/disk", Event: string(config.Disk), Title: "holdfast: the repository's disk is nearly full",
			Body: fmt.Sprintf("%d MB of %d MB are free where %s is.\nNext step: holdfast prune, a shorter retention, or a larger disk.", state.DiskFree>>20, state.DiskSize>>20, c.Repository)})
	}
	d.send(ctx, c, now, wrong)
	d.mu.Lock()
	d.seen, d.well, state.Unsent = time.Now(), err, d.unsent
	d.mu.Unlock()
	d.metrics.Set(state)
	if c.MetricsFile != "" {
		if merr := d.metrics.WriteFile(c.MetricsFile); merr != nil {
			d.opt.Log.Error(merr.Error())
		}
	}
	return facts, err
}

func unreachable(c *config.Config, err error) notify.Condition {
	return notify.Condition{Key: "/repository", Event: string(config.Unreachable), Title: "holdfast: the repository can't be read",
		Body: fmt.Sprintf("%v\nNo database is backed up meanwhile.\nNext step: %s", err, or(fail.HintOf(err), "holdfast list, on the machine that serves "+c.Path))}
}

func pruneFailed(f backup.Facts) []notify.Condition {
	for _, a := range f.Attempts {
		if a.Work == backup.WorkPrune && !a.OK {
			return []notify.Condition{{Key: "/prune", Event: string(config.Retention), Title: "holdfast: old backups can't be removed",
				Body: a.Error + "\nNext step: " + or(a.Hint, "holdfast prune --dry-run")}}
		}
	}
	return nil
}

// eventOf translates findings to the events of the configuration.
var eventOf = map[string]config.Event{
	"failed": config.Failed, "late": config.Late, "clock": config.Late, "verify": config.Unverified, "drill": config.Undrilled,
	"size": config.Suspicious, "copies": config.Retention, "retention": config.Retention,
}

// conditions are what is wrong with one database: one for each event, with all findings of it.
func conditions(h backup.Health) []notify.Condition {
	var list []notify.Condition
	for _, f := range h.Findings {
		if f.Level < backup.Warning || f.Event == "late" && f.Level == backup.Warning {
			continue // nearly late is for check and for graphs; nobody is woken up by it
		}
		text := f.Text
		if f.Hint != "" {
			text += "\nNext step: " + f.Hint
		}
		key := h.Database + "/" + f.Event
		if i := slices.IndexFunc(list, func(c notify.Condition) bool { return c.Key == key }); i >= 0 {
			list[i].Body += "\n" + text
			continue
		}
		list = append(list, notify.Condition{Key: key, Event: string(eventOf[f.Event]), Title: h.Database + ": " + headline(f.Text), Body: text + "\n" + lastGood(h)})
	}
	return list
}

func headline(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 150 {
		s = s[:147] + "…"
	}
	return s
}

func lastGood(h backup.Health) string {
	if h.Newest == nil {
		return "There is no good backup."
	}
	return fmt.Sprintf("The newest good backup is %s of %s.", h.Newest.ID.Short(), h.Newest.Started.Local().Format(time.DateTime))
}

// recall reads what others were told, once.
func (d *Daemon) recall(ctx context.Context, s *backup.Store) error {
	d.mu.Lock()
	loaded := d.loaded
	d.mu.Unlock()
	if loaded {
		return nil
	}
	var known []notify.Alarm
	if err := s.Recall(ctx, alarmsName, &known); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loaded = true
	for _, a := range known {
		if !slices.ContainsFunc(d.alarms, func(o notify.Alarm) bool { return o.Key == a.Key }) {
			d.alarms = append(d.alarms, a)
		}
	}
	return nil
}

// alarmsName is the memory in the repository that holds the open alarms.
const alarmsName = "alarms"

// send tells the places what is to be told, and remembers it.
func (d *Daemon) send(ctx context.Context, c *config.Config, now time.Time, wrong []notify.Condition) {
	d.mu.Lock()
	before := slices.Clone(d.alarms)
	d.mu.Unlock()
	open, orders := notify.Step(now, before, wrong, c.RemindEvery.Std())
	unsent := 0
	for _, o := range orders {
		var unreached []string
		for name, err := range notify.Broadcast(ctx, places(c, o), o.Message) {
			d.opt.Log.Error("an alarm was not delivered: "+err.Error(), "place", name, "alarm", o.Title)
			d.metrics.NotDelivered()
			unreached = append(unreached, name)
		}
		slices.Sort(unreached)
		unsent += len(unreached)
		open = notify.Done(now, open, o, unreached)
		d.opt.Log.Warn("alarm: "+o.Title, "event", o.Event)
	}
	d.mu.Lock()
	d.alarms, d.unsent = open, unsent
	d.mu.Unlock()
	if !reflect.DeepEqual(before, open) {
		err := d.with(ctx, func(s *backup.Store) error { return s.Remember(ctx, alarmsName, open) })
		if err != nil && fail.KindOf(err) != fail.Interrupted {
			d.opt.Log.Warn("remember the alarms: " + err.Error()) // they would be sent again after a restart
		}
	}
}

// places are those that an order goes to.
func places(c *config.Config, o notify.Order) []notify.Place {
	name, _, _ := strings.Cut(o.Key, "/")
	var chosen []string
	if db, err := Database(c, name); err == nil {
		chosen = db.Notify
	}
	var list []notify.Place
	for _, n := range sortedNames(c.Notify) {
		if len(chosen) > 0 && !slices.Contains(chosen, n) || len(o.Only) > 0 && !slices.Contains(o.Only, n) {
			continue
		}
		// Who is told of trouble is told of its end.
		p := Place(c, n)
		if p.Wants(o.About) || p.Wants(o.Event) {
			p.Events = nil
			list = append(list, p)
		}
	}
	return list
}

// Place is a place of the configuration as package notify has it.
func Place(c *config.Config, name string) notify.Place {
	p := notify.Place{Name: name, URL: c.Notify[name].URL}
	for _, e := range c.Notify[name].Events {
		p.Events = append(p.Events, string(e))
	}
	return p
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Tell looks once and sends what is to be sent: for runs without a daemon.
func (d *Daemon) Tell(ctx context.Context) (unsent int, err error) {
	_, err = d.tell(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unsent, err
}
