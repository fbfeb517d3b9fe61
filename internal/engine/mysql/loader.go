package mysql

import (
	"bytes"
	"fmt"
	"io"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// field says how one column's row text is loaded.
type field struct {
	column string
	set    string                                 // expression of the value, with %s for the text; "" is the text itself
	bare   bool                                   // in an INSERT it is a number without quotes
	enum   bool                                   // whose empty value the server warns of
	counts bool                                   // auto_increment
	drop   bool                                   // it is not stored
	hex    bool                                   // \x… becomes bytes
	conv   func(dst, text []byte) ([]byte, error) // of another engine's text, both without escapes
}

// loader makes of row text what LOAD DATA reads: it knows no \f and \v, and takes bytes as they are.
type loader struct {
	r      io.Reader
	fields []field
	plain  bool // no field but text
	buf    []byte
	out    []byte
	at     int
	err    error

	// Where in a row the next byte of the source is.
	col    int
	head   []byte // what was read of a value that must be seen whole, or of \\x
	inHead bool
	inHex  bool
	nibble int  // the first digit of a pair, or -1
	escape bool // the byte before was a backslash
	some   bool // the value has a byte

	empty int64 // values of enums
}

const loaderBuffer = 64 << 10

func newLoader(r io.Reader, fields []field) *loader {
	l := &loader{r: r, fields: fields, plain: true, buf: make([]byte, loaderBuffer), nibble: -1}
	for _, f := range fields {
		l.plain = l.plain && !f.hex && !f.enum && f.conv == nil
	}
	l.begin()
	return l
}

// Read gives what LOAD DATA reads.
func (l *loader) Read(p []byte) (int, error) {
	for l.at == len(l.out) {
		if l.err != nil {
			return 0, l.err
		}
		l.at, l.out = 0, l.out[:0]
		n, err := l.r.Read(l.buf)
		if l.plain {
			l.text(l.buf[:n])
		} else if perr := l.rows(l.buf[:n]); perr != nil {
			err = perr
		}
		l.err = err
	}
	n := copy(p, l.out[l.at:])
	l.at += n
	return n, nil
}

// text passes text on and replaces \f and \v by their bytes.
func (l *loader) text(p []byte) {
	for len(p) > 0 {
		if l.escape {
			l.escaped(p[0])
			p = p[1:]
			continue
		}
		i := bytes.IndexByte(p, '\\')
		if i < 0 {
			l.out = append(l.out, p...)
			return
		}
		l.out, l.escape = append(l.out, p[:i]...), true
		p = p[i+1:]
	}
}

func (l *loader) escaped(c byte) {
	l.escape = false
	switch c {
	case 'f':
		l.out = append(l.out, '\f')
	case 'v':
		l.out = append(l.out, '\v')
	default:
		l.out = append(l.out, '\\', c)
	}
}

// maxValue limits a value that has to be converted as a whole.
const maxValue = 64 << 20

// begin is at the start of a value.
func (l *loader) begin() {
	l.head, l.inHex, l.nibble, l.some = l.head[:0], false, -1, false
	l.inHead = l.col < len(l.fields) && (l.fields[l.col].hex || l.fields[l.col].conv != nil)
}

// rows takes rows apart.
func (l *loader) rows(p []byte) error {
	for i := 0; i < len(p); i++ {
		c := p[i]
		ends := c == '\t' || c == '\n'
		l.some = l.some || !ends
		switch {
		case ends:
			if err := l.end(); err != nil {
				return err
			}
			l.out = append(l.out, c)
			if l.col++; c == '\n' {
				if l.col != len(l.fields) {
					return fail.New(fail.Damaged, "", "a row has %d columns, want %d", l.col, len(l.fields))
				}
				l.col = 0
			}
			l.begin()
		case l.inHex:
			if err := l.digit(c); err != nil {
				return err
			}
		case l.inHead:
			if l.head = append(l.head, c); len(l.head) > maxValue {
				return fail.New(fail.Unsupported, "", "column %s: a value is longer than %d bytes", l.fields[l.col].column, maxValue)
			}
			if l.fields[l.col].conv == nil && len(l.head) == 3 {
				l.inHead = false
				if l.inHex = string(l.head) == `\\x`; !l.inHex {
					l.text(l.head)
				}
			}
		case l.escape:
			l.escaped(c)
		default:
			n := bytes.IndexAny(p[i:], "\t\n\\")
			if n == 0 { // a backslash
				l.escape = true
				continue
			}
			if n < 0 {
				n = len(p) - i
			}
			l.out = append(l.out, p[i:i+n]...)
			i += n - 1
		}
	}
	return nil
}

// end is behind a value.
func (l *loader) end() error {
	if !l.some && l.col < len(l.fields) && l.fields[l.col].enum {
		l.empty++
	}
	switch {
	case l.escape:
		return fail.New(fail.Damaged, "", "a backslash stands at the end of a value")
	case l.nibble >= 0:
		return fail.New(fail.Damaged, "", "column %s: half a byte", l.fields[l.col].column)
	case !l.inHead:
		return nil
	case l.fields[l.col].conv == nil || string(l.head) == rows.Null: // shorter than \\x
		l.text(l.head)
		return nil
	}
	values, err := rows.ParseRow(nil, l.head, 1)
	if err != nil {
		return fail.Wrap(fail.Damaged, err, "", "column %s", l.fields[l.col].column)
	}
	text, err := l.fields[l.col].conv(nil, values[0].Text)
	if err != nil {
		return fail.Wrap(fail.Incomplete, err, "", "column %s", l.fields[l.col].column)
	}
	l.out = appendLoad(l.out, text)
	return nil
}

// digit takes one digit of a byte.
func (l *loader) digit(c byte) error {
	d := unhex(c)
	if d < 0 {
		return fail.New(fail.Damaged, "", "column %s: %q is no hexadecimal digit", l.fields[l.col].column, c)
	}
	if l.nibble < 0 {
		l.nibble = d
		return nil
	}
	l.out = appendLoadByte(l.out, byte(l.nibble<<4|d))
	l.nibble = -1
	return nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendLoad appends a value with the escapes of LOAD DATA.
func appendLoad(out, text []byte) []byte {
	for _, c := range text {
		out = appendLoadByte(out, c)
	}
	return out
}

func appendLoadByte(out []byte, c byte) []byte {
	switch c {
	case 0:
		return append(out, '\\', '0')
	case '\t':
		return append(out, '\\', 't')
	case '\n':
		return append(out, '\\', 'n')
	case '\r':
		return append(out, '\\', 'r')
	case '\\':
		return append(out, '\\', '\\')
	}
	return append(out, c)
}

// literal is a value as SQL for an INSERT.
func (f *field) literal(dst []byte, v rows.Value) ([]byte, error) {
	if v.IsNull {
		return append(dst, "NULL"...), nil
	}
	text := v.Text
	if f.conv != nil {
		var err error
		if text, err = f.conv(nil, text); err != nil {
			return dst, fail.Wrap(fail.Incomplete, err, "", "column %s", f.column)
		}
	}
	switch {
	case f.bare && wordPattern.Match(text):
		return append(dst, text...), nil
	case f.bare:
		return dst, fail.New(fail.Damaged, "", "column %s: %.40q is no number", f.column, text)
	case f.hex && bytes.HasPrefix(text, []byte(`\x`)):
		for _, c := range text[2:] {
			if unhex(c) < 0 {
				return dst, fail.New(fail.Damaged, "", "column %s: %q is no hexadecimal digit", f.column, c)
			}
		}
		return fmt.Appendf(dst, "X'%s'", text[2:]), nil
	}
	return append(dst, quoteLiteral(string(text))...), nil
}
