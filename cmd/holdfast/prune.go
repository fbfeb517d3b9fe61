package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/retain"
)

func newPrune(a *app) *cobra.Command {
	var f keepFlags
	var opt backup.PruneOptions
	cmd := &cobra.Command{
		Use:   "prune [DATABASE ...] | --keep-last N ... [FOLDER]",
		Short: "Remove old backups and reclaim their space",
		Long: `Removes the backups of each database that the policy does not keep, and reclaims space that no backup
needs. Damaged backups take no good one's place. Without --keep-… the policy is the configuration's, for each of its databases
or those named; backups of databases that it does not name are kept.

Space comes back after one to three days of regular prunes, which is what makes a prune safe beside running
backups. --now gives it back at once, and is refused while anybody else uses the repository.

With FOLDER it removes portable files of holdfast dump there. Files that it did not write, and the newest good one of
each database, are never touched.`,
		RunE: func(cmd *cobra.Command, list []string) error {
			if !f.given(cmd) && !(len(list) > 0 && isPath(list[0])) {
				return a.pruneConfigured(cmd.Context(), list, opt)
			}
			policy, err := f.policy()
			if err != nil {
				return err
			}
			switch {
			case len(list) == 1 && isPath(list[0]):
				return a.pruneFolder(cmd.Context(), list[0], policy, opt.DryRun)
			case len(list) > 0:
				return a.prune(cmd.Context(), only(list, backup.OnePolicy(policy)), list, opt)
			}
			return a.prune(cmd.Context(), backup.OnePolicy(policy), nil, opt)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&opt.DryRun, "dry-run", "n", false, "only say what would be removed")
	cmd.Flags().BoolVar(&opt.Now, "now", false, "give space back at once")
	return cmd
}

// keepFlags are the flags that make a policy.
type keepFlags struct {
	rules [len(keepRules)]string
	min   int
	zone  string
	week  string
}

var keepRules = [...]struct{ name, help string }{
	{"last", "keep the newest N backups of each database, or all of the last 7d"},
	{"hourly", "keep the newest of each of N hours, or of all hours of the last 48h"},
	{"daily", "keep the newest of each of N days, or of all days of the last 7d"},
	{"weekly", "keep the newest of each of N weeks, or of all weeks of the last 30d"},
	{"monthly", "keep the newest of each of N months, or of all months of the last 1y"},
	{"yearly", "keep the newest of each of N years"},
}

func (f *keepFlags) add(cmd *cobra.Command) {
	for i, r := range keepRules {
		cmd.Flags().StringVar(&f.rules[i], "keep-"+r.name, "", r.help)
	}
	cmd.Flags().IntVar(&f.min, "keep-min", 0, "never keep fewer good ones than N of each database")
	cmd.Flags().StringVar(&f.zone, "time-zone", "Local", "where days begin, such as Europe/Berlin")
	cmd.Flags().StringVar(&f.week, "week-start", "Monday", "first day of the week")
}

// given reports whether any of the flags is.
func (f *keepFlags) given(cmd *cobra.Command) bool {
	for _, r := range keepRules {
		if cmd.Flags().Changed("keep-" + r.name) {
			return true
		}
	}
	return cmd.Flags().Changed("keep-min")
}

// policy returns what the flags say; without a rule it is an error.
func (f *keepFlags) policy() (p retain.Policy, err error) {
	for i, r := range keepRules {
		if f.rules[i] == "" {
			continue
		}
		if err := p.Set(r.name, f.rules[i]); err != nil {
			return p, fail.Op(err, "--keep-%s", r.name)
		}
	}
	if p.Empty() {
		return p, fail.New(fail.Usage, "say what to keep, as in --keep-last 7 or --keep-daily 7d", "prune without a policy")
	}
	p.MinKeep = f.min
	if p.Zone, err = time.LoadLocation(f.zone); err != nil {
		return p, fail.New(fail.Usage, "write Europe/Berlin or UTC", "--time-zone %q is not known", f.zone)
	}
	if p.FirstDay, err = retain.ParseDay(f.week); err != nil {
		return p, fail.Op(err, "--week-start")
	}
	return p, p.Validate()
}

// pruneConfigured prunes by the configuration's policies: of all its databases, or those named.
func (a *app) pruneConfigured(ctx context.Context, names []string, opt backup.PruneOptions) error {
	c, err := a.settings()
	if err != nil {
		return err
	}
	if c == nil {
		return fail.New(fail.Usage, "say what to keep, as in --keep-last 7 or --keep-daily 7d, or name a configuration with --config", "prune without a policy")
	}
	for _, n := range names {
		if _, err := daemon.Database(c, n); err != nil {
			return err
		}
	}
	policies := daemon.Policies(c)
	if len(names) > 0 {
		policies = only(names, policies)
	}
	return a.prune(ctx, policies, names, opt)
}

// only has policies for some databases, so that all backups of others are kept.
func only(names []string, p backup.Policies) backup.Policies {
	return func(name string) (retain.Policy, bool) {
		if !slices.Contains(names, name) {
			return retain.Policy{}, false
		}
		return p(name)
	}
}

// prune removes, or says what it would; what is printed is about the databases named.
func (a *app) prune(ctx context.Context, policies backup.Policies, names []string, opt backup.PruneOptions) error {
	return a.withStore(ctx, func(s *backup.Store) error {
		done, err := s.Prune(ctx, policies, opt)
		if len(names) > 0 {
			done.Decisions = slices.DeleteFunc(done.Decisions, func(d backup.Decision) bool { return !slices.Contains(names, d.Backup.Name) })
		}
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
