package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// trouble is what an SQLSTATE, or a class of them, means to us.
type trouble struct {
	kind fail.Kind
	hint string
}

const (
	hintAuth     = "check user and password: in the URL, $PGPASSWORD, ~/.pgpass or the service file"
	hintGone     = "is the server running, and does it accept connections there?"
	hintSlots    = "use fewer connections with --jobs, or raise max_connections"
	hintConflict = "a standby cancels reads that hold up replay: raise max_standby_streaming_delay, or turn on hot_standby_feedback"
	hintLock     = "wait longer with --lock-wait"
)

// states maps SQLSTATEs to troubles: five characters first, then the class of two.
func states(code string) trouble {
	switch code {
	case "28000", "28P01":
		return trouble{fail.Denied, hintAuth}
	case "3D000", "42P01", "3F000", "42704", "42703", "42883":
		return trouble{fail.NotFound, ""}
	case "42P04", "42P06", "42P07", "42710", "42723", "23505":
		return trouble{fail.Exists, ""}
	case "42501":
		return trouble{fail.Denied, ""}
	case "25006":
		return trouble{fail.Denied, "the server or the role is read-only: is it a standby?"}
	case "40001":
		return trouble{fail.Unavailable, hintConflict}
	case "40P01":
		return trouble{fail.Locked, "another session holds what is needed: try again"}
	case "55P03":
		return trouble{fail.Locked, hintLock}
	case "55006":
		return trouble{fail.Locked, "other sessions use it: end them first"}
	case "53100":
		return trouble{fail.NoSpace, "make room on the server's disk"}
	case "53300":
		return trouble{fail.Unavailable, hintSlots}
	case "57014":
		return trouble{fail.Unavailable, "somebody canceled the query on the server"}
	case "57P04":
		return trouble{fail.NotFound, ""}
	case "58030", "58P01", "XX001", "XX002":
		return trouble{fail.Damaged, "the server can't read its own files: check its disk and its log"}
	case "0A000", "22021", "22P05":
		return trouble{fail.Unsupported, ""}
	}
	switch code[:min(2, len(code))] {
	case "08", "57":
		return trouble{fail.Unavailable, hintGone}
	case "53":
		return trouble{fail.Unavailable, ""}
	case "28":
		return trouble{fail.Denied, hintAuth}
	case "22", "23", "2B", "38", "39", "42", "P0": // the data or a definition, not the server
		return trouble{fail.Incomplete, ""}
	}
	return trouble{fail.Internal, ""}
}

// explain turns an error of the server or the network into one with a kind and, where
// there is a way out, a hint. Its text is the server's message without severity and
// address. Errors that have a kind already, and nil, are returned as they are.
func explain(err error) error {
	var done *fail.Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		t := states(pg.Code)
		return &fail.Error{Kind: t.kind, Err: &plain{serverText(pg), err}, Hint: t.hint}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var verify *tls.CertificateVerificationError
	if errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &verify) {
		return fail.Wrap(fail.Denied, root(err), "check sslmode and sslrootcert", "verify the server's certificate")
	}
	if cut(err) {
		return &fail.Error{Kind: fail.Unavailable, Err: &plain{cutText(err), err}, Hint: hintGone}
	}
	return err
}

// explainIn is explain for a call under ctx: when ctx was cancelled, what the server or the
// network said about it is only a consequence, and the cancellation is the error.
func explainIn(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		var pg *pgconn.PgError
		if cut(err) || errors.As(err, &pg) && pg.Code == "57014" {
			return explain(cause)
		}
	}
	return explain(err)
}

// isState reports whether err is the server's error with that SQLSTATE.
func isState(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

// serverText is the message of an error of the server, with its detail and where it arose.
func serverText(pg *pgconn.PgError) string {
	text := pg.Message
	if pg.Detail != "" {
		text += ": " + pg.Detail
	}
	if pg.Where != "" {
		text += " (" + strings.ReplaceAll(pg.Where, "\n", "; ") + ")"
	}
	return text + " [SQLSTATE " + pg.Code + "]"
}

// plain replaces the text of an error and keeps the error for errors.As.
type plain struct {
	text string
	err  error
}

func (p *plain) Error() string { return p.text }
func (p *plain) Unwrap() error { return p.err }

// cut reports whether err means that the connection can't be made or has ended.
func cut(err error) bool {
	var ne net.Error
	var oe *net.OpError
	return errors.As(err, &ne) || errors.As(err, &oe) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, pgconn.ErrConnClosed)
}

// cutText says in words what an ended connection's errors say in jargon.
func cutText(err error) string {
	switch r := root(err); {
	case errors.Is(r, io.EOF), errors.Is(r, io.ErrUnexpectedEOF), errors.Is(r, net.ErrClosed), errors.Is(err, pgconn.ErrConnClosed):
		return "the server closed the connection"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	default:
		return r.Error()
	}
}

// root returns the innermost error, the first one where errors were joined: the fact
// without the driver's wrapping, which repeats addresses.
func root(err error) error {
	for {
		var next error
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				next = all[0]
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}
