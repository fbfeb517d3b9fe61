package rows

import (
	"fmt"
	"regexp"
	"strings"
)

// A Selection picks tables by name. Patterns have psql's form: «users», «public.users», «public.*»,
// «log_*», «"Odd Name"»; * stands for any run of characters, ? for one; without a schema any schema fits.
// Letters outside of double quotes are folded to lower case. The zero value picks every table.
type Selection struct {
	Include []string `json:"include,omitempty"` // empty: all
	Exclude []string `json:"exclude,omitempty"` // wins over Include
}

// Empty reports whether the selection picks every table.
func (s Selection) Empty() bool { return len(s.Include) == 0 && len(s.Exclude) == 0 }

// Matcher compiles the selection.
func (s Selection) Matcher() (*Matcher, error) {
	m := &Matcher{}
	for _, list := range []struct {
		patterns []string
		dst      *[]tablePattern
	}{{s.Include, &m.include}, {s.Exclude, &m.exclude}} {
		for _, text := range list.patterns {
			p, err := parsePattern(text)
			if err != nil {
				return nil, fmt.Errorf("table pattern %q: %w", text, err)
			}
			*list.dst = append(*list.dst, p)
		}
	}
	return m, nil
}

// A Matcher is a compiled Selection. It remembers which patterns ever fitted a table.
// Not safe for concurrent use.
type Matcher struct{ include, exclude []tablePattern }

type tablePattern struct {
	text         string
	schema, name *regexp.Regexp // schema is nil for any
	used         bool
}

func (p *tablePattern) match(schema, name string) bool {
	ok := (p.schema == nil || p.schema.MatchString(schema)) && p.name.MatchString(name)
	p.used = p.used || ok
	return ok
}

// Match reports whether the table is picked.
func (m *Matcher) Match(schema, name string) bool {
	in, out := len(m.include) == 0, false
	for i := range m.include { // every pattern is tried, for Unused
		in = m.include[i].match(schema, name) || in
	}
	for i := range m.exclude {
		out = m.exclude[i].match(schema, name) || out
	}
	return in && !out
}

// Unused returns the patterns that fitted no table so far: most likely typing errors.
func (m *Matcher) Unused() []string {
	var unused []string
	for _, list := range [][]tablePattern{m.include, m.exclude} {
		for _, p := range list {
			if !p.used {
				unused = append(unused, p.text)
			}
		}
	}
	return unused
}

func parsePattern(text string) (tablePattern, error) {
	var parts []string // regular expressions
	var cur strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"' && quoted && i+1 < len(text) && text[i+1] == '"':
			cur.WriteString(`"`)
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
			cur.WriteString(regexp.QuoteMeta(text[i : i+1]))
		case c == '*':
			cur.WriteString(".*")
		case c == '?':
			cur.WriteString(".")
		case c == '.':
			parts = append(parts, cur.String())
			cur.Reset()
		case c >= 'A' && c <= 'Z':
			cur.WriteByte(c + 'a' - 'A')
		case c < 0x80:
			cur.WriteString(regexp.QuoteMeta(text[i : i+1]))
		default:
			cur.WriteByte(c)
		}
	}
	parts = append(parts, cur.String())
	switch {
	case quoted:
		return tablePattern{}, fmt.Errorf("a double quote is not closed")
	case len(parts) > 2:
		return tablePattern{}, fmt.Errorf("more than schema and table")
	}
	p := tablePattern{text: text}
	for i, part := range parts {
		if part == "" {
			return tablePattern{}, fmt.Errorf("a name is empty")
		}
		re, err := regexp.Compile("(?s)^(?:" + part + ")$")
		if err != nil {
			return tablePattern{}, err
		}
		if i == len(parts)-1 {
			p.name = re
		} else {
			p.schema = re
		}
	}
	return p, nil
}
