package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

func newUnits(a *app) *cobra.Command {
	var cron bool
	cmd := &cobra.Command{
		Use:   "units [DATABASE]",
		Short: "Print systemd units, or a crontab line, for this configuration",
		Long: `Prints a service and a timer that run one database's backup (holdfast run), or without DATABASE the service of holdfast serve.
holdfast install-systemd writes them to /etc/systemd/system.`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			if cron {
				return a.crontab(list)
			}
			units, err := a.units(list)
			if err != nil {
				return err
			}
			for _, u := range units {
				fmt.Fprintf(a.stdout, "# %s\n%s\n", u.name, u.text)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&cron, "cron", false, "a crontab line instead")
	return cmd
}

func newInstallSystemd(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "install-systemd [DATABASE]",
		Short: "Write the systemd units of holdfast units, and say how to start them",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			units, err := a.units(list)
			if err != nil {
				return err
			}
			var start []string
			for _, u := range units {
				path := filepath.Join(dir, u.name)
				old, err := os.ReadFile(path)
				if err == nil && string(old) == u.text {
					a.say("%s is as it should be.", path)
				} else if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil {
					return fail.New(fail.Exists, "move it away, or change it by systemctl edit", "%s is there already, and differs", path)
				} else if err := os.WriteFile(path, []byte(u.text), 0o644); err != nil { // units are no secret
					return fail.Wrap(fail.Denied, err, "run it as root, or with --dir", "write %s", path)
				} else {
					a.say("Wrote %s.", path)
				}
				if u.start {
					start = append(start, u.name)
				}
			}
			a.say("Next: systemctl daemon-reload && systemctl enable --now %s", strings.Join(start, " "))
			return a.warnOfMissing()
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "/etc/systemd/system", "folder of the units")
	return cmd
}

// warnOfMissing tells of folders that the service, to which the rest of the disk is read-only, can't make itself.
func (a *app) warnOfMissing() error {
	c, err := a.needSettings()
	if err != nil {
		return err
	}
	folders, err := writable(c)
	for _, w := range folders {
		if _, err := os.Stat(w); errors.Is(err, fs.ErrNotExist) {
			a.warn(w + " is not there, and the service can't make it: make it first")
		}
	}
	return err
}

type unit struct {
	name, text string
	start      bool // by systemctl enable --now
}

// hardening is what a program needs that reads databases and writes one folder. It can start a scratch server for drills. A crash
// ends by a signal: the exit code of Go's own (2) says that the configuration is wrong.
const hardening = `Environment=GOTRACEBACK=crash
LimitCORE=0
Nice=19
IOSchedulingClass=idle
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
PrivateTmp=yes
`

func (a *app) units(list []string) ([]unit, error) {
	c, err := a.needSettings()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fail.Wrap(fail.Internal, err, "", "find this program")
	}
	conf, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fail.Wrap(fail.Internal, err, "", "find %s", c.Path)
	}
	folders, err := writable(c)
	if err != nil {
		return nil, err
	}
	for i, w := range folders {
		folders[i] = unitPath("-" + w) // one that is not there is for holdfast to report, not for systemd
	}
	place, err := workingFolder(c)
	if err != nil {
		return nil, err
	}
	if place != "" {
		place = "WorkingDirectory=" + strings.ReplaceAll(place, "%", "%%") + "\n"
	}
	service := func(description, kind, command, more string) string {
		return fmt.Sprintf("[Unit]\nDescription=%s\nDocumentation=https://github.com/holdfast-db/holdfast\nWants=network-online.target\nAfter=network-online.target\n%s\n[Service]\nType=%s\nExecStart=%s --config %s %s\n"+
			"# The password of the repository, where it is no key file of this user:\n# LoadCredential=holdfast-password:/etc/holdfast/password\n%s%sReadWritePaths=%s\n",
			description, more, kind, unitArg(self), unitArg(conf), command, hardening, place, strings.Join(folders, " "))
	}
	if len(list) == 0 {
		text := service("Holdfast: database backups", "notify", "serve", "")
		text += fmt.Sprintf("ExecReload=%s --quiet --config %s config check\nExecReload=/bin/kill -HUP $MAINPID\n", unitArg(self), unitArg(conf))
		text += "Restart=on-failure\nRestartSec=30\nRestartPreventExitStatus=2\nWatchdogSec=30min\nTimeoutStopSec=5min\n\n[Install]\nWantedBy=multi-user.target\n"
		return []unit{{"holdfast.service", text, true}}, nil
	}
	db, err := daemon.Database(c, list[0])
	if err != nil {
		return nil, err
	}
	name := "holdfast-" + db.Name
	job := service("Holdfast: back up "+db.Name, "oneshot", "run "+db.Name, "OnFailure=holdfast-alert@%n.service\n")
	zone := zoneOf(c, db)
	a.warnOfBlackouts(db)
	calendar, err := onCalendar(db.Schedule.At.String(), zone)
	if err != nil {
		return nil, err
	}
	timer := fmt.Sprintf("[Unit]\nDescription=Holdfast: when %s is backed up\n\n[Timer]\n%sRandomizedDelaySec=%d\nFixedRandomDelay=true\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n",
		db.Name, calendar, int(db.Schedule.Jitter.Std().Seconds()))
	alert := fmt.Sprintf("[Unit]\nDescription=Holdfast: %%i failed\n\n[Service]\nType=oneshot\n# holdfast run has told those named under notify. This is for what keeps it from running at all.\n"+
		"ExecStart=/usr/bin/logger -p daemon.crit -t holdfast \"%%i failed: see journalctl -u %%i\"\n# ExecStart=%s --config %s notify test\n", unitArg(self), unitArg(conf))
	return []unit{{name + ".service", job, false}, {name + ".timer", timer, true}, {"holdfast-alert@.service", alert, false}}, nil
}

