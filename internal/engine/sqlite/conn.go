package sqlite

import (
	"context"
	"errors"
	"net/url"
	"os"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// defaultBusyWait is how long a lock is waited for when nothing else was asked.
const defaultBusyWait = 10 * time.Second

// A source is a live database file: a connection that takes part in SQLite's locking, and
// descriptors of our own to read pages with. The driver locks by open file description (OFD
// locks), so that closing a descriptor of ours doesn't drop the connection's locks, as it
// would with the POSIX locks of SQLite's own unix layer.
type source struct {
	path string // as the user named it
	full string // absolute, without symbolic links
	conn *sqlite3.Conn
	file *os.File // the database
	wal  *os.File // its log, in WAL mode
	shm  *os.File // its wal-index, in WAL mode
}

// openSource opens a database and reads it once, so that whatever a crashed writer left is settled.
func openSource(ctx context.Context, path string, wait time.Duration) (*source, error) {
	f, full, err := openFile(path)
	if err != nil {
		return nil, err
	}
	s := &source{path: path, full: full, file: f}
	if err := s.start(ctx, wait); err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) start(ctx context.Context, wait time.Duration) error {
	h, err := readHeader(s.file)
	if err != nil {
		return fail.Wrap(fail.Unavailable, err, "", "read %s", s.path)
	}
	if err := h.check(s.path); err != nil {
		return err
	}
	if h.wal {
		if err := makeSiblings(s.full); err != nil {
			return sqlError(ctx, err, "open %s", s.path)
		}
	}
	how := readOnly
	if h.wal && isEmpty(s.full+"-wal") {
		// Nobody has it open, or nobody wrote. A connection that may write removes the -wal and -shm which
		// it creates; with a log there already, ours is read-only, so that closing it last doesn't checkpoint.
		how = readWrite
	}
	s.conn, err = dial(ctx, s.full, how, wait)
	if how == readWrite && (errors.Is(err, sqlite3.CANTOPEN) || errors.Is(err, sqlite3.READONLY)) {
		s.conn, err = dial(ctx, s.full, readOnly, wait)
	}
	if errors.Is(err, sqlite3.READONLY) {
		// A hot journal: a writer died, and the next reader must roll back.
		s.conn, err = dial(ctx, s.full, readWrite, wait)
	}
	return sqlError(ctx, err, "open %s", s.path)
}

// isEmpty reports whether the file is missing or has no bytes.
func isEmpty(path string) bool {
	info, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
}

// An access is how a connection opens a file, as SQLite's URIs say it.
type access string

const (
	readOnly  access = "mode=ro"
	readWrite access = "mode=rw" // never creates
)

// mostMemory is how much a connection may use: a value may have 1 GB, and SQLite may need it twice. Memory is
// taken when it is needed.
const mostMemory = 3 << 30

// dial opens the file at the absolute path full and reads the schema.
func dial(ctx context.Context, full string, a access, wait time.Duration) (*sqlite3.Conn, error) {
	return dialURI(ctx, "file:"+(&url.URL{Path: full}).EscapedPath()+"?"+string(a), wait)
}

// dialURI opens what an SQLite URI names and reads the schema.
func dialURI(ctx context.Context, uri string, wait time.Duration) (*sqlite3.Conn, error) {
	conn, err := sqlite3.OpenContext(sqlite3.WithMaxMemory(ctx, mostMemory), uri)
	if err != nil {
		return nil, err
	}
	defer conn.SetInterrupt(conn.SetInterrupt(ctx))
	err = conn.BusyTimeout(wait)
	if err == nil {
		// query_only: nothing here ever writes through SQL. Rolling back a hot journal is not affected.
		err = conn.Exec("PRAGMA query_only=ON; PRAGMA foreign_keys=OFF; SELECT rowid FROM sqlite_schema LIMIT 1")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// begin starts a read transaction: the lock is held, or the snapshot taken, when it returns nil.
func begin(conn *sqlite3.Conn) error {
	if err := conn.Exec("BEGIN; SELECT rowid FROM sqlite_schema LIMIT 1"); err != nil {
		end(conn)
		return err
	}
	return nil
}

// end ends a read transaction, if there is one. It can't fail in a way that matters: nothing was written.
func end(conn *sqlite3.Conn) {
	if !conn.GetAutocommit() {
		defer conn.SetInterrupt(conn.SetInterrupt(context.Background())) // a cancelled context would refuse even this
		_ = conn.Exec("ROLLBACK")
	}
}

// one returns the first column of the first row of a query as text.
func one(conn *sqlite3.Conn, sql string) (string, error) {
	text := ""
	err := each(conn, sql, nil, func(st *sqlite3.Stmt) error {
		text = st.ColumnText(0)
		return nil
	})
	return text, err
}

// each calls row for every row of a query; args are texts.
func each(conn *sqlite3.Conn, sql string, args []string, row func(*sqlite3.Stmt) error) error {
	st, _, err := conn.Prepare(sql)
	if err != nil {
		return err
	}
	defer st.Close()
	for i, arg := range args {
		if err := st.BindText(i+1, arg); err != nil {
			return err
		}
	}
	for st.Step() {
		if err := row(st); err != nil {
			return err
		}
	}
	return st.Err()
}

// close ends the transaction and closes connection and files. It may be called twice.
func (s *source) close() error {
	var errs []error
	if s.conn != nil {
		end(s.conn)
		errs = append(errs, s.conn.Close())
	}
	for _, f := range []*os.File{s.file, s.wal, s.shm} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	s.conn, s.file, s.wal, s.shm = nil, nil, nil, nil
	return errors.Join(errs...)
}
