package mysql

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"unsafe"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// textKind says how the server's text of a column becomes row text.
type textKind uint8

const (
	asIs    textKind = iota // numbers and times: nothing in them needs an escape
	escaped                 // text
	hexed                   // bytes
	double                  // shortest form that reads back the same
	single
)

// A tap is a network connection that the driver opened and on which a rowStream, between two commands of the driver,
// runs a query of its own: the driver makes a Go value of each column, which costs more than all else that
// is done with a row.
type tap struct {
	net.Conn
	greeted   bool
	encrypted bool // the driver put TLS on top
	okEnd     bool // a result ends with an OK packet and not with EOF
	metaFlag  bool // the number of columns is followed by a flag (MariaDB)
}

// Capabilities of the protocol that change a result's form.
const (
	capMySQL        = 1 << 0
	capTLS          = 1 << 11
	capDeprecateEOF = 1 << 24
	capCacheMeta    = 1 << 4 // of MariaDB's own
)

// Write watches for the driver's first packet, which says what was agreed.
func (t *tap) Write(p []byte) (int, error) {
	if !t.greeted && len(p) >= 36 {
		t.greeted = true
		caps := binary.LittleEndian.Uint32(p[4:])
		t.encrypted = caps&capTLS != 0
		t.okEnd = caps&capDeprecateEOF != 0
		t.metaFlag = caps&capMySQL == 0 && binary.LittleEndian.Uint32(p[32:])&capCacheMeta != 0
	}
	return t.Conn.Write(p)
}

const (
	wireBuffer = 256 << 10
	outBuffer  = 256 << 10
	maxPacket  = 1<<24 - 1
	// A longer row is read in pieces, so that memory does not depend on it.
	longRow = 1 << 20
)

// rowStream makes row text of one query's result, straight from the connection's packets.
type rowStream struct {
	conn  io.Reader
	kinds []textKind
	okEnd bool

	buf      []byte // buf[r:w] was received and not looked at
	r, w     int
	out      []byte // out[at:] is row text not handed out yet
	at       int
	finished bool // the result was read to its end

	// A long row under way.
	inRow bool
	left  int  // bytes of its current packet not received yet
	more  bool // that packet has a continuation
	col   int  // columns complete
	value int  // bytes of column col still to come; -1: its length too
}

// query sends sql on t and reads the head of its result.
func (s *rowStream) query(t *tap, sql string, kinds []textKind) error {
	s.conn, s.kinds, s.okEnd = t, kinds, t.okEnd
	s.r, s.w, s.at, s.out, s.finished, s.inRow = 0, 0, 0, s.out[:0], false, false
	if s.buf == nil {
		s.buf, s.out = make([]byte, wireBuffer), make([]byte, 0, outBuffer+4096)
	}
	if len(sql)+1 >= maxPacket {
		return fail.New(fail.Unsupported, "", "a query of %d bytes is too long", len(sql))
	}
	msg := make([]byte, 5, 5+len(sql))
	putLength(msg, len(sql)+1)
	msg[4] = 3 // COM_QUERY
	if _, err := t.Conn.Write(append(msg, sql...)); err != nil {
		return err
	}
	head, err := s.packet()
	if err != nil {
		return err
	}
	n, width := lenenc(head)
	if width == 0 || n != len(kinds) {
		return errProtocol
	}
	if t.metaFlag && len(head) > width && head[width] == 0 {
		n = 0
	}
	if !t.okEnd {
		n++ // an EOF packet behind the columns
	}
	for range n {
		if _, err := s.packet(); err != nil {
			return err
		}
	}
	return nil
}

var errProtocol = fail.New(fail.Unavailable, "is there something between here and the server that speaks another protocol?",
	"the server's answer breaks the protocol")

func putLength(b []byte, n int) { b[0], b[1], b[2] = byte(n), byte(n>>8), byte(n>>16) }

// lenenc reads a length-encoded integer and returns how wide it is; 0 when b does not begin with a whole one.
func lenenc(b []byte) (n, width int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch c := b[0]; {
	case c < 0xfb:
		return int(c), 1
	case c == 0xfc && len(b) >= 3:
		return int(b[1]) | int(b[2])<<8, 3
	case c == 0xfd && len(b) >= 4:
		return int(b[1]) | int(b[2])<<8 | int(b[3])<<16, 4
	case c == 0xfe && len(b) >= 9:
		if u := binary.LittleEndian.Uint64(b[1:]); u <= math.MaxInt32 {
			return int(u), 9
		}
	}
	return 0, 0
}

