package sqlite

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// mostRow is the longest row that is taken: it is held in memory whole.
const mostRow = 256 << 20

// A rowScanner cuts row text into rows and those into values, in its own buffer.
type rowScanner struct {
	values []rows.Value // of the row that next found; valid until the next call
	n      int64        // its number, from 1

	r       io.Reader
	buf     []byte // buf[at:end] was read and not looked at
	at, end int
	err     error // of r
	count   rows.Counter
}

func newRowScanner(r io.Reader, columns int) *rowScanner {
	return &rowScanner{r: r, values: make([]rows.Value, columns), buf: make([]byte, readSize)}
}

// next goes to the next row. At the end it returns io.EOF.
func (s *rowScanner) next() error {
	for seen := s.at; ; {
		if i := bytes.IndexByte(s.buf[seen:s.end], '\n'); i >= 0 {
			line := s.buf[s.at : seen+i]
			s.at = seen + i + 1
			s.n++
			if err := s.split(line); err != nil {
				return fmt.Errorf("row %d: %w", s.n, err)
			}
			return nil
		}
		if s.err != nil {
			return s.atEnd()
		}
		seen = s.end - s.at
		if err := s.more(); err != nil {
			return err
		}
	}
}

// more reads, behind what is left, which goes to the front.
func (s *rowScanner) more() error {
	s.end = copy(s.buf, s.buf[s.at:s.end])
	s.at = 0
	if s.end == len(s.buf) {
		if s.end >= mostRow {
			return fmt.Errorf("row %d has more than %d bytes", s.n+1, mostRow)
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := s.r.Read(s.buf[s.end:])
	_, _ = s.count.Write(s.buf[s.end : s.end+n])
	s.end += n
	s.err = err
	return nil
}

func (s *rowScanner) atEnd() error {
	if !errors.Is(s.err, io.EOF) {
		return s.err
	}
	if _, err := s.count.Count(); err != nil {
		return err
	}
	return io.EOF
}

// unescaped maps the letter behind a backslash to what it stands for.
var unescaped = [256]byte{'\\': '\\', 't': '\t', 'n': '\n', 'r': '\r', 'b': '\b', 'f': '\f', 'v': '\v'}

// split sets values from a row. Escapes are resolved within line.
func (s *rowScanner) split(line []byte) error {
	if len(s.values) == 0 && len(line) > 0 {
		return fmt.Errorf("a row of a table without columns has %d bytes", len(line))
	}
	i := 0
	for f := range s.values {
		start := i
		for i < len(line) && line[i] != '\t' && line[i] != '\\' {
			i++
		}
		v := rows.Value{}
		w := i
		if rest := line[i:]; i == start && len(rest) > 1 && rest[0] == '\\' && rest[1] == 'N' && (len(rest) == 2 || rest[2] == '\t') {
			v.IsNull = true
			i += 2
		}
		for i < len(line) && line[i] != '\t' {
			c := line[i]
			i++
			if c == '\\' {
				if i == len(line) || unescaped[line[i]] == 0 {
					return fmt.Errorf("column %d: a backslash escapes nothing", f+1)
				}
				c = unescaped[line[i]]
				i++
			}
			line[w] = c
			w++
		}
		v.Text = line[start:w]
		s.values[f] = v
		if last := f == len(s.values)-1; last != (i == len(line)) {
			return fmt.Errorf("%d columns, want %d", f+1+bytes.Count(line[i:], []byte{'\t'}), len(s.values))
		}
		i++ // the tab
	}
	return nil
}

// A storage says how a column's row text becomes a value again: an affinity letter, or anyStorage.
type storage byte

// anyStorage is a column without a declared type: what reads like a number is one.
const anyStorage storage = 'a'

func storageOf(declared string) storage {
	a := affinity(declared)
	if a == 'b' && portableAny(declared) {
		return anyStorage
	}
	return storage(a)
}

func portableAny(declared string) bool {
	t, _ := portable(declared)
	return t == rows.Any
}

// declaration is the type that gives a column of a table of our own the same affinity.
func (s storage) declaration() string {
	return map[storage]string{'i': "INTEGER", 't': "TEXT", 'b': "BLOB", 'r': "REAL", 'n': "NUMERIC"}[s]
}

// A binder binds values as a View gives them to the parameters of a statement. Row text doesn't tell blobs from texts
// that look like \x hex: the latter are texts in columns declared as text, and blobs in all others.
type binder struct{ scratch []byte }

// bind binds v to parameter i. What isn't bound as a number, SQLite turns into one by the column's affinity, as ever.
func (b *binder) bind(st *sqlite3.Stmt, i int, s storage, v rows.Value) error {
	if v.IsNull {
		return st.BindNull(i)
	}
	switch s {
	case typedStorage:
		return b.typed(st, i, v.Text)
	case 't':
		return st.BindRawText(i, v.Text)
	case 'b':
	default:
		if n, ok := parseInt(v.Text); ok {
			if s == 'r' {
				return st.BindFloat(i, float64(n))
			}
			return st.BindInt64(i, n)
		}
		if f, ok := parseFloat(v.Text); ok && (s != anyStorage || bytes.Equal(b.float(f), v.Text)) {
			return st.BindFloat(i, f)
		}
	}
	if len(v.Text) >= 2 && len(v.Text)%2 == 0 && v.Text[0] == '\\' && v.Text[1] == 'x' {
		b.scratch = append(b.scratch[:0], v.Text[2:]...)
		if n, err := hex.Decode(b.scratch, b.scratch); err == nil {
			if n == 0 {
				return st.BindZeroBlob(i, 0)
			}
			return st.BindBlob(i, b.scratch[:n])
		}
	}
	return st.BindRawText(i, v.Text)
}

func (b *binder) float(f float64) []byte {
	b.scratch = appendFloat(b.scratch[:0], f, false)
	return b.scratch
}

// parseInt reads a decimal number of at most 18 digits in its shortest form.
func parseInt(text []byte) (int64, bool) {
	digits := text
	negative := len(digits) > 0 && digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		if len(digits) == 19 { // perhaps
			n, err := strconv.ParseInt(string(text), 10, 64)
			return n, err == nil && digits[0] != '0' && digits[0] != '+'
		}
		return 0, false
	}
	if digits[0] == '0' && (len(digits) > 1 || negative) {
		return 0, false
	}
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// mostFloat is how long a number may be for parseFloat.
const mostFloat = 400

// parseFloat reads a float, without what only Go takes for one.
func parseFloat(text []byte) (float64, bool) {
	if len(text) == 0 || len(text) > mostFloat {
		return 0, false
	}
	for _, c := range text {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			switch string(text) {
			case "Infinity":
				return math.Inf(1), true
			case "-Infinity":
				return math.Inf(-1), true
			}
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// ready reports whether the next row was read already.
func (s *rowScanner) ready() bool { return bytes.IndexByte(s.buf[s.at:s.end], '\n') >= 0 }
