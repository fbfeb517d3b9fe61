package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/retain"
)

// lookEvery is how often the state is looked at when nothing is due.
const lookEvery = 5 * time.Minute

// Serve runs what is due until ctx ends, then waits for the jobs that run, which ctx has stopped too. Each
// value from reload is a new configuration to go on with.
func (d *Daemon) Serve(ctx context.Context, reload <-chan *config.Config) error {
	stopHTTP, err := d.listen(ctx)
	if err != nil {
		return err
	}
	defer stopHTTP()
	d.mu.Lock()
	d.began = time.Now()
	d.mu.Unlock()
	notifySystemd(sd.SdNotifyReady)
	defer notifySystemd(sd.SdNotifyStopping)
	var jobs sync.WaitGroup
	defer jobs.Wait()
	ended := make(chan struct{}, 1)
	for {
		next := d.look(ctx, &jobs, ended)
		wait := time.NewTimer(max(time.Until(next), time.Second))
		select {
		case <-ctx.Done():
			wait.Stop()
			d.opt.Log.Info("stopping")
			return nil
		case c := <-reload:
			if was := d.Config().Listen; was != c.Listen {
				d.opt.Log.Warn("listen is changed by a restart alone", "is", was, "will be", c.Listen)
			}
			if err := d.Replace(ctx, c); err != nil {
				d.opt.Log.Error("the new configuration: "+err.Error(), "file", c.Path)
			} else {
				d.opt.Log.Info("configuration read again", "file", c.Path, "databases", len(c.Databases))
			}
		case <-ended:
		case <-wait.C:
		}
		wait.Stop()
	}
}

// look begins what is due, tells who is to be told, and returns when to look again.
func (d *Daemon) look(ctx context.Context, jobs *sync.WaitGroup, ended chan<- struct{}) time.Time {
	now := time.Now()
	next := now.Add(lookEvery)
	if interval, err := sd.SdWatchdogEnabled(false); err == nil && interval > 0 {
		next = now.Add(min(lookEvery, interval/3))
		notifySystemd(sd.SdNotifyWatchdog)
	}
	facts, err := d.tell(ctx)
	if ctx.Err() != nil {
		return now
	}
	if err != nil {
		d.opt.Log.Error(err.Error(), "hint", fail.HintOf(err))
		return now.Add(min(next.Sub(now), time.Minute)) // nothing is begun while nobody knows what was done
	}
	c := d.Config()
	due, at := Due(c, facts, now)
	if !at.IsZero() && at.Before(next) {
		next = at
	}
	for _, t := range due {
		if until := d.heldUntil(t); until.After(now) {
			if until.Before(next) {
				next = until
			}
			continue
		}
		if !d.begin(t, c.Jobs) {
			continue
		}
		jobs.Go(func() {
			defer func() {
				d.end(t)
				select {
				case ended <- struct{}{}:
				default:
				}
			}()
			d.work(ctx, t)
		})
	}
	d.status(c, next)
	d.mu.Lock()
	idle := len(d.running) == 0
	d.mu.Unlock()
	if idle { // what a backup or an opened repository took is not needed for hours
		debug.FreeOSMemory()
	}
	return next
}

// A Task is one piece of work on one database; Database is empty for the whole repository.
type Task struct {
	Database string
	Work     string
	At       time.Time // when it was due
}

