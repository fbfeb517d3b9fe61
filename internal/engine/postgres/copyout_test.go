package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// slices of a byte stream, as a connection that delivers them one by one.
type pieces struct {
	net.Conn
	data []byte
	cut  func(left int) int
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(len(c.data), max(1, c.cut(len(c.data))))])
	c.data = c.data[n:]
	return n, nil
}

func (c *pieces) Close() error                { return nil }
func (c *pieces) SetDeadline(time.Time) error { return nil }

func message(kind byte, body []byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(m, body...)
}

func newTestCopy(conn net.Conn, buffer int) *copyOut {
	return &copyOut{ctx: context.Background(), conn: conn, buf: make([]byte, buffer), seen: sawOut}
}

func readAll(c *copyOut, step int) (got []byte, err error) {
	p := make([]byte, step)
	for {
		n, err := c.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			return got, err
		}
	}
}

// However the network cuts the answer, its payloads come out whole and in order; and an answer that ends
// anywhere before its end is an error.
func TestCopyOut_Read(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream, want []byte
		rowsOf := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 40).Draw(t, "rows")
		for i, row := range rowsOf {
			stream, want = append(stream, message(msgCopyData, row)...), append(want, row...)
			if i%7 == 3 {
				stream = append(stream, message(msgNotice, []byte("S\x00\x00"))...)
			}
		}
		stream = append(stream, message(msgCopyDone, nil)...)
		stream = append(stream, message(msgCommandComplete, []byte("COPY 1\x00"))...)
		stream = append(stream, message(msgReady, []byte("T"))...)
		step := rapid.IntRange(1, 500).Draw(t, "step")
		conn := func(n int) net.Conn {
			return &pieces{data: stream[:n], cut: func(left int) int { return rapid.IntRange(1, 400).Draw(t, "piece") }}
		}
		buffer := rapid.IntRange(5, 600).Draw(t, "buffer")
		got, err := readAll(newTestCopy(conn(len(stream)), buffer), step)
		if !errors.Is(err, io.EOF) || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, want %d, %v", len(got), len(want), err)
		}
		got, err = readAll(newTestCopy(conn(rapid.IntRange(0, len(stream)-1).Draw(t, "cut")), buffer), step)
		if fail.KindOf(err) != fail.Unavailable || !bytes.HasPrefix(want, got) {
			t.Fatalf("a cut answer gives %d bytes and %v", len(got), err)
		}
	})
}

// Bytes from the network never panic, and never pass for a complete answer by chance.
func FuzzCopyOut(f *testing.F) {
	f.Add([]byte("d\x00\x00\x00\x05x"))
	f.Add([]byte("E\x00\x00\x00\x0dC42501\x00\x00\x00"))
	f.Add([]byte("c\x00\x00\x00\x04C\x00\x00\x00\x05\x00Z\x00\x00\x00\x05T"))
	f.Add([]byte("Z\x00\x00\x00\x05T"))
	f.Add([]byte("d\xff\xff\xff\xff"))
	f.Add([]byte("N\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c := newTestCopy(&pieces{data: stream, cut: func(left int) int { return left }}, 64)
		_, err := readAll(c, 100)
		complete := bytes.Contains(stream, []byte("c\x00\x00\x00\x04")) && bytes.Contains(stream, []byte("Z\x00\x00\x00"))
		if errors.Is(err, io.EOF) && !complete {
			t.Errorf("%q passes for complete", stream)
		}
	})
}
