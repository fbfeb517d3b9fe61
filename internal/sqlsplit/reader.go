package sqlsplit

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// PieceKind says what a piece of a script is.
type PieceKind uint8

// The kinds of pieces.
const (
	Blank     PieceKind = iota // blanks between statements
	Remark                     // a comment between statements
	Meta                       // a command for the client that means nothing to the server: \restrict, \unrestrict, DELIMITER, and the \. behind rows
	Statement                  // from its first token to its semicolon
	Copy                       // a COPY … FROM stdin statement: [Reader.Data] is its rows
)

// A Piece is a part of a script. The texts of all pieces and the rows, one after the other, are the script.
type Piece struct {
	Kind PieceKind
	Text string
	Line int // of its first byte, from 1
	end  int // length of the delimiter
}

// SQL returns the text of a statement without its semicolon or other delimiter.
func (p Piece) SQL() string { return p.Text[:len(p.Text)-p.end] }

// DefaultMaxStatement is how long a statement may be, in bytes.
const DefaultMaxStatement = 256 << 20

// readSize is how much of a script is read at once.
const readSize = 256 << 10

// A Reader cuts a script of any length into pieces. It holds one statement in memory, at most twice.
type Reader struct {
	MaxStatement int // in bytes; DefaultMaxStatement unless set before the first Next

	r     io.Reader
	size  int // how much is read at once, at least
	lex   lexer
	from  int // where the piece begins in lex.src
	line  int // of that place
	begun bool
	err   error
	key   string // of \restrict, while it holds
	data  *Data  // of the last piece, while it may be read

	ahead []Piece // found already
}

// NewReader returns a Reader of the script r.
func NewReader(r io.Reader, d Dialect) *Reader {
	return &Reader{MaxStatement: DefaultMaxStatement, r: r, size: readSize, line: 1, lex: lexer{dialect: d}}
}

// Line returns the line where the next piece begins.
func (r *Reader) Line() int { return r.line }

// SetMode says under which of MySQL's SQL modes the script goes on.
func (r *Reader) SetMode(mode string) {
	mode = strings.ToUpper(mode)
	r.lex.plain = strings.Contains(mode, "NO_BACKSLASH_ESCAPES")
	r.lex.ansi = strings.Contains(mode, "ANSI") || strings.Contains(mode, "ORACLE") // the latter means the former as well
}

// Next returns the next piece, and io.EOF behind the last. Rows of a COPY that nobody read are skipped.
//
// \restrict and \unrestrict are understood as psql does: between them, no other client command can be smuggled in. Every
// other command of the client, such as \connect, \i or \!, is fail.Unsupported: a Reader never carries out anything. A
// script that ends within a statement, a string, a comment or rows is fail.Damaged.
func (r *Reader) Next() (Piece, error) {
	if r.err != nil {
		return Piece{}, r.err
	}
	p, err := r.next()
	if err != nil {
		if err != io.EOF {
			err = fail.Op(err, "line %d", r.line)
		}
		r.err = err
	}
	return p, err
}

func (r *Reader) next() (Piece, error) {
	if r.data != nil {
		if _, err := io.Copy(io.Discard, r.data); err != nil {
			return Piece{}, err
		}
		r.data = nil
	}
	if !r.begun {
		r.begun = true
		if err := r.start(); err != nil {
			return Piece{}, err
		}
	}
	if len(r.ahead) > 0 {
		p := r.ahead[0]
		r.ahead = r.ahead[1:]
		return r.count(p), nil
	}
	return r.piece()
}

// start looks at the first bytes.
func (r *Reader) start() error {
	if err := r.fill(); err != nil {
		return err
	}
	for _, f := range []struct{ magic, is string }{
		{"PGDMP", "an archive of pg_dump, for pg_restore"}, {"SQLite format 3\x00", "an SQLite database"},
		{"\x1f\x8b", "compressed with gzip"}, {"\x28\xb5\x2f\xfd", "compressed with zstd"}, {"\xfd7zXZ\x00", "compressed with xz"},
		{"\xff\xfe", "UTF-16 text"}, {"\xfe\xff", "UTF-16 text"},
	} {
		if bytes.HasPrefix(r.lex.src, []byte(f.magic)) {
			return fail.New(fail.Unsupported, "", "this is no plain SQL, but %s", f.is)
		}
	}
	if bytes.HasPrefix(r.lex.src, []byte("\xef\xbb\xbf")) {
		r.ahead = append(r.ahead, Piece{Kind: Blank, Text: "\xef\xbb\xbf", Line: 1})
		r.from, r.lex.pos = 3, 3
	}
	return nil
}

// fill reads more: at least as much again as there is, so that a long token is not looked at often.
func (r *Reader) fill() error {
	if r.from > 0 {
		n := copy(r.lex.src, r.lex.src[r.from:])
		r.lex.src, r.lex.pos, r.from = r.lex.src[:n], r.lex.pos-r.from, 0
	}
	n := len(r.lex.src)
	if n > r.MaxStatement {
		return fail.New(fail.Unsupported, "", "a statement is longer than %d bytes", r.MaxStatement)
	}
	want := n + max(r.size, n)
	if cap(r.lex.src) < want {
		r.lex.src = append(make([]byte, 0, want), r.lex.src...)
	}
	got, err := io.ReadFull(r.r, r.lex.src[n:want])
	r.lex.src = r.lex.src[:n+got]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.lex.final = true
		return nil
	}
	return err
}

// take makes the piece from r.from to the lexer's position, whose last end bytes are its delimiter.
func (r *Reader) take(kind PieceKind, end int) Piece {
	p := Piece{Kind: kind, Text: string(r.lex.src[r.from:r.lex.pos]), end: end}
	r.from = r.lex.pos
	return r.count(p)
}

