package sqlite

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/rows"
)

var _ rows.Dumper = (*View)(nil)

// DumpSQL writes the database as «.dump» of sqlite3 does, and sqlite3 reads: each value as what it is stored as, whatever its
// column was declared to hold. Rows without an INTEGER PRIMARY KEY get new rowids when they are read, as with .dump. It also keeps what
// .dump forgets, where that is not the default: the text encoding, application_id and user_version.
func (v *View) DumpSQL(ctx context.Context, w io.Writer, observe func(rows.Update)) ([]rows.TableRows, error) {
	c := v.conns[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.conn.SetInterrupt(c.conn.SetInterrupt(ctx))
	d := &dumping{v: v, conn: c.conn, w: w, observe: observe}
	if err := d.run(); err != nil {
		return nil, sqlError(ctx, v.cause.because(err), "read %s", v.path)
	}
	return d.tables, nil
}

// dumping is a dump being written.
type dumping struct {
	v       *View
	conn    *sqlite3.Conn
	w       io.Writer
	observe func(rows.Update)
	tables  []rows.TableRows
	buf     []byte
	virtual bool // writable_schema is on
}

func (d *dumping) run() error {
	d.text("PRAGMA foreign_keys=OFF;\n")
	o := &d.v.schema.Origin
	if strings.HasPrefix(o.Encoding, "UTF-16") {
		d.text("PRAGMA encoding='", o.Encoding, "';\n")
	}
	d.text("BEGIN TRANSACTION;\n")
	for _, name := range []string{"application_id", "user_version"} {
		if n := o.Attribute(name); n != "" && n != "0" {
			d.text("PRAGMA ", name, "=", n, ";\n")
		}
	}
	type entry struct {
		name, sql string
		root      int64
	}
	var list []entry
	const tables = "SELECT name, rootpage, sql FROM sqlite_schema WHERE type='table' AND sql IS NOT NULL ORDER BY tbl_name='sqlite_sequence', rowid"
	err := each(d.conn, tables, nil, func(st *sqlite3.Stmt) error {
		list = append(list, entry{st.ColumnText(0), st.ColumnText(2), st.ColumnInt64(1)})
		return nil
	})
	for _, e := range list {
		if err == nil {
			err = d.table(e.name, e.sql, e.root)
		}
	}
	if err != nil {
		return err
	}
	const others = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('index','trigger','view')"
	err = each(d.conn, others, nil, func(st *sqlite3.Stmt) error {
		d.definition(st.ColumnText(0))
		return nil
	})
	if err != nil {
		return err
	}
	if d.virtual {
		d.text("PRAGMA writable_schema=OFF;\n")
	}
	d.text("COMMIT;\n")
	return d.flush()
}

func (d *dumping) text(parts ...string) {
	for _, p := range parts {
		d.buf = append(d.buf, p...)
	}
}

func (d *dumping) flush() error {
	_, err := d.w.Write(d.buf)
	d.buf = d.buf[:0]
	return err
}

// definition writes a CREATE statement.
func (d *dumping) definition(sql string) {
	d.text(sql)
	if strings.Contains(sql[strings.LastIndexByte(sql, '\n')+1:], "--") {
		d.text("\n") // the last line ends in a comment
	}
	d.text(";\n")
}

// table writes one table: definition and rows.
func (d *dumping) table(name, sql string, root int64) error {
	info := d.v.tables[name]
	switch {
	case name == "sqlite_sequence":
		d.text("DELETE FROM sqlite_sequence;\n")
	case strings.HasPrefix(name, "sqlite_stat"):
		d.text("ANALYZE sqlite_schema;\n")
	case isInternal(name):
		return nil
	case root == 0:
		if !d.virtual {
			d.text("PRAGMA writable_schema=ON;\n")
			d.virtual = true
		}
		d.text("INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',", literal(name), ",", literal(name), ",0,", literal(sql), ");\n")
		return nil
	default:
		d.definition(sql)
	}
	query := "SELECT * FROM main." + quote(name)
	if info != nil {
		query = info.query(bounds{})
	}
	n, err := d.rows(query, name, info)
	if info == nil || err != nil {
		return err
	}
	t := &rows.Table{Name: name}
	d.tables = append(d.tables, rows.TableRows{Name: t.String(), Rows: n})
	if d.observe != nil {
		d.observe(rows.Update{Table: t, Rows: n, Done: true})
	}
	return nil
}

func (d *dumping) rows(query, name string, info *table) (n int64, err error) {
	st, _, err := d.conn.Prepare(query)
	if err != nil && info != nil && info.order != "" {
		// The order needs a collation that only the database's own program has; any order will do.
		plain := *info
		plain.order = ""
		st, _, err = d.conn.Prepare(plain.query(bounds{}))
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	head := "INSERT INTO " + quote(name) + " VALUES("
	columns := st.ColumnCount()
	for st.Step() {
		n++
		d.text(head)
		for i := range columns {
			if i > 0 {
				d.buf = append(d.buf, ',')
			}
			d.buf = appendValue(d.buf, st, i)
		}
		d.text(");\n")
		if len(d.buf) >= readSize {
			if err := d.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, st.Err()
}

// appendValue appends a column as a literal that reads back as the same value of the same type.
func appendValue(buf []byte, st *sqlite3.Stmt, i int) []byte {
	switch st.ColumnType(i) {
	case sqlite3.INTEGER:
		return strconv.AppendInt(buf, st.ColumnInt64(i), 10)
	case sqlite3.FLOAT:
		return appendReal(buf, st.ColumnFloat(i))
	case sqlite3.BLOB:
		buf = append(buf, "X'"...)
		return append(hex.AppendEncode(buf, st.ColumnRawBlob(i)), '\'')
	case sqlite3.TEXT:
		// A statement ends at a zero byte, so those in a text are put in by a function.
		for k, part := range bytes.Split(st.ColumnRawText(i), []byte{0}) {
			if k > 0 {
				buf = append(buf, "||char(0)||"...)
			}
			buf = appendTextLiteral(buf, part)
		}
		return buf
	}
	return append(buf, "NULL"...)
}

func appendReal(buf []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(buf, "1e999"...)
	case math.IsInf(f, -1):
		return append(buf, "-1e999"...)
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		return append(strconv.AppendFloat(buf, f, 'f', -1, 64), ".0"...)
	}
	return strconv.AppendFloat(buf, f, 'g', -1, 64)
}

// appendTextLiteral appends text in quotes. Line ends are put in by a function, as sqlite3 does, since it drops some when it reads.
func appendTextLiteral(buf, text []byte) []byte {
	var marks [2]string
	for i, c := range "\n\r" {
		if bytes.IndexByte(text, byte(c)) >= 0 {
			marks[i] = unused(text, [...]string{`\n`, `\r`}[i], [...]string{`\012`, `\015`}[i])
			buf = append(buf, "replace("...)
		}
	}
	buf = append(buf, '\'')
	for _, c := range text {
		switch c {
		case '\n':
			buf = append(buf, marks[0]...)
		case '\r':
			buf = append(buf, marks[1]...)
		case '\'':
			buf = append(buf, "''"...)
		default:
			buf = append(buf, c)
		}
	}
	buf = append(buf, '\'')
	for i := 1; i >= 0; i-- {
		if marks[i] != "" {
			buf = fmt.Appendf(buf, ",'%s',char(%d))", marks[i], [...]int{10, 13}[i])
		}
	}
	return buf
}

// unused returns a text that does not occur in text.
func unused(text []byte, candidates ...string) string {
	for n := 0; ; n++ {
		mark := fmt.Sprintf("(%s%d)", candidates[0], n-len(candidates))
		if n < len(candidates) {
			mark = candidates[n]
		}
		if !bytes.Contains(text, []byte(mark)) {
			return mark
		}
	}
}
