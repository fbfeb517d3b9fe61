package sqltext

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// tableWriter writes the rows of one table, which come in chunks of any length.
type tableWriter struct {
	f     *postgresFile
	t     *rows.Table
	name  string // of the table that takes the rows, as rows.Table writes it
	into  string // that table and its columns
	plain bool   // COPY: row text as it is
	rows  int64

	last  [2]byte // of the rows so far; a line end before the first
	lines lines
	batch int64 // rows in the statement that is being written
	buf   []byte
	vals  []rows.Value
}

func newTableWriter(f *postgresFile, t *rows.Table) *tableWriter {
	w := &tableWriter{f: f, t: t, last: [2]byte{0, '\n'}}
	w.plain = !f.opt.Inserts && t.Kind != rows.LargeObjects
	to := *t
	if t.LoadInto != "" { // its text form, in which a key word may be bare
		if list := sqlsplit.Tokens(sqlsplit.PostgreSQL, t.LoadInto); len(list) == 3 {
			to = rows.Table{Schema: list[0].Name(), Name: list[2].Name()}
		}
	}
	w.name, w.into = to.String(), ident(to.Schema)+"."+ident(to.Name)
	var names []string
	for _, c := range t.Stored() {
		names = append(names, ident(c.Name))
	}
	if len(names) > 0 {
		w.into += " (" + strings.Join(names, ", ") + ")"
	}
	return w
}

// begin writes what stands before the rows.
func (w *tableWriter) begin() {
	if w.t.Kind == rows.LargeObjects {
		w.f.title("Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -")
		return
	}
	w.f.title(fmt.Sprintf("Data for Name: %s; Type: TABLE DATA; Schema: %s; Owner: -", oneLine(w.t.Name), oneLine(w.t.Schema)))
	if w.plain {
		w.f.text("COPY ", w.into, " FROM stdin;\n")
	}
}

// chunk writes the next rows.
func (w *tableWriter) chunk(p []byte) error {
	if len(p) == 0 {
		return w.f.err
	}
	if w.plain {
		// A line that begins with \. would end the rows for psql, and what follows be run. Row text has none.
		edge := append(w.last[:2:2], p[:min(2, len(p))]...)
		if bytes.Contains(edge, []byte("\n\\.")) || bytes.Contains(p, []byte("\n\\.")) {
			return fail.New(fail.Damaged, "", `the rows of %s have a line that begins with \.`, w.t)
		}
		w.remember(p)
		w.rows += int64(bytes.Count(p, []byte{'\n'}))
		_, err := w.f.Write(p)
		return err
	}
	w.remember(p)
	if err := w.lines.each(p, w.row); err != nil {
		return err
	}
	return w.f.err
}

// lines cuts chunks into lines.
type lines struct{ part []byte } // not complete yet

// each calls row with the lines that p completes.
func (l *lines) each(p []byte, row func(line []byte) error) error {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			l.part = append(l.part, p...)
			break
		}
		line := p[:end]
		if len(l.part) > 0 {
			l.part = append(l.part, line...)
			line = l.part
		}
		if err := row(line); err != nil {
			return err
		}
		if l.part = l.part[:0]; cap(l.part) > keptBytes {
			l.part = nil
		}
		p = p[end+1:]
	}
	return nil
}

// keptBytes is how much memory of a long row is used again.
const keptBytes = 4 << 20

func (w *tableWriter) remember(p []byte) {
	if len(p) == 1 {
		w.last = [2]byte{w.last[1], p[0]}
		return
	}
	w.last = [2]byte(p[len(p)-2:])
}

// Rows of an INSERT statement: enough to be quick, few enough to be read.
const (
	batchRows  = 100
	batchBytes = 64 << 10
)

// row writes one row as part of a statement.
func (w *tableWriter) row(line []byte) error {
	stored := w.t.Stored()
	var err error
	if w.vals, err = rows.ParseRow(w.vals[:0], line, len(stored)); err != nil {
		return fail.Wrap(fail.Damaged, err, "", "row %d of %s", w.rows+1, w.t)
	}
	w.rows++
	if w.t.Kind == rows.LargeObjects {
		w.f.text("SELECT pg_catalog.lo_put(", literal(string(w.vals[0].Text)), ", ", literal(string(w.vals[1].Text)), ", ", literal(string(w.vals[2].Text)), ");\n")
		return w.f.err
	}
	if len(stored) == 0 {
		w.f.text("INSERT INTO ", w.into, " DEFAULT VALUES;\n")
		return w.f.err
	}
	if w.batch == 0 {
		w.buf = append(append(append(w.buf, "INSERT INTO "...), w.into...), " OVERRIDING SYSTEM VALUE VALUES\n\t("...)
	} else {
		w.buf = append(w.buf, ",\n\t("...)
	}
	w.batch++
	for i, v := range w.vals {
		if i > 0 {
			w.buf = append(w.buf, ", "...)
		}
		w.buf = appendLiteral(w.buf, v, stored[i].Type)
	}
	w.buf = append(w.buf, ')')
	if w.batch >= batchRows || len(w.buf) >= batchBytes {
		w.endBatch()
	}
	return w.f.err
}

func appendLiteral(buf []byte, v rows.Value, t rows.Type) []byte {
	switch {
	case v.IsNull:
		return append(buf, "NULL"...)
	case t == rows.Int && isNumber(v.Text):
		return append(buf, v.Text...)
	case t == rows.Bool && string(v.Text) == "t":
		return append(buf, "true"...)
	case t == rows.Bool && string(v.Text) == "f":
		return append(buf, "false"...)
	}
	buf = append(buf, '\'')
	text := v.Text
	for {
		n := bytes.IndexByte(text, '\'')
		if n < 0 {
			return append(append(buf, text...), '\'')
		}
		buf = append(append(buf, text[:n+1]...), '\'')
		text = text[n+1:]
	}
}

// isNumber reports whether text is an integer; what a backup holds need not be what its column says.
func isNumber(text []byte) bool {
	digits := bytes.TrimPrefix(text, []byte("-"))
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(digits) > 0
}

func (w *tableWriter) endBatch() {
	if w.batch > 0 {
		_, _ = w.f.Write(append(w.buf, ";\n"...)) // kept in err
	}
	w.buf, w.batch = w.buf[:0], 0
}

// end writes what stands behind the rows.
func (w *tableWriter) end() error {
	if w.last[1] != '\n' {
		return fail.New(fail.Damaged, "", "the last row of %s has no end", w.t)
	}
	if w.plain {
		w.f.text("\\.\n\n\n")
		return w.f.err
	}
	w.endBatch()
	w.f.text("\n")
	return w.f.err
}
