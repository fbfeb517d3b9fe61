package sqlite

import (
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// What a value is stored as, in the row text of [View.Typed]. NULL has no letter.
const (
	StoredInt   = 'i'
	StoredFloat = 'r'
	StoredText  = 't'
	StoredBlob  = 'b' // hexadecimal digits behind \x
	StoredOdd   = 'x' // a text that is not UTF-8, as StoredBlob
)

// appendTyped appends value i of the row that st stands on.
func appendTyped(buf []byte, st *sqlite3.Stmt, i int) []byte {
	switch st.ColumnType(i) {
	case sqlite3.INTEGER:
		return strconv.AppendInt(append(buf, StoredInt), st.ColumnInt64(i), 10)
	case sqlite3.FLOAT:
		return appendFloat(append(buf, StoredFloat), st.ColumnFloat(i), false)
	case sqlite3.TEXT:
		text := st.ColumnRawText(i)
		if !utf8.Valid(text) {
			return rows.AppendBytes(append(buf, StoredOdd), text)
		}
		return rows.AppendText(append(buf, StoredText), text)
	case sqlite3.BLOB:
		return rows.AppendBytes(append(buf, StoredBlob), st.ColumnRawBlob(i))
	}
	return append(buf, rows.Null...)
}

// typedStorage is a column whose values come as [View.Typed] gives them.
const typedStorage storage = 'y'

// typed binds such a value to parameter i.
func (b *binder) typed(st *sqlite3.Stmt, i int, text []byte) error {
	if len(text) == 0 {
		return fail.New(fail.Damaged, "", "a value without its storage class")
	}
	kind, text := text[0], text[1:]
	ok := true
	switch kind {
	case StoredInt:
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err == nil {
			return st.BindInt64(i, n)
		}
		ok = false
	case StoredFloat:
		f, known := parseFloat(text)
		if known {
			return st.BindFloat(i, f)
		}
		ok = false
	case StoredText:
		return st.BindRawText(i, text)
	case StoredBlob, StoredOdd:
		if len(text) < 2 || text[0] != '\\' || text[1] != 'x' {
			ok = false
			break
		}
		b.scratch = append(b.scratch[:0], text[2:]...)
		n, err := hex.Decode(b.scratch, b.scratch)
		switch {
		case err != nil:
			ok = false
		case kind == StoredOdd:
			return st.BindRawText(i, b.scratch[:n])
		case n == 0:
			return st.BindZeroBlob(i, 0)
		default:
			return st.BindBlob(i, b.scratch[:n])
		}
	default:
		ok = false
	}
	if !ok {
		return fail.New(fail.Damaged, "", "%.40q is no value with its storage class", text)
	}
	return nil
}
