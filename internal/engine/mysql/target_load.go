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
	if err == nil {
		err = warnings(ctx, s, lt, 0, in.empty)
	}
	return n, err
}

var columnOf = regexp.MustCompile(`for column (?:'|` + "`[^`]*`\\.`[^`]*`\\.`" + `)([^'` + "`" + `]*)['` + "`" + `] at row`)

// rowOf finds the row that a warning is about.
var rowOf = regexp.MustCompile(`at row (\d+)$`)

// deprecations are warnings that say nothing of rows: of syntax, and of MyISAM tables filled by a session that filled an InnoDB table.
var deprecations = []string{"1287", "1681", "6414"}

// keepWarnings has a session that loads keep every warning that matters. MySQL lets not everybody: warnings makes up for it.
func (s *session) keepWarnings(ctx context.Context) {
	_ = s.exec(ctx, "SET SESSION sql_notes = 0")
	_ = s.exec(ctx, "SET SESSION max_error_count = 65535")
}

// warnings makes an error of what the server only warns of: with LOCAL, rows that don't fit are left out or changed. It warns of each empty value of
// an enum too, which the source had. The server may count more warnings than it keeps. Before the statement's first row were so many others.
func warnings(ctx context.Context, s *session, lt *loadTable, before, empty int64) error {
	row, err := s.one(ctx, "SHOW COUNT(*) WARNINGS") // MySQL forgets them at a SELECT
	if err != nil {
		return explainIn(ctx, err)
	}
	count, err := strconv.ParseInt(row[0].s, 10, 64)
	if count == empty && err == nil {
		return nil
	}
	var first string
	var listed, harmless int64
	err = s.each(ctx, "SHOW WARNINGS", func(row []cell) error {
		listed++
		switch {
		case row[0].s == "Note" || slices.Contains(deprecations, row[1].s):
			harmless++
		case first != "" || empty > 0 && row[1].s == "1265" && lt.isEnum(row[2].s):
		case row[1].s == "1301":
			first = row[2].s + " (" + hintPacket + ")"
		default:
			first = row[2].s
		}
		return nil
	})
	switch {
	case err != nil:
		return explainIn(ctx, err)
	case count == empty+harmless:
		return nil
	case first == "" && listed < count:
		return fail.New(fail.Mismatch, "raise max_error_count on the server", "%d warnings, of which the server shows only %d", count, listed)
	case first == "":
		return fail.New(fail.Mismatch, "", "%d warnings where %d values of enums are empty: others are not among the enum's", count, empty)
	}
	return &fail.Error{Kind: fail.Mismatch, Err: rowError(fmt.Errorf("%s (%d warnings in all)", first, count), first, before)}
}

// isEnum reports whether a warning is about a column whose empty value is warned of.
func (lt *loadTable) isEnum(warning string) bool {
	m := columnOf.FindStringSubmatch(warning)
	return m != nil && slices.ContainsFunc(lt.fields, func(f field) bool { return f.enum && strings.EqualFold(f.column, m[1]) })
}

// rowError adds the row that an error's text names to the error. The server counts the rows of one statement, which stand behind so many others.
func rowError(err error, text string, before int64) error {
	m := rowOf.FindStringSubmatch(text)
	if m == nil {
		return err
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	if before > 0 {
		err = &plain{strings.Replace(err.Error(), m[0], fmt.Sprintf("at row %d", before+n), 1), err}
	}
	return &rows.RowError{Row: before + n, Err: err}
}
