// Package daemon does what a configuration promises: it runs what is due, looks whether every database is protected as
// promised, and tells people and monitors. What was done and when is read from the repository, never from the memory of one
// process, so that several daemons, cron jobs and people at a terminal can work on one repository.
package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/metrics"
	"github.com/holdfast-db/holdfast/internal/notify"
)

// Engines is what the daemon needs of the database engines; package wire has it.
type Engines struct {
	Source  func(ctx context.Context, db *config.Database) (*backup.Source, error)
	Scratch func(ctx context.Context, b backup.Detail, db *config.Database) (backup.Scratch, error)
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

	mu      sync.Mutex
	cfg     *config.Config  // guarded by mu; never changed, only replaced
	store   *backup.Store   // guarded by mu; nil: to be opened
	users   int             // guarded by mu: who works with store
	uses    int             // guarded by mu: since it was opened
	running map[string]bool // guarded by mu: names of jobs
	alarms  []notify.Alarm  // guarded by mu: as far as this process knows
	loaded  bool            // guarded by mu: alarms were read from the repository
	unsent  int             // guarded by mu
	seen    time.Time       // guarded by mu: when the state was last looked at
	well    error           // guarded by mu: what that said of the repository
}

// New returns a Daemon. Close it.
func New(c *config.Config, opt Options) *Daemon {
	return &Daemon{opt: opt, cfg: c, metrics: metrics.New(opt.Version), running: map[string]bool{}}
}

// Config returns the configuration that is served.
func (d *Daemon) Config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}

// Replace serves another configuration from now on. Jobs that run end as they began.
func (d *Daemon) Replace(ctx context.Context, c *config.Config) error {
	d.mu.Lock()
	d.cfg = c
	d.uses = reopenAfter // another repository, or another password
	d.mu.Unlock()
	return d.with(ctx, func(*backup.Store) error { return nil })
}

// reopenAfter is how many uses a repository is kept open for: its index in memory grows with every session.
const reopenAfter = 200

// with runs fn with the open repository.
func (d *Daemon) with(ctx context.Context, fn func(*backup.Store) error) error {
	s, err := d.acquire(ctx)
	if err != nil {
		return err
	}
	defer d.release()
	return fn(s)
}

func (d *Daemon) acquire(ctx context.Context) (*backup.Store, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store != nil && d.uses >= reopenAfter && d.users == 0 {
		_ = d.store.Close(ctx)
		d.store = nil
	}
	if d.store == nil {
		s, err := d.opt.Open(ctx, d.cfg)
		if err != nil {
			return nil, err
		}
		d.store, d.uses = s, 0
	}
	d.users++
	d.uses++
	return d.store, nil
}

func (d *Daemon) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
}

// Close releases the repository. Nothing may run any more.
func (d *Daemon) Close(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store == nil {
		return nil
	}
	s := d.store
	d.store = nil
	return s.Close(ctx)
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

// Check looks at the repository and compares it with what was promised: for all databases, or those named.
func (d *Daemon) Check(ctx context.Context, names ...string) ([]backup.Health, error) {
	c := d.Config()
	list := c.Databases
	if len(names) > 0 {
		list = nil
		for _, n := range names {
			db, err := Database(c, n)
			if err != nil {
				return nil, err
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
		return nil, err
	}
	now := time.Now()
	all := make([]backup.Health, 0, len(list))
	for _, db := range list {
		all = append(all, backup.Assess(Promise(c, db, now), facts, now))
	}
	return all, nil
}

// Promise is what the configuration promises for a database.
func Promise(c *config.Config, db *config.Database, now time.Time) backup.Promise {
	o := db.Objectives
	interval := db.Schedule.Plan(db.Name, c.TimeZone.Location).Interval(now)
	p := backup.Promise{Database: db.Name, Interval: interval, MinCopies: o.MinCopies, MaxSizeChange: float64(o.MaxSizeChange)}
	if interval > 0 {
		p.MaxAge = interval + grace
	}
	p.MaxAge = o.MaxAge.Or(p.MaxAge)
	p.WarnAge = o.WarnAge.Or(p.MaxAge)
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

// grace is how much later than planned is not yet late: a run takes its time.
const grace = time.Hour
