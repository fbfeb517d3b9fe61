package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/metrics"
)

func newCheck(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "check [DATABASE ...]",
		Short: "Is every database protected as promised?",
		Long: `Compares the repository with the objectives of the configuration. The exit code is that of Nagios plugins: 0 all as promised,
1 warning, 2 critical, 3 unknown (a wrong command line or configuration). A repository that can't be read, or whose password is
wrong, is critical.`,
		RunE: func(cmd *cobra.Command, list []string) error { return a.check(cmd.Context(), list, format) },
	}
	// Nagios takes 2, which other commands end with then, for critical.
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return unknown{fail.Wrap(fail.Usage, err, "holdfast check --help", "read the command line")}
	})
	cmd.Flags().StringVar(&format, "format", "human", "human, nagios, json or prometheus")
	return cmd
}

// exitCode is an error that only sets the exit code: all was said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// unknown is an error of the command line, which is to be said, with the exit code that Nagios has for it.
type unknown struct{ error }

func (u unknown) Unwrap() []error { return []error{u.error, exitCode(backup.Unknown)} }

func (a *app) check(ctx context.Context, names []string, format string) error {
	if a.json {
		format = "json"
	}
	c, found, err := a.checked(ctx, names)
	level := found.Level()
	if err != nil {
		if fail.KindOf(err) == fail.Interrupted {
			return err
		}
		level = backup.Critical
		if k := fail.KindOf(err); c == nil || k == fail.Usage || len(names) > 0 && k == fail.NotFound {
			level = backup.Unknown
		}
	}
	var perr error
	switch format {
	case "human":
		perr = a.checkHuman(found)
		if err != nil {
			a.report(err)
		}
	case "nagios":
		perr = a.checkNagios(found, level, err)
	case "json":
		perr = a.checkJSON(found, level, err)
	case "prometheus":
		m := metrics.New(version)
		m.Set(metrics.State{Health: found.Databases, Reachable: err == nil})
		var text []byte
		if text, perr = m.Text(); perr == nil {
			_, perr = a.stdout.Write(text)
		}
		if err != nil {
			a.report(err)
		}
	default:
		return unknown{fail.New(fail.Usage, "use human, nagios, json or prometheus", "--format %q", format)}
	}
	if perr != nil {
		return perr
	}
	if level == backup.OK {
		return nil
	}
	return exitCode(level)
}

// checked asks the repository. The configuration is nil when it can't be read.
func (a *app) checked(ctx context.Context, names []string) (c *config.Config, found daemon.Checked, err error) {
	if c, err = a.needSettings(); err != nil {
		return nil, found, err
	}
	d := daemon.New(c, daemon.Options{Open: a.openConfigured, Version: version, Log: a.logger()})
	defer func() { err = errors.Join(err, d.Close(context.WithoutCancel(ctx))) }()
	found, err = d.Check(ctx, names...)
	return c, found, err
}

func (a *app) checkHuman(found daemon.Checked) error {
	if len(found.Databases) == 0 {
		return nil
	}
	err := a.table(func(w io.Writer) {
		fmt.Fprintln(w, "DATABASE\tSTATUS\tNEWEST\tVERIFIED\tDRILLED\tCOPIES")
		for _, h := range found.Databases {
			newest := "never"
			if h.Newest != nil {
				newest = agoText(h.Newest.Started)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", plain(h.Database), h.Level, newest, agoText(h.Verified), agoText(h.Drilled), h.Copies)
		}
	})
	for _, line := range findings(found) {
		fmt.Fprintf(a.stdout, "\n%s: %s: %s\n", plain(line.about), line.Level, plain(line.Text))
		if line.Hint != "" {
			fmt.Fprintf(a.stdout, "    next step: %s\n", plain(line.Hint))
		}
	}
	return err
}

// finding is one with what it is about.
type finding struct {
	about string
	backup.Finding
}

func findings(found daemon.Checked) (list []finding) {
	for _, h := range found.Databases {
		for _, f := range h.Findings {
			list = append(list, finding{h.Database, f})
		}
	}
	for _, f := range found.Repository {
		list = append(list, finding{"the repository", f})
	}
	return list
}

// agoText writes how long ago something was.
func agoText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	if d < 0 {
		return "in the future"
	}
	return shortAge(d) + " ago"
}

func shortAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// checkNagios prints one line of status with performance data, then one line for each finding.
func (a *app) checkNagios(found daemon.Checked, level backup.Level, err error) error {
	var parts, perf []string
	for _, h := range found.Databases {
		state := "never backed up"
		if h.Newest != nil {
			state = agoText(h.Newest.Started)
			age := int(time.Since(h.Newest.Started).Seconds())
			perf = append(perf, fmt.Sprintf("'%s_age'=%ds;%s;%s;0", perfName(h.Database), age, seconds(h.Promise.WarnAge), seconds(h.Promise.MaxAge)),
				fmt.Sprintf("'%s_size'=%dB", perfName(h.Database), h.Newest.Size))
		}
		perf = append(perf, fmt.Sprintf("'%s_copies'=%d", perfName(h.Database), h.Copies))
		if len(h.Findings) > 0 {
			state = h.Findings[0].Text
		}
		parts = append(parts, h.Database+" "+state)
	}
	for _, f := range found.Repository {
		parts = append(parts, f.Text)
	}
	if err != nil {
		parts = append(parts, err.Error())
	}
	one := strings.NewReplacer("|", "/", "\n", " ") // | begins performance data
	line := one.Replace(fmt.Sprintf("BACKUP %s: %s", level, strings.Join(parts, ", ")))
	if len(perf) > 0 {
		line += " | " + strings.Join(perf, " ")
	}
	fmt.Fprintln(a.stdout, plain(line))
	for _, f := range findings(found) {
		fmt.Fprintln(a.stdout, plain(one.Replace(fmt.Sprintf("%s: %s: %s", f.about, f.Level, f.Text))))
	}
	return nil
}

func perfName(s string) string { return strings.NewReplacer("'", "_", "=", "_").Replace(plain(s)) }

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprint(int(d.Seconds()))
}

// checkResult is what --format json prints.
type checkResult struct {
	Level      backup.Level     `json:"level"`
	Databases  []backup.Health  `json:"databases"`
	Repository []backup.Finding `json:"repository,omitempty"`
	Error      string           `json:"error,omitempty"`
	Kind       string           `json:"kind,omitempty"`
	Hint       string           `json:"hint,omitempty"`
}

func (a *app) checkJSON(found daemon.Checked, level backup.Level, err error) error {
	r := checkResult{Level: level, Databases: append([]backup.Health{}, found.Databases...), Repository: found.Repository}
	for i, h := range r.Databases { // a list without anything in it is a list too
		r.Databases[i].Findings = append([]backup.Finding{}, h.Findings...)
	}
	if err != nil {
		r.Error, r.Kind, r.Hint = err.Error(), fail.KindOf(err).String(), fail.HintOf(err)
	}
	return a.object(r)
}