// Due returns what should have begun by now, the longest overdue first, and when the next thing will be due. It is pure.
func Due(c *config.Config, f backup.Facts, now time.Time) (due []Task, next time.Time) {
	zone := c.TimeZone.Location
	add := func(name, work string, s config.Schedule, last time.Time) {
		plan := s.Plan(name+work, zone)
		if at := plan.Due(last, now); !at.IsZero() {
			due = append(due, Task{name, work, at})
			return
		}
		if at := plan.Next(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, db := range c.Databases {
		last, first := lastBegun(f, db.Name, now)
		if at, again := retryAt(f, db, now); again {
			if !at.After(now) {
				due = append(due, Task{db.Name, backup.WorkBackup, at})
			} else if next.IsZero() || at.Before(next) {
				next = at
			}
		}
		add(db.Name, backup.WorkBackup, db.Schedule, last[backup.WorkBackup])
		if first.IsZero() {
			continue // nothing to verify or to drill yet
		}
		for work, s := range map[string]config.Schedule{backup.WorkVerify: db.Verify.Schedule, backup.WorkDrill: db.Drill.Schedule} {
			from := last[work]
			if from.IsZero() {
				from = first
			}
			add(db.Name, work, s, from)
		}
	}
	if len(f.Backups) > 0 {
		last, _ := lastBegun(f, "", now)
		from := last[backup.WorkPrune]
		if from.IsZero() {
			from = f.Backups[len(f.Backups)-1].Started
		}
		add("", backup.WorkPrune, c.Prune.Schedule, from)
	}
	slices.SortStableFunc(due, func(a, b Task) int { return a.At.Compare(b.At) })
	return slices.CompactFunc(due, func(a, b Task) bool { return a.Database == b.Database && a.Work == b.Work }), next
}

// ahead reports whether something was begun by a clock that was wrong: nothing waits until the time that it showed comes.
func ahead(begun, now time.Time) bool { return begun.After(now.Add(retain.Slack)) }

// lastBegun returns when each work on a database was last begun, by whomever, and when its first backup was.
func lastBegun(f backup.Facts, name string, now time.Time) (last map[string]time.Time, first time.Time) {
	last = map[string]time.Time{}
	for _, a := range f.Attempts {
		if a.Database == name && !ahead(a.Started, now) {
			last[a.Work] = a.Started
		}
	}
	for _, b := range f.Backups {
		if b.Name != name || ahead(b.Started, now) {
			continue
		}
		if b.Started.After(last[backup.WorkBackup]) {
			last[backup.WorkBackup] = b.Started
		}
		if first.IsZero() || b.Started.Before(first) {
			first = b.Started
		}
	}
	return last, first
}

const (
	retryFirst = time.Minute
	retryMost  = 30 * time.Minute
)

// retryAt returns when a backup that could not reach a server is tried again before its next time.
func retryAt(f backup.Facts, db *config.Database, now time.Time) (time.Time, bool) {
	for _, a := range f.Attempts {
		if a.Database != db.Name || a.Work != backup.WorkBackup || ahead(a.Started, now) {
			continue
		}
		if a.OK || a.Passing == 0 {
			return time.Time{}, false
		}
		tried := (a.Passing - 1) % (db.Retries + 1) // again already; each planned run that fails has retries of its own
		if tried == db.Retries {
			return time.Time{}, false
		}
		pause := min(retryFirst<<min(tried, 10), retryMost)
		return a.Started.Add(time.Duration(a.Seconds * float64(time.Second))).Add(pause), true
	}
	return time.Time{}, false
}

// begin reserves a place for a task: one at a time for each database, and not more than the configuration allows.
func (d *Daemon) begin(t Task, most int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[t.Database] || len(d.running) >= most {
		return false
	}
	d.running[t.Database] = true
	return true
}

func (d *Daemon) end(t Task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.running, t.Database)
}

// A hold keeps work from being begun again at once. The repository tells what was tried; this is for when it does not: because
// somebody else is at it and not done, or because what was tried could not be recorded, as on a full disk.
type hold struct {
	until time.Time
	pause time.Duration
}

func (d *Daemon) heldUntil(t Task) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held[t.Work+" "+t.Database].until
}

// hold puts work off, longer each time that it fails.
func (d *Daemon) hold(t Task, failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := t.Work + " " + t.Database
	h := d.held[key]
	h.pause = max(h.pause, retryFirst)
	h.until = time.Now().Add(h.pause)
	if failed {
		h.pause = min(2*h.pause, retryMost)
	}
	d.held[key] = h
}

