package repo

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"

	"github.com/holdfast-db/holdfast/internal/fail"
)

const (
	hintSpace  = "free some space on the repository's disk; holdfast prune, which gives back that of old backups, needs a little itself"
	hintDenied = "the repository's folder must be readable and writable for this user"
	hintRepair = "holdfast repair rebuilds what can be rebuilt"
	hintInit   = "when it was there before: is its disk mounted? else holdfast init makes a repository"
)

// storageKind tells what the storage's error means, whatever was being done.
func storageKind(err error) (kind fail.Kind, hint string, known bool) {
	var e *fail.Error
	switch {
	case err == nil:
		return fail.Internal, "", false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fail.KindOf(err), "", true
	case errors.As(err, &e):
		return e.Kind, fail.HintOf(err), true
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fail.NoSpace, hintSpace, true
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fail.Denied, hintDenied, true
	}
	return fail.Internal, "", false
}

// wrapWrite describes an error that came while writing.
func wrapWrite(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	kind, hint, known := storageKind(err)
	if !known {
		kind = fail.Unavailable
		if isMissing(err) {
			kind, hint = fail.Damaged, hintRepair
		}
	}
	return fail.Wrap(kind, err, hint, format, args...)
}

// wrapRead describes an error that came while reading stored data: what isn't the storage's
// or the caller's fault means that the data is missing or altered.
func wrapRead(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	kind, hint, known := storageKind(err)
	if !known {
		kind = fail.Damaged
	}
	return fail.Wrap(kind, err, hint, format, args...)
}

func isMissing(err error) bool {
	return errors.Is(err, blob.ErrBlobNotFound) || errors.Is(err, content.ErrContentNotFound) || errors.Is(err, object.ErrObjectNotFound)
}

// damaged reports stored data that can't be right.
func damaged(format string, args ...any) error {
	return fail.New(fail.Damaged, "", format, args...)
}
