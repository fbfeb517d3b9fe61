package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

type restoreFlags struct {
	to     string
	target wire.TargetOptions
	opt    backup.RestoreOptions
	models modelFlags
}

func newRestore(a *app) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore BACKUP --to DATABASE",
		Short: "Restore a backup to a database",
		Long: `Restores a backup into an empty database, a database it creates (--create), or one that it empties
first (--clean). Without these it touches nothing that holds data.

With --table it restores single tables into a database that may hold others: a table that is not there is
created, one that is empty is filled, one with rows is refused unless --clean replaces its rows.

The database may be of another engine than the backup: tables, rows, keys and indexes go there; what can't be carried over is
listed first, and afterwards everything is read back and compared. Of a Django project's database PostgreSQL gets the types that Django has
there; durations need --django-project or --model-map. docs/engines.md says what becomes of what.

What arrives is compared with what was backed up. After an error an empty database is empty again;
otherwise the error says what is left.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error { return a.restore(cmd.Context(), list[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "the database to write (required)")
	flags.StringArrayVarP(&f.opt.Tables.Include, "table", "t", nil, "only tables that fit the pattern (repeatable)")
	flags.StringArrayVarP(&f.opt.Tables.Exclude, "exclude-table", "T", nil, "no tables that fit the pattern (repeatable)")
	flags.BoolVar(&f.opt.SchemaOnly, "schema-only", false, "definitions without rows")
	flags.BoolVar(&f.opt.DataOnly, "data-only", false, "rows into tables that exist")
	flags.BoolVar(&f.target.Clean, "clean", false, "empty the target first: what it holds is lost")
	flags.BoolVar(&f.target.Create, "create", false, "create the database")
	flags.BoolVar(&f.target.NoOwner, "no-owner", false, "leave owners and grants out")
	flags.IntVarP(&f.opt.Jobs, "jobs", "j", 2, "connections that load rows and build indexes")
	f.models.addProject(cmd)
	return cmd
}

func (a *app) restore(ctx context.Context, name string, f restoreFlags) error {
	if f.to == "" {
		return fail.New(fail.Usage, "holdfast restore BACKUP --to DATABASE", "no target is named")
	}
	if f.opt.SchemaOnly && f.opt.DataOnly {
		return fail.New(fail.Usage, "leave both out to restore everything", "--schema-only together with --data-only")
	}
	if err := checkJobs(f.opt.Jobs); err != nil {
		return err
	}
	a.warnOfPasswords([]string{f.to})
	var err error
	if f.to, err = a.resolve(f.to); err != nil {
		return err
	}
	return a.withStore(ctx, func(s *backup.Store) error {
		b, err := s.Find(ctx, name)
		if err != nil {
			return err
		}
		// What is emptied for it must be worth it; who names the backup by its id knows.
		whole := f.opt.Tables.Empty()
		if bad := b.State == backup.Damaged || b.Partial && whole; f.target.Clean && bad && strings.HasPrefix(name, "latest") {
			return fail.New(fail.Incomplete, "name it by its id "+b.ID.Short()+" to do it all the same, or restore tables with --table",
				"empty %s for %s: that backup is %s", shortName(f.to), name, orPartial(b))
		}
		return a.restoreBackup(ctx, s, b, f)
	})
}

func (a *app) restoreBackup(ctx context.Context, s *backup.Store, b backup.Backup, f restoreFlags) (err error) {
	f.target.Partial = !f.opt.Tables.Empty()
	f.target.SchemaOnly, f.target.DataOnly, f.target.Jobs = f.opt.SchemaOnly, f.opt.DataOnly, f.opt.Jobs
	if f.target.Models, err = f.models.options(); err != nil {
		return err
	}
	across, err := wire.Across(f.to, b.Engine)
	if err != nil {
		return err
	}
	if image := b.Kind == backup.KindImage; across || image && (f.target.Partial || f.target.SchemaOnly) {
		view, err := wire.Stored(ctx, s, b)
		if err != nil {
			return fail.Op(err, "restore %s", b.ID.Short())
		}
		defer view.Close()
		f.target.Source = view
	}
	p := a.newProgress()
	defer p.stop()
	f.target.Stage, f.target.Omit = p.stage, p.omitting(a)
	dest, err := wire.Destination(f.to, b.Engine, f.target)
	if err != nil {
		return err
	}
	f.opt.Observer = p.observer()
	done, err := s.Restore(ctx, b, dest, f.opt)
	p.stop()
	if err != nil {
		return fail.Op(err, "restore %s to %s", b.ID.Short(), shortName(f.to))
	}
	for _, n := range done.Notes {
		a.warn(n)
	}
	if a.json {
		return a.object(done)
	}
	compared := "all compared with the backup"
	if done.Compared != nil && !f.opt.SchemaOnly {
		compared = comparedText(*done.Compared)
	}
	_, err = fmt.Fprintf(a.stdout, "Restored %s (%s of %s) to %s: %s, %s, %s in %s; %s.\n", b.ID.Short(), plain(b.Name), timeText(b.TakenAt),
		shortName(f.to), plural(int64(done.Tables), "table"), plural(done.Rows, "row"), bytesText(done.Bytes), secondsText(done.Seconds), compared)
	return err
}

func orPartial(b backup.Backup) string {
	if b.State == backup.Damaged {
		return "damaged"
	}
	return "a part of its database"
}
