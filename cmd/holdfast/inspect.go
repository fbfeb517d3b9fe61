package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

func newInspect(a *app) *cobra.Command {
	var m modelFlags
	var byModel, script, fields bool
	cmd := &cobra.Command{
		Use:   "inspect [DATABASE] --models",
		Short: "Show which table is which Django model, and how that was decided",
		Long: `Shows what holdfast dump takes each table for, and what decided it: a map, the project's migrations, Django's own apps (built
in), the content types, a constraint, or nothing but the name. What is uncertain is said.

    holdfast inspect --map-script | python manage.py shell -v 0 > models.json     # the surest source, for --model-map`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if script {
				_, err := io.WriteString(a.stdout, wire.MapScript())
				return err
			}
			if !byModel {
				return fail.New(fail.Usage, "holdfast inspect DATABASE --models", "say what to show")
			}
			db, err := a.database(list)
			if err != nil {
				return err
			}
			opt, err := m.options()
			if err != nil {
				return err
			}
			view, err := wire.OpenDump(cmd.Context(), db, wire.JSON, wire.SourceOptions{})
			if err != nil {
				return fail.Op(err, "inspect %s", shortName(db))
			}
			defer view.Close()
			found, notes, err := wire.Models(cmd.Context(), view, opt)
			if err != nil {
				return fail.Op(err, "inspect %s", shortName(db))
			}
			if a.json {
				for _, d := range found {
					if err := a.object(d); err != nil {
						return err
					}
				}
				return nil
			}
			return a.showModels(found, notes, fields)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&byModel, "models", false, "each table with its model")
	fl.BoolVar(&fields, "fields", false, "with --models: each column with its field too")
	fl.BoolVar(&script, "map-script", false, "print the Python that makes a map of a project's models")
	m.add(cmd)
	return cmd
}

func (a *app) showModels(found []wire.Decision, notes []string, fields bool) error {
	err := a.table(func(w io.Writer) {
		fmt.Fprintln(w, "TABLE\tIS\tMODEL\tDECIDED BY\tNOTES")
		for _, d := range found {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", plain(d.Table), d.Role, plain(orDash(d.Model)), orDash(string(d.Source)), plain(strings.Join(d.Notes, "; ")))
			if !fields {
				continue
			}
			for _, f := range append(d.Fields, d.M2M...) {
				to := ""
				if f.To != "" {
					to = " to " + f.To
				}
				fmt.Fprintf(w, "  %s\t\t%s\t%s\t%s%s\n", plain(f.Column), plain(f.Field), f.Source, plain(f.Type), plain(to))
			}
		}
	})
	for _, n := range notes {
		a.warn(n)
	}
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
