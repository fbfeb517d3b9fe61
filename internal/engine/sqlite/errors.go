package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
)

const (
	hintDamaged  = "ask «PRAGMA integrity_check» of sqlite3 what is wrong; «.recover» saves what is left; keep the last good backup"
	hintLocked   = "another program keeps the database locked; try again when it is done, or set the database to WAL mode, in which readers don't wait"
	hintReadOnly = "reading needs write access to the file and its folder here, since SQLite keeps a lock file (-shm) or must roll back a journal there; run as the database's owner"
)

// codes says what SQLite's result codes mean to a user, most special first.
var codes = [...]struct {
	code error
	kind fail.Kind
	hint string
}{
	{sqlite3.BUSY, fail.Locked, hintLocked},
	{sqlite3.LOCKED, fail.Locked, hintLocked},
	{sqlite3.CORRUPT, fail.Damaged, hintDamaged},
	{sqlite3.NOTADB, fail.Damaged, "the file is no SQLite database, or is encrypted"},
	{sqlite3.READONLY, fail.Denied, hintReadOnly},
	{sqlite3.CANTOPEN, fail.Denied, hintReadOnly},
	{sqlite3.PERM, fail.Denied, hintReadOnly},
	{sqlite3.FULL, fail.NoSpace, ""},
	{sqlite3.NOMEM, fail.Unsupported, "a row is too large to be read as text; back it up as an image"},
	{sqlite3.IOERR, fail.Unavailable, ""},
}

// sqlError gives an error of the driver a kind and a hint. It keeps those of an error
// that has a kind already, and a cancelled ctx is what it was.
func sqlError(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	var known *fail.Error
	if errors.As(err, &known) {
		return fail.Op(err, format, args...)
	}
	if ctx.Err() != nil {
		return fail.Wrap(fail.KindOf(ctx.Err()), ctx.Err(), "", format, args...)
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fail.Wrap(fail.NoSpace, err, "", format, args...)
	case errors.Is(err, fs.ErrPermission):
		return fail.Wrap(fail.Denied, err, hintReadOnly, format, args...)
	}
	for _, c := range codes {
		if errors.Is(err, c.code) {
			return fail.Wrap(c.kind, err, c.hint, format, args...)
		}
	}
	return fail.Wrap(fail.Internal, err, "", format, args...)
}

// pathError gives an error of the file system a kind and a hint.
func pathError(err error, format string, args ...any) error {
	var known *fail.Error
	var kind fail.Kind
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return fail.Op(err, format, args...)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		kind = fail.NotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		kind, hint = fail.Denied, "run as the database's owner, or give this user access to the file and its folder"
	case errors.Is(err, fs.ErrExist):
		kind = fail.Exists
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind, hint = fail.NoSpace, "free space on that file system, or restore to another one"
	default:
		kind = fail.Unavailable
	}
	return fail.Wrap(kind, bare(err), hint, format, args...)
}

// bare drops the operation and path that package os puts in front: our message has them.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
