package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
)

func newList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list [DATABASE | FOLDER]",
		Short: "List backups, newest first",
		Long: `Lists the backups in the repository, newest first; with DATABASE, those of one; with FOLDER
(written with a slash, as in backups/), the portable files in it.

NEW is what a backup added to the repository, compressed. STATE is stored, verified (every byte was read
back), drilled (restored and compared) or damaged (the newest check failed).`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if len(list) > 0 && strings.ContainsRune(list[0], filepath.Separator) || len(list) > 0 && a.repo == "" && isFolder(list[0]) {
				return a.listFolder(list[0])
			}
			err := a.withStore(cmd.Context(), func(s *backup.Store) error { return a.list(cmd.Context(), s, list) })
			if fail.KindOf(err) == fail.NoRepository && len(list) > 0 && isFolder(list[0]) {
				return a.listFolder(list[0])
			}
			return err
		},
	}
}

func (a *app) list(ctx context.Context, s *backup.Store, names []string) error {
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	var shown []backup.Backup
	known := map[string]bool{}
	for _, b := range all {
		known[b.Name] = true
		if len(names) == 0 || b.Name == names[0] {
			shown = append(shown, b)
		}
	}
	if len(shown) == 0 && len(names) > 0 && isFolder(names[0]) {
		return a.listFolder(names[0])
	}
	if a.json {
		for _, b := range shown {
			if err := a.object(b); err != nil {
				return err
			}
		}
		return nil
	}
	switch {
	case len(all) == 0:
		a.say("No backups here yet.")
		return nil
	case len(shown) == 0:
		a.say("No backups of %s here, but of %s.", names[0], strings.Join(sorted(known), ", "))
		return nil
	}
	return a.table(func(w io.Writer) {
		fmt.Fprintln(w, "ID\tDATABASE\tENGINE\tTAKEN\tTOOK\tSIZE\tNEW\tTABLES\tROWS\tSTATE")
		for _, b := range shown {
			state := string(b.State)
			if b.Partial {
				state += ", partial"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", b.ID.Short(), plain(b.Name), b.Engine, timeText(b.TakenAt),
				secondsText(b.Seconds), bytesText(b.Size), bytesText(b.NewBytes), b.Tables, countText(b.Rows), state)
		}
	})
}

func newShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show BACKUP",
		Short: "Show what one backup holds",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			return a.withStore(cmd.Context(), func(s *backup.Store) error {
				d, err := s.Show(cmd.Context(), list[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.object(d)
				}
				return a.show(d)
			})
		},
	}
}

func (a *app) show(d backup.Detail) error {
	o := d.Manifest.Origin()
	err := a.table(func(w io.Writer) {
		line := func(key, format string, args ...any) {
			if text := plain(fmt.Sprintf(format, args...)); text != "" {
				fmt.Fprintf(w, "%s\t%s\n", key, text)
			}
		}
		line("backup", "%s", d.ID)
		line("database", "%s (%s on %s)", d.Name, o.Database, o.Host)
		line("engine", "%s %s, encoding %s", o.Engine, o.Version, o.Encoding)
		line("taken", "%s, in %s", timeText(o.TakenAt), secondsText(d.Seconds))
		line("consistency", "%s", o.Consistency)
		line("position", "%s", o.Position)
		line("size", "%s, of which %s new in the repository", bytesText(d.Size), bytesText(d.NewBytes))
		line("rows", "%s in %s", countText(d.Rows), plural(int64(d.Tables), "table"))
		line("state", "%s since %s", d.State, timeText(d.StateAt))
		line("written by", "holdfast %s (format %d); definitions by %s", d.Manifest.Holdfast, d.Manifest.Format, orNone(o.Tools))
		if s := d.Manifest.Selection; !s.Empty() {
			line("selection", "include %s, exclude %s", orNone(strings.Join(s.Include, " ")), orNone(strings.Join(s.Exclude, " ")))
		}
		for _, n := range o.Notes {
			line("note", "%s", n)
		}
		for _, c := range d.Checks {
			line("check", "%s, %s: %g%% read, %s", c.What, timeText(c.At), c.Percent, damageText(c.Damage))
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	return a.table(func(w io.Writer) { showTables(w, d.Manifest) })
}

func showTables(w io.Writer, m *backup.Manifest) {
	if m.Image != nil {
		fmt.Fprintln(w, "TABLE\tROWS")
		for _, t := range m.Image.Tables {
			fmt.Fprintf(w, "%s\t%s\n", plain(t.Name), countText(t.Rows))
		}
		return
	}
	sums := m.TableCounts()
	fmt.Fprintln(w, "TABLE\tKIND\tCOLUMNS\tROWS\tBYTES")
	for _, t := range m.Schema.Tables {
		c := sums[t.String()]
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", plain(t.String()), t.Kind, len(t.Columns), countText(c.Rows), bytesText(c.Bytes))
	}
}

func damageText(damage []backup.Damage) string {
	if len(damage) == 0 {
		return "all well"
	}
	return plural(int64(len(damage)), "fault")
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
