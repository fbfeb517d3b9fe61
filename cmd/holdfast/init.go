package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
)

func newInit(a *app) *cobra.Command {
	var compression, preset string
	cmd := &cobra.Command{
		Use:   "init [REPOSITORY] | --config FILE NAME=DATABASE ...",
		Short: "Create a repository",
		Long: `Creates an encrypted repository in a folder that is empty or does not exist yet.

Its password is taken from $HOLDFAST_PASSWORD, $HOLDFAST_PASSWORD_FILE, $HOLDFAST_PASSWORD_COMMAND or the systemd credential
holdfast-password. Without any, init makes a key file for this user and says where it is.
Whoever loses the password or key file loses every backup: keep a copy elsewhere.

With --config it writes a configuration with comments for holdfast serve, run and check, and creates its repository.`,
		RunE: func(cmd *cobra.Command, list []string) error {
			if cmd.Flags().Changed("config") {
				return a.writeConfig(cmd.Context(), preset, list, compression)
			}
			if len(list) > 1 {
				return &usageError{fmt.Errorf("one repository is wanted, got %d names", len(list))}
			}
			if len(list) == 1 {
				a.repo = list[0]
			}
			return a.init(cmd.Context(), compression)
		},
	}
	cmd.Flags().StringVar(&preset, "preset", "production", "with --config: development, staging or production")
	cmd.Flags().StringVar(&compression, "compression", "zstd-fastest", "of new data: zstd-fastest, zstd, s2 or none")
	return cmd
}

func (a *app) init(ctx context.Context, compression string) (err error) {
	loc, err := a.location()
	if err != nil {
		return err
	}
	password, err := givenPassword(ctx)
	if err != nil {
		return err
	}
	var key string
	if password == "" {
		// A repository that exists must not get a second key file, which would open nothing.
		if err := backup.CanInit(ctx, loc); err != nil {
			return err
		}
		if key, err = keyFile(loc); err != nil {
			return err
		}
		if password, err = makeKeyFile(key); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, os.Remove(key))
			}
		}()
	}
	if err := backup.Init(ctx, loc, password, backup.InitOptions{Compression: compression}); err != nil {
		return err
	}
	if a.json {
		return a.object(map[string]string{"repository": loc, "key_file": key})
	}
	a.say("Created repository %s.", loc)
	if key != "" {
		a.say("Its key is in %s.\nWithout that file nobody can read the backups, and nothing can bring it back: keep a copy on another machine.", key)
	}
	return nil
}
