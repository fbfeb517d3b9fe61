package mysql

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// loadPart sends one part to its table.
func (t *Target) loadPart(ctx context.Context, s *session, lt *loadTable, p rows.Part, r io.Reader) (rows.Count, error) {
	src := &counted{r: r}
	var stored int64
	var err error
	if t.local {
		stored, err = loadLocal(ctx, s, lt, src)
	} else {
		stored, err = insertRows(ctx, s, lt, src)
	}
	count, cerr := src.counter.Count()
	switch {
	case src.err != nil: // the reason, of which the server's error is the consequence
		return count, src.err
	case err != nil:
		return count, fail.Op(explainIn(ctx, err), "load part %d", p.Number)
	case cerr != nil:
		return count, fail.Wrap(fail.Damaged, cerr, "", "read row text of part %d", p.Number)
	}
	if err := warnings(ctx, s, lt); err != nil {
		return count, fail.Op(err, "load part %d", p.Number)
	}
	if stored != count.Rows {
		return count, fail.New(fail.Mismatch, "", "load part %d: %d rows were sent, the server stored %d", p.Number, count.Rows, stored)
	}
	return count, nil
}

// counted counts row text on its way and keeps the error of its source.
type counted struct {
	r       io.Reader
	counter rows.Counter
	err     error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	_, _ = c.counter.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	} else if err != nil {
		err = io.EOF
	}
	return n, err
}

// loadSQL is the LOAD DATA for a table's rows. The text is taken for bytes, so that those of blobs may be
// among it; text for a column in another character set than UTF-8 is converted from it.
func loadSQL(lt *loadTable, file string) string {
	var list, set []string
	sets := slices.ContainsFunc(lt.fields, func(f field) bool { return f.set != "" })
	for i, f := range lt.fields {
		if f.drop {
			list = append(list, "@holdfast0")
			continue
		}
		if f.counts && sets {
			f.set = "%s" // else the server takes a zero for no value, as soon as there is a SET
		}
		if f.set == "" {
			list = append(list, quoteIdent(f.column))
			continue
		}
		v := fmt.Sprintf("@holdfast%d", i+1)
		list = append(list, v)
		set = append(set, quoteIdent(f.column)+" = "+fmt.Sprintf(f.set, v))
	}
	sql := "LOAD DATA LOCAL INFILE " + quoteLiteral(file) + " INTO TABLE " + quoteIdent(lt.into) +
		` CHARACTER SET binary FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' (` + strings.Join(list, ", ") + ")"
	if len(set) > 0 {
		sql += " SET " + strings.Join(set, ", ")
	}
	return sql
}

func loadLocal(ctx context.Context, s *session, lt *loadTable, r io.Reader) (int64, error) {
	name := rand.Text()
	in := newLoader(r, lt.fields)
	mysql.RegisterReaderHandler(name, func() io.Reader { return in })
	defer mysql.DeregisterReaderHandler(name)
	n, err := s.affect(ctx, loadSQL(lt, "Reader::"+name))
	if in.err != nil && in.err != io.EOF {
		err = in.err // a value that can't be converted
	}
	return n, err
}

var columnOf = regexp.MustCompile(`for column (?:'|` + "`[^`]*`\\.`[^`]*`\\.`" + `)([^'` + "`" + `]*)['` + "`" + `] at row`)

// rowOf finds the row that a warning is about.
var rowOf = regexp.MustCompile(`at row (\d+)$`)

// deprecations are warnings that say nothing of rows: of syntax, and of MyISAM tables filled by a session that filled an InnoDB table.
var deprecations = []string{"1287", "1681", "6414"}

// warnings makes an error of what the server only warns of: with LOCAL, rows that don't fit are left out or changed. The
// empty value of an enum is the one change that the source had too.
func warnings(ctx context.Context, s *session, lt *loadTable) error {
	count, err := s.one(ctx, "SHOW COUNT(*) WARNINGS") // MySQL forgets them at a SELECT
	if err != nil {
		return explainIn(ctx, err)
	}
	if count[0].s == "0" {
		return nil
	}
	var first string
	err = s.each(ctx, "SHOW WARNINGS", func(row []cell) error {
		if row[0].s == "Note" || first != "" || slices.Contains(deprecations, row[1].s) {
			return nil
		}
		if m := columnOf.FindStringSubmatch(row[2].s); m != nil && row[1].s == "1265" {
			for _, f := range lt.fields {
				if f.enum && strings.EqualFold(f.column, m[1]) {
					return nil
				}
			}
		}
		first = row[2].s
		if row[1].s == "1301" {
			first += " (" + hintPacket + ")"
		}
		return nil
	})
	if err != nil {
		return explainIn(ctx, err)
	}
	if first == "" {
		return nil
	}
	err = fmt.Errorf("%s (%s warnings in all)", first, count[0].s)
	if m := rowOf.FindStringSubmatch(first); m != nil {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		err = &rows.RowError{Row: n, Err: err}
	}
	return &fail.Error{Kind: fail.Mismatch, Err: err}
}
