package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/retain"
)

func newPrune(a *app) *cobra.Command {
	var policy retain.Policy
	var opt backup.PruneOptions
	cmd := &cobra.Command{
		Use:   "prune --keep-last N",
		Short: "Remove old backups and reclaim their space",
		Long: `Removes the backups of each database that the policy does not keep, and reclaims space that no backup
needs. Damaged backups take no good one's place.

Space comes back after one to three days of regular prunes, which is what makes a prune safe beside running
backups. --now gives it back at once, and is refused while anybody else uses the repository.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.prune(cmd.Context(), policy, opt) },
	}
	cmd.Flags().IntVar(&policy.Last, "keep-last", 0, "keep the newest N backups of each database")
	cmd.Flags().BoolVarP(&opt.DryRun, "dry-run", "n", false, "only say what would be removed")
	cmd.Flags().BoolVar(&opt.Now, "now", false, "give space back at once")
	return cmd
}

func (a *app) prune(ctx context.Context, policy retain.Policy, opt backup.PruneOptions) error {
	return a.withStore(ctx, func(s *backup.Store) error {
		done, err := s.Prune(ctx, policy, opt)
		if err != nil && done.Decisions == nil {
			return err
		}
		if a.json {
			return errors.Join(err, a.object(done))
		}
		if perr := a.printDecisions(done, opt.DryRun); perr != nil {
			return perr
		}
		if err == nil && done.Reclaimed != nil {
			r := done.Reclaimed
			_, err = fmt.Fprintf(a.stdout, "The repository holds %s in %s; %s were freed.\n", bytesText(r.BytesAfter), plural(int64(r.FilesAfter), "file"), bytesText(max(r.BytesBefore-r.BytesAfter, 0)))
		}
		return err
	})
}

func (a *app) printDecisions(done backup.Pruned, dryRun bool) error {
	removed := 0
	err := a.table(func(w io.Writer) {
		for _, d := range done.Decisions {
			verdict := "keep"
			if !d.Keep {
				verdict = "remove"
				removed++
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", verdict, d.Backup.ID.Short(), plain(d.Backup.Name), timeText(d.Backup.TakenAt), d.Reason)
		}
	})
	if err != nil {
		return err
	}
	verb := "removed"
	if dryRun {
		verb = "would be removed; nothing was changed"
	}
	_, err = fmt.Fprintf(a.stdout, "%s of %d %s.\n", plural(int64(removed), "backup"), len(done.Decisions), verb)
	return err
}
