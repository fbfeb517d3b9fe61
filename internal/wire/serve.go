package wire

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/retain"
	"github.com/holdfast-db/holdfast/internal/rows"
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
			return exporter{s, b, db, e, zone}.export(ctx, version)
		},
	}
}

// An exporter makes one portable file of one backup.
type exporter struct {
	store *backup.Store
	from  backup.Backup
	db    *config.Database
	what  config.Export
	zone  *time.Location
}

// export writes a backup as a portable file into its folder, proves it, and removes old files there by the policy.
func (x exporter) export(ctx context.Context, version string) (string, error) {
	e := x.what
	env, err := x.envelope()
	if err != nil {
		return "", err
	}
	view, err := Stored(ctx, x.store, x.from)
	if err != nil {
		return "", err
	}
	defer view.Close()
	f, err := folder.Create(e.Folder, folder.Options{Database: x.from.Name, Kind: e.Format, Engine: x.from.Engine, Tool: "holdfast " + version, Time: x.from.TakenAt, Envelope: env})
	if err != nil {
		return "", err
	}
	defer f.Abort()
	models, err := x.models()
	if err != nil {
		return "", err
	}
	done, err := Dump(ctx, view, f, DumpOptions{Format: Format(e.Format), SQL: SQLOptions{Clean: true, IfExists: true}, Models: models,
		Fixture: FixtureOptions{Exclude: e.Exclude, AllowUnmapped: e.Unmapped}})
	if err != nil {
		return "", err
	}
	entry, err := f.Commit(done.Content)
	if err != nil {
		return "", err
	}
	if whole, err := x.prove(ctx, entry, view, done, models); err != nil { // and no older file goes for it
		if !whole { // nor is it taken for a good one later
			err = errors.Join(err, os.Remove(entry.Path), os.Remove(entry.Path+folder.MetaSuffix))
		}
		return "", fail.Op(err, "prove %s", entry.Path)
	}
	if policy := e.Keep.Policy(x.zone); !policy.Empty() {
		_, err = folder.Prune(ctx, e.Folder, policy, folder.PruneOptions{State: retain.State{Now: time.Now()}, Group: entry.Group()})
	}
	return entry.Path, err
}

// models says where the names of a project's models come from.
func (x exporter) models() (o ModelOptions, err error) {
	o.ProjectDir = x.what.Project
	if x.what.ModelMap != "" {
		if o.Map, err = os.ReadFile(x.what.ModelMap); err != nil {
			return o, fail.Wrap(fail.NotFound, err, "holdfast inspect --map-script says how to make one", "read the model map")
		}
	}
	return o, nil
}

func (x exporter) envelope() (envelope.Options, error) {
	e := x.what
	env := envelope.Options{Compress: e.Compress}
	switch to, age := strings.CutPrefix(e.Encrypt, "age:"); {
	case age:
		env.Age = []string{to}
	case e.Encrypt == "age":
		env.AgePassphrase = e.Secret
	case e.Encrypt == "gpg":
		env.GPGPassphrase = e.Secret
	case e.Encrypt != "":
		return env, fail.New(fail.Usage, "use age:RECIPIENT, age, or gpg", "encrypt: %q", e.Encrypt)
	}
	return env, nil
}

// prove reads a file back and counts its rows, and drills it if that is asked for. Of a file that is encrypted to
// somebody else, whose key is not here, it compares the checksum alone. A file that is whole may still not be as was expected.
func (x exporter) prove(ctx context.Context, entry folder.Entry, view rows.View, done *Dumped, models ModelOptions) (whole bool, err error) {
	if done.Rows == 0 && x.what.Format == string(JSONL) { // no lines: nothing to read
		return true, nil
	}
	if err := folder.Check(ctx, entry); err != nil {
		return false, err
	}
	if strings.HasPrefix(x.what.Encrypt, "age:") {
		return true, nil
	}
	keys := envelope.Keys{AgePassphrase: envelope.Given(x.what.Secret), GPGPassphrase: envelope.Given(x.what.Secret)}
	open := func() (io.ReadCloser, error) { return openWrapped(entry.Path, keys) }
	check, err := checkOpened(ctx, open)
	if err != nil {
		return false, err
	}
	if check.Err != nil {
		return false, check.Err
	}
	if check.Rows != done.Rows {
		return false, fail.New(fail.Damaged, "", "%d rows were written, and %d are in the file", done.Rows, check.Rows)
	}
	if !x.what.Drill || done.Rows == 0 && x.what.Format != string(SQL) {
		return true, nil
	}
	d, err := DrillFile(ctx, open, check, FileDrillOptions{
		ScratchOptions: ScratchOptions{To: x.db.Drill.To.Reveal(), Jobs: x.db.Jobs}, Expect: x.db.Drill.Expect, Schema: view, Sidecar: done.Content, Models: models,
	})
	if err != nil { // also when there was no place to load it: that it is whole was seen
		return fail.KindOf(err) == fail.Unsupported || fail.KindOf(err) == fail.NoSpace || fail.KindOf(err) == fail.Unavailable, fail.Op(err, "drill it")
	}
	return len(d.Findings) == 0, fail.Op(d.Err(), "drill it")
}

func checkOpened(ctx context.Context, open func() (io.ReadCloser, error)) (*FileCheck, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return CheckFile(ctx, r)
}

// openWrapped opens a file and takes off what it is wrapped in.
func openWrapped(name string, keys envelope.Keys) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, folder.Classify(err, "read %s", name)
	}
	r, _, err := envelope.Reader(f, keys)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return wrappedFile{r, f}, nil
}

type wrappedFile struct {
	io.ReadCloser
	file *os.File
}

func (w wrappedFile) Close() error { return errors.Join(w.ReadCloser.Close(), w.file.Close()) }
