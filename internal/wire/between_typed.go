package wire

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// typed returns a view of SQLite as rows that keep what each value is stored as; any other view stays as it is.
func typed(v rows.View) rows.View {
	if t, ok := v.(interface{ Typed() rows.View }); ok {
		return t.Typed()
	}
	return v
}

const hintValue = "change the value in the source, declare the column there as what it holds, or leave the table out with --exclude-table"

// A decoder takes a field of typed row text, given without its letter, to plain row text for another engine. SQLite lets each value be
// of another type than its column declares: what the column can't hold elsewhere is an error, before a server makes something else of it.
type decoder func(kind byte, field []byte) ([]byte, error)

// decoders returns those of a table's row text.
func (c *crossing) decoders(t *rows.Table) (list []decoder) {
	for _, col := range t.Stored() {
		list = append(list, c.decoder(t, col))
	}
	return list
}

func (c *crossing) decoder(t *rows.Table, col rows.Column) decoder {
	name := t.String() + "." + col.Name
	switch col.Type {
	case rows.Bytes:
		return func(kind byte, field []byte) ([]byte, error) {
			if kind == sqlite.StoredBlob {
				return field, nil
			}
			c.note(name + " holds values that are no blobs: there they are the bytes of their texts")
			if kind == sqlite.StoredOdd {
				return field, nil
			}
			text, err := unescape(field)
			return rows.AppendBytes(nil, text), err
		}
	case rows.Text, rows.Any, rows.Enum, rows.Array, rows.Other, rows.Interval:
		return func(kind byte, field []byte) ([]byte, error) {
			switch {
			case kind == sqlite.StoredOdd:
				c.note(name + " holds text that is not UTF-8: there it is hexadecimal digits behind \\x")
			case kind == sqlite.StoredBlob && col.Type == rows.Any:
				c.note(name + " holds blobs: there they are hexadecimal digits behind \\x")
			case kind == sqlite.StoredBlob:
				c.note(name + " holds blobs though it is for texts: there they are hexadecimal digits behind \\x")
			}
			return field, nil
		}
	}
	return func(kind byte, field []byte) ([]byte, error) {
		if kind != sqlite.StoredBlob && kind != sqlite.StoredOdd && col.Type == rows.JSON {
			return field, nil // the server looks at its texts
		}
		if kind != sqlite.StoredBlob && kind != sqlite.StoredOdd {
			text, err := unescape(field)
			if err != nil {
				return nil, err
			}
			if isValue(col.Type, kind, text) {
				return c.inMicroseconds(name, col.Type, field), nil
			}
		}
		return nil, fail.New(fail.Incomplete, hintValue, "%.60q, stored as %s, is no %s", field, storedAs[kind], typeWords[col.Type])
	}
}

var storedAs = map[byte]string{sqlite.StoredInt: "an integer", sqlite.StoredFloat: "a real", sqlite.StoredText: "a text", sqlite.StoredBlob: "a blob", sqlite.StoredOdd: "a text that is not UTF-8"}

var typeWords = map[rows.Type]string{
	rows.Bool: "boolean", rows.Int: "whole number", rows.Float: "number", rows.Decimal: "number", rows.Date: "date", rows.Time: "time of a day",
	rows.Timestamp: "date and time", rows.Instant: "date and time", rows.UUID: "uuid", rows.JSON: "JSON",
}

var (
	dateShape  = regexp.MustCompile(`^([0-9]{4,6}-[0-9]{2}-[0-9]{2}( BC)?|-?infinity)$`)
	timeShape  = regexp.MustCompile(`^-?[0-9]{2,3}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?$`)
	stampShape = regexp.MustCompile(`^([0-9]{4,6}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?(Z|[-+][0-9]{2}(:?[0-9]{2})?)?)?)?( BC)?|-?infinity)$`)
	uuidShape  = regexp.MustCompile(`^[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}$`)
	realShape  = regexp.MustCompile(`^(NaN|-?Infinity|[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?)$`)
)

// isValue reports whether a stored value surely is one of the type that its column declares.
func isValue(t rows.Type, kind byte, text []byte) bool {
	number := kind == sqlite.StoredInt || kind == sqlite.StoredFloat
	switch t {
	case rows.Bool:
		switch string(text) {
		case "0", "1", "t", "f", "true", "false":
			return true
		}
		return false
	case rows.Int:
		return kind == sqlite.StoredInt
	case rows.Float, rows.Decimal:
		return number || realShape.Match(text)
	case rows.JSON:
		return true
	}
	if number {
		return false
	}
	switch t {
	case rows.Date:
		return like(text, "dddd-dd-dd") || dateShape.Match(text)
	case rows.Time:
		return like(text, "dd:dd:dd") || timeShape.Match(text)
	case rows.Timestamp, rows.Instant:
		return like(text, "dddd-dd-dd dd:dd:dd.dddddd") || like(text, "dddd-dd-dd dd:dd:dd") || stampShape.Match(text)
	case rows.UUID:
		return uuidShape.Match(text)
	}
	return true
}