func (r *Reader) count(p Piece) Piece {
	p.Line = r.line
	r.line += strings.Count(p.Text, "\n")
	return p
}

// ensure sees to it that n bytes lie ahead, unless the script ends before.
func (r *Reader) ensure(n int) error {
	for len(r.lex.src)-r.lex.pos < n && !r.lex.final {
		if err := r.fill(); err != nil {
			return err
		}
	}
	return nil
}

// piece passes one piece.
func (r *Reader) piece() (Piece, error) {
	if p, ok, err := r.meta(); ok || err != nil {
		return p, err
	}
	f := finder{dialect: r.lex.dialect}
	for first := true; ; first = false {
		if d := r.lex.delimiter; d != "" {
			if err := r.ensure(len(d)); err != nil {
				return Piece{}, err
			}
			if r.lex.has(d) {
				r.lex.pos += len(d)
				return r.statement(Statement, len(d))
			}
		}
		kind, text, err := r.token(first)
		switch {
		case err != nil:
			return Piece{}, err
		case first && kind == Space:
			return r.take(Blank, 0), nil
		case first && kind == Comment:
			return r.take(Remark, 0), nil
		case kind == Punct && text[0] == '\\' && r.lex.dialect != SQLite:
			return Piece{}, fail.New(fail.Unsupported, hintClient, "a client command (backslash) within a statement")
		case r.lex.delimiter != "" || !f.sees(kind, text):
		case f.copy:
			return r.beginCopy()
		default:
			return r.statement(Statement, 1)
		}
	}
}

// token passes one token, reading more where it must.
func (r *Reader) token(first bool) (TokenKind, []byte, error) {
	off := r.lex.pos - r.from
	for {
		kind, end := r.lex.next()
		switch end {
		case whole:
			return kind, r.lex.src[r.from+off : r.lex.pos], nil
		case more:
			if err := r.fill(); err != nil {
				return 0, nil, err
			}
			continue
		case none:
			if first {
				return 0, nil, io.EOF
			}
			return 0, nil, fail.New(fail.Damaged, hintCut, "the last statement has no semicolon")
		}
		what := map[TokenKind]string{Comment: "comment", Quoted: "quoted name", String: "string"}[kind]
		r.line += bytes.Count(r.lex.src[r.from:r.from+off], []byte{'\n'})
		return 0, nil, fail.New(fail.Damaged, hintCut, "a %s that begins here has no end", what)
	}
}

func (r *Reader) statement(kind PieceKind, end int) (Piece, error) {
	if bytes.IndexByte(r.lex.src[r.from:r.lex.pos], 0) >= 0 {
		return Piece{}, fail.New(fail.Damaged, "", "a statement has a zero byte")
	}
	return r.take(kind, end), nil
}

const (
	hintCut    = "the file seems to be cut off: write or fetch it again"
	hintClient = "only the engine's own client carries out its commands: take the line out, or use the client if you trust the file"
)

// readLine passes the rest of the line, without its end.
func (r *Reader) readLine() error {
	for seen := 0; ; {
		rest := r.lex.src[r.lex.pos:]
		if n := bytes.IndexByte(rest[seen:], '\n'); n >= 0 {
			r.lex.pos += seen + n
			return nil
		}
		if r.lex.final {
			r.lex.pos = len(r.lex.src)
			return nil
		}
		seen = len(rest)
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// meta passes a command of the client, if there is one.
func (r *Reader) meta() (p Piece, ok bool, err error) {
	const delimiter = "delimiter "
	if err := r.ensure(len(delimiter)); err != nil || r.lex.pos >= len(r.lex.src) {
		return p, false, err
	}
	d, c := r.lex.dialect, r.lex.src[r.lex.pos]
	ahead := r.lex.src[r.lex.pos:min(len(r.lex.src), r.lex.pos+len(delimiter))]
	sets := d == MySQL && bytes.EqualFold(ahead, []byte(delimiter))
	if !sets && (c != '\\' || d == SQLite) && (c != '.' || d != SQLite) {
		return p, false, nil
	}
	if err := r.readLine(); err != nil {
		return p, false, err
	}
	line := strings.TrimRight(string(r.lex.src[r.from:r.lex.pos]), " \t\r")
	switch {
	case sets:
		if err := r.delimit(line[len(delimiter)-1:]); err != nil {
			return p, false, err
		}
	default:
		if err := r.restrict(line); err != nil {
			return p, false, err
		}
	}
	return r.take(Meta, 0), true, nil
}

func (r *Reader) delimit(text string) error {
	switch text = strings.TrimSpace(text); {
	case text == "" || len(text) > 16 || strings.ContainsAny(text, "\\'\"` "):
		return fail.New(fail.Unsupported, "", "DELIMITER %.20q", text)
	case text == ";":
		text = ""
	}
	r.lex.delimiter = text
	return nil
}

// restrict takes \restrict KEY and \unrestrict KEY, with which pg_dump makes psql refuse commands that an object's name or a row
// has smuggled in, and refuses all else.
func (r *Reader) restrict(line string) error {
	words := strings.Fields(line)
	if r.lex.dialect == PostgreSQL && len(words) == 2 {
		switch {
		case words[0] == `\restrict` && r.key == "":
			r.key = words[1]
			return nil
		case words[0] == `\unrestrict` && r.key == words[1]:
			r.key = ""
			return nil
		case words[0] == `\unrestrict`, words[0] == `\restrict`:
			return fail.New(fail.Unsupported, "the file was put together from several, or altered", "%s does not fit the key before it", words[0])
		}
	}
	hint := hintClient
	if words[0] == `\connect` || words[0] == `\c` {
		hint = "dump without --create and one database at a time, and name the database to load into"
	}
	return fail.New(fail.Unsupported, hint, "client command %.20q", words[0])
}
