package sqltext

import (
	"bytes"
	"io"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// Whole returns r with an error of kind Damaged in place of its end, when its beginning has the mark of a program that marks the end
// too, and that mark is missing: who commits at the end of such a file then does not. What is cut within a statement is for who reads statements.
// It is milder than Check: what somebody appended behind the mark is nothing missing.
func Whole(r io.Reader) io.Reader { return &wholeReader{r: r} }

type wholeReader struct {
	r      io.Reader
	size   int
	lines  int
	line   []byte // the beginning of the line that is being read
	engine string // of the writer; "" before its mark
	open   bool   // the mark at the end is to come
}

// mostMark is as much of a line as a mark needs.
const mostMark = 80

func (w *wholeReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	for b := p[:n]; len(b) > 0; {
		i := bytes.IndexByte(b, '\n')
		part := b
		if i >= 0 {
			part = b[:i]
		}
		w.line = append(w.line, part[:min(len(part), mostMark-len(w.line))]...)
		w.size += len(part) + 1
		if i < 0 {
			break
		}
		w.lines++
		w.mark()
		b = b[i+1:]
	}
	if err == io.EOF {
		if len(w.line) > 0 {
			w.lines++
		}
		if w.mark(); w.open {
			err = fail.New(fail.Damaged, "the file is incomplete: use another copy or another backup; one that was shortened on purpose loads without its first lines", "the end of the file is missing, it stops at line %d", w.lines)
		}
	}
	return n, err
}

// mark looks at the line and forgets it.
func (w *wholeReader) mark() {
	line := string(bytes.TrimSpace(w.line))
	w.line = w.line[:0]
	switch word := strings.ToLower(line); {
	case w.open && w.engine == "sqlite":
		w.open = !strings.HasPrefix(word, "commit") && !strings.HasSuffix(word, "commit;")
	case w.open:
		w.open = !marksEnd(line)
	case w.size > sniffBytes:
	case w.engine == "":
		w.engine = Engine(line)
		w.open = w.engine != "" && w.engine != "sqlite"
	case w.engine == "sqlite": // whose mark people write too: only a transaction that begins must end
		w.open = strings.HasPrefix(word, "begin")
	}
}

// marksEnd reports whether a comment is the last one of pg_dump or mysqldump.
func marksEnd(remark string) bool {
	return remark == "-- "+postgresEnd || remark == "-- PostgreSQL database cluster dump complete" || strings.HasPrefix(remark, "-- Dump completed")
}
