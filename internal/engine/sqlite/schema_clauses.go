package sqlite

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// clauses are what only the text of a CREATE TABLE tells, and no pragma.
type clauses struct {
	json       map[string]bool // columns, in lower case, with a CHECK that has JSON_VALID of them
	collations []rows.Pair     // columns that are not compared by their bytes
	references []keyText       // of foreign keys, in the order of the text
}

type keyText struct {
	name       string // of the constraint; may be ""
	deferrable bool
}

// token is a word, a quoted name, a string or a single other character of SQL.
type token struct {
	kind byte // 'w' word, 'q' quoted name, 's' string, or the character itself
	text string
}

// is reports whether the token is the keyword, which is given in upper case.
func (t token) is(keyword string) bool { return t.kind == 'w' && strings.EqualFold(t.text, keyword) }

// name reports whether the token can be the name of something.
func (t token) name() bool { return t.kind == 'w' || t.kind == 'q' }

// next cuts the first token off s. The kind is 0 at the end.
func nextToken(s string) (t token, rest string) {
	for s != "" {
		switch c := s[0]; {
		case strings.IndexByte(" \t\r\n\f", c) >= 0:
			s = s[1:]
		case strings.HasPrefix(s, "--"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "/*"):
			_, s, _ = strings.Cut(s[2:], "*/")
		case c == '\'' || c == '"' || c == '`':
			text, rest := unquote(s, c)
			if c == '\'' {
				return token{'s', text}, rest
			}
			return token{'q', text}, rest
		case c == '[':
			text, rest, _ := strings.Cut(s[1:], "]")
			return token{'q', text}, rest
		case isWord(c):
			n := 1
			for n < len(s) && isWord(s[n]) {
				n++
			}
			return token{'w', s[:n]}, s[n:]
		default:
			return token{c, s[:1]}, s[1:]
		}
	}
	return token{}, ""
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// unquote returns what stands between the quotes that s begins with, each doubled one made single.
func unquote(s string, q byte) (text, rest string) {
	for i := 1; i < len(s); i++ {
		if s[i] != q {
			continue
		}
		if i+1 < len(s) && s[i+1] == q {
			i++
			continue
		}
		return strings.ReplaceAll(s[1:i], string([]byte{q, q}), string(q)), s[i+1:]
	}
	return s[1:], ""
}

// tokens returns all tokens of s.
func tokens(s string) (all []token) {
	for {
		var t token
		if t, s = nextToken(s); t.kind == 0 {
			return all
		}
		all = append(all, t)
	}
}

// parseClauses reads a CREATE TABLE that SQLite accepted. REFERENCES and CHECK are reserved words, so that each
// of them begins what it says.
func parseClauses(sql string) clauses {
	c := clauses{json: make(map[string]bool)}
	all := append(tokens(sql), token{}, token{}, token{}, token{})
	depth, checked, name, column := 0, false, "", ""
	for i, t := range all[:len(all)-4] {
		switch {
		case t.kind == '(':
			if depth++; depth == 1 {
				column = all[i+1].text
			}
		case t.kind == ')':
			depth--
		case t.kind == ',' && depth == 1:
			checked, name, column = false, "", all[i+1].text
		case t.is("CONSTRAINT"):
			name = ""
			if all[i+1].name() && (all[i+2].is("FOREIGN") || all[i+2].is("REFERENCES")) {
				name = all[i+1].text
			}
		case t.is("COLLATE") && depth == 1 && !all[i+1].is("BINARY"):
			c.collations = append(c.collations, rows.Pair{Name: "collation", Value: column + " (" + all[i+1].text + ")"})
		case t.is("CHECK"):
			checked = true
		case t.is("JSON_VALID") && checked && all[i+1].kind == '(' && all[i+2].name() && all[i+3].kind == ')':
			c.json[strings.ToLower(all[i+2].text)] = true
		case t.is("REFERENCES"):
			c.references = append(c.references, keyText{name: name})
		case t.is("DEFERRABLE") && len(c.references) > 0 && !all[i-1].is("NOT"):
			c.references[len(c.references)-1].deferrable = true
		}
	}
	return c
}

// sizes are the numbers in brackets behind a declared type.
var sizes = regexp.MustCompile(`\(\s*(\d{1,9})\s*(?:,\s*(\d{1,9})\s*)?\)\s*$`)

// declaredSize returns those of native, 0 where there are none.
func declaredSize(native string) (size, scale int) {
	if m := sizes.FindStringSubmatch(native); m != nil {
		size, _ = strconv.Atoi(m[1])
		scale, _ = strconv.Atoi(m[2])
	}
	return size, scale
}

// constant returns the value of a DEFAULT as a column with the affinity stores it; nil when it is NULL or no constant.
func constant(expr string, affinity byte) *string {
	all := tokens(expr)
	sign := ""
	if len(all) > 0 && (all[0].kind == '-' || all[0].kind == '+') {
		sign, all = strings.TrimPrefix(all[0].text, "+"), all[1:]
	}
	text := ""
	switch {
	case len(all) == 1 && sign == "" && (all[0].kind == 's' || all[0].kind == 'q'):
		text = all[0].text
		if affinity == 't' || affinity == 'b' {
			return &text
		}
	case len(all) == 1 && sign == "" && (all[0].is("TRUE") || all[0].is("FALSE")):
		if text = "0"; all[0].is("TRUE") {
			text = "1"
		}
		return &text
	case len(all) == 2 && sign == "" && all[0].is("X") && all[1].kind == 's':
		text = `\x` + strings.ToLower(all[1].text)
		return &text
	case len(all) > 0 && (all[0].kind == '.' || all[0].kind == 'w' && all[0].text[0] <= '9'):
		text = sign + strings.TrimPrefix(strings.TrimSpace(expr), "-")
		text = strings.TrimSpace(strings.TrimPrefix(text, "+"))
		if _, _, err := number(text); err != nil {
			return nil
		}
	default:
		return nil
	}
	if i, f, err := number(strings.TrimSpace(text)); err == nil {
		switch {
		case f != nil && affinity == 't' && strings.ContainsAny(string(appendFloat(nil, *f, true)), "e"):
			return nil // how SQLite writes it is its own affair
		case f == nil && affinity != 'r':
			text = strconv.FormatInt(i, 10)
		case f == nil:
			text = string(appendFloat(nil, float64(i), true))
		case (affinity == 'i' || affinity == 'n') && *f == math.Trunc(*f) && math.Abs(*f) < 1<<53:
			text = strconv.FormatInt(int64(*f), 10)
		default:
			text = string(appendFloat(nil, *f, affinity == 'r'))
		}
	}
	return &text
}

// number reads an integer, or else a float.
func number(text string) (i int64, f *float64, err error) {
	if hex, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		u, err := strconv.ParseUint(hex, 16, 64)
		return int64(u), nil, err
	}
	if i, err = strconv.ParseInt(text, 10, 64); err == nil {
		return i, nil, nil
	}
	if strings.Trim(text, "0123456789+-.eE") != "" { // not what only Go reads: inf, 1_000, 0x1p2
		return 0, nil, strconv.ErrSyntax
	}
	v, err := strconv.ParseFloat(text, 64)
	return 0, &v, err
}

// action returns what a foreign key does, in the words of [rows.ForeignKey].
func action(sql string) string {
	if sql == "NO ACTION" {
		return ""
	}
	return strings.ToLower(sql)
}

// refine sets what the declared type of a column and the table's text say beyond its affinity.
func (c clauses) refine(col *rows.Column) {
	size, scale := declaredSize(col.Native)
	switch col.Type {
	case rows.Decimal:
		col.Size, col.Scale = size, scale
	case rows.Text:
		col.Size = size
		switch {
		case c.json[strings.ToLower(col.Name)]:
			col.Type, col.Size = rows.JSON, 0
		case strings.EqualFold(strings.TrimSpace(col.Native), "char(32)"): // as Django declares it; its texts are varchar
			col.Type, col.Size = rows.UUID, 0
		}
	}
	if !col.Generated {
		col.Literal = constant(col.Default, affinity(col.Native))
	}
}
