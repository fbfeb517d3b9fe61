package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

func newBackup(a *app) *cobra.Command {
	var opt wire.SourceOptions
	cmd := &cobra.Command{
		Use:   "backup [DATABASE ...]",
		Short: "Back up databases",
		Long: `Backs up each DATABASE at one consistent instant: PostgreSQL as rows and definitions, SQLite as a file.
Every backup is a full one; only what the repository does not hold yet is stored.

A table that can't be read fails the backup and is named, unless it is excluded. Patterns are
psql's: users, public.users, 'log_*', '"Odd Name"'.`,
		RunE: func(cmd *cobra.Command, list []string) error {
			if len(list) == 0 {
				db := os.Getenv("DATABASE_URL")
				if db == "" {
					return fail.New(fail.Usage, "holdfast backup DATABASE, or export DATABASE_URL", "no database is named")
				}
				list = []string{db}
			} else {
				a.warnOfPasswords(list)
			}
			for i := range list {
				var err error
				if list[i], err = a.resolve(list[i]); err != nil {
					return err
				}
			}
			if plain(opt.Name) != opt.Name {
				return fail.New(fail.Usage, "use printable characters", "--name %q", opt.Name)
			}
			if err := checkJobs(opt.Jobs); err != nil {
				return err
			}
			if opt.Name != "" && len(list) > 1 {
				return fail.New(fail.Usage, "back up one database a command when you name it", "--name with %d databases", len(list))
			}
			return a.backup(cmd.Context(), list, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Name, "name", "", "name of the backup's database (default: its own)")
	f.StringArrayVarP(&opt.Tables.Include, "include-table", "t", nil, "only tables that fit the pattern (repeatable)")
	f.StringArrayVarP(&opt.Tables.Exclude, "exclude-table", "T", nil, "no tables that fit the pattern (repeatable)")
	f.StringArrayVar(&opt.Tables.Include, "include", nil, "same as --include-table")
	f.StringArrayVar(&opt.Tables.Exclude, "exclude", nil, "same as --exclude-table")
	_ = f.MarkHidden("include")
	_ = f.MarkHidden("exclude")
	f.BoolVar(&opt.DataOnly, "data-only", false, "rows without definitions: needs no pg_dump")
	f.DurationVar(&opt.LockWait, "lock-wait", 30*time.Second, "longest wait for a lock on a table or file")
	f.IntVarP(&opt.Jobs, "jobs", "j", 2, "connections that read rows")
	return cmd
}

// warnOfPasswords says so when a password is visible to everybody who may list processes.
func (a *app) warnOfPasswords(databases []string) {
	for _, db := range databases {
		if u, err := url.Parse(db); err == nil {
			if _, has := u.User.Password(); has || u.Query().Has("password") {
				a.warn("a password on the command line can be seen by other users of this machine: use ~/.pgpass or ~/.my.cnf, PGPASSWORD or MYSQL_PWD, or DATABASE_URL")
				return
			}
		}
	}
}

func (a *app) backup(ctx context.Context, databases []string, opt wire.SourceOptions) error {
	return a.withStore(ctx, func(s *backup.Store) error {
		p := a.newProgress()
		defer p.stop()
		var notes []string
		var errs []error
		name := ""
		run := s.NewRun(backup.RunOptions{Jobs: opt.Jobs, Version: version, Observer: p.observer(), Note: func(n string) { notes = append(notes, name+": "+n) }})
		defer func() { _ = run.Abort(context.WithoutCancel(ctx)) }()
		for _, db := range databases {
			name = shortName(db)
			if _, err := backupOne(ctx, run, db, opt); err != nil {
				errs = append(errs, fail.Op(err, "back up %s", name))
			}
			if ctx.Err() != nil {
				break
			}
		}
		if ctx.Err() == nil { // a stop asked for leaves nothing that is not committed yet
			if err := run.Commit(ctx); err != nil {
				errs = append(errs, err)
			}
		}
		p.stop()
		for _, n := range notes {
			a.warn(n)
		}
		for _, b := range run.Done() {
			if err := a.printBackup(b); err != nil {
				return err
			}
		}
		return errors.Join(errs...)
	})
}

func backupOne(ctx context.Context, run *backup.Run, db string, opt wire.SourceOptions) (backup.Backup, error) {
	src, err := wire.Source(ctx, db, opt)
	if err != nil {
		return backup.Backup{}, err
	}
	defer src.Close()
	return run.Backup(ctx, src)
}

func (a *app) printBackup(b backup.Backup) error {
	if a.json {
		return a.object(b)
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %s  %s in %s, %s, %s new, %s\n", b.ID.Short(), plain(b.Name), plural(b.Rows, "row"),
		plural(int64(b.Tables), "table"), bytesText(b.Size), bytesText(b.NewBytes), secondsText(b.Seconds))
	return err
}

// shortName is a database's name for messages: never a URL, which may hold a password.
func shortName(db string) string {
	if name, err := wire.Name(db); err == nil {
		return plain(name)
	}
	return "the database"
}