func (d *Daemon) unhold(t Task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.held, t.Work+" "+t.Database)
}

// work runs a task and logs what became of it.
func (d *Daemon) work(ctx context.Context, t Task) {
	log := d.opt.Log.With("work", t.Work, "database", or(t.Database, "all"))
	log.Info("begin", "due", t.At.Local().Format(time.DateTime))
	a, err := d.run(ctx, t.Database, t.Work, func(f backup.Facts) bool {
		due, _ := Due(d.Config(), f, time.Now())
		return slices.ContainsFunc(due, func(o Task) bool { return o.Database == t.Database && o.Work == t.Work })
	})
	switch {
	case err == nil:
		d.unhold(t)
		log.Info("done", "seconds", a.Seconds, "backup", a.Backup.Short())
	case fail.KindOf(err) == fail.Interrupted:
		log.Info("stopped")
	case fail.KindOf(err) == fail.Locked && a.Work == "":
		d.hold(t, false)
		log.Info("left to somebody else", "who", err.Error())
	default:
		d.hold(t, true)
		log.Error(err.Error(), "hint", fail.HintOf(err))
	}
}

// status tells systemd what goes on.
func (d *Daemon) status(c *config.Config, next time.Time) {
	d.mu.Lock()
	var names []string
	for n := range d.running {
		names = append(names, or(n, "the repository"))
	}
	d.mu.Unlock()
	slices.Sort(names)
	text := fmt.Sprintf("%d databases, next look at %s", len(c.Databases), next.Local().Format(time.TimeOnly))
	if len(c.Databases) == 1 {
		text = fmt.Sprintf("%s, next look at %s", c.Databases[0].Name, next.Local().Format(time.TimeOnly))
	}
	if len(names) > 0 {
		text = "at work on " + strings.Join(names, ", ")
	}
	notifySystemd("STATUS=" + text)
}

// notifySystemd does nothing where there is no systemd.
func notifySystemd(state string) { _, _ = sd.SdNotify(false, state) }

// Policies returns each database's retention policy. A backup of a database that the configuration does not name is kept.
func Policies(c *config.Config) backup.Policies {
	by := map[string]retain.Policy{}
	for _, db := range c.Databases {
		by[db.Name] = db.Keep.Policy(c.TimeZone.Location)
	}
	return func(name string) (retain.Policy, bool) {
		p, ok := by[name]
		return p, ok && !p.Empty()
	}
}

// listen serves /metrics and /healthz where the configuration says; stop ends that.
func (d *Daemon) listen(ctx context.Context) (stop func(), err error) {
	addr := d.Config().Listen
	if addr == "" {
		return func() {}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fail.Wrap(fail.Unavailable, err, "is another holdfast serving there?", "listen on %s", addr)
	}
	d.opt.Log.Info("serving /metrics and /healthz", "address", l.Addr().String())
	srv := &http.Server{Handler: d.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(d.opt.Log.Handler(), slog.LevelDebug)}
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(l) })
	return func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(sctx)
		done.Wait()
	}, nil
}

// Handler answers /metrics and /healthz.
func (d *Daemon) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		d.mu.Lock()
		seen, well := d.seen, d.well
		d.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		switch {
		case seen.IsZero():
			http.Error(w, "starting", http.StatusServiceUnavailable)
		case well != nil: // its text may hold paths and addresses; the log has it
			http.Error(w, "the repository: "+fail.KindOf(well).String(), http.StatusServiceUnavailable)
		case time.Since(seen) > 3*lookEvery:
			http.Error(w, "stuck since "+seen.Format(time.RFC3339), http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	return mux
}

// disk returns the free and whole size of the disk of a repository in a folder.
func disk(location string) (free, size int64) {
	path, err := filepath.Abs(location)
	if err != nil {
		return 0, 0
	}
	var s syscall.Statfs_t
	if _, err := os.Stat(path); err != nil || syscall.Statfs(path, &s) != nil {
		return 0, 0
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize)
}
