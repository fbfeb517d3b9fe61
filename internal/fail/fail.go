// Package fail says, once, what can go wrong in Holdfast and what follows from it:
// every failure has a [Kind], a Kind has an exit code, and an error may carry a hint
// that tells the user the way out.
//
// Errors read «what was being done, to what, then why», lower case, without «failed to»:
//
//	return fail.Wrap(fail.Unavailable, err, "is the server running?", "connect to %s", addr)
package fail

import (
	"context"
	"errors"
	"fmt"
)

// A Kind classifies a failure by what the caller can do about it.
type Kind uint8

// The kinds. Their order is free; their exit codes (see [Kind.ExitCode]) are stable.
const (
	Internal     Kind = iota // a bug here, or something nobody foresaw
	Usage                    // the command line or a setting is wrong
	NotFound                 // a backup, table, database or file that was named does not exist
	Exists                   // the target holds data, or the repository is already there
	Denied                   // rights are missing, in the database or in the file system
	Unavailable              // a server or store can't be reached now; trying again may work
	Incomplete               // part of the work can't be done, so none was claimed
	Mismatch                 // what was restored differs from what was backed up
	NoRepository             // there is no repository at that place
	Locked                   // somebody else is at work; trying again later works
	Password                 // the repository's password is wrong or missing
	Damaged                  // stored data is missing or altered
	NoSpace                  // a disk is full
	Newer                    // written by a newer Holdfast
	Unsupported              // can't be done with this engine, version or file
	Interrupted              // the user or the system asked to stop
)

var kinds = [...]struct {
	name string
	code int
}{
	Internal:     {"internal", 1},
	Usage:        {"usage", 2},
	NotFound:     {"not found", 3},
	Exists:       {"exists", 4},
	Denied:       {"denied", 5},
	Unavailable:  {"unavailable", 6},
	Incomplete:   {"incomplete", 7},
	Mismatch:     {"mismatch", 8},
	NoRepository: {"no repository", 10},
	Locked:       {"locked", 11},
	Password:     {"password", 12},
	Damaged:      {"damaged", 13},
	NoSpace:      {"no space", 14},
	Newer:        {"newer format", 15},
	Unsupported:  {"unsupported", 16},
	Interrupted:  {"interrupted", 130},
}

// Kinds lists every Kind, for documentation and tests.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// String returns the kind's stable name, as used in --json output.
func (k Kind) String() string { return kinds[k].name }

// ExitCode returns the process exit code for the kind. The codes are part of the
// command line's contract and never change their meaning.
func (k Kind) ExitCode() int { return kinds[k].code }

// An Error is a failure with a kind, and perhaps a hint. Its text is Msg, then the cause.
type Error struct {
	Kind Kind
	Msg  string // what was being done, to what
	Err  error  // why; may be nil
	Hint string // the way out, a sentence without a capital or a full stop; may be empty
}

// Error returns «msg: cause».
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Msg
	case e.Msg == "":
		return e.Err.Error()
	}
	return e.Msg + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of kind k without a cause. The hint may be empty.
func New(k Kind, hint, format string, args ...any) error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// Wrap says what was being done when err happened, and gives it kind k. The hint may be
// empty. Wrap of nil is nil. An interruption stays one, whatever k says.
func Wrap(k Kind, err error, hint, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if KindOf(err) == Interrupted {
		k, hint = Interrupted, ""
	}
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...), Err: err, Hint: hint}
}

// Op adds what was being done to err and keeps its kind and hint. Op of nil is nil.
func Op(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Msg: fmt.Sprintf(format, args...), Err: err}
}

// KindOf returns the kind of the outermost [Error] in err's tree. Without one, a
// cancelled context is Interrupted, a passed deadline Unavailable, all else Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Internal
}

// HintOf returns the outermost hint in err's chain, or "".
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// A Secret is text that must not be shown: it prints as [secret] with every verb and in JSON.
type Secret string

// String returns "[secret]", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[secret]"
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps encoders from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }
