package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// leftovers are the files that SQLite keeps beside a database. Left of an old database they would be
// taken for the new one's, and ruin it.
var leftovers = [...]string{"-journal", "-wal", "-shm"}

// mayReplace reports, before anything is written, whether t may put a file in place.
func (t *Target) mayReplace() error {
	info, err := os.Stat(t.full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if rest := t.leftover(); rest != "" && !t.clean {
			return fail.New(fail.Exists, "remove it, or use --clean", "restore to %s: %s is left of an older database", t.path, rest)
		}
		return nil
	case err != nil:
		return pathError(err, "restore to %s", t.path)
	case !info.Mode().IsRegular():
		return fail.New(fail.Unsupported, "name a file", "restore to %s: is not a regular file", t.path)
	case !t.clean:
		return fail.New(fail.Exists, "restore to another file, or replace this one with --clean", "restore to %s: exists", t.path)
	}
	old, err := t.lockOld()
	if err != nil {
		return err
	}
	return old.Close()
}

// leftover returns the name of a file that belongs to a database at t's place; "" when there is none.
func (t *Target) leftover() string {
	for _, suffix := range leftovers {
		if _, err := os.Lstat(t.full + suffix); err == nil {
			return filepath.Base(t.full) + suffix
		}
	}
	return ""
}

// lockOld opens the database that is to be replaced and takes the lock that no reader or writer leaves
// free: in WAL mode every open connection holds a part of it, in the other modes every transaction does.
func (t *Target) lockOld() (*os.File, error) {
	old, err := os.OpenFile(t.full, os.O_RDWR, 0)
	if err != nil {
		return nil, pathError(err, "replace %s", t.path)
	}
	if err := lockDatabase(old); err != nil {
		_ = old.Close()
		if errors.Is(err, errInUse) {
			return nil, fail.New(fail.Locked, "stop the program that uses it", "replace %s: is in use", t.path)
		}
		return nil, pathError(err, "lock %s", t.path)
	}
	return old, nil
}

// replace puts the new file in place, durably.
func (t *Target) replace(ctx context.Context) error {
	info, err := os.Stat(t.full)
	if errors.Is(err, fs.ErrNotExist) {
		if err := t.dropLeftovers(); err != nil {
			return err
		}
		return t.link()
	}
	if err != nil {
		return pathError(err, "restore to %s", t.path)
	}
	if !t.clean {
		return fail.New(fail.Exists, "", "restore to %s: was created meanwhile", t.path)
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	old, err := t.lockOld()
	if err != nil {
		return err
	}
	defer old.Close() // and with it the lock, when the new file is in place
	if err := sameOwner(t.temp, info); err != nil {
		return pathError(err, "give %s its owner", t.path)
	}
	if err := t.dropLeftovers(); err != nil {
		return err
	}
	if err := os.Rename(t.temp.Name(), t.full); err != nil {
		return pathError(err, "put %s in place", t.path)
	}
	return t.syncFolder()
}

// link puts the new file where there is none, and doesn't replace one that appeared meanwhile.
func (t *Target) link() error {
	err := os.Link(t.temp.Name(), t.full)
	if errors.Is(err, fs.ErrExist) {
		return fail.New(fail.Exists, "", "restore to %s: was created meanwhile", t.path)
	}
	if err == nil {
		err = os.Remove(t.temp.Name())
	} else { // a file system without links
		err = os.Rename(t.temp.Name(), t.full)
	}
	if err != nil {
		return pathError(err, "put %s in place", t.path)
	}
	return t.syncFolder()
}

// settle lets SQLite finish what the old database's journal or log holds, and remove them. A restore that dies
// after that, before the new file is in place, leaves the old database as it was. One that SQLite
// can't open has nothing that a lost journal could make worse.
func (t *Target) settle(ctx context.Context) error {
	if t.leftover() == "" {
		return nil
	}
	conn, err := dial(ctx, t.full, readWrite, 0)
	if errors.Is(err, sqlite3.BUSY) || ctx.Err() != nil {
		return sqlError(ctx, err, "replace %s", t.path)
	}
	if err != nil {
		return nil
	}
	_, _, _ = conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	return sqlError(ctx, conn.Close(), "close %s", t.path)
}

// dropLeftovers removes what settle could not.
func (t *Target) dropLeftovers() error {
	for _, suffix := range leftovers {
		if err := os.Remove(t.full + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return pathError(err, "remove %s", t.path+suffix)
		}
	}
	return nil
}

// syncFolder makes the new name durable: without it a crash can undo the rename.
func (t *Target) syncFolder() error {
	dir, err := os.Open(filepath.Dir(t.full))
	if err != nil {
		return pathError(err, "sync the folder of %s", t.path)
	}
	defer dir.Close()
	return pathError(dir.Sync(), "sync the folder of %s", t.path)
}
