// Package daemon does what a configuration promises: it runs what is due, looks whether every database is protected as
// promised, and tells people and monitors. What was done and when is read from the repository, never from the memory of one
// process, so that several daemons, cron jobs and people at a terminal can work on one repository.
package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/metrics"
	"github.com/holdfast-db/holdfast/internal/notify"
)

// Engines is what the daemon needs of the database engines; package wire has it.
type Engines struct {
	Source  func(ctx context.Context, db *config.Database) (*backup.Source, error)
	Scratch func(ctx context.Context, s *backup.Store, b backup.Detail, db *config.Database) (backup.Scratch, error)
	Export  func(ctx context.Context, s *backup.Store, b backup.Backup, db *config.Database, e config.Export, zone *time.Location) (path string, err error)
}

// Options are what a Daemon is made of.
type Options struct {
	Engines Engines
	Open    func(ctx context.Context, c *config.Config) (*backup.Store, error)
	Version string
	Log     *slog.Logger
}

// A Daemon serves one configuration. Its methods may be called concurrently.
type Daemon struct {
	opt     Options
	metrics *metrics.Metrics
	opening sync.Mutex // held while the repository is opened, which may hang; nobody else is to wait for it
	self    string     // names this process among those of all machines
	telling sync.Mutex // one look at a time
	last    bool       // of Tell: nobody looks again soon. Set before any look

	mu      sync.Mutex
	cfg     *config.Config            // guarded by mu; never changed, only replaced
	repo    *opened                   // guarded by mu; nil: to be opened
	running map[string]bool           // guarded by mu: names of databases that are worked on
	held    map[string]hold           // guarded by mu: work that is not to be begun again yet
	unnoted map[string]backup.Attempt // guarded by mu: what failed and could not be recorded, as on a full disk, by work and database
	began   time.Time                 // guarded by mu: when Serve did; zero without
	alarms  []notify.Alarm            // guarded by mu: as far as this process knows
	unsaved bool                      // guarded by mu: the repository does not know these alarms
	ended   map[string]time.Time      // guarded by mu: alarms that the repository still has as open, with their beginnings
	unsent  int                       // guarded by mu
	seen    time.Time                 // guarded by mu: when the state was last looked at
	well    error                     // guarded by mu: what that said of the repository
	size    measured                  // guarded by mu
}

// opened is an open repository and who uses it.
type opened struct {
	store *backup.Store
	users int  // at work with it now
	uses  int  // since it was opened
	stale bool // to be closed when nobody uses it
}

// New returns a Daemon. Close it.
func New(c *config.Config, opt Options) *Daemon {
	return &Daemon{opt: opt, self: uuid.NewString(), cfg: c, metrics: metrics.New(opt.Version), running: map[string]bool{}, held: map[string]hold{}, unnoted: map[string]backup.Attempt{}, ended: map[string]time.Time{}}
}

// Config returns the configuration that is served.
func (d *Daemon) Config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// Replace serves another configuration from now on. Jobs that run end as they began, with the repository they began with.
func (d *Daemon) Replace(ctx context.Context, c *config.Config) error {
	d.mu.Lock()
	d.cfg = c
	clear(d.held) // what was wrong may be what was changed
	if d.repo != nil {
		d.repo.stale = true // another repository, or another password
	}
	d.mu.Unlock()
	return d.with(ctx, func(*backup.Store) error { return nil })
}

// reopenAfter is how many uses a repository is kept open for: its index in memory grows with every session.
const reopenAfter = 200

// with runs fn with the open repository.
func (d *Daemon) with(ctx context.Context, fn func(*backup.Store) error) error {
	o, err := d.acquire(ctx)
	if err != nil {
		return err
	}
	defer d.release(ctx, o)
	return fn(o.store)
}

func (d *Daemon) acquire(ctx context.Context) (*opened, error) {
	d.opening.Lock()
	defer d.opening.Unlock()
	d.mu.Lock()
	o, c := d.repo, d.cfg
	if o != nil && (o.stale || o.uses >= reopenAfter) {
		o.stale, d.repo = true, nil
		if o.users == 0 {
			d.mu.Unlock()
			_ = o.store.Close(ctx)
			d.mu.Lock()
		}
		o = nil
	}
	if o != nil {
		o.users++
		o.uses++
		d.mu.Unlock()
		return o, nil
	}
	d.mu.Unlock()
	s, err := d.opt.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	o = &opened{store: s, users: 1, uses: 1}
	d.mu.Lock()
	defer d.mu.Unlock()
	o.stale = d.cfg != c // replaced meanwhile
	d.repo = o
	return o, nil
}

func (d *Daemon) release(ctx context.Context, o *opened) {
	d.mu.Lock()
	o.users--
	last := o.stale && o.users == 0 && d.repo != o
	d.mu.Unlock()
	if last {
		_ = o.store.Close(context.WithoutCancel(ctx))
	}
}

