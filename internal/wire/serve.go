package wire

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/retain"
)

// Engines is what a daemon of the given version needs of the engines.
func Engines(version string) daemon.Engines {
	return daemon.Engines{
		Source: func(ctx context.Context, db *config.Database) (*backup.Source, error) {
			return Source(ctx, db.URL.Reveal(), SourceOptions{Name: db.Name, Jobs: db.Jobs, Tables: db.Tables.Selection(), LockWait: db.LockWait.Std()})
		},
		Scratch: func(ctx context.Context, s *backup.Store, b backup.Detail, db *config.Database) (backup.Scratch, error) {
			return Scratch(ctx, s, b, ScratchOptions{To: db.Drill.To.Reveal(), Jobs: db.Jobs})
		},
		Export: func(ctx context.Context, s *backup.Store, b backup.Backup, db *config.Database, e config.Export, zone *time.Location) (string, error) {
			return export(ctx, s, b, e, zone, version)
		},
	}
}

// export writes a backup as a portable file into its folder, and removes old files there by the policy.
func export(ctx context.Context, s *backup.Store, b backup.Backup, e config.Export, zone *time.Location, version string) (string, error) {
	env := envelope.Options{Compress: e.Compress}
	switch to, age := strings.CutPrefix(e.Encrypt, "age:"); {
	case age:
		env.Age = []string{to}
	case e.Encrypt == "age":
		env.AgePassphrase = e.Secret
	case e.Encrypt == "gpg":
		env.GPGPassphrase = e.Secret
	case e.Encrypt != "":
		return "", fail.New(fail.Usage, "use age:RECIPIENT, age, or gpg", "encrypt: %q", e.Encrypt)
	}
	view, err := Stored(ctx, s, b)
	if err != nil {
		return "", err
	}
	defer view.Close()
	f, err := folder.Create(e.Folder, folder.Options{Database: b.Name, Kind: e.Format, Engine: b.Engine, Tool: "holdfast " + version, Time: b.TakenAt, Envelope: env})
	if err != nil {
		return "", err
	}
	defer f.Abort()
	done, err := Dump(ctx, view, f, DumpOptions{Format: Format(e.Format), SQL: SQLOptions{Clean: true, IfExists: true}})
	if err != nil {
		return "", err
	}
	entry, err := f.Commit(done.Content)
	if err != nil {
		return "", err
	}
	if policy := e.Keep.Policy(zone); !policy.Empty() {
		_, err = folder.Prune(ctx, e.Folder, policy, folder.PruneOptions{State: retain.State{Now: time.Now()}})
	}
	return entry.Path, errors.Join(err)
}
