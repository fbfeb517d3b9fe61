package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/notify"
)

// Run does one piece of work on one database: what Serve does when it is due, with hooks, heartbeats, the record in the
// repository and the alarms. The error is what went wrong with the work; what is said of it elsewhere is only logged.
func (d *Daemon) Run(ctx context.Context, name, work string) (backup.Attempt, error) {
	return d.run(ctx, name, work, nil)
}

// run is Run, which asks needed once the work is this process's: somebody else may have done it just before.
func (d *Daemon) run(ctx context.Context, name, work string, needed func(backup.Facts) bool) (backup.Attempt, error) {
	c := d.Config()
	var db *config.Database
	if work != backup.WorkPrune {
		var err error
		if db, err = Database(c, name); err != nil {
			return backup.Attempt{}, err
		}
	}
	var a backup.Attempt
	begun, noted := time.Now().UTC(), false
	err := d.with(ctx, func(s *backup.Store) error {
		release, err := s.Claim(ctx, work+" of "+or(name, "the repository"))
		if err != nil {
			return err // somebody else is at it, or nothing can be written: nothing was tried
		}
		defer release()
		if needed != nil {
			facts, err := s.Facts(ctx)
			if err != nil {
				return err
			}
			if !needed(facts) {
				return fail.New(fail.Locked, "", "%s of %s was done by somebody else just now", work, or(name, "the repository"))
			}
		}
		a = backup.Attempt{Database: name, Work: work, Started: time.Now().UTC(), Version: d.opt.Version}
		a.Host, _ = os.Hostname()
		j := &job{daemon: d, cfg: c, db: db, store: s, attempt: &a}
		err = j.run(ctx, work)
		a.Seconds = time.Since(a.Started).Round(time.Millisecond).Seconds()
		a = a.Outcome(err)
		d.metrics.Ran(name, work, err == nil)
		if fail.KindOf(err) == fail.Interrupted {
			return err // we were told to stop: that says nothing of the database
		}
		// The record must get there though the work's own time is up.
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		nerr := s.Note(rctx, a)
		noted = nerr == nil
		return errors.Join(err, nerr)
	})
	if k := fail.KindOf(err); noted || k != fail.Interrupted && (k != fail.Locked || a.Work != "") {
		d.keepUnnoted(backup.Attempt{Database: name, Work: work, Started: begun, Seconds: time.Since(begun).Seconds(), Backup: a.Backup, Version: d.opt.Version}.Outcome(err), noted)
	}
	if err != nil && a.Work == "" && work == backup.WorkBackup && fail.KindOf(err) != fail.Locked && fail.KindOf(err) != fail.Interrupted {
		j := &job{daemon: d, cfg: c, db: db, attempt: &backup.Attempt{Started: time.Now()}}
		j.failed(ctx, backup.Backup{}, err)
		j.logged(j.heartbeat().end(ctx, uuid.NewString(), err.Error(), err, 0))
	}
	return a, err
}

// keepUnnoted remembers what failed as long as the repository doesn't, so that it is told all the same.
func (d *Daemon) keepUnnoted(a backup.Attempt, noted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := a.Work + " " + a.Database
	if noted || a.OK {
		delete(d.unnoted, key)
		return
	}
	a.Failures, a.Since = 1, a.Started
	if before, ok := d.unnoted[key]; ok {
		a.Failures, a.Since = before.Failures+1, before.Since
	}
	d.unnoted[key] = a
}

// known are facts with what could not be recorded.
func (d *Daemon) known(f backup.Facts) backup.Facts {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.unnoted) == 0 {
		return f
	}
	f.Attempts = slices.DeleteFunc(slices.Clone(f.Attempts), func(a backup.Attempt) bool {
		mine, ok := d.unnoted[a.Work+" "+a.Database]
		return ok && mine.Started.After(a.Started)
	})
	for key, mine := range d.unnoted {
		if !slices.ContainsFunc(f.Attempts, func(a backup.Attempt) bool { return a.Work+" "+a.Database == key }) {
			f.Attempts = append(f.Attempts, mine)
		}
	}
	return f
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func join(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// job is one run.
type job struct {
	daemon  *Daemon
	cfg     *config.Config
	db      *config.Database // nil for work on the whole repository
	store   *backup.Store
	attempt *backup.Attempt
}

func (j *job) run(ctx context.Context, work string) error {
	if work == backup.WorkBackup {
		return j.backup(ctx)
	}
	return j.limited(ctx, work, func(ctx context.Context) error { return j.do(ctx, work) })
}

// stopped tells what failed because it was told to stop, such as a hook, from what failed.
func stopped(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) && fail.KindOf(err) != fail.Interrupted {
		return fail.Wrap(fail.Interrupted, err, "", "told to stop")
	}
	return err
}

// limited runs fn within the database's time limit.
func (j *job) limited(ctx context.Context, work string, fn func(context.Context) error) error {
	if j.db == nil {
		return stopped(ctx, fn(ctx))
	}
	limit := j.db.Timeout.Or(24 * time.Hour)
	late := fail.New(fail.Unavailable, "raise timeout, or find out what is slow", "%s of %s took longer than %s", work, j.db.Name, limit)
	lctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	err := fn(lctx)
	if err != nil && ctx.Err() == nil && errors.Is(lctx.Err(), context.DeadlineExceeded) {
		return late
	}
	return stopped(ctx, err)
}

func (j *job) do(ctx context.Context, work string) error {
	switch work {
	case backup.WorkVerify:
		return j.verify(ctx)
	case backup.WorkDrill:
		return j.drill(ctx)
	case backup.WorkPrune:
		return j.prune(ctx)
	}
	return fail.New(fail.Internal, "", "work of kind %q", work)
}

// backup makes a backup with everything around it.
func (j *job) backup(ctx context.Context) error {
	beat, id := j.heartbeat(), uuid.NewString()
	var began sync.WaitGroup // a monitor that does not answer keeps no backup waiting
	began.Go(func() { j.logged(beat.start(ctx, id)) })
	defer began.Wait()
	var b backup.Backup
	err := j.limited(ctx, backup.WorkBackup, func(ctx context.Context) (err error) {
		b, err = j.hooked(ctx)
		return err
	})
	if fail.KindOf(err) == fail.Interrupted {
		return err
	}
	text := ""
	if err != nil {
		text = err.Error()
		j.failed(ctx, b, err)
	} else {
		j.attempt.Backup = b.ID
		text = fmt.Sprintf("backup %s: %d rows in %d tables, %d bytes, %d new, in %.1f s", b.ID.Short(), b.Rows, b.Tables, b.Size, b.NewBytes, b.Seconds)
	}
	took := time.Since(j.attempt.Started)
	began.Wait()
	ectx, cancel := lasting(ctx, lastWord)
	defer cancel()
	j.logged(beat.end(ectx, id, text, err, took))
	return err
}

// lastWord is how long the end of a run may still be told of after it was told to stop.
const lastWord = 5 * time.Second

// lasting returns a context that ends a while after ctx does.
func lasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		wait := time.NewTimer(d)
		defer wait.Stop()
		select {
		case <-wait.C:
			cancel()
		case <-after.Done():
		}
	})
	return after, func() { stop(); cancel() }
}

// failed runs the hooks for a failure: after its time limit too, which may be what failed.
func (j *job) failed(ctx context.Context, b backup.Backup, err error) {
	for _, h := range j.db.Hooks.OnFailure {
		j.logged(j.hook(ctx, h, "failure", b, err))
	}
}

// hooked makes the backup and its exports, between the hooks.
func (j *job) hooked(ctx context.Context) (b backup.Backup, err error) {
	for _, h := range j.db.Hooks.Before {
		if err := j.hook(ctx, h, "before", b, nil); err != nil {
			if h.IfFails != config.Warn {
				return b, err
			}
			j.logged(err)
		}
	}
	if b, err = j.store1(ctx); err != nil {
		return b, err
	}
	var errs []error
	for _, e := range j.db.Exports {
		path, err := j.daemon.opt.Engines.Export(ctx, j.store, b, j.db, e, j.cfg.TimeZone.Location)
		errs = append(errs, fail.Op(err, "export %s of %s to %s", e.Format, j.db.Name, e.Folder))
		if err == nil {
			j.daemon.opt.Log.Info("exported", "database", j.db.Name, "file", path)
		}
	}
	for _, h := range j.db.Hooks.After {
		if err := j.hook(ctx, h, "after", b, nil); err != nil {
			if h.IfFails == config.Abort {
				errs = append(errs, err)
			} else {
				j.logged(err)
			}
		}
	}
	return b, errors.Join(errs...)
}

// store1 makes the backup itself.
func (j *job) store1(ctx context.Context) (b backup.Backup, err error) {
	src, err := j.daemon.opt.Engines.Source(ctx, j.db)
	if err != nil {
		return b, fail.Op(err, "back up %s", j.db.Name)
	}
	defer src.Close()
	run := j.store.NewRun(backup.RunOptions{Jobs: j.db.Jobs, Version: j.daemon.opt.Version, Note: func(n string) { j.daemon.opt.Log.Warn(n, "database", j.db.Name) }})
	defer func() { _ = run.Abort(context.WithoutCancel(ctx)) }()
	if b, err = run.Backup(ctx, src); err != nil {
		return b, fail.Op(err, "back up %s", j.db.Name)
	}
	return b, fail.Op(run.Commit(ctx), "back up %s", j.db.Name)
}

// newest is the newest good backup of the database.
func (j *job) newest(ctx context.Context) (backup.Backup, error) {
	b, err := j.store.Find(ctx, "latest:"+j.db.Name)
	if err == nil {
		j.attempt.Backup = b.ID
	}
	return b, err
}

func (j *job) verify(ctx context.Context) error {
	b, err := j.newest(ctx)
	if err != nil {
		return err
	}
	v, err := j.store.Verify(ctx, []backup.Backup{b}, backup.VerifyOptions{Percent: float64(j.db.Verify.Sample), Jobs: j.db.Jobs, Version: j.daemon.opt.Version})
	if err != nil {
		return fail.Op(err, "verify %s", j.db.Name)
	}
	err = v.Err()
	if err != nil && len(v.Damage) > 0 { // whoever is woken up by it is to know what it is
		d := v.Damage[0]
		more := ""
		if n := len(v.Damage) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more faults)", n)
		}
		err = fail.Wrap(fail.KindOf(err), errors.New(d.Reason+more), fail.HintOf(err), "backup %s is damaged: %s", b.ID.Short(), or(d.Table, d.Path))
	}
	return fail.Op(err, "verify %s", j.db.Name)
}

func (j *job) drill(ctx context.Context) error {
	b, err := j.newest(ctx)
	if err != nil {
		return err
	}
	detail, err := j.store.Show(ctx, string(b.ID))
	if err != nil {
		return fail.Op(err, "drill %s", j.db.Name)
	}
	scratch, err := j.daemon.opt.Engines.Scratch(ctx, j.store, detail, j.db)
	if err != nil {
		return fail.Op(err, "drill %s", j.db.Name)
	}
	r, err := j.store.Drill(ctx, b, scratch, backup.DrillOptions{Jobs: j.db.Jobs, Expect: j.db.Drill.Expect, Version: j.daemon.opt.Version})
	if err != nil {
		return fail.Op(err, "drill %s", j.db.Name)
	}
	j.daemon.opt.Log.Info("drilled", "database", j.db.Name, "backup", b.ID.Short(), "tables", r.Tables, "rows", r.Rows, "restore_seconds", r.Restore, "findings", len(r.Findings))
	return r.Err()
}

// prune applies each database's policy. Backups of databases that the configuration does not name are kept.
func (j *job) prune(ctx context.Context) error {
	done, err := j.store.Prune(ctx, Policies(j.cfg), backup.PruneOptions{})
	if err != nil {
		return err
	}
	refused := map[string]int{}
	why := ""
	for _, x := range done.Decisions {
		switch {
		case x.Refused:
			refused[x.Backup.Name]++
			why = x.Reason
		case !x.Keep:
			j.daemon.opt.Log.Info("removed", "backup", x.Backup.ID.Short(), "database", x.Backup.Name, "why", x.Reason)
		}
	}
	if len(refused) > 0 {
		return fail.New(fail.Incomplete, "mend what fails; holdfast prune --dry-run says what waits for it", "old backups of %s stay for now: %s", join(sortedNames(refused)), why)
	}
	return nil
}

func (j *job) logged(err error) {
	if err != nil {
		j.daemon.opt.Log.Warn(err.Error(), "database", j.db.Name)
	}
}

// beats is a heartbeat that may not be there.
type beats struct{ *notify.Heartbeat }

func (j *job) heartbeat() beats {
	h := j.db.Heartbeat
	if h.URL == "" {
		return beats{}
	}
	kuma := h.Kind == "kuma" || h.Kind == "" && strings.Contains(h.URL.Reveal(), "/api/push/")
	return beats{&notify.Heartbeat{URL: h.URL, Kuma: kuma}}
}

func (b beats) start(ctx context.Context, id string) error {
	if b.Heartbeat == nil {
		return nil
	}
	return b.Start(ctx, id)
}

func (b beats) end(ctx context.Context, id, text string, err error, took time.Duration) error {
	switch {
	case b.Heartbeat == nil:
		return nil
	case err != nil:
		return b.Fail(ctx, id, text, fail.KindOf(err).ExitCode(), took)
	}
	return b.Success(ctx, id, text, took)
}
