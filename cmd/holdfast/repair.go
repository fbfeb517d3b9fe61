package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
)

func newRepair(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "repair",
		Short: "Rebuild a repository's damaged index",
		Long: `Rebuilds what can be rebuilt from what is left: a damaged or missing index from the data, a damaged format file
from its copy. Damaged files are moved aside, never deleted. Data that is gone stays gone: verify says what it touches,
and the next backup of the same database stores it again.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			loc, err := a.location()
			if err != nil {
				return err
			}
			password, err := a.password(ctx, loc)
			if err != nil {
				return err
			}
			done, err := backup.Repair(ctx, loc, password, a.warn)
			if err != nil {
				return err
			}
			if a.json {
				return a.object(done)
			}
			_, err = fmt.Fprintln(a.stdout, done)
			return err
		},
	}
}
