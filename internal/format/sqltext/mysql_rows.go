package sqltext

import (
	"bytes"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

const (
	mysqlBatch  = 512 << 10 // about how long an INSERT is
	usualPacket = 16 << 20  // max_allowed_packet of servers and clients, unless they are told of another
)

// mysqlLiteral says how a column's values are written.
type mysqlLiteral uint8

const (
	mysqlText   mysqlLiteral = iota
	mysqlNumber              // bare, when it is an integer
	mysqlBytes               // \x… in row text, X'…' here
)

// mysqlRows writes the rows of one table as INSERT statements.
type mysqlRows struct {
	*output
	t       *rows.Table
	head    string
	kinds   []mysqlLiteral
	rows    int64
	longest int // statement

	lines lines
	buf   []byte
	vals  []rows.Value
}

func newMySQLRows(out *output, t *rows.Table) *mysqlRows {
	w := &mysqlRows{output: out, t: t}
	var names []string
	for _, c := range t.Stored() {
		names = append(names, mysqlIdent(c.Name))
		w.kinds = append(w.kinds, mysqlLiteralOf(c.Native))
	}
	w.head = "INSERT INTO " + mysqlIdent(t.Name) + " (" + strings.Join(names, ", ") + ") VALUES\n("
	return w
}

// mysqlLiteralOf tells by the type's name. Decimals and floats are texts, which the server reads to the last digit and with the sign
// of a zero.
func mysqlLiteralOf(native string) mysqlLiteral {
	base, _, _ := strings.Cut(native, "(")
	base, _, _ = strings.Cut(base, " ")
	switch base {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "bit":
		return mysqlNumber
	case "float", "double", "decimal", "year", "date", "time", "datetime", "timestamp", "uuid", "inet4", "inet6",
		"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json":
		return mysqlText
	}
	return mysqlBytes // binary, blobs, geometry, and what else there may be
}

// chunk writes the next rows.
func (w *mysqlRows) chunk(p []byte) error {
	if err := w.lines.each(p, w.row); err != nil {
		return err
	}
	return w.err
}

// row writes one row as part of a statement.
func (w *mysqlRows) row(line []byte) error {
	var err error
	if w.vals, err = rows.ParseRow(w.vals[:0], line, len(w.kinds)); err != nil {
		return fail.Wrap(fail.Damaged, err, "", "row %d of %s", w.rows+1, w.t)
	}
	w.rows++
	if len(w.buf) == 0 {
		w.buf = append(w.buf, w.head...)
	} else {
		w.buf = append(w.buf, ",\n("...)
	}
	for i, v := range w.vals {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		if w.buf, err = appendMySQL(w.buf, v, w.kinds[i]); err != nil {
			return fail.Op(err, "row %d of %s", w.rows, w.t)
		}
	}
	w.buf = append(w.buf, ')')
	if len(w.buf) >= mysqlBatch {
		w.flush()
	}
	return w.err
}

func (w *mysqlRows) flush() {
	if len(w.buf) > 0 {
		w.longest = max(w.longest, len(w.buf))
		_, _ = w.Write(append(w.buf, ";\n"...)) // kept in err
	}
	if w.buf = w.buf[:0]; cap(w.buf) > keptBytes {
		w.buf = nil
	}
}

// end writes the last statement.
func (w *mysqlRows) end() error {
	if len(w.lines.part) > 0 {
		return fail.New(fail.Damaged, "", "the last row of %s has no end", w.t)
	}
	w.flush()
	return w.err
}

func isHex(digits []byte) bool {
	for _, c := range digits {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(digits)%2 == 0
}

// appendMySQL appends a value as a literal for sessions whose SQL mode knows backslashes.
func appendMySQL(buf []byte, v rows.Value, kind mysqlLiteral) ([]byte, error) {
	switch {
	case v.IsNull:
		return append(buf, "NULL"...), nil
	case kind == mysqlNumber && isNumber(v.Text):
		return append(buf, v.Text...), nil
	case kind == mysqlBytes && bytes.HasPrefix(v.Text, []byte(`\x`)):
		digits := v.Text[2:]
		if !isHex(digits) {
			return buf, fail.New(fail.Damaged, "", "bytes are not written in hexadecimal digits")
		}
		return append(append(append(buf, "X'"...), digits...), '\''), nil
	}
	buf = append(buf, '\'')
	from := 0
	for i, c := range v.Text {
		var e byte
		switch c {
		case 0:
			e = '0'
		case '\n':
			e = 'n'
		case '\r':
			e = 'r'
		case 0x1a:
			e = 'Z'
		case '\'', '\\':
			e = c
		default:
			continue
		}
		buf = append(append(buf, v.Text[from:i]...), '\\', e)
		from = i + 1
	}
	return append(append(buf, v.Text[from:]...), '\''), nil
}
