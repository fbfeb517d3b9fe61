package postgres

import (
	"fmt"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// maxScript limits how much of a definitions file is taken into memory, in bytes.
const maxScript = 1 << 30

// tokenKind says what a token of SQL is.
type tokenKind uint8

const (
	tokEnd     tokenKind = iota
	tokSpace             // blanks and line ends
	tokComment           // -- to the end of the line, or /* nested */
	tokIdent             // a name or key word
	tokQuoted            // "a name"
	tokString            // 'text', E'text', $tag$text$tag$
	tokNumber            // 1, 1.5e3, $1
	tokPunct             // any other single character
)

// token is one lexical unit of SQL; text is its source, as written.
type token struct {
	kind tokenKind
	text string
}

// name returns the identifier a token stands for: folded to lower case, or unquoted. "" when
// it is none.
func (t token) name() string {
	switch t.kind {
	case tokIdent:
		return lowerASCII(t.text)
	case tokQuoted:
		return strings.ReplaceAll(t.text[1:len(t.text)-1], `""`, `"`)
	}
	return ""
}

// is reports whether t is the key word, given in lower case.
func (t token) is(word string) bool {
	return t.kind == tokIdent && strings.EqualFold(t.text, word)
}

// lowerASCII folds only what every server folds.
func lowerASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// lexer cuts SQL into tokens. standard_conforming_strings is on, as pg_dump sets it. The
// text is foreign: every byte belongs to some token, and nothing is looked at twice for long.
type lexer struct {
	src string
	pos int
}

// next returns the next token, or an error when something that was opened has no end.
func (l *lexer) next() (token, error) {
	start := l.pos
	if start >= len(l.src) {
		return token{}, nil
	}
	kind, ok := tokPunct, true
	switch c := l.src[start]; {
	case isBlank(c):
		kind = tokSpace
		for l.pos < len(l.src) && isBlank(l.src[l.pos]) {
			l.pos++
		}
	case l.has("--"):
		kind = tokComment
		if n := strings.IndexAny(l.src[start:], "\r\n"); n >= 0 {
			l.pos += n
		} else {
			l.pos = len(l.src)
		}
	case l.has("/*"):
		kind, ok = tokComment, l.skipBlockComment()
	case isIdentStart(c):
		kind, ok = l.word()
	case c == '"':
		kind, ok = tokQuoted, l.skipQuoted('"')
	case c == '\'':
		kind, ok = tokString, l.skipQuoted('\'')
	case c == '$':
		kind, ok = l.dollar()
	case isDigit(c):
		kind = tokNumber
		for l.pos < len(l.src) && (isIdentStart(l.src[l.pos]) || isDigit(l.src[l.pos])) {
			l.pos++
		}
	default:
		l.pos++
	}
	if !ok {
		return token{}, fail.New(fail.Damaged, "", "%.40q has no end", l.src[start:])
	}
	return token{kind, l.src[start:l.pos]}, nil
}

func (l *lexer) has(prefix string) bool { return strings.HasPrefix(l.src[l.pos:], prefix) }

func (l *lexer) skipBlockComment() bool {
	depth := 0
	for l.pos < len(l.src) {
		switch {
		case l.has("/*"):
			depth++
			l.pos += 2
		case l.has("*/"):
			depth--
			l.pos += 2
			if depth == 0 {
				return true
			}
		default:
			l.pos++
		}
	}
	return false
}

// skipQuoted passes a quoted run in which the quote itself is doubled.
func (l *lexer) skipQuoted(quote byte) bool {
	l.pos++
	for {
		n := strings.IndexByte(l.src[l.pos:], quote)
		if n < 0 {
			return false
		}
		l.pos += n + 1
		if l.pos >= len(l.src) || l.src[l.pos] != quote {
			return true
		}
		l.pos++
	}
}

// word passes an identifier, or the string that begins with one: E'…'.
func (l *lexer) word() (tokenKind, bool) {
	start := l.pos
	for l.pos < len(l.src) && isIdentPart(l.src[l.pos]) {
		l.pos++
	}
	if l.pos-start != 1 || l.pos >= len(l.src) || l.src[l.pos] != '\'' {
		return tokIdent, true
	}
	if c := l.src[start]; c != 'e' && c != 'E' {
		return tokIdent, true
	}
	return tokString, l.skipEscaped()
}

// skipEscaped passes a string with backslash escapes and the pieces that continue it on the
// following lines, which have escapes too.
func (l *lexer) skipEscaped() bool {
	for {
		l.pos++
		for closed := false; !closed; l.pos++ {
			if l.pos >= len(l.src) {
				return false
			}
			switch l.src[l.pos] {
			case '\\':
				l.pos++
			case '\'':
				if l.pos+1 < len(l.src) && l.src[l.pos+1] == '\'' {
					l.pos++
				} else {
					closed = true
				}
			}
		}
		blank := l.pos
		for blank < len(l.src) && isBlank(l.src[blank]) {
			blank++
		}
		if blank >= len(l.src) || l.src[blank] != '\'' || !strings.ContainsAny(l.src[l.pos:blank], "\r\n") {
			return true
		}
		l.pos = blank
	}
}

// dollar passes $tag$…$tag$, a parameter, or a lone dollar sign.
func (l *lexer) dollar() (tokenKind, bool) {
	end := l.pos + 1
	if end < len(l.src) && isDigit(l.src[end]) {
		for end < len(l.src) && isDigit(l.src[end]) {
			end++
		}
		l.pos = end
		return tokNumber, true
	}
	for end < len(l.src) && isIdentPart(l.src[end]) && l.src[end] != '$' {
		end++
	}
	if end >= len(l.src) || l.src[end] != '$' {
		l.pos++
		return tokPunct, true
	}
	tag := l.src[l.pos : end+1]
	n := strings.Index(l.src[end+1:], tag)
	if n < 0 {
		return tokString, false
	}
	l.pos = end + 1 + n + len(tag)
	return tokString, true
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isIdentStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
func isIdentPart(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }

// pieceKind says what a piece of a script is.
type pieceKind uint8

const (
	pieceBlank     pieceKind = iota // blanks between statements
	pieceComment                    // a comment between statements
	pieceMeta                       // a psql command: a line that begins with a backslash
	pieceStatement                  // from its first token to its semicolon
)

// piece is a part of a script. The texts of all pieces, one after the other, are the script.
type piece struct {
	kind pieceKind
	text string
	line int // of its first byte, from 1
}

// splitSQL cuts a script into pieces.
func splitSQL(src string) ([]piece, error) {
	var pieces []piece
	l := lexer{src: src}
	line := 1
	for l.pos < len(src) {
		start := l.pos
		kind, err := l.piece()
		if err != nil {
			return nil, fail.Op(err, "line %d", line)
		}
		text := src[start:l.pos]
		pieces = append(pieces, piece{kind, text, line})
		line += strings.Count(text, "\n")
	}
	return pieces, nil
}

// piece passes one piece.
func (l *lexer) piece() (pieceKind, error) {
	if l.src[l.pos] == '\\' {
		if n := strings.IndexByte(l.src[l.pos:], '\n'); n >= 0 {
			l.pos += n
		} else {
			l.pos = len(l.src)
		}
		return pieceMeta, nil
	}
	var end endFinder
	for first := true; ; first = false {
		t, err := l.next()
		switch {
		case err != nil:
			return 0, err
		case t.kind == tokEnd:
			return 0, fail.New(fail.Damaged, "", "the last statement has no semicolon")
		case first && t.kind == tokSpace:
			return pieceBlank, nil
		case first && t.kind == tokComment:
			return pieceComment, nil
		case end.sees(t):
			return pieceStatement, nil
		}
	}
}

// endFinder finds the semicolon that ends a statement: not within parentheses, nor within
// the BEGIN ATOMIC … END body of a routine.
type endFinder struct {
	words   [4]string // the first words, lower case
	n       int       // how many words there were
	parens  int
	body    int    // depth of BEGIN ATOMIC and CASE
	routine bool   // CREATE [OR REPLACE] FUNCTION or PROCEDURE
	last    string // the last word, when nothing but blanks followed it
}

// sees takes the next token and reports whether the statement ends with it.
func (e *endFinder) sees(t token) bool {
	switch t.kind {
	case tokSpace, tokComment:
		return false
	case tokIdent:
		e.word(t)
		return false
	case tokPunct:
		switch t.text {
		case "(":
			e.parens++
		case ")":
			e.parens = max(0, e.parens-1)
		case ";":
			return e.parens == 0 && e.body == 0
		}
	}
	e.last = ""
	return false
}

func (e *endFinder) word(t token) {
	w := lowerASCII(t.text)
	if e.n < len(e.words) {
		e.words[e.n] = w
		e.n++
		k := 1
		if e.words[1] == "or" && e.words[2] == "replace" {
			k = 3
		}
		e.routine = e.words[0] == "create" && (e.words[k] == "function" || e.words[k] == "procedure")
	}
	if e.routine && e.parens == 0 {
		switch {
		case w == "atomic" && e.last == "begin": // «begin» alone may be a name
			e.body++
		case w == "case" && e.body > 0:
			e.body++
		case w == "end" && e.body > 0:
			e.body--
		}
	}
	e.last = w
}

// heading is the header that pg_dump writes before the statements of one object.
type heading struct {
	Name, Type, Schema, Owner string
}

// String names the entry for messages: «TABLE public.users».
func (e *heading) String() string {
	switch {
	case e == nil:
		return "settings"
	case e.Schema == "":
		return e.Type + " " + e.Name
	}
	return e.Type + " " + e.Schema + "." + e.Name
}

// statement is one SQL statement of a script and the entry it belongs to, nil before the first.
type statement struct {
	*heading
	text string
	line int
}

// parseScript returns the statements of a script written by pg_dump. Of psql's commands it takes
// \restrict and \unrestrict, which mean nothing here; any other is refused.
func parseScript(file, src string) ([]statement, error) {
	pieces, err := splitSQL(src)
	if err != nil {
		return nil, fail.Wrap(fail.Damaged, err, "", "read %s", file)
	}
	var list []statement
	var current *heading
	for _, p := range pieces {
		switch p.kind {
		case pieceComment:
			if e, ok := parseHeader(p.text); ok {
				current = &e
			}
		case pieceStatement:
			if strings.IndexByte(p.text, 0) >= 0 {
				return nil, fail.New(fail.Damaged, "", "read %s: line %d: a statement has a zero byte", file, p.line)
			}
			if p.text != ";" {
				list = append(list, statement{current, p.text, p.line})
			}
		case pieceMeta:
			word, _, _ := strings.Cut(strings.TrimRight(p.text, "\r"), " ")
			if word != `\restrict` && word != `\unrestrict` {
				return nil, fail.New(fail.Unsupported, "", "read %s: line %d: psql command %.20q", file, p.line, word)
			}
		}
	}
	return list, nil
}

// parseHeader reads «-- Name: n; Type: t; Schema: s; Owner: o[; Tablespace: x]». A name may
// hold anything but a line end, so the fields are looked for from the right.
func parseHeader(comment string) (e heading, ok bool) {
	rest, ok := strings.CutPrefix(comment, "-- Name: ")
	if !ok {
		return e, false
	}
	for _, f := range []struct {
		mark string
		dst  *string
	}{{"; Owner: ", &e.Owner}, {"; Schema: ", &e.Schema}, {"; Type: ", &e.Type}} {
		i := strings.LastIndex(rest, f.mark)
		if i < 0 {
			return heading{}, false
		}
		*f.dst = rest[i+len(f.mark):]
		rest = rest[:i]
	}
	e.Name = rest
	e.Owner, _, _ = strings.Cut(e.Owner, "; Tablespace: ")
	for _, f := range []*string{&e.Schema, &e.Owner} {
		if *f == "-" {
			*f = ""
		}
	}
	return e, true
}

// tokens returns the tokens of a statement without blanks and comments. A statement that came
// from splitSQL has no broken token; for another text the tokens before the break are returned.
func tokens(text string) []token {
	var list []token
	for l := (lexer{src: text}); ; {
		t, err := l.next()
		if err != nil || t.kind == tokEnd {
			return list
		}
		if t.kind != tokSpace && t.kind != tokComment {
			list = append(list, t)
		}
	}
}

// qualified is a name with its schema.
type qualified struct{ schema, name string }

func (q qualified) String() string {
	return fmt.Sprintf("%s.%s", quoteIdent(q.schema), quoteIdent(q.name))
}

// qualifiedAt reads schema.name at tokens[i]; ok is false when there is none. A column or a
// type modifier may follow.
func qualifiedAt(list []token, i int) (q qualified, ok bool) {
	if i+2 >= len(list) || list[i+1].text != "." {
		return q, false
	}
	q = qualified{list[i].name(), list[i+2].name()}
	return q, q.schema != "" && q.name != ""
}
