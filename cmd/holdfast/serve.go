package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/notify"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// daemon makes the daemon of a configuration. Close it.
func (a *app) daemon(c *config.Config) *daemon.Daemon {
	return daemon.New(c, daemon.Options{Engines: wire.Engines(version), Open: a.openConfigured, Version: version, Log: a.logger()})
}

// logger writes talk as lines of a log, without times where systemd's journal has them.
func (a *app) logger() *slog.Logger {
	opt := &slog.HandlerOptions{}
	if a.quiet {
		opt.Level = slog.LevelWarn
	}
	toJournal := isJournal(a.stderr)
	if toJournal {
		opt.ReplaceAttr = func(groups []string, at slog.Attr) slog.Attr {
			if len(groups) == 0 && at.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return at
		}
	}
	if a.json {
		return slog.New(slog.NewJSONHandler(a.stderr, opt))
	}
	if toJournal {
		return slog.New(slog.NewTextHandler(journal{a.stderr}, opt))
	}
	return slog.New(slog.NewTextHandler(a.stderr, opt))
}

// isJournal reports whether what is written goes to systemd's journal: shells below a service inherit the variable, and write elsewhere.
func isJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	at, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", at.Dev, at.Ino)
}

// journal puts before each line of a log what systemd's journal knows its priority by: journalctl -p err finds errors then.
type journal struct{ io.Writer }

func (j journal) Write(line []byte) (int, error) {
	priority := "<6>"
	switch {
	case bytes.HasPrefix(line, []byte("level=ERROR")):
		priority = "<3>"
	case bytes.HasPrefix(line, []byte("level=WARN")):
		priority = "<4>"
	}
	if _, err := j.Writer.Write(append([]byte(priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

func newServe(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Back up, verify, drill, prune and raise alarms by the configuration",
		Long: `Runs until it is told to stop. Each database is backed up, verified, drilled and pruned when its schedule says so; what was
missed while nothing ran is caught up with once. Whoever is named in notify hears of what goes wrong, and of its end.

SIGHUP reads the configuration again. SIGTERM and Ctrl-C stop the jobs that run, which leaves no half backup, and end.
Several holdfast serve may work on one repository: they don't do the same job twice.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context()) },
	}
}

func (a *app) serve(ctx context.Context) (err error) {
	c, err := a.needSettings()
	if err != nil {
		return err
	}
	d := a.daemon(c)
	defer func() { err = errors.Join(err, d.Close(context.WithoutCancel(ctx))) }()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	reload := make(chan *config.Config)
	log := a.logger()
	rctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-rctx.Done():
				return
			case <-hup:
			}
			a.cfg = nil
			c, err := a.needSettings()
			if err != nil {
				log.Error("the old configuration stays: " + err.Error())
				continue
			}
			warnUnusable(log, c)
			select {
			case reload <- c:
			case <-rctx.Done():
			}
		}
	}()
	defer func() { stop(); <-done }()
	warnUnusable(log, c)
	log.Info("serving", "config", c.Path, "repository", c.Repository, "databases", len(c.Databases), "version", version)
	return d.Serve(ctx, reload)
}

// warnUnusable says at once what would come out when it is needed. It ends nothing: the other databases and places are right.
func warnUnusable(log *slog.Logger, c *config.Config) {
	for _, p := range unusable(c) {
		log.Error("the configuration: "+p.String(), "file", c.Path)
	}
}

func newRun(a *app) *cobra.Command {
	var work string
	cmd := &cobra.Command{
		Use:   "run DATABASE",
		Short: "Run one job now, as serve would: for cron and systemd timers",
		Long: `Backs up one database of the configuration now, with its hooks, heartbeat, exports and alarms. --job runs verify, drill or prune
instead. What was done is recorded in the repository, so that check and serve know of it.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error { return a.runJob(cmd.Context(), list[0], work) },
	}
	cmd.Flags().StringVar(&work, "job", backup.WorkBackup, "backup, verify, drill or prune")
	return cmd
}

func (a *app) runJob(ctx context.Context, name, work string) (err error) {
	switch work {
	case backup.WorkBackup, backup.WorkVerify, backup.WorkDrill, backup.WorkPrune:
	default:
		return fail.New(fail.Usage, "use backup, verify, drill or prune", "--job %q", work)
	}
	c, err := a.needSettings()
	if err != nil {
		return err
	}
	if _, err := daemon.Database(c, name); err != nil {
		return err
	}
	d := a.daemon(c)
	defer func() { err = errors.Join(err, d.Close(context.WithoutCancel(ctx))) }()
	on := name
	if work == backup.WorkPrune {
		on = ""
	}
	at, err := d.Run(ctx, on, work)
	done := err == nil
	// Whatever it was: who is to know of it is told, unless a daemon does that.
	if ctx.Err() == nil && fail.KindOf(err) != fail.Locked {
		unsent, terr := d.Tell(ctx)
		if unsent > 0 {
			terr = errors.Join(terr, fail.New(fail.Unavailable, "holdfast notify test", "%s could not be delivered", plural(int64(unsent), "message")))
		}
		if err == nil {
			err = terr
		}
	}
	if a.json {
		return errors.Join(err, a.object(at))
	}
	if done { // also when nobody could be told of something else
		_, perr := fmt.Fprintf(a.stdout, "%s of %s: done in %s%s\n", work, name, secondsText(at.Seconds), ofBackup(at))
		err = errors.Join(err, perr)
	}
	return err
}

func ofBackup(at backup.Attempt) string {
	if at.Backup == "" {
		return ""
	}
	return ", backup " + at.Backup.Short()
}

func newNotify(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "notify", Short: "Try the places that are told", Args: args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(&cobra.Command{
		Use: "test [PLACE ...]", Short: "Send a message to each configured place",
		RunE: func(cmd *cobra.Command, list []string) error { return a.notifyTest(cmd.Context(), list) },
	})
	return cmd
}

func (a *app) notifyTest(ctx context.Context, names []string) error {
	c, err := a.needSettings()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = sorted(c.Notify)
	}
	if len(names) == 0 {
		return fail.New(fail.NotFound, "add notify: to it", "%s names nobody to be told", c.Path)
	}
	host, _ := os.Hostname()
	var errs []error
	for _, n := range names {
		if _, ok := c.Notify[n]; !ok {
			return fail.New(fail.NotFound, "it names "+joinNames(sorted(c.Notify)), "no place %q in %s", n, c.Path)
		}
		err := place(c, n).Send(ctx, notify.Message{Event: "test", Title: "holdfast: a test from " + host, Body: "When you read this, alarms reach you here.\nConfiguration: " + c.Path})
		errs = append(errs, err)
		if err == nil {
			fmt.Fprintf(a.stdout, "%s: sent\n", plain(n))
		}
	}
	return errors.Join(errs...)
}

func place(c *config.Config, name string) notify.Place { return daemon.Place(c, name) }
