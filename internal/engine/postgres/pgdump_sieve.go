package postgres

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// sieve passes pg_dump's text on, line by line, but for what could not be run again: settings that the server's version
// does not know (a newer pg_dump writes them all the same), and what else belongs to tables that were left out: foreign keys to them, and that
// a publication has them, which the pg_dump of version 18 writes.
type sieve struct {
	w    io.Writer
	size int64
	err  error  // of w
	line []byte // not complete yet
	out  []byte // to be written
	drop map[string]bool
	skip map[string]bool // lines
	off  bool            // within an entry that is dropped
}

// newSieve makes the sieve for a server of the major version.
func newSieve(w io.Writer, without []entryOf, version int) *sieve {
	s := &sieve{w: w, drop: map[string]bool{}, skip: map[string]bool{}}
	for _, e := range without {
		s.drop[e.header()] = true
	}
	if version < 17 {
		s.skip["SET transaction_timeout = 0;\n"] = true
	}
	return s
}

// entryOf is an entry of pg_dump's text on something that belongs to a table.
type entryOf struct{ what, name, schema string }

// header is what pg_dump writes above it, with line ends made blanks.
func (e entryOf) header() string {
	name := strings.NewReplacer("\n", " ", "\r", " ")
	return fmt.Sprintf("-- Name: %s; Type: %s; Schema: %s;", name.Replace(e.name), e.what, name.Replace(e.schema))
}

// Write implements io.Writer.
func (s *sieve) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && s.err == nil {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.line = append(s.line, p...)
			break
		}
		s.line = append(s.line, p[:end+1]...)
		p = p[end+1:]
		s.whole()
	}
	return n, s.err
}

// whole decides on a complete line.
func (s *sieve) whole() {
	line := s.line
	s.line = s.line[:0]
	if bytes.HasPrefix(line, []byte("-- Name: ")) {
		header, _, _ := bytes.Cut(line, []byte(" Owner: "))
		s.off = s.drop[string(header)]
	}
	if s.off || s.skip[string(line)] {
		return
	}
	if s.out = append(s.out, line...); len(s.out) >= 64<<10 {
		s.write()
	}
}

func (s *sieve) write() {
	n, err := s.w.Write(s.out)
	s.size += int64(n)
	if s.err == nil {
		s.err = err
	}
	s.out = s.out[:0]
}

// flush writes what is left and returns the size of all.
func (s *sieve) flush() (int64, error) {
	s.out = append(s.out, s.line...)
	s.line = nil
	s.write()
	return s.size, s.err
}
