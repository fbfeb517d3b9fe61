package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	d.telling.Lock()
	defer d.telling.Unlock()
	c := d.Config()
	var v sight
	err := d.with(ctx, func(s *backup.Store) (err error) {
		v, err = d.see(ctx, c, s)
		return err
	})
	if fail.KindOf(err) == fail.Interrupted || ctx.Err() != nil {
		return v.facts, err
	}
	state := v.state
	state.DiskFree, state.DiskSize = disk(c.Repository)
	if err == nil {
		d.send(ctx, c, v.wrong)
	} else {
		wrong := []notify.Condition{unreachable(c, err)}
		if nearlyFull(c, state.DiskFree, state.DiskSize) {
			wrong = append(wrong, whole(backup.Finding{Event: "disk", Text: "the repository's disk is nearly full"}))
		}
		open, orders := d.step(c, wrong, false)
		d.deliver(ctx, c, open, orders)
	}
	d.mu.Lock()
	d.seen, d.well, state.Unsent = time.Now(), err, d.unsent
	d.mu.Unlock()
	d.metrics.Set(state)
	if c.MetricsFile != "" {
		if merr := d.metrics.WriteFile(c.MetricsFile); merr != nil {
			d.opt.Log.Error(merr.Error())
		}
	}
	return v.facts, err
}

// sight is what a look at the repository showed.
type sight struct {
	facts backup.Facts
	state metrics.State
	wrong []notify.Condition
}

// see looks at the repository, and reads what was told.
func (d *Daemon) see(ctx context.Context, c *config.Config, s *backup.Store) (v sight, err error) {
	if v.facts, err = s.Facts(ctx); err != nil {
		return v, err
	}
	if err := d.recall(ctx, s); err != nil {
		return v, err
	}
	now := time.Now()
	done := assess(c, c.Databases, d.known(v.facts), now) // work is planned by what is recorded alone
	v.state = metrics.State{Reachable: true, Health: done.Databases, StoreBytes: d.measure(ctx, s, v.facts)}
	for _, h := range done.Databases {
		if !d.beginning(h, now) {
			v.wrong = append(v.wrong, conditions(h)...)
		}
	}
	d.sign(v.wrong)
	for _, f := range done.Repository {
		v.wrong = append(v.wrong, whole(f))
	}
	return v, nil
}

// sign puts this process's name to what no other one knows, since it could not be recorded.
func (d *Daemon) sign(wrong []notify.Condition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range wrong {
		for _, a := range d.unnoted {
			if strings.HasPrefix(c.Key, a.Database+"/") && string(eventOf[backup.EventOf(a.Work)]) == c.Event {
				wrong[i].By = d.self
			}
		}
	}
}

// firstTime is how long Serve has for the first backups before it says that there are none.
const firstTime = 15 * time.Minute

// beginning reports whether a database has no backup only because Serve has yet to make its first.
func (d *Daemon) beginning(h backup.Health, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return h.Newest == nil && len(h.Attempts) == 0 && !d.began.IsZero() && (d.running[h.Database] || now.Sub(d.began) < firstTime)
}

// measured is the size of the repository when it held so many backups, the newest of which was last.
type measured struct {
	count int
	last  string
	bytes int64
}

// measure returns the size of the repository. It lists all files, so that it is done only when backups came or went.
func (d *Daemon) measure(ctx context.Context, s *backup.Store, f backup.Facts) int64 {
	d.mu.Lock()
	m := d.size
	d.mu.Unlock()
	if len(f.Backups) == 0 || m.count == len(f.Backups) && m.last == string(f.Backups[0].ID) {
		return m.bytes
	}
	bytes, err := s.Size(ctx)
	if err != nil {
		return m.bytes
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size = measured{len(f.Backups), string(f.Backups[0].ID), bytes}
	return bytes
}

func unreachable(c *config.Config, err error) notify.Condition {
	return notify.Condition{Key: "/repository", Event: string(config.Unreachable), Title: "holdfast: the repository can't be read",
		Body: fmt.Sprintf("%v\nNo database is backed up meanwhile.\nNext step: %s", err, or(fail.HintOf(err), "holdfast list, on the machine that serves "+c.Path))}
}

// whole is the condition of a finding about the whole repository.
func whole(f backup.Finding) notify.Condition {
	c := notify.Condition{Key: "/" + f.Event, Event: string(eventOf[f.Event]), Title: "holdfast: " + headline(f.Text), Body: f.Text}
	if f.Hint != "" {
		c.Body += "\nNext step: " + f.Hint
	}
	return c
}

// eventOf translates findings to the events of the configuration.
var eventOf = map[string]config.Event{
	"failed": config.Failed, "late": config.Late, "clock": config.Late, "verify": config.Unverified, "drill": config.Undrilled,
	"size": config.Suspicious, "copies": config.Retention, "retention": config.Retention,
	"disk": config.Disk,
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
		s = strings.ToValidUTF8(s[:147], "") + "…"
	}
	return s
}

