package sqlite

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// An importer turns the values of one column into what SQLite stores. With a storage they come from SQLite.
type importer struct {
	storage storage
	typ     rows.Type
	name    string // of the column, with its table's, for notes
	rowid   bool   // it is the key of one integer
}

// exactDigits is how many digits of a decimal a float keeps for sure.
const exactDigits = 15

// bindLocked binds v to parameter i of st.
func (c *importer) bindLocked(t *RowsTarget, st *sqlite3.Stmt, i int, v rows.Value) error {
	switch {
	case v.IsNull:
		return st.BindNull(i)
	case c.storage != 0:
		return t.bind.bind(st, i, c.storage, v)
	}
	var text []byte
	ok := true
	switch c.typ {
	case rows.Bool:
		if n, known := parseBool(v.Text); known {
			return st.BindInt64(i, n)
		}
		return fail.New(fail.Damaged, "", "%s: %.40q is neither true nor false", c.name, v.Text)
	case rows.Int, rows.Decimal, rows.Float:
		return c.bindNumber(t, st, i, v.Text)
	case rows.Bytes:
		return t.bind.bind(st, i, 'b', v)
	case rows.UUID:
		text = bytes.ToLower(bytes.ReplaceAll(v.Text, []byte{'-'}, nil))
	case rows.Timestamp, rows.Time:
		text, ok = shapeTime(v.Text)
	case rows.Instant:
		text, ok = shapeInstant(v.Text)
	case rows.Interval:
		n, months, known := parseInterval(string(v.Text))
		if months {
			t.noteLocked(c.name + ": the months of an interval count 30 days, its years 365")
		}
		if known {
			return st.BindInt64(i, n)
		}
		text, ok = v.Text, false
	default:
		text = v.Text
	}
	if !ok {
		t.noteLocked(fmt.Sprintf("%s holds values that are no %s here, such as %.40q: they are texts", c.name, c.typ, v.Text))
	}
	if text == nil {
		text = []byte{}
	}
	return st.BindRawText(i, text)
}

func (c *importer) bindNumber(t *RowsTarget, st *sqlite3.Stmt, i int, text []byte) error {
	if n, ok := parseInt(text); ok && c.typ != rows.Float {
		return st.BindInt64(i, n)
	}
	if c.rowid {
		return fail.New(fail.Incomplete, "", "%s: %.80q is no integer of 64 bits, which a key of one number is here", c.name, text)
	}
	f, ok := parseFloat(text)
	if !ok && len(text) > mostFloat && strings.Trim(string(text), "0123456789.-") == "" {
		if digits(text) > exactDigits {
			t.noteLocked(c.name + ": numbers of more than 15 digits are rounded, since SQLite holds them as floats")
		}
		return st.BindRawText(i, text) // SQLite makes a number of it
	}
	if !ok {
		t.noteLocked(fmt.Sprintf("%s holds values that are no numbers here, such as %.40q: they are texts", c.name, text))
		return st.BindRawText(i, text)
	}
	if c.typ != rows.Float && (digits(text) > exactDigits || math.IsInf(f, 0) && text[len(text)-1] != 'y') {
		t.noteLocked(c.name + ": numbers of more than 15 digits are rounded, since SQLite holds them as floats")
	}
	return st.BindFloat(i, f)
}

// digits counts the significant digits of a number.
func digits(text []byte) int {
	mantissa, _, _ := strings.Cut(strings.ToLower(string(text)), "e")
	mantissa = strings.TrimLeft(strings.Replace(mantissa, ".", "", 1), "+-0")
	return len(strings.TrimRight(mantissa, "0"))
}

func parseBool(text []byte) (int64, bool) {
	switch string(text) {
	case "t", "true":
		return 1, true
	case "f", "false":
		return 0, true
	}
	return parseInt(text)
}

// shapeTime writes a time or timestamp as Django does: with six digits of a second or none, so that texts compare as
// times do. What has another shape stays as it is.
func shapeTime(text []byte) ([]byte, bool) {
	for i, c := range text {
		if (c < '0' || c > '9') && strings.IndexByte("-:. T", c) < 0 || c == '-' && i == 0 {
			return text, false // infinity, BC, a time zone
		}
	}
	whole, fraction, _ := bytes.Cut(text, []byte{'.'})
	out := append(make([]byte, 0, len(whole)+7), whole...)
	if i := bytes.IndexByte(out, 'T'); i >= 0 {
		out[i] = ' '
	}
	if fraction = bytes.TrimRight(fraction, "0"); len(fraction) > 0 {
		out = append(out, ".000000"...)
		copy(out[len(whole)+1:], fraction)
	}
	return out, true
}

// shapeInstant writes a timestamp with time zone as UTC, without the zone.
func shapeInstant(text []byte) ([]byte, bool) {
	for _, utc := range []string{"+00", "+00:00", "Z"} {
		if rest, ok := bytes.CutSuffix(text, []byte(utc)); ok {
			text = rest
			return shapeTime(text)
		}
	}
	s := strings.Replace(string(text), "T", " ", 1)
	for _, layout := range []string{"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07"} {
		if at, err := time.Parse(layout, s); err == nil {
			return shapeTime([]byte(at.UTC().Format("2006-01-02 15:04:05.000000")))
		}
	}
	return shapeTime(text)
}

// microseconds of the units that PostgreSQL writes.
var intervalUnits = map[string]int64{"year": 365 * 86400e6, "mon": 30 * 86400e6, "day": 86400e6}

// parseInterval reads PostgreSQL's «1 year 2 mons -3 days 04:05:06.7» or MySQL's «-838:59:59» into microseconds. months
// says that a part of it has no fixed length.
func parseInterval(text string) (total int64, months, ok bool) {
	fields := strings.Fields(text)
	sum := 0.0 // against overflow
	for len(fields) >= 2 && !strings.Contains(fields[0], ":") {
		n, err := strconv.ParseInt(fields[0], 10, 64)
		unit, known := intervalUnits[strings.TrimSuffix(fields[1], "s")]
		if err != nil || !known {
			return 0, false, false
		}
		months = months || unit != intervalUnits["day"]
		total += n * unit
		sum += float64(n) * float64(unit)
		fields = fields[2:]
	}
	if len(fields) == 1 {
		n, good := parseClock(fields[0])
		if !good {
			return 0, false, false
		}
		total += n
		sum += float64(n)
	} else if len(fields) > 0 || text == "" {
		return 0, false, false
	}
	return total, months, math.Abs(sum) < math.MaxInt64
}

// parseClock reads [+-]HH:MM:SS[.ffffff].
func parseClock(text string) (int64, bool) {
	rest, negative := strings.CutPrefix(text, "-")
	parts := strings.Split(strings.TrimPrefix(rest, "+"), ":")
	if len(parts) != 3 {
		return 0, false
	}
	seconds, fraction, _ := strings.Cut(parts[2], ".")
	total := int64(0)
	for i, p := range []string{parts[0], parts[1], seconds, (fraction + "000000")[:6]} {
		n, err := strconv.ParseUint(p, 10, 40)
		if err != nil || i > 0 && len(p) > 6 {
			return 0, false
		}
		total += int64(n) * [...]int64{3600e6, 60e6, 1e6, 1}[i]
	}
	if negative {
		total = -total
	}
	return total, true
}
