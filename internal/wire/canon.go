package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// A form is how values of a column are written when rows of two engines are compared: engines write the
// same value in different ways (t and 1, 1.50 and 1.5).
type form uint8

const (
	formText form = iota // as it is
	formBool
	formNumber // exact
	formDouble // as a double, which is all that SQLite keeps of a decimal
	formSingle
	formBytes
	formTime
	formInterval // in microseconds; a month has 30 days
	formUUID
	formJSON
	formAddress
)

// formOf returns the form of a column between two engines.
func formOf(c *rows.Column, from, to string) form {
	lite := from == SQLite || to == SQLite
	switch c.Type {
	case rows.Bool:
		return formBool
	case rows.Int:
		if lite && c.Size > 64 {
			return formDouble
		}
		return formNumber
	case rows.Decimal:
		if lite {
			return formDouble
		}
		return formNumber
	case rows.Float:
		if c.Size == 32 {
			return formSingle
		}
		return formDouble
	case rows.Bytes:
		return formBytes
	case rows.Time, rows.Timestamp, rows.Instant:
		return formTime
	case rows.Interval:
		return formInterval
	case rows.UUID:
		return formUUID
	case rows.JSON:
		return formJSON
	case rows.Other:
		if isAddress(c.Native) {
			return formAddress
		}
	}
	return formText
}

func isAddress(native string) bool {
	return slices.Contains([]string{"inet", "inet4", "inet6"}, native)
}

// canonical returns text in a form. What is no such value stays as it is.
func (f form) canonical(text []byte) []byte {
	s := string(text)
	switch f {
	case formBool:
		switch s {
		case "t", "true":
			return []byte("1")
		case "f", "false":
			return []byte("0")
		}
	case formNumber:
		return []byte(plainNumber(s))
	case formDouble, formSingle:
		bits := 64
		if f == formSingle {
			bits = 32
		}
		if n, err := strconv.ParseFloat(s, bits); err == nil || math.IsInf(n, 0) {
			return strconv.AppendFloat(nil, n+0, 'g', -1, bits) // + 0 takes the sign off -0, which not every engine keeps
		}
	case formBytes:
		if !strings.HasPrefix(s, `\x`) {
			return hex.AppendEncode([]byte(`\x`), text)
		}
	case formTime:
		return []byte(plainTime(s))
	case formInterval:
		if us, ok := microseconds(s); ok {
			return strconv.AppendInt(nil, us, 10)
		}
	case formUUID:
		return bytes.ToLower(bytes.ReplaceAll(text, []byte("-"), nil))
	case formJSON:
		return plainJSON(text)
	case formAddress:
		if a, err := netip.ParseAddr(s); err == nil {
			return []byte(a.String())
		}
	}
	return text
}

// plainNumber writes a decimal without exponent and needless zeros.
func plainNumber(s string) string {
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(s), "e")
	sign := ""
	if rest, ok := strings.CutPrefix(mantissa, "-"); ok {
		sign, mantissa = "-", rest
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "+"), ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return s
	}
	if scientific {
		const most = 20000 // digits; more than any engine keeps
		e, err := strconv.Atoi(exponent)
		if err != nil || e > most || e < -most {
			return s
		}
		digits, point := whole+fraction, len(whole)+e
		if point < 0 {
			digits, point = strings.Repeat("0", -point)+digits, 0
		} else if point > len(digits) {
			digits += strings.Repeat("0", point-len(digits))
		}
		whole, fraction = digits[:point], digits[point:]
	}
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	if fraction != "" {
		fraction = "." + fraction
	}
	if whole == "" {
		whole = "0"
	}
	if whole+fraction == "0" {
		sign = ""
	}
	return sign + whole + fraction
}

// plainTime writes a time or timestamp as UTC without zone, zeros at the end of a fraction, and T.
func plainTime(s string) string {
	s = utc(s)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	switch {
	case len(s) == 10 && s[4] == '-' && s[7] == '-':
		s += " 00:00:00"
	case len(s) == 16 && s[10] == ' ' && s[13] == ':', len(s) == 5 && s[2] == ':':
		s += ":00"
	}
	return s
}

// utc takes the zone off a timestamp, and the T.
func utc(s string) string {
	if len(s) > 10 && s[10] == 'T' {
		s = s[:10] + " " + s[11:]
	}
	for _, zone := range []string{"+00:00", "+00", "Z"} {
		if rest, ok := strings.CutSuffix(s, zone); ok && strings.Contains(rest, ":") {
			return rest
		}
	}
	if len(s) < len("2006-01-02 15:04+01") || !strings.ContainsAny(s[10:], "+-") {
		return s
	}
	for _, layout := range []string{"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999Z0700", "2006-01-02 15:04Z07:00"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC().Format("2006-01-02 15:04:05.999999999")
		}
	}
	return s
}

// microseconds reads an interval: a number of microseconds, or PostgreSQL's «1 year 2 mons -3 days +04:05:06.7».
func microseconds(s string) (total int64, ok bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	words := strings.Fields(s)
	for len(words) > 1 {
		unit := map[string]int64{"year": 365 * 86400e6, "mon": 30 * 86400e6, "day": 86400e6}[strings.TrimSuffix(words[1], "s")]
		n, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil || unit == 0 {
			return 0, false
		}
		total += n * unit
		words = words[2:]
	}
	if len(words) == 0 {
		return total, s != ""
	}
	clock, negative := strings.CutPrefix(words[0], "-")
	parts := strings.Split(strings.TrimPrefix(clock, "+"), ":")
	if len(parts) != 3 {
		return 0, false
	}
	seconds, fraction, _ := strings.Cut(parts[2], ".")
	var us int64
	for i, p := range []string{parts[0], parts[1], seconds, (fraction + "000000")[:6]} {
		n, err := strconv.ParseInt(p, 10, 64)
		if err != nil || n < 0 {
			return 0, false
		}
		us += n * [...]int64{3600e6, 60e6, 1e6, 1}[i]
	}
	if negative {
		us = -us
	}
	return total + us, true
}

// plainJSON writes JSON with sorted keys and plain numbers: jsonb keeps neither the order of keys nor the spelling of numbers.
func plainJSON(text []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return text
	}
	if _, err := d.Token(); err != io.EOF {
		return text
	}
	out, err := json.Marshal(plainNumbers(v))
	if err != nil {
		return text
	}
	return out
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		// A double is what engines keep of a number for sure.
		if f, err := v.Float64(); err == nil {
			return f + 0
		}
		return plainNumber(v.String())
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	}
	return v
}
