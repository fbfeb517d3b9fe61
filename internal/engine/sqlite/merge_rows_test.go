package sqlite

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// FuzzRowScanner cuts any text into rows as [rows.ParseRow] does.
func FuzzRowScanner(f *testing.F) {
	for _, seed := range []string{"a\tb\n\\N\t\\\\N\n", "\\t\\n\t\\\\x00\n\\N\\N\tx\n", "a\\\n", "a\tb\tc\n", "\n", "x", "\\Nx\t\\N\n\t\n"} {
		f.Add([]byte(seed), 2, true)
	}
	f.Fuzz(func(t *testing.T, text []byte, columns int, slow bool) {
		if columns < 0 || columns > 20 {
			return
		}
		var r io.Reader = bytes.NewReader(text)
		if slow {
			r = iotest.OneByteReader(r)
		}
		s := newRowScanner(r, columns)
		s.buf = s.buf[:4]
		rest := text
		for {
			line, after, whole := bytes.Cut(rest, []byte{'\n'})
			want, bad := rows.ParseRow(nil, line, columns)
			err := s.next()
			if !whole {
				if (err == io.EOF) != (len(line) == 0) || err == nil {
					t.Fatalf("at the end, before %q: %v", line, err)
				}
				break
			}
			if (err == nil) != (bad == nil) {
				t.Fatalf("row %q: got %v, want %v", line, err, bad)
			}
			if err != nil {
				return
			}
			for i, v := range s.values {
				if v.IsNull != want[i].IsNull || !v.IsNull && !bytes.Equal(v.Text, want[i].Text) {
					t.Fatalf("row %q: got %q, want %q", line, v.Text, want[i].Text)
				}
			}
			rest = after
		}
		var c rows.Counter
		_, _ = c.Write(text)
		want, _ := c.Count()
		if got, err := s.count.Count(); err == nil && got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

func TestParseNumbers(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "-1": -1, "123456789012345678": 123456789012345678, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63} {
		if n, ok := parseInt([]byte(text)); !ok || n != want {
			t.Errorf("%s: got %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "-", "-0", "01", "+1", "1.0", "9223372036854775808", "0000000000000000001", "-000000000000000001", "1_0", strings.Repeat("9", 30), " 1", "1\x00"} {
		if n, ok := parseInt([]byte(text)); ok {
			t.Errorf("%q: got %d", text, n)
		}
	}
	for _, text := range []string{"", "inf", "nan", "NaN", "0x1p2", "1_0.5", "e", "--1", "infinity", strings.Repeat("1", 500)} {
		if f, ok := parseFloat([]byte(text)); ok {
			t.Errorf("%q: got %v", text, f)
		}
	}
}