// need waits until n bytes are in the buffer.
func (s *rowStream) need(n int) error {
	if s.w-s.r >= n {
		return nil
	}
	if s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if n > len(s.buf) {
		s.buf = append(s.buf, make([]byte, n-len(s.buf))...)
	}
	for s.w < n {
		k, err := s.conn.Read(s.buf[s.w:])
		s.w += k
		if err != nil && s.w < n {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// packet returns the next packet, which must be a short one; an error of the server is an error.
func (s *rowStream) packet() ([]byte, error) {
	if err := s.need(4); err != nil {
		return nil, err
	}
	size := length(s.buf[s.r:])
	if size == 0 || size > longRow {
		return nil, errProtocol
	}
	if err := s.need(4 + size); err != nil {
		return nil, err
	}
	p := s.buf[s.r+4 : s.r+4+size]
	s.r += 4 + size
	if p[0] == 0xff {
		s.finished = true
		return nil, serverError(p)
	}
	return p, nil
}

func length(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func serverError(p []byte) error {
	if len(p) < 3 {
		return errProtocol
	}
	e := &mysql.MySQLError{Number: binary.LittleEndian.Uint16(p[1:])}
	if p = p[3:]; len(p) >= 6 && p[0] == '#' {
		copy(e.SQLState[:], p[1:6])
		p = p[6:]
	}
	e.Message = string(p)
	return e
}

// Read returns row text. After io.EOF or an error of the server, finished is true and the driver may use the connection.
func (s *rowStream) Read(p []byte) (int, error) {
	for s.at == len(s.out) {
		if s.finished {
			return 0, io.EOF
		}
		s.at, s.out = 0, s.out[:0]
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.out[s.at:])
	s.at += n
	return n, nil
}

// fill makes row text of what the connection gives, until there is enough of it or the result ends.
func (s *rowStream) fill() (err error) {
	for len(s.out) < outBuffer && !s.finished {
		if s.inRow {
			if err = s.longRow(); err != nil {
				return err
			}
			continue
		}
		if s.w-s.r < 4 && len(s.out) > 0 {
			return nil // what there is, before waiting for more
		}
		if err = s.need(4); err != nil {
			return err
		}
		size := length(s.buf[s.r:])
		if size > longRow {
			s.inRow, s.left, s.more, s.col, s.value = true, size, size == maxPacket, 0, -1
			s.r += 4
			continue
		}
		p, err := s.packet()
		if err != nil {
			return err
		}
		if p[0] == 0xfe && (s.okEnd || len(p) < 9) {
			s.finished = true
			return nil
		}
		if s.out, err = appendRow(s.out, p, s.kinds); err != nil {
			return err
		}
	}
	return nil
}

// appendRow appends a whole row.
func appendRow(out, p []byte, kinds []textKind) ([]byte, error) {
	for i, kind := range kinds {
		if i > 0 {
			out = append(out, '\t')
		}
		if len(p) > 0 && p[0] == 0xfb {
			out, p = append(out, rows.Null...), p[1:]
			continue
		}
		n, width := lenenc(p)
		if width == 0 || n > len(p)-width {
			return out, errProtocol
		}
		out = appendValue(out, p[width:width+n], kind)
		p = p[width+n:]
	}
	if len(p) > 0 {
		return out, errProtocol
	}
	return append(out, '\n'), nil
}

func appendValue(out, v []byte, kind textKind) []byte {
	switch kind {
	case escaped:
		return rows.AppendText(out, v)
	case hexed:
		return rows.AppendBytes(out, v)
	case double, single:
		return appendFloat(out, v, kind)
	}
	return append(out, v...)
}

// appendFloat writes a number as PostgreSQL does: the fewest digits that read back the same, with an exponent when it
// is very small or large.
func appendFloat(out, v []byte, kind textKind) []byte {
	bits, most := 64, 1e15
	if kind == single {
		bits, most = 32, 1e6
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(v), len(v)), 64)
	if err != nil {
		return append(out, v...)
	}
	if bits == 32 && math.Abs(f) >= math.MaxFloat32 {
		bits = 64 // the server compares before it rounds, and the shortest form is a little too large
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= most) {
		format = 'e'
	}
	return strconv.AppendFloat(out, f, format, -1, bits)
}

// longRow goes on with a row that is read in pieces.
func (s *rowStream) longRow() error {
	if s.value < 0 { // at a value's length, or behind the last value
		if s.col == len(s.kinds) {
			if s.left > 0 || s.more && s.nextPacket() != nil {
				return errProtocol
			}
			s.inRow = false
			s.out = append(s.out, '\n')
			return nil
		}
		return s.longValue()
	}
	if s.value == 0 {
		s.col, s.value = s.col+1, -1
		return nil
	}
	piece, err := s.take(min(s.value, 64<<10))
	if err != nil {
		return err
	}
	s.value -= len(piece)
	if s.kinds[s.col] == hexed {
		s.out = appendHex(s.out, piece)
	} else {
		s.out = appendValue(s.out, piece, s.kinds[s.col])
	}
	return nil
}

// longValue reads the length of the next value.
func (s *rowStream) longValue() error {
	head := make([]byte, 0, 9)
	for {
		b, err := s.take(1)
		if err != nil {
			return err
		}
		if head = append(head, b[0]); head[0] == 0xfb {
			break
		}
		if _, width := lenenc(head); width > 0 {
			break
		}
		if len(head) == cap(head) {
			return errProtocol
		}
	}
	if s.col > 0 {
		s.out = append(s.out, '\t')
	}
	if head[0] == 0xfb {
		s.out, s.col = append(s.out, rows.Null...), s.col+1
		return nil
	}
	s.value, _ = lenenc(head)
	switch kind := s.kinds[s.col]; kind {
	case hexed:
		s.out = append(s.out, `\\x`...)
	case double, single, asIs: // short, and not to be taken apart
		whole := make([]byte, 0, min(s.value, 4096))
		for s.value > 0 {
			b, err := s.take(s.value)
			if err != nil {
				return err
			}
			whole, s.value = append(whole, b...), s.value-len(b)
		}
		s.out = appendValue(s.out, whole, kind)
	}
	return nil
}

// take returns 1 to n bytes of the row.
func (s *rowStream) take(n int) ([]byte, error) {
	if s.left == 0 {
		if !s.more {
			return nil, errProtocol
		}
		if err := s.nextPacket(); err != nil {
			return nil, err
		}
		if s.left == 0 {
			return nil, errProtocol
		}
	}
	if err := s.need(1); err != nil {
		return nil, err
	}
	p := s.buf[s.r:min(s.w, s.r+min(n, s.left))]
	s.r, s.left = s.r+len(p), s.left-len(p)
	return p, nil
}

// nextPacket begins the continuation of a row. One that follows a full packet may be empty.
func (s *rowStream) nextPacket() error {
	if err := s.need(4); err != nil {
		return err
	}
	s.left = length(s.buf[s.r:])
	s.more = s.left == maxPacket
	s.r += 4
	return nil
}

// appendHex appends what rows.AppendBytes does, less its prefix.
func appendHex(out, v []byte) []byte {
	n := len(out)
	out = rows.AppendBytes(out, v)
	return append(out[:n], out[n+len(`\\x`):]...)
}

// driverStream makes row text of what the driver gives: the way for encrypted connections.
type driverStream struct {
	rows   driver.Rows
	kinds  []textKind
	values []driver.Value
	out    []byte
	at     int
	err    error
}

func (s *driverStream) Read(p []byte) (int, error) {
	for s.at == len(s.out) {
		if s.err != nil {
			return 0, s.err
		}
		s.at, s.out = 0, s.out[:0]
		for len(s.out) < outBuffer && s.err == nil {
			if s.err = s.rows.Next(s.values); s.err == nil {
				s.appendRow()
			}
		}
	}
	n := copy(p, s.out[s.at:])
	s.at += n
	return n, nil
}

func (s *driverStream) appendRow() {
	var scratch [32]byte
	for i, v := range s.values {
		if i > 0 {
			s.out = append(s.out, '\t')
		}
		switch v := v.(type) {
		case nil:
			s.out = append(s.out, rows.Null...)
		case []byte:
			s.out = appendValue(s.out, v, s.kinds[i])
		case int64:
			s.out = strconv.AppendInt(s.out, v, 10)
		case uint64:
			s.out = strconv.AppendUint(s.out, v, 10)
		case float64:
			s.out = appendFloat(s.out, strconv.AppendFloat(scratch[:0], v, 'g', -1, 64), s.kinds[i])
		default:
			s.out = appendValue(s.out, fmt.Append(scratch[:0], v), s.kinds[i])
		}
	}
	s.out = append(s.out, '\n')
}