// zoneOf is the zone of a database's times; "" is the machine's.
func zoneOf(c *config.Config, db *config.Database) string {
	switch {
	case db.Schedule.TimeZone.Location != nil:
		return db.Schedule.TimeZone.String()
	case c.TimeZone.Location != time.Local:
		return c.TimeZone.String()
	}
	return ""
}

// warnOfBlackouts says what timers and cron can't keep to.
func (a *app) warnOfBlackouts(db *config.Database) {
	if len(db.Schedule.Blackout) > 0 {
		a.warn("the blackouts of " + db.Name + " hold for holdfast serve alone: a timer or cron begins at its times")
	}
}

// unitArg quotes an argument of a command for a unit file, where $ begins a variable.
func unitArg(s string) string { return unitPath(strings.ReplaceAll(s, "$", "$$")) }

// unitPath quotes one of several paths for a unit file.
func unitPath(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(s)
	if strings.ContainsAny(s, " \t'\";\\") {
		return `"` + s + `"`
	}
	return s
}

// writable lists the folders that a run writes to, in order.
func writable(c *config.Config) ([]string, error) {
	list := places(c)
	for i, w := range list {
		abs, err := filepath.Abs(w)
		if err != nil {
			return nil, fail.Wrap(fail.Internal, err, "", "find %s", w)
		}
		list[i] = abs
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// workingFolder is where the configuration's relative paths begin: here; "" when it has none.
func workingFolder(c *config.Config) (string, error) {
	read := []string{c.PasswordFile}
	for _, db := range c.Databases {
		for _, e := range db.Exports {
			read = append(read, e.Project, e.ModelMap)
		}
	}
	if !slices.ContainsFunc(slices.Concat(places(c), read), func(p string) bool { return p != "" && !filepath.IsAbs(p) }) {
		return "", nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fail.Wrap(fail.Internal, err, "write whole paths into the configuration", "find the working folder")
	}
	return dir, nil
}

// places are the folders that a run writes to, as the configuration has them.
func places(c *config.Config) []string {
	list := []string{c.Repository}
	if c.MetricsFile != "" {
		list = append(list, filepath.Dir(c.MetricsFile))
	}
	for _, db := range c.Databases {
		// SQLite's readers of a file in WAL mode write the file beside it that they share with its writers.
		if file, ok := wire.File(db.URL.Reveal()); ok {
			list = append(list, filepath.Dir(file))
		}
		for _, e := range db.Exports {
			list = append(list, e.Folder)
		}
	}
	return list
}

// crontab prints a line for cron.
func (a *app) crontab(list []string) error {
	c, err := a.needSettings()
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fail.New(fail.Usage, "holdfast units DATABASE --cron", "no database is named")
	}
	db, err := daemon.Database(c, list[0])
	if err != nil {
		return err
	}
	when := db.Schedule.At.String()
	if strings.HasPrefix(when, "@every") || strings.Contains(when, ":") || when == "never" {
		return fail.New(fail.Unsupported, "write it with five fields in the configuration, or use systemd or holdfast serve", "the schedule %q for cron", when)
	}
	self, err := os.Executable()
	if err != nil {
		return fail.Wrap(fail.Internal, err, "", "find this program")
	}
	conf, err := filepath.Abs(c.Path)
	if err != nil {
		return fail.Wrap(fail.Internal, err, "", "find %s", c.Path)
	}
	quote := func(s string) string {
		return strings.ReplaceAll("'"+strings.ReplaceAll(s, "'", `'\''`)+"'", "%", `\%`)
	}
	if zone := zoneOf(c, db); zone != "" {
		a.warn("cron knows the machine's time zone alone: the line is not in " + zone)
	}
	a.warnOfBlackouts(db)
	place, err := workingFolder(c)
	if err != nil {
		return err
	}
	if place != "" {
		place = "cd " + quote(place) + " && "
	}
	_, err = fmt.Fprintf(a.stdout, "# cron mails what is printed: with --quiet only failures print. Times are the machine's own.\n%s %s%s --quiet --config %s run %s >/dev/null\n",
		when, place, quote(self), quote(conf), db.Name)
	return err
}