// inMicroseconds makes a time as fine as servers keep it: many programs write nanoseconds into a file. A server
// would round them, maybe into the next day.
func (c *crossing) inMicroseconds(column string, t rows.Type, field []byte) []byte {
	cut, lost := sixDigits(t, field)
	if lost {
		c.note(column + " holds times that are finer than a microsecond: the digits behind the sixth are cut off there")
	}
	return cut
}

// sixDigits cuts what isValue takes for a time behind the sixth digit of its seconds' fraction; lost says that there was more than zeros.
func sixDigits(t rows.Type, text []byte) (cut []byte, lost bool) {
	if t != rows.Time && t != rows.Timestamp && t != rows.Instant {
		return text, false
	}
	dot := bytes.IndexByte(text, '.')
	if dot < 0 || len(text) <= dot+7 {
		return text, false
	}
	fraction, rest := text[dot+1:], []byte(nil)
	if end := bytes.IndexFunc(fraction, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		fraction, rest = fraction[:end], fraction[end:]
	}
	if len(fraction) <= 6 {
		return text, false
	}
	lost = len(bytes.Trim(fraction[6:], "0")) > 0
	return slices.Concat(text[:dot+7], rest), lost
}

// like reports whether a text has a shape, in which d is any digit.
func like(text []byte, shape string) bool {
	if len(text) != len(shape) {
		return false
	}
	for i, c := range text {
		if c != shape[i] && (shape[i] != 'd' || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// decode takes the letter off a typed field.
func decode(field []byte, fn decoder) ([]byte, error) {
	if string(field) == rows.Null {
		return field, nil
	}
	if len(field) == 0 {
		return nil, fail.New(fail.Damaged, "", "a value without its storage class")
	}
	return fn(field[0], field[1:])
}

// A checker is a converter that only looks: it refuses values that the target would change without a word.
func checker(col *rows.Column, from, to string) converter {
	switch {
	case from == MySQL && to == Postgres && col.Type == rows.Bool:
		return func(text []byte) ([]byte, error) {
			if s := string(text); s == "0" || s == "1" || s == "t" || s == "f" {
				return text, nil
			}
			return nil, fail.New(fail.Incomplete, "a tinyint(1) is a boolean elsewhere: declare the column as tinyint in the source, or change the value", "%.40q is neither true nor false", text)
		}
	case to == MySQL && col.Type == rows.Decimal:
		most := col.Scale
		if col.Size == 0 || col.Size > 65 || col.Scale < 0 || col.Scale > 38 || col.Scale > col.Size {
			most = 30
		}
		return func(text []byte) ([]byte, error) {
			if bytes.IndexByte(text, '.') < 0 && !bytes.ContainsAny(text, "eE") {
				return text, nil
			}
			if _, fraction, _ := strings.Cut(plainNumber(string(text)), "."); len(fraction) > most {
				return nil, fail.New(fail.Incomplete, "round it in the source", "%.80q has more than %d digits behind the point", text, most)
			}
			return text, nil
		}
	}
	return nil
}

// constant reports whether the default of a column of SQLite is a value that the column can have elsewhere.
func constant(col *rows.Column) bool {
	kind, text := byte(sqlite.StoredText), []byte(*col.Literal)
	if _, err := strconv.ParseInt(*col.Literal, 10, 64); err == nil {
		kind = sqlite.StoredInt
	} else if _, err := strconv.ParseFloat(*col.Literal, 64); err == nil {
		kind = sqlite.StoredFloat
	}
	_, finer := sixDigits(col.Type, text)
	return isValue(col.Type, kind, text) && !finer
}

// rowNamed says which row of a table has these fields.
func rowNamed(t *rows.Table, fields [][]byte, n int64) string {
	var key []string
	for i, c := range t.Stored() {
		for _, k := range t.PrimaryKey {
			if k == c.Name && i < len(fields) {
				key = append(key, fmt.Sprintf("%s = %.60s", c.Name, fields[i]))
			}
		}
	}
	if len(key) == 0 {
		return fmt.Sprintf("row %d of a part", n)
	}
	return "the row with " + strings.Join(key, ", ")
}
