// Package sqlsplit cuts SQL scripts into statements, for PostgreSQL, SQLite and MySQL: a [Reader] for scripts of any length,
// [Split] for those in memory, [Tokens] for one statement.
//
// Scripts are foreign text. Every byte of one belongs to some piece, nothing is looked at twice for long, and commands
// for the engine's own client (psql's backslashes, sqlite3's dots) are never carried out: see [Reader.Next].
package sqlsplit

import (
	"bytes"
	"strings"
)

// A Dialect says whose SQL it is.
type Dialect uint8

// The dialects. PostgreSQL's standard_conforming_strings is on, as pg_dump sets it; MySQL's SQL mode is the default one, until
// [Reader.SetMode] says otherwise.
const (
	PostgreSQL Dialect = iota
	SQLite
	MySQL
)

// TokenKind says what a token of SQL is.
type TokenKind uint8

// The kinds of tokens.
const (
	Space   TokenKind = iota // blanks and line ends
	Comment                  // -- to the end of the line, or /* … */
	Ident                    // a name or key word
	Quoted                   // "a name"; `a name` and [a name] where the dialect has them
	String                   // 'text', E'text', $tag$text$tag$; X'00' is a name and a string
	Number                   // 1, 1.5e3, $1
	Punct                    // any other single character, and MySQL's /*!12345 and its */
)

// A Token is one lexical unit of SQL; Text is its source, as written.
type Token struct {
	Kind TokenKind
	Text string
}

// Name returns the identifier a token stands for, as PostgreSQL reads it: folded to lower case, or unquoted. "" when it is none.
func (t Token) Name() string {
	switch t.Kind {
	case Ident:
		return lowerASCII(t.Text)
	case Quoted:
		return unquote(t.Text)
	}
	return ""
}

// Plain returns the identifier a token stands for, as it is written; "" when it is none. SQLite takes a 'string' for a name as well.
func (t Token) Plain() string {
	switch {
	case t.Kind == Ident:
		return t.Text
	case t.Kind == Quoted, t.Kind == String && t.Text[0] == '\'':
		return unquote(t.Text)
	}
	return ""
}

func unquote(text string) string {
	end := text[len(text)-1:]
	return strings.ReplaceAll(text[1:len(text)-1], end+end, end)
}

