package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// app is what the commands share: the common flags and where output goes.
type app struct {
	stdout io.Writer // data
	stderr io.Writer // talk
	repo   string
	config string
	cfg    *config.Config // once it was read
	json   bool
	quiet  bool
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Database backups that are proven to restore",
		Long: `Holdfast backs up PostgreSQL, MySQL, MariaDB and SQLite databases into an encrypted, deduplicating repository,
checks what it stored, and brings it back whole or in part, also to another engine.

A DATABASE is a URL (postgres://user@host/name, mysql://user@host/name, sqlite:path) or the path of an SQLite file; without one,
$DATABASE_URL. A BACKUP is an id, the beginning of one, latest, or latest:DATABASE.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.repo, "repo", "r", os.Getenv("HOLDFAST_REPO"), "the repository: a folder (default $HOLDFAST_REPO)")
	flags.Lookup("repo").DefValue = ""
	flags.StringVarP(&a.config, "config", "c", os.Getenv("HOLDFAST_CONFIG"), "the configuration (default $HOLDFAST_CONFIG, else holdfast.yaml here)")
	flags.Lookup("config").DefValue = ""
	flags.BoolVar(&a.json, "json", false, "print one JSON object a line")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print only results and errors")
	root.Args = func(_ *cobra.Command, list []string) error {
		if len(list) > 0 {
			return &usageError{fmt.Errorf("unknown command %q", list[0])}
		}
		return nil
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, make := range []func(*app) *cobra.Command{
		newInit, newBackup, newList, newShow, newRestore, newVerify, newDrill, newPrune, newPin, newUnpin, newCopy, newDump, newLoad, newExport, newInspect,
		newServe, newRun, newCheck, newNotify, newConfig, newUnits, newInstallSystemd, newRepair, newDemo, newVersion,
	} {
		root.AddCommand(make(a))
	}
	return root
}

// args wraps an argument check, so that its error is one of usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// location returns the repository that the user or the configuration named.
func (a *app) location() (string, error) {
	if a.repo == "" {
		c, err := a.settings()
		if err != nil {
			return "", err
		}
		if c != nil && c.Repository != "" {
			return c.Repository, nil
		}
	}
	if a.repo == "" {
		return "", fail.New(fail.Usage, "use --repo FOLDER or export HOLDFAST_REPO=FOLDER", "no repository is named")
	}
	return a.repo, nil
}

// open opens the repository.
func (a *app) open(ctx context.Context) (*backup.Store, error) {
	loc, err := a.location()
	if err != nil {
		return nil, err
	}
	exists, err := backup.Exists(ctx, loc)
	if err != nil {
		return nil, err
	}
	if !exists { // nobody is asked for a password that opens nothing; Open says what the place is
		return backup.Open(ctx, loc, "", a.warn)
	}
	password, err := a.password(ctx, loc)
	if err != nil {
		return nil, err
	}
	return backup.Open(ctx, loc, password, a.warn)
}

// password returns the password of a repository: the configuration's, when the repository is.
func (a *app) password(ctx context.Context, loc string) (fail.Secret, error) {
	if a.cfg != nil && a.cfg.Repository == loc {
		return configuredPassword(ctx, a.cfg)
	}
	return findPassword(ctx, loc)
}

// withStore opens the repository, runs fn and closes it.
func (a *app) withStore(ctx context.Context, fn func(*backup.Store) error) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(context.WithoutCancel(ctx)); err == nil {
			err = cerr
		}
	}()
	return fn(s)
}

// say prints talk, unless the user wants none.
func (a *app) say(format string, args ...any) {
	if !a.quiet && !a.json {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}

// warn prints what the user should know though the work goes on.
func (a *app) warn(text string) {
	if a.json {
		_ = json.NewEncoder(a.stderr).Encode(map[string]string{"warning": text})
		return
	}
	fmt.Fprintf(a.stderr, "holdfast: warning: %s\n", oneLine(text))
}

// object prints v as one line of JSON.
func (a *app) object(v any) error { return json.NewEncoder(a.stdout).Encode(v) }

// table prints rows of columns with aligned columns.
func (a *app) table(fill func(w io.Writer)) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fill(w)
	return w.Flush()
}

// terminal reports whether w is a terminal that a person looks at.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.object(map[string]any{"version": version, "backup_format": backup.FormatVersion})
			}
			_, err := fmt.Fprintln(a.stdout, "holdfast", version)
			return err
		},
	}
}
