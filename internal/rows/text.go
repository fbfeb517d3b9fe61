package rows

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Null is the row text of a NULL value.
const Null = `\N`

// escapes maps each byte that must be escaped to the letter behind its backslash.
var escapes = [256]byte{'\\': '\\', '\t': 't', '\n': 'n', '\r': 'r', '\b': 'b', '\f': 'f', '\v': 'v'}

// AppendText appends value to dst as one column of row text, escaping what must be.
func AppendText(dst, value []byte) []byte {
	start := 0
	for i, c := range value {
		if letter := escapes[c]; letter != 0 {
			dst = append(append(dst, value[start:i]...), '\\', letter)
			start = i + 1
		}
	}
	return append(dst, value[start:]...)
}

// AppendBytes appends binary value to dst as one column of row text: \x and hexadecimal digits.
func AppendBytes(dst, value []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '\\', '\\', 'x')
	for _, c := range value {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

// A Value is one column of a row as text. Text is meaningless when IsNull.
type Value struct {
	Text   []byte
	IsNull bool
}

// ParseRow appends the values of one row, given without its newline, to dst. An empty line is one
// empty text, or no column at all when columns is 0. The values do not share memory with line where they were escaped.
func ParseRow(dst []Value, line []byte, columns int) ([]Value, error) {
	if columns == 0 {
		if len(line) > 0 {
			return dst, fmt.Errorf("row of a table without columns has %d bytes", len(line))
		}
		return dst, nil
	}
	start := len(dst)
	for {
		field, rest, more := bytes.Cut(line, []byte{'\t'})
		v, err := parseField(field)
		if err != nil {
			return dst, fmt.Errorf("column %d: %w", len(dst)-start+1, err)
		}
		dst = append(dst, v)
		if !more {
			break
		}
		line = rest
	}
	if got := len(dst) - start; got != columns {
		return dst, fmt.Errorf("row has %d columns, want %d", got, columns)
	}
	return dst, nil
}

func parseField(f []byte) (Value, error) {
	i := bytes.IndexByte(f, '\\')
	if i < 0 {
		return Value{Text: f}, nil
	}
	if string(f) == Null {
		return Value{IsNull: true}, nil
	}
	out := append(make([]byte, 0, len(f)), f[:i]...)
	for ; i < len(f); i++ {
		c := f[i]
		if c == '\\' {
			if i++; i == len(f) {
				return Value{}, fmt.Errorf("backslash at the end")
			}
			switch f[i] {
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'v':
				c = '\v'
			case '\\':
			default:
				r, _ := utf8.DecodeRune(f[i:])
				return Value{}, fmt.Errorf("unknown escape \\%c", r)
			}
		}
		out = append(out, c)
	}
	return Value{Text: out}, nil
}
