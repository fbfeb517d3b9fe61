package postgres

import (
	"io"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// scales returns a reader of a table's row text that fails where a decimal has more digits behind the point than its column,
// which the server would round without a word. Most tables need none.
func scales(t *rows.Table, r io.Reader) io.Reader {
	s := &scaleReader{r: r, most: map[int]int{}}
	for i, c := range t.Columns {
		s.names = append(s.names, c.Name)
		if c.Type == rows.Decimal && foreignType(c) != "numeric" {
			s.most[i] = c.Scale
		}
	}
	if len(s.most) == 0 {
		return r
	}
	s.next()
	return s
}

type scaleReader struct {
	r      io.Reader
	names  []string
	most   map[int]int // digits that are kept, by column
	row    int64
	column int
	limit  int // of the column; -1 when it has none
	point  bool
	digits int // behind the point
}

func (s *scaleReader) next() {
	s.limit, s.point, s.digits = -1, false, 0
	if most, ok := s.most[s.column]; ok {
		s.limit = most
	}
}

func (s *scaleReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	for _, c := range p[:n] {
		switch {
		case c == '\t':
			s.column++
			s.next()
		case c == '\n':
			s.row++
			s.column = 0
			s.next()
		case s.limit < 0:
		case c == '.':
			s.point = true
		case s.point && c >= '0' && c <= '9':
			if s.digits++; c != '0' && s.digits > s.limit {
				return n, s.excess()
			}
		case c == 'e' || c == 'E':
			s.point = false
		case c == '-' && s.digits > 0: // a negative exponent
			return n, s.excess()
		}
	}
	return n, err
}

func (s *scaleReader) excess() error {
	return fail.New(fail.Incomplete, "round it in the source, or make the target's table yourself and restore with --data-only",
		"row %d, column %s: the value has more than %d digits behind the point", s.row+1, s.names[s.column], s.limit)
}
