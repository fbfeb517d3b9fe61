package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// trouble is what an error number of the server means to us.
type trouble struct {
	kind fail.Kind
	hint string
}

const (
	hintAuth   = "check user and password: in the URL, ~/.my.cnf or $MYSQL_PWD"
	hintGone   = "is the server running, and does it accept connections there?"
	hintSlots  = "use fewer connections with --jobs, or raise max_connections"
	hintLock   = "wait longer with --lock-wait"
	hintPacket = "raise max_allowed_packet on the server"
)

// numbers maps error numbers of the server to troubles. Numbers not listed are the data's or a
// definition's fault: Incomplete.
func numbers(n uint16) trouble {
	switch n {
	case errAccessDenied, 1698, 1862, 1820, 1524, 2061:
		return trouble{fail.Denied, hintAuth}
	case 1044, 1142, 1143, 1227, 1370, 1419, 1449, 1410, 3879:
		return trouble{fail.Denied, ""}
	case errReadOnly, errReadOnlyTx, 1836, 3100:
		return trouble{fail.Denied, "the server is read-only: is it a replica?"}
	case errNoDatabase, errNoTable, 1109, 1054, 1305, 1360, 1539, 4091:
		return trouble{fail.NotFound, ""}
	case 1007, 1050, 1061, 1062, 1304, 1359, 1537, 1586:
		return trouble{fail.Exists, ""}
	case errLockTimeout:
		return trouble{fail.Locked, hintLock}
	case 1213, 1223, 1192, 1099, 1100:
		return trouble{fail.Locked, "another session holds what is needed: try again"}
	case errTableChanged:
		return trouble{fail.Locked, "a table was altered, emptied or made meanwhile: try again"}
	case 1040, 1203, 1226:
		return trouble{fail.Unavailable, hintSlots}
	case 1021, 1030, 1114, 1041, 3:
		return trouble{fail.NoSpace, "make room on the server's disk"}
	case errPacket, 1301:
		return trouble{fail.Unsupported, hintPacket}
	case 1053, 1077, 1079, 1080, 1129, 1130, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 4031:
		return trouble{fail.Unavailable, hintGone}
	case errInterrupted, 1969, 3024, 1028:
		return trouble{fail.Unavailable, "somebody ended the query on the server"}
	case 1034, 1035, 1194, 1195, 126, 127, 1877, 1712, 1817:
		return trouble{fail.Damaged, "the server can't read its own files: check its disk and its log"}
	case 3750:
		return trouble{fail.Unsupported, "the server demands primary keys: set sql_require_primary_key=0 there, or restore as a user with SESSION_VARIABLES_ADMIN"}
	case errBrokenView:
		return trouble{fail.Incomplete, "drop or repair the view"}
	case 1235, 1115, 1273, 1286, 1193, errLocalOff, errLocalOff2, errLocalOff3:
		return trouble{fail.Unsupported, ""}
	}
	return trouble{fail.Incomplete, ""}
}

const (
	errAccessDenied = 1045
	errNoDatabase   = 1049
	errNoTable      = 1146
	errReadOnly     = 1290
	errLockTimeout  = 1205
	errTableChanged = 1412
	errPacket       = 1153
	errInterrupted  = 1317
	errReadOnlyTx   = 1792
	errBrokenView   = 1356
	errLocalOff     = 4166 // MariaDB: the command is not allowed, for LOAD DATA LOCAL
	errLocalOff2    = 3948 // MySQL: loading local data is disabled
	errLocalOff3    = 1148 // both, older
)

// explain turns an error of the server or the network into one with a kind and, where there is a way out, a
// hint. Errors that have a kind already, and nil, are returned as they are.
func explain(err error) error {
	var done *fail.Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		t := numbers(my.Number)
		return &fail.Error{Kind: t.kind, Err: err, Hint: t.hint}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var verify *tls.CertificateVerificationError
	if errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &verify) {
		return fail.Wrap(fail.Denied, err, "check ssl-mode and ssl-ca", "verify the server's certificate")
	}
	if errors.Is(err, mysql.ErrPktTooLarge) {
		return &fail.Error{Kind: fail.Unsupported, Err: err, Hint: hintPacket}
	}
	if errors.Is(err, mysql.ErrNoTLS) {
		return &fail.Error{Kind: fail.Unavailable, Err: err, Hint: "check ssl-mode"}
	}
	if text := cutText(err); text != "" {
		return &fail.Error{Kind: fail.Unavailable, Err: &plain{text, err}, Hint: hintGone}
	}
	return err
}

// explainIn is explain for a call under ctx: when ctx was cancelled, what the server or the network said
// about it is only a consequence, and the cancellation is the error.
func explainIn(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && (cutText(err) != "" || isNumber(err, errInterrupted)) {
		return explain(cause)
	}
	return explain(err)
}

// isNumber reports whether err is the server's error with one of the numbers.
func isNumber(err error, numbers ...uint16) bool {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		for _, n := range numbers {
			if my.Number == n {
				return true
			}
		}
	}
	return false
}

// plain replaces the text of an error and keeps the error for errors.As.
type plain struct {
	text string
	err  error
}

func (p *plain) Error() string { return p.text }
func (p *plain) Unwrap() error { return p.err }

// cutText says in words that a connection can't be made or has ended; "" when err means something else.
func cutText(err error) string {
	var ne net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, mysql.ErrInvalidConn),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the server closed the connection"
	case errors.As(err, &ne):
		var sys *os.SyscallError
		var dns *net.DNSError
		if errors.As(err, &dns) {
			return dns.Err
		}
		if errors.As(err, &sys) {
			return sys.Err.Error()
		}
		return ne.Error()
	}
	return ""
}
