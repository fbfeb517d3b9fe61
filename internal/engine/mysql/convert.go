package mysql

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// conversion returns what makes a column's value of another engine one of this engine; nil when nothing
// is to be done. Both are texts without escapes.
func (t *Target) conversion(c *rows.Column) (func(dst, text []byte) ([]byte, error), error) {
	if t.schema.Origin.Engine == "mysql" {
		return nil, nil
	}
	switch t.portableType(c) {
	case rows.Bool:
		return convertBool, nil
	case rows.Timestamp, rows.Instant, rows.Date:
		return convertTime, nil
	case rows.Interval:
		return convertInterval, nil
	case rows.UUID:
		if !t.server.atLeast(100700, 0) {
			return func(dst, text []byte) ([]byte, error) {
				return append(dst, bytes.ReplaceAll(text, []byte("-"), nil)...), nil
			}, nil
		}
	}
	return nil, nil
}

func convertBool(dst, text []byte) ([]byte, error) {
	switch string(text) {
	case "t", "true", "1":
		return append(dst, '1'), nil
	case "f", "false", "0":
		return append(dst, '0'), nil
	}
	return dst, fmt.Errorf("%.40q is neither true nor false", text)
}

// convertTime takes the offset from UTC off, which is none, and refuses what this engine has no value for.
func convertTime(dst, text []byte) ([]byte, error) {
	s := string(text)
	for _, zone := range []string{"+00:00", "+00", "Z"} {
		if len(s) > len("2006-01-02") {
			s = strings.TrimSuffix(s, zone)
		}
	}
	switch year, _, ok := strings.Cut(s, "-"); {
	case !ok || len(year) != 4 || strings.HasSuffix(s, " BC"):
		return dst, fmt.Errorf("%.40q is out of this engine's range of dates", text)
	}
	return append(dst, s...), nil
}

// convertInterval makes microseconds, as Django stores durations here.
func convertInterval(dst, text []byte) ([]byte, error) {
	if _, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return append(dst, text...), nil
	}
	var total int64
	words := strings.Fields(string(text))
	for len(words) > 1 && (strings.HasPrefix(words[1], "day") || words[1] == "days") {
		n, err := strconv.ParseInt(words[0], 10, 32)
		if err != nil {
			return dst, fmt.Errorf("interval %.60q: %w", text, err)
		}
		total += n * 86_400_000_000
		words = words[2:]
	}
	if len(words) == 1 {
		us, err := clock(words[0])
		if err != nil {
			return dst, fmt.Errorf("interval %.60q: %w", text, err)
		}
		total += us
		words = nil
	}
	if len(words) > 0 {
		return dst, fmt.Errorf("interval %.60q has months or years, which are no number of microseconds", text)
	}
	return strconv.AppendInt(dst, total, 10), nil
}

// clock reads [-]HH:MM:SS[.ffffff] as microseconds.
func clock(s string) (int64, error) {
	sign := int64(1)
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		s, sign = rest, -1
	}
	s = strings.TrimPrefix(s, "+")
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, fmt.Errorf("not hours, minutes and seconds")
	}
	whole, fraction, _ := strings.Cut(parts[2], ".")
	if len(fraction) > 6 {
		return 0, fmt.Errorf("more than microseconds")
	}
	var us int64
	for _, p := range []struct {
		text string
		unit int64
	}{{parts[0], 3_600_000_000}, {parts[1], 60_000_000}, {whole, 1_000_000}, {(fraction + "000000")[:6], 1}} {
		n, err := strconv.ParseInt(p.text, 10, 32)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("not hours, minutes and seconds")
		}
		us += n * p.unit
	}
	return sign * us, nil
}
