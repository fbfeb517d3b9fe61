package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

func newDrill(a *app) *cobra.Command {
	var opt wire.ScratchOptions
	var d backup.DrillOptions
	var keys keyFlags
	cmd := &cobra.Command{
		Use:   "drill BACKUP | DATABASE | FILE",
		Short: "Restore a backup somewhere safe, compare it, and record the result",
		Long: `Restores a backup (an id, latest:NAME, or the name of a database in the configuration) into a scratch place, reads every row
back and compares counts and hashes with those taken at the backup, checks keys and indexes, and runs your own queries. The source is
never touched, and the scratch is dropped in any case. How long the restore took is your measured recovery time.

The scratch is a file in $TMPDIR for SQLite; for PostgreSQL and MariaDB a server of its own, started from the programs on this machine, or with
--to-scratch a new database on a server that you name. It needs as much room as the database.

FILE is SQL of PostgreSQL or SQLite, compressed or encrypted as it may be: it is loaded, and its tables are counted. Nothing is recorded.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			return a.drill(cmd.Context(), list[0], opt, d, keys.keys(cmd.Context()))
		},
	}
	keys.add(cmd)
	f := cmd.Flags()
	f.StringVar(&opt.To, "to-scratch", "auto", "auto, or postgres://… or mysql://… of a server for a scratch database")
	f.StringArrayVar(&d.Expect, "expect", nil, "a query that must return true (repeatable)")
	f.IntVarP(&d.Jobs, "jobs", "j", 2, "connections")
	return cmd
}

func (a *app) drill(ctx context.Context, name string, opt wire.ScratchOptions, d backup.DrillOptions, keys envelope.Keys) error {
	if err := checkJobs(d.Jobs); err != nil {
		return err
	}
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
		return a.drillFile(ctx, name, opt, d, keys)
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

// drillFile reads a portable file to its end, then loads it somewhere safe.
func (a *app) drillFile(ctx context.Context, name string, opt wire.ScratchOptions, d backup.DrillOptions, keys envelope.Keys) error {
	if len(d.Expect) > 0 {
		return fail.New(fail.Unsupported, "drill a backup, or load the file", "--expect with a file")
	}
	name, err := newest(name)
	if err != nil {
		return err
	}
	check, err := readFile(ctx, fileEntry(name), keys)
	if err != nil {
		return fail.Op(err, "drill %s", plain(name))
	}
	r, _, err := openFile(name, keys)
	if err != nil {
		return err
	}
	defer r.Close()
	done, err := wire.DrillFile(ctx, r, check, opt)
	if err != nil {
		return fail.Op(err, "drill %s", plain(name))
	}
	if len(done.Findings) > 0 {
		err = fail.New(fail.Mismatch, "make another dump", "drill %s: %s", plain(name), plain(strings.Join(done.Findings, "; ")))
	}
	if a.json {
		return errors.Join(err, a.object(done))
	}
	if err == nil {
		_, err = fmt.Fprintf(a.stdout, "Drilled %s: loaded in %s, %s in %s counted, all well.\n", plain(name), secondsText(done.Restore), plural(done.Rows, "row"), plural(int64(done.Tables), "table"))
	}
	return err
}

func (a *app) drilled(r backup.DrillResult) error {
	for _, f := range r.Findings {
		fmt.Fprintf(a.stdout, "%s: %s\n", r.Backup.ID.Short(), plain(f))
	}
	if len(r.Expected) > 0 {
		err := a.table(func(w io.Writer) {
			for _, e := range r.Expected {
				fmt.Fprintf(w, "%s\t%s\t%s\n", map[bool]string{true: "ok", false: "NOT AS EXPECTED"}[e.OK], plain(e.Query), plain(e.Value))
			}
		})
		if err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "Drilled %s: restored in %s, %s in %s compared, all well.\n", r.Backup.ID.Short(), secondsText(r.Restore), plural(r.Rows, "row"), plural(int64(r.Tables), "table"))
	return err
}