func lastGood(h backup.Health) string {
	if h.Newest == nil {
		return "There is no good backup."
	}
	return fmt.Sprintf("The newest good backup is %s of %s.", h.Newest.ID.Short(), h.Newest.Started.Local().Format(time.DateTime))
}

// recall reads what was told, by this process or another. What this one could not write down counts beside it.
func (d *Daemon) recall(ctx context.Context, s *backup.Store) error {
	var known []notify.Alarm
	if err := s.Recall(ctx, alarmsName, &known); err != nil {
		if k := fail.KindOf(err); k != fail.Damaged && k != fail.Internal {
			return err
		}
		known = nil // better told twice than never: the next one that is told takes its place
		d.opt.Log.Warn(err.Error())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unsaved {
		for _, a := range known {
			if !d.ended[a.Key].Equal(a.Since) && !slices.ContainsFunc(d.alarms, func(o notify.Alarm) bool { return o.Key == a.Key }) {
				d.alarms = append(d.alarms, a)
			}
		}
		return nil
	}
	d.alarms = known
	return nil
}

// alarmsName is the memory in the repository that holds the open alarms, and the name of the claim on sending them.
const alarmsName = "alarms"

// orphaned is how long an alarm is left to the process that raised it, which tries again well before: it may be no more.
const orphaned = 2 * time.Hour

// step says what is open and what is to be sent when something is wrong. While a database is worked on nothing is over: its
// backup may stand already, and an export or a hook fail after that, as each time. Nor is what only another process can see.
func (d *Daemon) step(c *config.Config, wrong []notify.Condition, reachable bool) ([]notify.Alarm, []notify.Order) {
	d.mu.Lock()
	mine, others := split(c, d.alarms, reachable)
	mine = slices.DeleteFunc(mine, func(a notify.Alarm) bool {
		name, _, _ := strings.Cut(a.Key, "/")
		unseen := !a.Over && !slices.ContainsFunc(wrong, func(w notify.Condition) bool { return w.Key == a.Key })
		hidden := a.By != "" && a.By != d.self && time.Since(a.Since) < orphaned
		wait := unseen && (hidden || name != "" && d.running[name])
		if wait {
			others = append(others, a)
		}
		return wait
	})
	d.mu.Unlock()
	open, orders := notify.Step(time.Now(), mine, wrong, func(key, event string) []string { return placesOf(c, key, event) }, c.RemindEvery.Std())
	return append(open, others...), orders
}

// send tells the places what is to be told, and remembers it. Of several processes on one repository one does, and
// looks again before that: another one may just have told it, or ended it.
func (d *Daemon) send(ctx context.Context, c *config.Config, wrong []notify.Condition) {
	d.mu.Lock()
	before, unsaved := d.alarms, d.unsaved
	d.unsent = 0
	d.mu.Unlock()
	open, orders := d.step(c, wrong, true)
	if len(orders) == 0 && sameKeys(before, open) && !unsaved {
		return
	}
	err := d.with(ctx, func(s *backup.Store) error {
		release, err := s.Claim(ctx, alarmsName)
		for wait := time.Second; d.last && fail.KindOf(err) == fail.Locked && wait < claimWait; wait *= 2 {
			select { // somebody else is telling, and may have looked before this run ended
			case <-time.After(wait):
				release, err = s.Claim(ctx, alarmsName)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if fail.KindOf(err) == fail.Locked {
			if d.last {
				d.unsentOf(orders)
				return err
			}
			return nil // the next look shows what
		}
		if err == nil { // on a full disk, say, there is no claim: better told twice than never
			defer release()
			if v, err := d.see(ctx, c, s); err == nil {
				d.mu.Lock()
				before, unsaved = d.alarms, d.unsaved
				d.mu.Unlock()
				open, orders = d.step(c, v.wrong, true)
			}
		}
		open = d.deliver(ctx, c, open, orders)
		if err = nil; unsaved || !same(before, open) { // a place that stays down is no news each time
			rctx, cancel := lasting(ctx, lastWord) // who was told is to be known, also when that was the last thing done
			defer cancel()
			err = s.Remember(rctx, alarmsName, open)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.unsaved = err != nil; err == nil {
			clear(d.ended)
		}
		return err
	})
	if err != nil && fail.KindOf(err) != fail.Interrupted {
		d.opt.Log.Warn("remember the alarms: " + err.Error()) // they would be sent again after a restart
	}
}

// claimWait is up to when a claim is tried again: two messages to a place that hangs.
const claimWait = time.Minute

// unsentOf counts what is still to be told when nobody will look again.
func (d *Daemon) unsentOf(orders []notify.Order) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range orders {
		d.unsent += len(o.Places)
	}
}

// split takes the alarms apart that are about other configurations' databases: what becomes of them is not seen here. While the
// repository can't be read nothing is seen of any database.
func split(c *config.Config, all []notify.Alarm, reachable bool) (mine, others []notify.Alarm) {
	for _, a := range all {
		name, _, _ := strings.Cut(a.Key, "/")
		_, err := Database(c, name)
		if a.Key == "/repository" || a.Key == "/disk" || reachable && (name == "" || err == nil) {
			mine = append(mine, a)
		} else {
			others = append(others, a)
		}
	}
	return mine, others
}

// same reports whether two lists of alarms, in any order, are the same when they are written down.
func same(a, b []notify.Alarm) bool {
	text := func(list []notify.Alarm) string {
		list = slices.Clone(list)
		slices.SortFunc(list, func(x, y notify.Alarm) int { return cmp.Compare(x.Key, y.Key) })
		out, err := json.Marshal(list)
		if err != nil {
			return err.Error()
		}
		return string(out)
	}
	return text(a) == text(b)
}

func sameKeys(a, b []notify.Alarm) bool {
	keys := func(list []notify.Alarm) (k []string) {
		for _, a := range list {
			k = append(k, a.Key)
		}
		slices.Sort(k)
		return k
	}
	return slices.Equal(keys(a), keys(b))
}

// theLog stands among the places for the log, which is told as they are, and always takes it.
const theLog = ""

// deliver sends orders, and returns and keeps the alarms after that. All places are told at the same time, and one that does not
// take an order is not tried again in this round: one that hangs must not keep the others, and everything else, waiting.
func (d *Daemon) deliver(ctx context.Context, c *config.Config, open []notify.Alarm, orders []notify.Order) []notify.Alarm {
	down := map[string]bool{}
	unsent := 0
	for _, o := range orders {
		errs := make([]error, len(o.Places))
		var sending sync.WaitGroup
		for i, name := range o.Places {
			if name == theLog {
				d.opt.Log.Warn("alarm: "+o.Title, "event", o.Event)
				continue
			}
			p := Place(c, name)
			if down[name] || o.Event != string(config.Recovered) && !p.Wants(o.Event) { // it wants to hear of the end alone
				continue
			}
			sending.Go(func() { errs[i] = p.Send(ctx, o.Message) })
		}
		sending.Wait()
		var unreached []string
		for i, name := range o.Places {
			if errs[i] != nil {
				down[name] = true
				d.opt.Log.Error("an alarm was not delivered: "+errs[i].Error(), "place", name, "alarm", o.Title)
				d.metrics.NotDelivered()
			}
			if down[name] {
				unreached = append(unreached, name)
			}
		}
		unsent += len(unreached)
		open = notify.Done(time.Now(), open, o, unreached)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.alarms {
		if !slices.ContainsFunc(open, func(o notify.Alarm) bool { return o.Key == a.Key }) {
			d.ended[a.Key] = a.Since
		}
	}
	d.alarms, d.unsent, d.unsaved = open, unsent, true
	return open
}

// placesOf are those that are to know of an event of the database that an alarm's key begins with: of the trouble, of its end, or of both.
// Who is told of trouble is told of its end.
func placesOf(c *config.Config, key, event string) []string {
	name, _, _ := strings.Cut(key, "/")
	var chosen []string
	if db, err := Database(c, name); err == nil {
		chosen = db.Notify
	}
	list := []string{theLog}
	for _, n := range sortedNames(c.Notify) {
		p := Place(c, n)
		if (len(chosen) == 0 || slices.Contains(chosen, n)) && (p.Wants(event) || p.Wants(string(config.Recovered))) {
			list = append(list, n)
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
	d.last = true
	_, err = d.tell(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unsent, err
}
