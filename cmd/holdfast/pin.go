package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
)

func newPin(a *app) *cobra.Command {
	var until, reason string
	cmd := &cobra.Command{
		Use:   "pin BACKUP",
		Short: "Keep a backup whatever the policy says",
		Long:  `Keeps a backup from being pruned, for ever or until a day. holdfast unpin ends that.`,
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			at, err := parseDay(until)
			if err != nil {
				return err
			}
			if plain(reason) != reason {
				return fail.New(fail.Usage, "use printable characters", "--reason %q", reason)
			}
			ctx := cmd.Context()
			return a.withStore(ctx, func(s *backup.Store) error {
				b, err := s.Find(ctx, list[0])
				if err != nil {
					return err
				}
				p, err := s.Pin(ctx, b, at, reason)
				if err != nil {
					return err
				}
				if a.json {
					return a.object(p)
				}
				end := "for ever"
				if !at.IsZero() {
					end = "until " + timeText(at)
				}
				_, err = fmt.Fprintf(a.stdout, "%s of %s is kept %s.\n", b.ID.Short(), plain(b.Name), end)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&until, "until", "", "the day on which the pin ends, as 2027-03-31 (default: never)")
	cmd.Flags().StringVar(&reason, "reason", "", "shown by prune")
	return cmd
}

func parseDay(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	at, err := time.ParseInLocation(time.DateOnly, s, time.Local)
	if err != nil {
		return at, fail.New(fail.Usage, "write 2027-03-31", "--until %q", s)
	}
	return at, nil
}

func newUnpin(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unpin BACKUP", Short: "Let the policy decide on a backup again", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			ctx := cmd.Context()
			return a.withStore(ctx, func(s *backup.Store) error {
				b, err := s.Find(ctx, list[0])
				if err != nil {
					return err
				}
				if err := s.Unpin(ctx, b); err != nil {
					return err
				}
				if a.json {
					return a.object(backup.Pin{Backup: b.ID})
				}
				_, err = fmt.Fprintf(a.stdout, "%s of %s is no longer pinned.\n", b.ID.Short(), plain(b.Name))
				return err
			})
		},
	}
}
