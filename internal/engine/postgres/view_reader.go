package postgres

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// reader is a connection in the view's snapshot. It reads one part at a time.
type reader struct {
	view *View
	conn *pgx.Conn
	buf  []byte
	copy *copyOut // under way, or nil
}

// reader takes an idle reader or makes one.
func (v *View) reader(ctx context.Context) (*reader, error) {
	v.mu.Lock()
	closed := v.closed
	var r *reader
	if n := len(v.idle); n > 0 {
		r, v.idle = v.idle[n-1], v.idle[:n-1]
	}
	v.mu.Unlock()
	switch {
	case closed:
		return nil, fail.New(fail.Internal, "", "read %s: the view is closed", v.cfg.Database)
	case r != nil:
		return r, nil
	}
	return v.newReader(ctx)
}

func (v *View) newReader(ctx context.Context) (*reader, error) {
	conn, err := connect(ctx, v.cfg, appName)
	if err != nil {
		return nil, err
	}
	_, err = conn.PgConn().Exec(ctx, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT "+quoteLiteral(v.snapshot)+"; SAVEPOINT part").ReadAll()
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		if isState(err, "22023") || isState(err, "42704") {
			return nil, fail.Wrap(fail.Unavailable, explain(err),
				"connect to the server itself: a pooler or balancer leads each connection to another session or server", "share the snapshot of %s", v.cfg.Database)
		}
		return nil, fail.Op(explainIn(ctx, err), "share the snapshot of %s", v.cfg.Database)
	}
	return &reader{view: v, conn: conn, buf: make([]byte, wireBuffer)}, nil
}

// lockSQL locks a table for this connection too. The leader's lock already keeps the table as it is. But when
// somebody waits for an exclusive lock, COPY would queue up behind, and both would wait for the leader, which waits for
// COPY; so it must not wait. Going back to the savepoint gives the lock of the part before away:
// a server has room for a limited number of them.
func lockSQL(t *rows.Table) string {
	if t.Kind == rows.LargeObjects {
		return "ROLLBACK TO part; "
	}
	return fmt.Sprintf("ROLLBACK TO part; LOCK TABLE ONLY %s IN ACCESS SHARE MODE NOWAIT; ", quoteTable(t))
}

func (r *reader) explain(t *rows.Table, err error) error {
	if isState(err, "55P03") {
		return fail.Wrap(fail.Locked, explain(err), "try again when no ALTER, DROP, TRUNCATE or VACUUM FULL of it is waiting", "read %s", t)
	}
	return fail.Op(err, "read %s", t)
}

// release gives a reader back after its COPY has been closed.
func (v *View) release(r *reader) {
	if !r.copy.finished() {
		v.discard(r)
		return
	}
	r.buf, r.copy = r.copy.buf, nil
	if len(r.buf) > 4*wireBuffer { // a huge message grew it
		r.buf = make([]byte, wireBuffer)
	}
	v.mu.Lock()
	keep := !v.closed && len(v.idle) < v.opt.Jobs
	if keep {
		v.idle = append(v.idle, r)
	}
	v.mu.Unlock()
	if !keep {
		v.discard(r)
	}
}

func (v *View) discard(r *reader) {
	ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
	defer cancel()
	_ = r.conn.Close(ctx) // a broken connection has nothing more to say
}

// rowReader is the reader of one part, as the caller sees it.
type rowReader struct {
	*reader
	table *rows.Table
	done  bool
}

func (r *rowReader) Read(p []byte) (int, error) {
	if r.done {
		return 0, fail.New(fail.Internal, "", "read %s: the reader is closed", r.table)
	}
	n, err := r.copy.Read(p)
	if err != nil && err != io.EOF {
		err = r.explain(r.table, err)
	}
	return n, err
}

func (r *rowReader) Close() error {
	if r.done {
		return nil
	}
	r.done = true
	err := r.copy.Close()
	r.view.release(r.reader)
	return err
}
