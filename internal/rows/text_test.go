package rows

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestRowTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type value struct {
			text []byte
			null bool
		}
		n := rapid.IntRange(1, 6).Draw(t, "columns")
		var want []value
		var line []byte
		for i := range n {
			v := value{text: rapid.SliceOf(rapid.SampledFrom([]byte("a\\N\t\n\r\b\f\v.x0\xc3\xa9"))).Draw(t, "text"), null: rapid.Bool().Draw(t, "null")}
			if i > 0 {
				line = append(line, '\t')
			}
			if v.null {
				line = append(line, Null...)
			} else {
				line = AppendText(line, v.text)
			}
			want = append(want, v)
		}
		if bytes.ContainsAny(line, "\n\r") {
			t.Fatalf("row text %q holds a line end", line)
		}
		got, err := ParseRow(nil, line, n)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range want {
			if got[i].IsNull != v.null || !v.null && !bytes.Equal(got[i].Text, v.text) {
				t.Fatalf("column %d: got %+v, want %+v", i, got[i], v)
			}
		}
	})
}

func TestParseRow(t *testing.T) {
	for _, tt := range []struct {
		line    string
		columns int
		ok      bool
	}{
		{"", 0, true}, {"", 1, true}, {"a", 0, false}, {"a\tb", 1, false}, {"a", 2, false}, {`a\`, 1, false}, {`\q`, 1, false}, {`\N`, 1, true}, {`x\N`, 1, false},
	} {
		if _, err := ParseRow(nil, []byte(tt.line), tt.columns); (err == nil) != tt.ok {
			t.Errorf("%q with %d columns: %v", tt.line, tt.columns, err)
		}
	}
	if got := string(AppendBytes(nil, []byte{0, 0xff})); got != `\\x00ff` {
		t.Errorf("bytes: %s", got)
	}
}

func FuzzParseRow(f *testing.F) {
	f.Add([]byte(`a\tb`), 2)
	f.Fuzz(func(_ *testing.T, line []byte, columns int) {
		_, _ = ParseRow(nil, line, columns) // must not panic
	})
}

func TestSelection(t *testing.T) {
	for _, tt := range []struct {
		name             string
		include, exclude []string
		in, out          []string // schema.name, split at the first dot
	}{
		{"zero value picks all", nil, nil, []string{"public.a", "x.y"}, nil},
		{"bare name in any schema", []string{"users"}, nil, []string{"public.users", "app.users"}, []string{"public.users2", "users.x"}},
		{"schema and star", []string{"app.*"}, nil, []string{"app.a", "app.b"}, []string{"public.a"}},
		{"exclude wins", []string{"public.*"}, []string{"*.log_?"}, []string{"public.logs"}, []string{"public.log_1"}},
		{"folding and quotes", []string{"Public.Users", `"Odd.Name"`, `"a""b"`}, nil, []string{"public.users", "s.Odd.Name", `s.a"b`}, []string{"public.Users"}},
		{"dots and stars are plain in quotes", []string{`"a*"`}, nil, []string{"s.a*"}, []string{"s.ab"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Selection{tt.include, tt.exclude}.Matcher()
			if err != nil {
				t.Fatal(err)
			}
			for want, list := range map[bool][]string{true: tt.in, false: tt.out} {
				for _, full := range list {
					schema, name, _ := bytes.Cut([]byte(full), []byte("."))
					if got := m.Match(string(schema), string(name)); got != want {
						t.Errorf("%s: got %v, want %v", full, got, want)
					}
				}
			}
		})
	}
	for _, bad := range []string{`"a`, "a.b.c", "", "a."} {
		if _, err := (Selection{Include: []string{bad}}).Matcher(); err == nil {
			t.Errorf("pattern %q accepted", bad)
		}
	}
	m, err := Selection{Include: []string{"a", "b"}}.Matcher()
	if err != nil {
		t.Fatal(err)
	}
	m.Match("public", "a")
	if got := m.Unused(); len(got) != 1 || got[0] != "b" {
		t.Errorf("unused: got %v, want [b]", got)
	}
}

func TestTableString(t *testing.T) {
	for _, tt := range []struct{ schema, name, want string }{
		{"public", "users", "public.users"}, {"", "t1", "t1"}, {"public", "User", `public."User"`}, {"a b", `c"d`, `"a b"."c""d"`}, {"s", "1a", `s."1a"`},
	} {
		if got := (&Table{Schema: tt.schema, Name: tt.name}).String(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
