package wire

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A shape says how rows of a table are made comparable: which columns, by their place in the row text, in the order of their
// names, which engines may change.
type shape struct {
	columns int // of the row text
	places  []int
	forms   []form
}

// namedForm is a column of a shape.
type namedForm struct {
	name string
	form form
}

// formsOf lists the columns of a table's row text by name. Exact rows are compared as they are.
func formsOf(t *rows.Table, from, to string, exact bool) []namedForm {
	var list []namedForm
	for _, c := range t.Stored() {
		f := formText
		if !exact {
			f = formOf(&c, from, to)
		}
		list = append(list, namedForm{c.Name, f})
	}
	slices.SortStableFunc(list, func(a, b namedForm) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)), strings.Compare(a.name, b.name))
	})
	return list
}

// shapeOf finds the columns in a table; missing is one that it lacks.
func shapeOf(t *rows.Table, list []namedForm) (s shape, missing string) {
	stored := t.Stored()
	s.columns = len(stored)
	for _, f := range list {
		at := slices.IndexFunc(stored, func(c rows.Column) bool { return c.Name == f.name })
		if at < 0 {
			at = slices.IndexFunc(stored, func(c rows.Column) bool { return strings.EqualFold(c.Name, f.name) })
		}
		if at < 0 {
			return s, f.name
		}
		s.places, s.forms = append(s.places, at), append(s.forms, f.form)
	}
	return s, ""
}

// hash returns the hash of a row whose fields are given as row text.
func (s *shape) hash(buf []byte, fields [][]byte) (rows.Hash, []byte, error) {
	buf = buf[:0]
	for i, at := range s.places {
		field := fields[at]
		if i > 0 {
			buf = append(buf, '\t')
		}
		if s.forms[i] == formText || string(field) == rows.Null {
			buf = append(buf, field...)
			continue
		}
		text, err := unescape(field)
		if err != nil {
			return rows.Hash{}, buf, err
		}
		buf = rows.AppendText(buf, s.forms[i].canonical(text))
	}
	return rows.HashRow(buf), buf, nil
}

func unescape(field []byte) ([]byte, error) {
	if bytes.IndexByte(field, '\\') < 0 {
		return field, nil
	}
	v, err := rows.ParseRow(nil, field, 1)
	if err != nil {
		return nil, err
	}
	return v[0].Text, nil
}

// A rowReader gives row text on with its values converted, and counts and hashes what comes in.
type rowReader struct {
	in      *bufio.Reader
	shape   shape
	convert []converter // nil: nothing is changed
	decode  []decoder   // of typed row text; nil: it is plain
	table   *rows.Table // as the source has it; nil where it is not known
	failed  error       // what is wrong with the rows themselves

	raw    rows.Counter // as it comes in
	rows   int64
	sum    rows.Hash // of the rows in their comparable form
	out    []byte
	at     int
	line   []byte
	fields [][]byte
	buf    []byte
	err    error
}

func newRowReader(r io.Reader, s shape, convert []converter) *rowReader {
	return &rowReader{in: bufio.NewReaderSize(r, 256<<10), shape: s, convert: convert}
}

func (r *rowReader) Read(p []byte) (int, error) {
	for r.at == len(r.out) {
		if r.err != nil {
			return 0, r.err
		}
		r.out, r.at = r.out[:0], 0
		for len(r.out) < 128<<10 && r.err == nil {
			r.err = r.row()
		}
	}
	n := copy(p, r.out[r.at:])
	r.at += n
	return n, nil
}

// row takes one row in.
func (r *rowReader) row() error {
	r.line = r.line[:0]
	for {
		piece, err := r.in.ReadSlice('\n')
		r.line = append(r.line, piece...)
		if err == nil {
			break
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == io.EOF && len(r.line) > 0 {
			err = fail.New(fail.Damaged, "", "the last row has no end")
		}
		return err
	}
	_, _ = r.raw.Write(r.line) // never fails
	r.rows++
	r.failed = r.take(r.line[:len(r.line)-1])
	return r.failed
}

func (r *rowReader) take(line []byte) (err error) {
	r.fields = r.fields[:0]
	if r.shape.columns > 0 || len(line) > 0 {
		for rest, more := line, true; more; {
			var field []byte
			field, rest, more = bytes.Cut(rest, []byte{'\t'})
			r.fields = append(r.fields, field)
		}
	}
	if len(r.fields) != r.shape.columns {
		return fail.New(fail.Damaged, "", "a row has %d columns, want %d", len(r.fields), r.shape.columns)
	}
	if err := r.plain(); err != nil {
		return err
	}
	var h rows.Hash
	if h, r.buf, err = r.shape.hash(r.buf, r.fields); err != nil {
		return fail.Wrap(fail.Damaged, err, "", "read a row")
	}
	r.sum = r.sum.Add(h)
	if r.convert == nil && r.decode == nil {
		r.out = append(append(r.out, line...), '\n')
		return nil
	}
	for i, field := range r.fields {
		if i > 0 {
			r.out = append(r.out, '\t')
		}
		if r.convert == nil || r.convert[i] == nil || string(field) == rows.Null {
			r.out = append(r.out, field...)
			continue
		}
		text, err := unescape(field)
		if err != nil {
			return fail.Wrap(fail.Damaged, err, "", "read a row")
		}
		if text, err = r.convert[i](text); err != nil {
			return r.wrong(err, i)
		}
		r.out = rows.AppendText(r.out, text)
	}
	r.out = append(r.out, '\n')
	return nil
}

// plain takes the fields of typed row text to plain ones.
func (r *rowReader) plain() (err error) {
	for i, fn := range r.decode {
		given := r.fields[i]
		if r.fields[i], err = decode(given, fn); err != nil {
			r.fields[i] = given
			for j, f := range r.fields[i:] { // which still have their letters
				if len(f) > 0 && string(f) != rows.Null {
					r.fields[i+j] = f[1:]
				}
			}
			return r.wrong(err, i)
		}
	}
	return nil
}

// wrong says where a value stands that is refused.
func (r *rowReader) wrong(err error, column int) error {
	if r.table == nil {
		return err
	}
	return fail.Op(err, "column %s of %s", r.table.Stored()[column].Name, rowNamed(r.table, r.fields, r.rows))
}
