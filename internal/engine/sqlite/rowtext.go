package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// bounds is a range of rowids: those after one and up to another. nil is no limit.
type bounds struct{ after, upTo *int64 }

// String returns «after..upTo», with nothing where there is no limit; "" when there is none at all.
func (b bounds) String() string {
	if b.after == nil && b.upTo == nil {
		return ""
	}
	text := func(n *int64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatInt(*n, 10)
	}
	return text(b.after) + ".." + text(b.upTo)
}

func parseBounds(s string) (b bounds, err error) {
	if s == "" {
		return b, nil
	}
	after, upTo, ok := strings.Cut(s, "..")
	if !ok {
		return b, fmt.Errorf("bounds %q", s)
	}
	for _, side := range []struct {
		text string
		dst  **int64
	}{{after, &b.after}, {upTo, &b.upTo}} {
		if side.text == "" {
			continue
		}
		n, err := strconv.ParseInt(side.text, 10, 64)
		if err != nil {
			return b, fmt.Errorf("bounds %q", s)
		}
		*side.dst = &n
	}
	return b, nil
}

// readSize is how much row text a reader makes at once.
const readSize = 256 << 10

// rowReader is the row text of one part.
type rowReader struct {
	fill  func([]byte) ([]byte, error) // appends rows; io.EOF with the last ones
	close func() error
	buf   []byte
	at    int
	err   error
}

func (r *rowReader) Read(p []byte) (int, error) {
	for r.at == len(r.buf) {
		if r.err != nil {
			return 0, r.err
		}
		r.at = 0
		r.buf, r.err = r.fill(r.buf[:0])
	}
	n := copy(p, r.buf[r.at:])
	r.at += n
	return n, nil
}

func (r *rowReader) Close() error { return r.close() }

// open prepares the query of a part on c.
func (v *View) open(ctx context.Context, c *viewConn, t *table, b bounds) (*rowReader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, _, err := c.conn.Prepare(t.query(b))
	if err != nil && t.order != "" && !t.mustSort {
		// The order needs a collation that only the database's own program has; any order will do.
		plain := *t
		plain.order = ""
		st, _, err = c.conn.Prepare(plain.query(b))
	}
	if err != nil {
		return nil, err
	}
	n := 0
	for _, limit := range []*int64{b.after, b.upTo} {
		if limit != nil {
			n++
			if err := st.BindInt64(n, *limit); err != nil {
				_ = st.Close()
				return nil, err
			}
		}
	}
	return &rowReader{
		fill: func(buf []byte) ([]byte, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			defer c.conn.SetInterrupt(c.conn.SetInterrupt(ctx))
			for len(buf) < readSize {
				if !st.Step() {
					if err := st.Err(); err != nil {
						return nil, sqlError(ctx, v.cause.because(err), "read %s", t.name)
					}
					return buf, io.EOF
				}
				buf = v.appendRow(buf, st, t)
			}
			return buf, nil
		},
		close: func() error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if st != nil {
				_ = st.Close() // repeats the error of the last step, which fill returned
				st = nil
			}
			return nil
		},
	}, nil
}

// appendRow appends the row that st stands on.
func (v *View) appendRow(buf []byte, st *sqlite3.Stmt, t *table) []byte {
	for i, col := range t.columns {
		if i > 0 {
			buf = append(buf, '\t')
		}
		if t.typed {
			buf = appendTyped(buf, st, i)
			continue
		}
		switch st.ColumnType(i) {
		case sqlite3.INTEGER:
			buf = strconv.AppendInt(buf, st.ColumnInt64(i), 10)
		case sqlite3.FLOAT:
			buf = appendFloat(buf, st.ColumnFloat(i), col.float)
		case sqlite3.TEXT:
			text := st.ColumnRawText(i)
			if !utf8.Valid(text) {
				v.note(fmt.Sprintf("%s.%s holds text that is not UTF-8: it is given as bytes (\\x…)", t.name, col.name))
				buf = rows.AppendBytes(buf, text)
				continue
			}
			buf = rows.AppendText(buf, text)
		case sqlite3.BLOB:
			buf = rows.AppendBytes(buf, st.ColumnRawBlob(i))
		default:
			buf = append(buf, rows.Null...)
		}
	}
	return append(buf, '\n')
}

// appendFloat appends the shortest number that reads back the same, as PostgreSQL writes it. Outside of a
// column for floats a whole number keeps «.0», so that it stays apart from the integer.
func appendFloat(buf []byte, f float64, float bool) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(buf, "Infinity"...)
	case math.IsInf(f, -1):
		return append(buf, "-Infinity"...)
	case math.IsNaN(f): // SQLite stores NULL instead
		return append(buf, "NaN"...)
	}
	start := len(buf)
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e15) {
		return strconv.AppendFloat(buf, f, 'e', -1, 64)
	}
	buf = strconv.AppendFloat(buf, f, 'f', -1, 64)
	if !float && bytes.IndexByte(buf[start:], '.') < 0 {
		buf = append(buf, ".0"...)
	}
	return buf
}

// query returns the SELECT for a range of t's rows.
func (t *table) query(b bounds) string {
	var sql strings.Builder
	sql.WriteString("SELECT ")
	for i, c := range t.columns {
		if i > 0 {
			sql.WriteByte(',')
		}
		sql.WriteString(quote(c.name))
	}
	if len(t.columns) == 0 {
		sql.WriteString("NULL")
	}
	sql.WriteString(" FROM main." + quote(t.name))
	if !t.withoutRowid && !t.mustSort {
		sql.WriteString(" NOT INDEXED") // an index that has all columns would give its own order
	}
	where := " WHERE "
	if b.after != nil {
		sql.WriteString(where + t.rowid + ">?")
		where = " AND "
	}
	if b.upTo != nil {
		sql.WriteString(where + t.rowid + "<=?")
	}
	if t.order != "" {
		sql.WriteString(" ORDER BY " + t.order)
	}
	return sql.String()
}

// quote returns an SQL identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
