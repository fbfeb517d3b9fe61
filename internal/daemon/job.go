package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
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
	c := d.Config()
	var db *config.Database
	if work != backup.WorkPrune {
		var err error
		if db, err = Database(c, name); err != nil {
			return backup.Attempt{}, err
		}
	}
	var a backup.Attempt
	err := d.with(ctx, func(s *backup.Store) error {
		release, err := s.Claim(ctx, work+" of "+or(name, "the repository"))
		if err != nil {
			return err // somebody else is at it: nothing was tried
		}
		defer release()
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
		return errors.Join(err, s.Note(rctx, a))
	})
	return a, err
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
	if j.db != nil {
		var cancel context.CancelFunc
		limit := j.db.Timeout.Or(24 * time.Hour)
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fail.New(fail.Unavailable, "raise timeout, or find out what is slow", "%s of %s took longer than %s", work, j.db.Name, limit))
		defer cancel()
	}
	err := j.do(ctx, work)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	return err
}

func (j *job) do(ctx context.Context, work string) error {
	switch work {
	case backup.WorkBackup:
		return j.backup(ctx)
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
	j.logged(beat.start(ctx, id))
	b, err := j.hooked(ctx)
	text := ""
	if err != nil {
		text = err.Error()
	} else {
		j.attempt.Backup = b.ID
		text = fmt.Sprintf("backup %s: %d rows in %d tables, %d bytes, %d new, in %.1f s", b.ID.Short(), b.Rows, b.Tables, b.Size, b.NewBytes, b.Seconds)
	}
	tell := context.WithoutCancel(ctx) // also that we were stopped
	took := time.Since(j.attempt.Started)
	if fail.KindOf(err) != fail.Interrupted {
		j.logged(beat.end(tell, id, text, err, took))
	}
	return err
}

// hooked runs the hooks around a backup.
func (j *job) hooked(ctx context.Context) (b backup.Backup, err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			for _, h := range j.db.Hooks.OnFailure {
				j.logged(j.hook(ctx, h, "failure", b, err))
			}
		}
	}()
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
	return fail.Op(v.Err(), "verify %s", j.db.Name)
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
	scratch, err := j.daemon.opt.Engines.Scratch(ctx, detail, j.db)
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
	for _, x := range done.Decisions {
		if !x.Keep && err == nil {
			j.daemon.opt.Log.Info("removed", "backup", x.Backup.ID.Short(), "database", x.Backup.Name, "why", x.Reason)
		}
	}
	return err
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
