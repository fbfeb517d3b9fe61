package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

type drillFlags struct {
	opt    wire.ScratchOptions
	drill  backup.DrillOptions
	keys   keyFlags
	schema string
	models modelFlags
}

func newDrill(a *app) *cobra.Command {
	var f drillFlags
	cmd := &cobra.Command{
		Use:   "drill BACKUP | DATABASE | FILE",
		Short: "Restore a backup somewhere safe, compare it, and record the result",
		Long: `Restores a backup (an id, latest:NAME, or the name of a database in the configuration) into a scratch place, reads every row
back and compares counts and hashes with those taken at the backup, checks keys and indexes, and runs your own queries. The source is
never touched, and the scratch is dropped in any case. How long the restore took is your measured recovery time.

The scratch is a file in $TMPDIR for SQLite; for PostgreSQL and MariaDB a server of its own, started from the programs on this machine, or with
--to-scratch a new database on a server that you name. It needs as much room as the database.

FILE is a portable file, compressed or encrypted as it may be; a folder is its newest good one. It is loaded, and the rows of each table or
model are counted. A fixture holds no tables: they are made by the definitions of the database, or of the backup, that --schema-from
names, by default of the newest backup of the same database in the repository; what was loaded is then compared value by value. That database is
only read. Nothing is recorded.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error { return a.drill(cmd.Context(), list[0], f) },
	}
	f.keys.add(cmd)
	f.models.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.opt.To, "to-scratch", "auto", "auto, or postgres://… or mysql://… of a server for a scratch database")
	fl.StringArrayVar(&f.drill.Expect, "expect", nil, "a query that must return true (repeatable)")
	fl.IntVarP(&f.drill.Jobs, "jobs", "j", 2, "connections")
	fl.StringVar(&f.schema, "schema-from", "", "of a fixture: the database or backup whose tables it is loaded into")
	return cmd
}

func (a *app) drill(ctx context.Context, name string, f drillFlags) error {
	opt, d := f.opt, f.drill
	if err := checkJobs(d.Jobs); err != nil {
		return err
	}
	a.warnOfPasswords([]string{f.opt.To, f.schema})
	opt.Jobs, d.Version = d.Jobs, version
	configured := false
	if c, err := a.settings(); err != nil {
		return err
	} else if c != nil {
		if db, err := daemon.Database(c, name); err == nil {
			configured = true
			name = "latest:" + db.Name
			d.Expect = append(d.Expect, db.Drill.Expect...)
			if opt.To == "auto" && db.Drill.To != "" {
				opt.To = db.Drill.To.Reveal()
			}
		}
	}
	if !configured && isPath(name) {
		f.opt.Jobs = f.drill.Jobs
		return a.drillFile(ctx, name, f)
	}
	if f.schema != "" {
		return fail.New(fail.Usage, "leave it out: a backup holds its own definitions", "--schema-from with a backup")
	}
	return a.withStore(ctx, func(s *backup.Store) error {
		b, err := s.Show(ctx, name)
		if err != nil {
			return err
		}
		a.say("Drilling %s (%s of %s): needs about %s of disk.", b.ID.Short(), plain(b.Name), timeText(b.TakenAt), bytesText(wire.ScratchSize(b)))
		scratch, err := wire.Scratch(ctx, s, b, opt)
		if err != nil {
			return fail.Op(err, "drill %s", b.ID.Short())
		}
		p := a.newProgress()
		defer p.stop()
		d.Observer = p.observer()
		r, err := s.Drill(ctx, b.Backup, scratch, d)
		p.stop()
		if err != nil {
			return err
		}
		if a.json {
			if err := a.object(r); err != nil {
				return err
			}
			return r.Err()
		}
		return a.drilled(r)
	})
}

func (a *app) drilled(r backup.DrillResult) error {
	for _, f := range r.Findings {
		fmt.Fprintf(a.stdout, "%s: %s\n", r.Backup.ID.Short(), plain(f))
	}
	if err := a.answers(r.Expected); err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "Drilled %s: restored in %s, %s in %s compared, all well.\n", r.Backup.ID.Short(), secondsText(r.Restore), plural(r.Rows, "row"), plural(int64(r.Tables), "table"))
	return err
}

// answers prints what the user's queries returned.
func (a *app) answers(list []backup.Expected) error {
	return a.table(func(w io.Writer) {
		for _, e := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\n", map[bool]string{true: "ok", false: "NOT AS EXPECTED"}[e.OK], plain(e.Query), plain(cmp.Or(e.Error, e.Value)))
		}
	})
}
