package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// wireBuffer is how much is asked of the connection at once. A server sends pieces of 8 KiB;
// the buffer takes as many as have arrived.
const wireBuffer = 256 << 10

// The messages that may come during COPY … TO STDOUT.
const (
	msgCopyData        = 'd'
	msgCopyDone        = 'c'
	msgCopyOut         = 'H'
	msgCommandComplete = 'C'
	msgReady           = 'Z'
	msgError           = 'E'
	msgNotice          = 'N'
	msgParameter       = 'S'
	msgNotification    = 'A'
	msgRowDescription  = 'T'
	msgDataRow         = 'D'
)

// maxControl limits every message but CopyData, which is passed on as it comes. Errors quote what
// the user sent and rows that did not fit; both are far shorter.
const maxControl = 1 << 20

// copyOut reads the rows of one COPY … TO STDOUT straight from the connection: it takes the frames
// apart in the buffer they were received into, and copies each payload once. The driver's own
// way costs a function call, a bounds dance and a write for each row.
//
// The connection belongs to a copyOut from openCopy to Close. After Close the driver may use it
// again, if finished reports true.
type copyOut struct {
	ctx  context.Context // of Read: the io.Reader interface has no room for it
	pg   *pgconn.PgConn
	conn net.Conn
	buf  []byte
	r, w int   // buf[r:w] was received and not looked at
	left int   // bytes of the current CopyData message that are still to come
	seen uint8 // what of sawDone, sawTag, sawReady came
	err  error // what every Read returns from now on
	stop func() bool
	cut  chan struct{} // closed once the deadline of a cancelled context is set
}

const (
	sawOut uint8 = 1 << iota
	sawDone
	sawTag
	sawReady
)

// openCopy sends sql, whose last statement is a COPY … TO STDOUT, and returns once the
// server has begun to answer it. buf is used for receiving.
func openCopy(ctx context.Context, pg *pgconn.PgConn, sql string, buf []byte) (*copyOut, error) {
	if err := pg.SyncConn(ctx); err != nil {
		return nil, explainIn(ctx, err)
	}
	c := &copyOut{ctx: ctx, pg: pg, conn: pg.Conn(), buf: buf, cut: make(chan struct{})}
	c.stop = context.AfterFunc(ctx, func() {
		// Reads and writes under way end at once, and those to come.
		_ = c.conn.SetDeadline(time.Unix(1, 0))
		close(c.cut)
	})
	msg, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err == nil {
		_, err = c.conn.Write(msg)
	}
	if err != nil {
		c.err = explainIn(ctx, err)
	}
	for c.err == nil && c.seen&sawOut == 0 {
		c.err = c.message()
	}
	if c.err != nil {
		return nil, errors.Join(c.err, c.Close())
	}
	return c, nil
}

// Read fills p with payloads of CopyData messages.
func (c *copyOut) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if c.left > 0 && c.r < c.w {
			k := copy(p[n:], c.buf[c.r:min(c.w, c.r+c.left)])
			n, c.r, c.left = n+k, c.r+k, c.left-k
			continue
		}
		if c.w-c.r >= 5 && c.left == 0 && c.buf[c.r] == msgCopyData && c.seen == sawOut {
			size := int(binary.BigEndian.Uint32(c.buf[c.r+1:])) - 4
			if size < 0 {
				c.err = errProtocol
				break
			}
			c.r, c.left = c.r+5, size
			continue
		}
		if n > 0 && (c.left > 0 || c.w-c.r < 5) {
			return n, nil // what there is, before waiting for more
		}
		if c.err != nil {
			break
		}
		if c.left > 0 {
			c.err = c.receive(1)
		} else {
			c.err = c.message()
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, c.err
}

var errProtocol = fail.New(fail.Unavailable, "is there something between here and the server that speaks another protocol?",
	"the server's answer breaks the protocol")

// receive waits until at least n bytes are in the buffer.
func (c *copyOut) receive(n int) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	for c.w-c.r < n {
		if len(c.buf)-c.r < n { // make room: move what is left to the front
			if len(c.buf) < n {
				c.buf = append(c.buf, make([]byte, n-len(c.buf))...)
			}
			c.w, c.r = copy(c.buf, c.buf[c.r:c.w]), 0
		}
		k, err := c.conn.Read(c.buf[c.w:])
		c.w += k
		if err != nil && c.w-c.r < n {
			return c.broken(err)
		}
	}
	return nil
}

// broken explains the end of the connection. An end in time is one too early here.
func (c *copyOut) broken(err error) error {
	if c.ctx.Err() != nil {
		return explain(context.Cause(c.ctx))
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return explain(err)
}

// message takes the next message: the head of a CopyData, or all of another one. It returns
// io.EOF when the answer is complete.
func (c *copyOut) message() error {
	if err := c.receive(5); err != nil {
		return err
	}
	kind, size := c.buf[c.r], int(binary.BigEndian.Uint32(c.buf[c.r+1:]))-4
	if size < 0 || kind != msgCopyData && size > maxControl {
		return errProtocol
	}
	if kind == msgCopyData {
		if c.seen != sawOut {
			return errProtocol
		}
		c.r, c.left = c.r+5, size
		return nil
	}
	if err := c.receive(5 + size); err != nil {
		return err
	}
	body := c.buf[c.r+5 : c.r+5+size]
	c.r += 5 + size
	return c.control(kind, body)
}

func (c *copyOut) control(kind byte, body []byte) error {
	switch kind {
	case msgCopyOut:
		c.seen |= sawOut
	case msgCopyDone:
		c.seen |= sawDone
	case msgCommandComplete: // also of the statement before COPY
		if c.seen&sawDone != 0 {
			c.seen |= sawTag
		}
	case msgReady:
		if c.seen != sawOut|sawDone|sawTag {
			return errProtocol
		}
		c.seen |= sawReady
		return io.EOF
	case msgError:
		var e pgproto3.ErrorResponse
		if err := e.Decode(body); err != nil {
			return errProtocol
		}
		return explainIn(c.ctx, pgconn.ErrorResponseToPgError(&e))
	case msgNotice, msgParameter, msgNotification, msgRowDescription, msgDataRow:
	default:
		return errProtocol
	}
	return nil
}

// finished reports whether the whole answer was read, so that the connection is fit for more.
func (c *copyOut) finished() bool { return c.seen&sawReady != 0 && c.ctx.Err() == nil }

// Close ends the COPY, if it has not ended: the server is asked to cancel it, and the
// connection is closed, since to read the rest could take as long as to read it all.
func (c *copyOut) Close() error {
	if c.stop == nil {
		return nil
	}
	if !c.stop() {
		<-c.cut
	}
	c.stop = nil
	if c.finished() {
		return nil
	}
	// Closing alone does not stop a server that is busy before its next row.
	if cut := c.err != nil && fail.KindOf(c.err) == fail.Unavailable; !cut {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), cancelWait)
		defer cancel()
		_ = c.pg.CancelRequest(ctx)
	}
	_ = c.conn.Close()
	if c.err == nil {
		c.err = fail.New(fail.Internal, "", "read rows: the reader was closed")
	}
	return nil
}
