package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// configName is the file that is read where nobody names another.
const configName = "holdfast.yaml"

// settings returns the configuration that the user named, or the one in the working folder; nil when there is none.
func (a *app) settings() (*config.Config, error) {
	if a.cfg != nil {
		return a.cfg, nil
	}
	path := a.config
	if path == "" {
		if _, err := os.Stat(configName); err != nil {
			return nil, nil
		}
		path = configName
	}
	c, err := config.Load(path)
	a.cfg = c
	return c, err
}

// needSettings is settings for commands that do nothing without.
func (a *app) needSettings() (*config.Config, error) {
	c, err := a.settings()
	if err == nil && c == nil {
		err = fail.New(fail.Usage, "name it with --config or $HOLDFAST_CONFIG; holdfast init --config holdfast.yaml NAME=DATABASE writes one", "no configuration: there is no %s here", configName)
	}
	if err == nil && a.repo != "" {
		c.Repository = a.repo
	}
	if err == nil && c.Repository == "" {
		err = fail.New(fail.Usage, "set repository: in it, or HOLDFAST_REPO", "%s names no repository", c.Path)
	}
	return c, err
}

// openConfigured opens the repository of a configuration.
func (a *app) openConfigured(ctx context.Context, c *config.Config) (*backup.Store, error) {
	exists, err := backup.Exists(ctx, c.Repository)
	if err != nil {
		return nil, err
	}
	if !exists {
		return backup.Open(ctx, c.Repository, "", a.warn) // which says what the place is
	}
	password, err := configuredPassword(ctx, c)
	if err != nil {
		return nil, err
	}
	return backup.Open(ctx, c.Repository, password, a.warn)
}

// configuredPassword is the password of the configuration's repository.
func configuredPassword(ctx context.Context, c *config.Config) (fail.Secret, error) {
	switch {
	case c.Password != "":
		return c.Password, nil
	case c.PasswordFile != "":
		return readPassword(c.PasswordFile)
	case c.PasswordCommand != "":
		return commandPassword(ctx, c.PasswordCommand, "password_command")
	}
	return findPassword(ctx, c.Repository)
}

// resolve returns the URL of a database that may be a name in the configuration.
func (a *app) resolve(db string) (string, error) {
	if strings.ContainsAny(db, `/\:.`) {
		return db, nil
	}
	c, err := a.settings()
	if err != nil || c == nil {
		return db, err
	}
	for _, known := range c.Databases {
		if known.Name == db {
			return known.URL.Reveal(), nil
		}
	}
	return db, nil
}

// backupOf returns the name of the backup that is meant: the newest one for a database of the configuration.
func (a *app) backupOf(name string) (string, error) {
	c, err := a.settings()
	if err != nil || c == nil {
		return name, err
	}
	for _, db := range c.Databases {
		if db.Name == name {
			return "latest:" + name, nil
		}
	}
	return name, nil
}

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the configuration", Args: args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Read the configuration and report every problem", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			c, err := a.needSettings()
			if err != nil {
				return err
			}
			if problems := unusable(c); len(problems) > 0 {
				return c.Refuse(problems)
			}
			_, err = fmt.Fprintf(a.stdout, "%s: all well, %s.\n", c.Path, plural(int64(len(c.Databases)), "database"))
			return err
		},
	}, &cobra.Command{
		Use: "schema", Short: "Print the JSON schema of the file, for editors", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(config.Schema())
			return err
		},
	})
	return cmd
}

// unusable finds what package config can't know: places and databases whose URLs nobody here understands.
func unusable(c *config.Config) (problems []config.Problem) {
	for _, name := range sorted(c.Notify) {
		if err := place(c, name).Check(); err != nil {
			problems = append(problems, c.Problem("notify."+name, err))
		}
	}
	for _, db := range c.Databases {
		if _, err := wire.Name(db.URL.Reveal()); err != nil {
			problems = append(problems, c.Problem("databases."+db.Name+".url", err))
		}
	}
	return problems
}

// writeConfig writes a new configuration and makes its repository where there is none.
func (a *app) writeConfig(ctx context.Context, preset string, list []string, compression string) error {
	var p config.Preset
	if err := p.UnmarshalText([]byte(preset)); err != nil {
		return fail.Wrap(fail.Usage, err, "", "--preset")
	}
	var dbs []config.Named
	for _, item := range list {
		name, url, ok := strings.Cut(item, "=")
		if !ok || strings.ContainsAny(name, "/:?") || name == "" || url == "" {
			return fail.New(fail.Usage, "write shop=postgres://user@host/shop", "database %q has no name", wireName(item))
		}
		a.warnOfPasswords([]string{url})
		if _, err := wire.Name(url); err != nil {
			return fail.Op(err, "database %s", name)
		}
		dbs = append(dbs, config.Named{Name: name, URL: absolute(url)})
	}
	if len(dbs) == 0 {
		return fail.New(fail.Usage, "holdfast init --config holdfast.yaml shop=postgres://user@host/shop", "no database is named")
	}
	if a.repo == "" {
		abs, err := filepath.Abs(a.config)
		if err != nil {
			return fail.Wrap(fail.Internal, err, "", "find %s", a.config)
		}
		a.repo = filepath.Join(filepath.Dir(abs), "holdfast-repository")
	}
	f, err := os.OpenFile(a.config, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fail.Wrap(fail.Exists, err, "edit it, or choose another name", "write the configuration")
	}
	if err != nil {
		return fail.Wrap(fail.Denied, err, "", "write the configuration")
	}
	_, err = f.WriteString(config.Template(absolute(a.repo), p, dbs))
	if err = errors.Join(err, f.Close()); err != nil {
		return fail.Wrap(fail.NoSpace, err, "", "write the configuration")
	}
	if _, err := config.Load(a.config); err != nil {
		_ = os.Remove(a.config)
		return err
	}
	a.say("Wrote %s.", a.config)
	exists, err := backup.Exists(ctx, a.repo)
	if err == nil && !exists {
		err = a.init(ctx, compression)
	}
	if err != nil {
		return err
	}
	a.say("Next: holdfast run %s, then holdfast serve (or holdfast units %s for systemd and cron).", dbs[0].Name, dbs[0].Name)
	return nil
}

// absolute makes the path of a file whole: a service has another working folder.
func absolute(db string) string {
	scheme, rest, ok := strings.Cut(db, ":")
	if ok && strings.HasPrefix(rest, "//") && !strings.HasPrefix(scheme, "sqlite") {
		return db
	}
	path, prefix := db, ""
	if ok && (scheme == "sqlite" || scheme == "sqlite3") {
		if strings.HasPrefix(rest, "//") {
			return db
		}
		path, prefix = rest, "sqlite:"
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return db
	}
	return prefix + abs
}

// wireName shows what a user wrote for a database, without what may be a password.
func wireName(s string) string {
	if strings.Contains(s, "://") {
		return "a URL"
	}
	return s
}
