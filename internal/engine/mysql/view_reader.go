package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"os"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// drainWait is how long a query that nobody wants any more may take to end.
const drainWait = 10 * time.Second

// acquire waits for a connection of the snapshot.
func (v *View) acquire(ctx context.Context) (*session, error) {
	v.mu.Lock()
	done := v.done
	v.mu.Unlock()
	if done {
		return nil, fail.New(fail.Internal, "", "read %s: the view is closed", v.cfg.DBName)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s := <-v.idle:
		return s, nil
	default:
	}
	select {
	case s := <-v.idle:
		return s, nil
	case <-v.lost:
		return nil, fail.New(fail.Unavailable, hintGone, "read %s: every connection of the snapshot was lost", v.cfg.DBName)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release gives a connection back, or closes one that is of no more use.
func (v *View) release(s *session, fit bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if fit && !v.done {
		v.idle <- s // has room for all
		return
	}
	s.close()
	if v.left--; v.left == 0 {
		close(v.lost)
	}
}

// forget gives up the locks of tables that were read. A statement that was killed too late may fail in its place.
func (s *session) forget(ctx context.Context) error {
	err := s.exec(ctx, "ROLLBACK TO SAVEPOINT part")
	if isNumber(err, errInterrupted) {
		err = s.exec(ctx, "ROLLBACK TO SAVEPOINT part")
	}
	return err
}

// read begins a query in the snapshot.
func (v *View) read(ctx context.Context, t *rows.Table, sql string, kinds []textKind) (io.ReadCloser, error) {
	s, err := v.acquire(ctx)
	if err != nil {
		return nil, err
	}
	r := &rowReader{ctx: ctx, view: v, session: s, table: t}
	if s.tap == nil {
		err = r.openDriver(ctx, sql, kinds)
	} else {
		err = r.openTap(ctx, sql, kinds)
	}
	if err != nil {
		r.err = err
		_ = r.Close()
		return nil, r.explain(err)
	}
	return r, nil
}

// rowReader is the reader of one part, as the caller sees it.
type rowReader struct {
	ctx     context.Context // of Read: the io.Reader interface has no room for it
	view    *View
	session *session
	table   *rows.Table
	text    io.Reader
	stream  *rowStream  // what text is, when it reads the connection itself
	driver  driver.Rows // or what it reads
	stop    func() bool
	err     error
	closed  bool
}

func (r *rowReader) openTap(ctx context.Context, sql string, kinds []textKind) error {
	tap := r.session.tap
	r.stream = &rowStream{}
	if r.session.stream != nil {
		r.stream, r.session.stream = r.session.stream, nil
	}
	r.text = r.stream
	// Reads and writes under way end at once, and those to come.
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = tap.SetDeadline(time.Unix(1, 0)); close(cut) })
	r.stop = func() bool {
		if !stop() {
			<-cut
			return false
		}
		return true
	}
	return r.stream.query(tap, sql, kinds)
}

func (r *rowReader) openDriver(ctx context.Context, sql string, kinds []textKind) (err error) {
	r.driver, err = r.session.conn.(driver.QueryerContext).QueryContext(ctx, sql, nil)
	r.text = &driverStream{rows: r.driver, kinds: kinds, values: make([]driver.Value, len(kinds))}
	return err
}

func (r *rowReader) explain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && r.ctx.Err() != nil {
		err = context.Cause(r.ctx)
	}
	return fail.Op(explainIn(r.ctx, err), "read %s", r.table)
}

func (r *rowReader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fail.New(fail.Internal, "", "read %s: the reader is closed", r.table)
	}
	if r.err == nil {
		var n int
		if n, r.err = r.text.Read(p); r.err == nil || r.err == io.EOF {
			return n, r.err
		}
	}
	if r.err == io.EOF {
		return 0, io.EOF
	}
	return 0, r.explain(r.err)
}

// Close ends the query, if it has not ended, and gives the connection back: it can't be replaced, since
// another one would not see the snapshot.
func (r *rowReader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), drainWait)
	defer cancel()
	fit := false
	switch {
	case r.driver != nil:
		fit = r.closeDriver(ctx)
	case r.stream != nil:
		r.stop()
		fit = r.closeTap(ctx)
	}
	r.view.release(r.session, fit && r.session.forget(ctx) == nil)
	return nil
}

func (r *rowReader) closeDriver(ctx context.Context) bool {
	if r.err == nil { // not at the end
		r.view.kill(ctx, r.session)
	}
	err := r.driver.Close()
	return r.ctx.Err() == nil && (err == nil || isNumber(err, errInterrupted))
}

func (r *rowReader) closeTap(ctx context.Context) bool {
	s := r.stream
	if cut := r.err != nil && r.err != io.EOF && !errors.Is(r.err, os.ErrDeadlineExceeded); cut && !s.finished {
		return false
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = r.session.tap.SetDeadline(deadline)
	}
	// A little that is left is read faster than a query is killed.
	for range 4 {
		if !s.finished {
			s.at, s.out = 0, s.out[:0]
			if err := s.fill(); err != nil && !s.finished {
				return false
			}
		}
	}
	if !s.finished {
		r.view.kill(ctx, r.session)
	}
	for !s.finished {
		s.at, s.out = 0, s.out[:0]
		if err := s.fill(); err != nil && !s.finished {
			return false
		}
	}
	if len(s.buf) <= 4*wireBuffer && cap(s.out) <= 8*outBuffer {
		r.session.stream = s // its buffers
	}
	return r.session.tap.SetDeadline(time.Time{}) == nil
}

// kill ends the query that a session is busy with. Without success the query goes on, which costs time only.
func (v *View) kill(ctx context.Context, s *session) {
	other, err := connect(ctx, v.cfg, false)
	if err != nil {
		return
	}
	defer other.close()
	_ = other.exec(ctx, "KILL QUERY "+s.id)
}

// spool reads r to its end into a file that nobody else sees, and closes it.
func spool(r io.ReadCloser) (io.ReadCloser, error) {
	f, err := os.CreateTemp("", "holdfast-rows-")
	if err != nil {
		return nil, errors.Join(fail.Wrap(fail.Internal, err, "", "keep sorted rows"), r.Close())
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
