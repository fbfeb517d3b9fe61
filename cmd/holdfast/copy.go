package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

type copyFlags struct {
	to     string
	opt    wire.CopyOptions
	models modelFlags
}

func newCopy(a *app) *cobra.Command {
	var f copyFlags
	cmd := &cobra.Command{
		Use:   "copy [DATABASE] --to DATABASE",
		Short: "Copy a live database to another one, of any engine",
		Long: `Copies a database, as it is at one instant, into an empty database, a database it creates (--create), or one that it
empties first (--clean). Nothing is stored in between, and no repository is needed.

Between engines tables, rows, keys and indexes are copied. What can't be carried over is listed, by name, before the first row is; afterwards
the target is read back and compared, row by row. Of a Django project's database PostgreSQL gets the types that Django has there;
durations need --django-project or --model-map. docs/engines.md says what becomes of what.`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			db, err := a.database(list)
			if err != nil {
				return err
			}
			return a.copyDatabase(cmd.Context(), db, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "the database to write (required)")
	flags.StringArrayVarP(&f.opt.Tables.Include, "table", "t", nil, "only tables that fit the pattern (repeatable)")
	flags.StringArrayVarP(&f.opt.Tables.Exclude, "exclude-table", "T", nil, "no tables that fit the pattern (repeatable)")
	flags.BoolVar(&f.opt.Target.Clean, "clean", false, "empty the target first: what it holds is lost")
	flags.BoolVar(&f.opt.Target.Create, "create", false, "create the database")
	flags.BoolVar(&f.opt.Target.NoOwner, "no-owner", false, "leave owners and grants out")
	flags.IntVarP(&f.opt.Target.Jobs, "jobs", "j", 2, "connections that read and load rows and build indexes")
	f.models.addProject(cmd)
	return cmd
}

// addProject adds the options that say what fields are.
func (m *modelFlags) addProject(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.mapFile, "model-map", "", "of a Django project: map that it made (holdfast inspect --map-script says how)")
	cmd.Flags().StringVar(&m.project, "django-project", "", "of a Django project: its folder, whose migrations say what fields are")
}

func (a *app) copyDatabase(ctx context.Context, db string, f copyFlags) (err error) {
	if f.to == "" {
		return fail.New(fail.Usage, "holdfast copy DATABASE --to DATABASE", "no target is named")
	}
	if err := checkJobs(f.opt.Target.Jobs); err != nil {
		return err
	}
	a.warnOfPasswords([]string{f.to})
	if f.to, err = a.resolve(f.to); err != nil {
		return err
	}
	if f.opt.Target.Models, err = f.models.options(); err != nil {
		return err
	}
	p := a.newProgress()
	defer p.stop()
	f.opt.Target.Stage, f.opt.Target.Omit, f.opt.Observer = p.stage, p.omitting(a), p.observer()
	done, err := wire.Copy(ctx, db, f.to, f.opt)
	p.stop()
	if err != nil {
		return fail.Op(err, "copy %s to %s", shortName(db), shortName(f.to))
	}
	for _, n := range done.Notes {
		a.warn(n)
	}
	if a.json {
		return a.object(done)
	}
	_, err = fmt.Fprintf(a.stdout, "Copied %s to %s: %s, %s, %s in %s; %s.\n", shortName(db), shortName(f.to), plural(int64(done.Tables), "table"),
		plural(done.Rows, "row"), bytesText(done.Bytes), secondsText(done.Seconds), comparedText(*done.Compared))
	return err
}

// comparedText says how far a target was read back.
func comparedText(c backup.Comparison) string {
	text := fmt.Sprintf("read back and compared: rows of %s, values of %d", plural(int64(c.Tables), "table"), c.Values)
	for _, n := range c.Notes {
		text += "; not compared: " + plain(n)
	}
	return text
}

// omitting returns what tells of things that can't be carried over, above the bars when there are some.
func (p *progress) omitting(a *app) func(string) {
	return func(what string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		talk := *a
		if p.bars != nil {
			talk.stderr = p.bars
		}
		talk.warn("not carried over: " + what)
	}
}