// Close releases the repository. Nothing may run any more.
func (d *Daemon) Close(ctx context.Context) error {
	d.mu.Lock()
	o := d.repo
	d.repo = nil
	d.mu.Unlock()
	if o == nil {
		return nil
	}
	return o.store.Close(ctx)
}

// Database finds a database of the configuration.
func Database(c *config.Config, name string) (*config.Database, error) {
	var names []string
	for _, db := range c.Databases {
		if db.Name == name {
			return db, nil
		}
		names = append(names, db.Name)
	}
	return nil, fail.New(fail.NotFound, "it names "+join(names), "no database %q in %s", name, c.Path)
}

// Checked is what a look at the repository found.
type Checked struct {
	Databases  []backup.Health
	Repository []backup.Finding // about all of it
}

// Level is the worst of all.
func (c Checked) Level() backup.Level {
	level := backup.OK
	for _, h := range c.Databases {
		level = max(level, h.Level)
	}
	for _, f := range c.Repository {
		level = max(level, f.Level)
	}
	return level
}

// Check looks at the repository and compares it with what was promised: for all databases, or those named.
func (d *Daemon) Check(ctx context.Context, names ...string) (Checked, error) {
	c := d.Config()
	list := c.Databases
	if len(names) > 0 {
		list = nil
		for _, n := range names {
			db, err := Database(c, n)
			if err != nil {
				return Checked{}, err
			}
			list = append(list, db)
		}
	}
	var facts backup.Facts
	err := d.with(ctx, func(s *backup.Store) (err error) {
		facts, err = s.Facts(ctx)
		return err
	})
	if err != nil {
		return Checked{}, err
	}
	return assess(c, list, facts, time.Now()), nil
}

func assess(c *config.Config, list []*config.Database, facts backup.Facts, now time.Time) Checked {
	done := Checked{Databases: make([]backup.Health, 0, len(list)), Repository: pruneFailed(facts)}
	for _, db := range list {
		done.Databases = append(done.Databases, backup.Assess(Promise(c, db, facts, now), facts, now))
	}
	if free, size := disk(c.Repository); nearlyFull(c, free, size) {
		done.Repository = append(done.Repository, backup.Finding{Level: backup.Warning, Event: "disk",
			Text: fmt.Sprintf("the repository's disk is nearly full: %d MB of %d MB are free where %s is", free>>20, size>>20, c.Repository),
			Hint: "holdfast prune, a shorter retention, or a larger disk"})
	}
	return done
}

func nearlyFull(c *config.Config, free, size int64) bool {
	return size > 0 && float64(free) < float64(size)*float64(c.DiskFree)/100
}

func pruneFailed(f backup.Facts) []backup.Finding {
	for _, a := range f.Attempts {
		if a.Work == backup.WorkPrune && !a.OK {
			return []backup.Finding{{Level: backup.Warning, Event: "retention", Text: "old backups were not removed: " + a.Error, Hint: or(a.Hint, "holdfast prune --dry-run")}}
		}
	}
	return nil
}

// Promise is what the configuration promises for a database. What it does not say follows from the schedule, and from how long
// a run takes: while it goes on, the newest backup gets older than planned, and all is well.
func Promise(c *config.Config, db *config.Database, f backup.Facts, now time.Time) backup.Promise {
	o := db.Objectives
	interval := db.Schedule.Plan(db.Name, c.TimeZone.Location).Interval(now)
	p := backup.Promise{Database: db.Name, Interval: interval, MinCopies: o.MinCopies, MaxSizeChange: float64(o.MaxSizeChange)}
	if interval > 0 {
		p.MaxAge = interval + grace + lastTook(f, db.Name)
	}
	p.MaxAge = o.MaxAge.Or(p.MaxAge)
	p.WarnAge = p.MaxAge
	if interval > 0 && interval < p.MaxAge { // half of the grace
		p.WarnAge -= (p.MaxAge - interval) / 2
	}
	p.WarnAge = o.WarnAge.Or(p.WarnAge)
	within := func(set config.Duration, s config.Schedule) time.Duration {
		planned := s.Plan(db.Name, c.TimeZone.Location).Interval(now)
		if planned > 0 {
			planned += planned/7 + grace // a day late after a week
		}
		return set.Or(planned)
	}
	p.VerifiedWithin = within(o.VerifiedWithin, db.Verify.Schedule)
	p.DrilledWithin = within(o.DrilledWithin, db.Drill.Schedule)
	return p
}

// lastTook is how long the newest backup of a database took.
func lastTook(f backup.Facts, name string) time.Duration {
	for _, b := range f.Backups {
		if b.Name == name {
			return time.Duration(b.Seconds * float64(time.Second))
		}
	}
	return 0
}

// grace is how much later than planned is not yet late: a run takes its time.
const grace = time.Hour
