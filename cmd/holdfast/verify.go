package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
)

func newVerify(a *app) *cobra.Command {
	var all bool
	var sample string
	var jobs int
	var keys keyFlags
	cmd := &cobra.Command{
		Use:   "verify BACKUP... | DATABASE... | --all | FILE... | FOLDER",
		Short: "Read backups back and check them",
		Long: `Reads every byte of the backups back from the repository, which decrypts and authenticates it, and compares row
counts and hashes with those taken at the backup. --sample reads a part at random. The result is recorded and
shown by list. DATABASE, of the configuration, is its newest backup. What is damaged is named by backup and table, and the exit code is 13.

Portable files are compared with their sidecars and parsed to their ends, decrypted and decompressed on the way:
truncated, empty, zero-row and shrunken files are told apart.`,
		RunE: func(cmd *cobra.Command, list []string) error {
			percent, err := parsePercent(sample)
			if err != nil {
				return err
			}
			if err := checkJobs(jobs); err != nil {
				return err
			}
			if all == (len(list) > 0) {
				return fail.New(fail.Usage, "holdfast verify BACKUP, or --all", "name backups or use --all, one of the two")
			}
			if !all && isPath(list[0]) {
				return a.verifyFiles(cmd.Context(), list, keys.keys(cmd.Context()))
			}
			return a.verify(cmd.Context(), list, backup.VerifyOptions{Percent: percent, Jobs: jobs, Version: version})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every backup in the repository")
	cmd.Flags().StringVar(&sample, "sample", "100%", "how much to read, chosen at random")
	keys.add(cmd)
	cmd.Flags().IntVarP(&jobs, "jobs", "j", 2, "concurrent reads")
	return cmd
}

func parsePercent(s string) (float64, error) {
	p, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(p > 0 && p <= 100) {
		return 0, fail.New(fail.Usage, "give a percentage such as 10%", "--sample %q", s)
	}
	return p, nil
}

func (a *app) verify(ctx context.Context, names []string, opt backup.VerifyOptions) error {
	return a.withStore(ctx, func(s *backup.Store) error {
		backups, err := a.pick(ctx, s, names)
		if err != nil {
			return err
		}
		p := a.newProgress()
		defer p.stop()
		opt.Observer = p.observer()
		v, err := s.Verify(ctx, backups, opt)
		p.stop()
		if err != nil {
			return fail.Op(err, "verify")
		}
		if a.json {
			if err := a.object(v); err != nil {
				return err
			}
			return v.Err()
		}
		for _, d := range v.Structure {
			fmt.Fprintf(a.stdout, "repository: %s\n", d)
		}
		for _, d := range v.Damage {
			what := d.Path
			if d.Table != "" {
				what = "table " + d.Table + " (" + d.Path + ")"
			}
			fmt.Fprintf(a.stdout, "%s: %s: %s\n", d.Backup.Short(), plain(what), plain(d.Reason))
		}
		if err := v.Err(); err != nil {
			return err
		}
		did := "verified"
		if v.Percent < 100 {
			did = "sampled, not verified"
		}
		_, err = fmt.Fprintf(a.stdout, "%s %s: %s in %s read back in %s, all well.\n", plural(int64(v.Backups), "backup"), did,
			bytesText(v.Bytes), plural(int64(v.Chunks), "chunk"), secondsText(v.Seconds))
		return err
	})
}

// pick finds the named backups; no name means all.
func (a *app) pick(ctx context.Context, s *backup.Store, names []string) ([]backup.Backup, error) {
	if len(names) == 0 {
		list, err := s.List(ctx)
		if err == nil && len(list) == 0 {
			err = fail.New(fail.NotFound, "holdfast backup DATABASE makes one", "the repository holds no backup")
		}
		return list, err
	}
	var picked []backup.Backup
	for _, name := range names {
		name, err := a.backupOf(name)
		if err != nil {
			return nil, err
		}
		b, err := s.Find(ctx, name)
		if err != nil {
			return nil, err
		}
		picked = append(picked, b)
	}
	return picked, nil
}
