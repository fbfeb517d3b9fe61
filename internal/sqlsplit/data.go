package sqlsplit

import (
	"bytes"
	"io"
	"slices"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// Data is the rows behind a COPY … FROM stdin statement, up to the line «\.», which is the next piece. It ends with
// io.EOF only at that line. It may be read until the next call of the Reader's Next.
type Data struct {
	r     *Reader
	rows  int64
	first int  // line of the first row
	safe  int  // bytes ahead that are rows
	bol   bool // ahead is the beginning of a line
	err   error
}

// Data returns the rows of the Copy piece that Next returned last; nil behind another piece.
func (r *Reader) Data() *Data { return r.data }

// Rows returns how many lines were read so far.
func (d *Data) Rows() int64 { return d.rows }

// Line returns the line of the script where the first row is.
func (d *Data) Line() int { return d.first }

// beginCopy makes the piece of a COPY statement: rows begin on the next line.
func (r *Reader) beginCopy() (Piece, error) {
	semicolon := r.lex.pos - r.from
	if err := r.readLine(); err != nil {
		return Piece{}, err
	}
	if len(bytes.TrimSpace(r.lex.src[r.from+semicolon:r.lex.pos])) > 0 {
		return Piece{}, fail.New(fail.Unsupported, "", "text behind a COPY … FROM stdin on the same line")
	}
	if r.lex.pos >= len(r.lex.src) {
		return Piece{}, fail.New(fail.Damaged, hintCut, "the rows of a COPY are missing")
	}
	r.lex.pos++ // the line's end
	p, err := r.statement(Copy, r.lex.pos-r.from-semicolon+1)
	r.data = &Data{r: r, first: r.line, bol: true}
	return p, err
}

// Read implements io.Reader.
func (d *Data) Read(p []byte) (int, error) {
	if d.err == nil && d.safe == 0 {
		d.err = d.look()
	}
	if d.safe == 0 && d.err != nil {
		return 0, d.err
	}
	r := d.r
	n := copy(p[:min(len(p), d.safe)], r.lex.src[r.from:])
	if n == 0 {
		return 0, nil
	}
	lines := bytes.Count(p[:n], []byte{'\n'})
	d.rows += int64(lines)
	r.line += lines
	d.bol = p[n-1] == '\n'
	d.safe -= n
	r.from += n
	r.lex.pos = r.from
	return n, nil
}

// look finds out how much of what lies ahead is rows.
func (d *Data) look() error {
	r := d.r
	// The mark at the end has up to four bytes.
	if err := r.ensure(4); err != nil {
		return err
	}
	ahead := r.lex.src[r.from:]
	if len(ahead) == 0 {
		return fail.New(fail.Damaged, hintCut, `line %d: the rows of a COPY have no end (\.)`, r.line)
	}
	if d.bol {
		for _, mark := range []string{"\\.\n", "\\.\r\n"} {
			if bytes.HasPrefix(ahead, []byte(mark)) || r.lex.final && string(ahead) == mark[:len(mark)-1] {
				r.ahead = append(r.ahead, Piece{Kind: Meta, Text: string(ahead[:min(len(mark), len(ahead))])})
				r.from += len(r.ahead[0].Text)
				r.lex.pos = r.from
				return io.EOF
			}
		}
	}
	if n := bytes.Index(ahead, []byte("\n\\.")); n >= 0 {
		d.safe = n + 1
		return nil
	}
	d.safe = len(ahead)
	if bytes.HasSuffix(ahead, []byte("\n\\")) {
		d.safe--
	}
	return nil
}

// Split cuts a script in memory into pieces. It takes no rows: those of a COPY are fail.Unsupported.
func Split(d Dialect, src string) ([]Piece, error) {
	var pieces []Piece
	for r := NewReader(bytes.NewReader([]byte(src)), d); ; {
		p, err := r.Next()
		switch {
		case err == io.EOF:
			return slices.Clip(pieces), nil
		case err != nil:
			return nil, err
		case p.Kind == Copy:
			return nil, fail.New(fail.Unsupported, "", "line %d: rows among definitions", p.Line)
		}
		pieces = append(pieces, p)
	}
}