// Is reports whether t is the key word, given in lower case.
func (t Token) Is(word string) bool {
	return t.Kind == Ident && strings.EqualFold(t.Text, word)
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

// Tokens returns the tokens of a statement without blanks and comments. A statement that came
// from a Reader has no broken token; for another text the tokens before the break are returned.
func Tokens(d Dialect, text string) []Token {
	var list []Token
	EachToken(d, text, func(t Token) bool {
		list = append(list, t)
		return true
	})
	return list
}

// headBytes is how far Head looks.
const headBytes = 4 << 10

// Head returns the first n tokens of a statement, or fewer. It takes little time however long the statement is.
func Head(d Dialect, text string, n int) []Token {
	list := make([]Token, 0, n)
	EachToken(d, text[:min(len(text), headBytes)], func(t Token) bool {
		list = append(list, t)
		return len(list) < n
	})
	return list
}

// EachToken calls see with the tokens of a statement, without blanks and comments, until it returns false.
func EachToken(d Dialect, text string, see func(Token) bool) {
	for l := (lexer{src: []byte(text), dialect: d, final: true}); ; {
		start := l.pos
		kind, end := l.next()
		if end != whole {
			return
		}
		if kind != Space && kind != Comment && !see(Token{kind, text[start:l.pos]}) {
			return
		}
	}
}

// excerptBytes is how much of a statement a message shows, about.
const excerptBytes = 80

// Excerpt returns the beginning of a statement on one line, for messages: without the values in it.
func Excerpt(d Dialect, text string) string {
	var b strings.Builder
	last := ""
	for i, t := range Head(d, text, 24) {
		switch {
		case t.Text == ";":
			continue
		case t.Kind == String || t.Kind == Number:
			t.Text = "…"
		}
		if b.Len()+len(t.Text) > 2*excerptBytes || b.Len() > excerptBytes {
			b.WriteString("…")
			break
		}
		if i > 0 && t.Text != "." && t.Text != "," && t.Text != ")" && last != "." && last != "(" {
			b.WriteByte(' ')
		}
		b.WriteString(t.Text)
		if last = t.Text; t.Is("values") {
			b.WriteString(" …")
			break
		}
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(b.String(), "?"))
}

// ending says how a token ended.
type ending uint8

const (
	whole  ending = iota
	more          // src may be the beginning of more
	none          // there was none: the end of the script
	broken        // what was opened has no end
)

// lexer cuts SQL into tokens.
type lexer struct {
	src       []byte
	pos       int
	dialect   Dialect
	final     bool   // nothing follows src
	delimiter string // MySQL's, when it is not the semicolon
	inside    bool   // of MySQL's /*! … */
	plain     bool   // MySQL's NO_BACKSLASH_ESCAPES
	ansi      bool   // MySQL's ANSI_QUOTES
}

// next passes the next token. Unless it is whole, pos stays where it was.
func (l *lexer) next() (TokenKind, ending) {
	start := l.pos
	if start >= len(l.src) {
		if l.final {
			return 0, none
		}
		return 0, more
	}
	inside := l.inside
	kind, ok := l.token(l.src[start])
	if ok && (l.pos < len(l.src) || l.final) {
		return kind, whole
	}
	l.pos, l.inside = start, inside
	if !l.final { // it may go on
		return kind, more
	}
	return kind, broken
}

// token passes a token that begins with c, and reports whether it has an end.
func (l *lexer) token(c byte) (kind TokenKind, ok bool) {
	switch {
	case isBlank(c):
		for l.pos < len(l.src) && isBlank(l.src[l.pos]) {
			l.pos++
		}
		return Space, true
	case l.lineComment(c):
		if n := bytes.IndexAny(l.src[l.pos:], "\r\n"); n >= 0 {
			l.pos += n
		} else {
			l.pos = len(l.src)
		}
		return Comment, true
	case c == '/' && l.has("/*"):
		return l.blockComment()
	case l.inside && l.has("*/"):
		l.inside = false
		l.pos += 2
		return Punct, true
	case isIdentStart(c):
		return l.word()
	case c == '\'':
		return String, l.quoted('\'', l.dialect == MySQL && !l.plain)
	case c == '"' && l.dialect == MySQL && !l.ansi:
		return String, l.quoted('"', !l.plain)
	case c == '"', c == '`' && l.dialect != PostgreSQL:
		return Quoted, l.quoted(c, false)
	case c == '[' && l.dialect == SQLite:
		n := bytes.IndexByte(l.src[l.pos:], ']')
		l.pos += n + 1
		return Quoted, n >= 0
	case c == '$' && l.dialect == PostgreSQL:
		return l.dollar()
	case isDigit(c):
		for l.pos < len(l.src) && (isIdentStart(l.src[l.pos]) || isDigit(l.src[l.pos]) ||
			l.src[l.pos] == '.' && l.pos+1 < len(l.src) && isDigit(l.src[l.pos+1])) {
			l.pos++
		}
		return Number, true
	}
	l.pos++
	return Punct, true
}

func (l *lexer) has(prefix string) bool {
	return len(l.src)-l.pos >= len(prefix) && string(l.src[l.pos:l.pos+len(prefix)]) == prefix
}

// lineComment reports whether a comment to the end of the line begins with c. MySQL wants a blank behind the dashes.
func (l *lexer) lineComment(c byte) bool {
	switch {
	case c == '#':
		return l.dialect == MySQL
	case c != '-' || !l.has("--"):
		return false
	case l.dialect == MySQL:
		return l.pos+2 >= len(l.src) || l.src[l.pos+2] <= ' '
	}
	return true
}

// blockComment passes /* … */: PostgreSQL's nest, SQLite's need no end, and MySQL's with an exclamation mark are code.
func (l *lexer) blockComment() (TokenKind, bool) {
	if l.dialect == PostgreSQL {
		return Comment, l.nestedComment()
	}
	if l.dialect == MySQL && !l.has("/*M!999999") { // MariaDB's own, which no server runs
		n := 2
		if l.has("/*M!") {
			n = 3
		}
		if l.pos+n < len(l.src) && l.src[l.pos+n] == '!' {
			for l.pos += n + 1; l.pos < len(l.src) && isDigit(l.src[l.pos]); {
				l.pos++
			}
			l.inside = true
			return Punct, true
		}
	}
	n := bytes.Index(l.src[l.pos+2:], []byte("*/"))
	if n < 0 {
		l.pos = len(l.src)
		return Comment, l.dialect == SQLite
	}
	l.pos += n + 4
	return Comment, true
}

func (l *lexer) nestedComment() bool {
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

// quoted passes a quoted run in which the quote itself is doubled, and perhaps others have a backslash in front.
func (l *lexer) quoted(quote byte, backslash bool) bool {
	l.pos++
	for {
		if backslash {
			for l.pos < len(l.src) && l.src[l.pos] != quote {
				if l.src[l.pos] == '\\' {
					l.pos++
				}
				l.pos++
			}
		} else if n := bytes.IndexByte(l.src[l.pos:], quote); n >= 0 {
			l.pos += n
		} else {
			return false
		}
		if l.pos >= len(l.src) {
			return false
		}
		l.pos++
		if l.pos >= len(l.src) || l.src[l.pos] != quote {
			return true
		}
		l.pos++
	}
}

// word passes an identifier, or the string that begins with one: E'…'.
func (l *lexer) word() (TokenKind, bool) {
	start := l.pos
	for l.pos < len(l.src) && isIdentPart(l.src[l.pos]) && (l.delimiter == "" || l.pos == start || !l.has(l.delimiter)) {
		l.pos++
	}
	if l.dialect != PostgreSQL || l.pos-start != 1 || l.pos >= len(l.src) || l.src[l.pos] != '\'' {
		return Ident, true
	}
	if c := l.src[start]; c != 'e' && c != 'E' {
		return Ident, true
	}
	return String, l.escaped()
}

// escaped passes a string with backslash escapes and the pieces that continue it on the
// following lines, which have escapes too.
func (l *lexer) escaped() bool {
	for {
		if !l.quoted('\'', true) {
			return false
		}
		blank := l.pos
		for blank < len(l.src) && isBlank(l.src[blank]) {
			blank++
		}
		if blank >= len(l.src) && !l.final {
			return false // it may be continued
		}
		if blank >= len(l.src) || l.src[blank] != '\'' || !bytes.ContainsAny(l.src[l.pos:blank], "\r\n") {
			return true
		}
		l.pos = blank
	}
}

// dollar passes $tag$…$tag$, a parameter, or a lone dollar sign.
func (l *lexer) dollar() (TokenKind, bool) {
	end := l.pos + 1
	if end < len(l.src) && isDigit(l.src[end]) {
		for end < len(l.src) && isDigit(l.src[end]) {
			end++
		}
		l.pos = end
		return Number, true
	}
	for end < len(l.src) && isIdentPart(l.src[end]) && l.src[end] != '$' {
		end++
	}
	if end >= len(l.src) && !l.final {
		return String, false // a tag may come
	}
	if end >= len(l.src) || l.src[end] != '$' {
		l.pos++
		return Punct, true
	}
	tag := l.src[l.pos : end+1]
	n := bytes.Index(l.src[end+1:], tag)
	if n < 0 {
		return String, false
	}
	l.pos = end + 1 + n + len(tag)
	return String, true
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isIdentStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
func isIdentPart(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }
