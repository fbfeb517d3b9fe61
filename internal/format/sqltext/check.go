package sqltext

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// State says whether a file is whole.
type State string

// The states of a file.
const (
	Complete  State = "complete"  // its end is there, and rows are
	Truncated State = "truncated" // its end is missing, or it breaks off within something
	Empty     State = "empty"     // no bytes, or nothing but blanks and comments
	NoRows    State = "no rows"   // complete, but there is not one row in it
	Unmarked  State = "unmarked"  // nothing is cut, but its writer is unknown, which leaves no mark at the end
	Broken    State = "broken"    // it can't be read: see Err
)

// A CheckResult says what was found in a file.
type CheckResult struct {
	State      State            `json:"state"`
	Engine     string           `json:"engine,omitempty"`  // "postgres", "sqlite", "mysql"; "" when nothing tells
	Writer     string           `json:"writer,omitempty"`  // "pg_dump", "holdfast", "sqlite3", "mysqldump"
	Version    string           `json:"version,omitempty"` // of the server, as the file says
	Statements int64            `json:"statements"`
	Rows       int64            `json:"rows"`
	Bytes      int64            `json:"bytes"`
	Tables     []rows.TableRows `json:"tables,omitempty"` // by the order of their first mention, with those that are created and stay empty
	Err        string           `json:"error,omitempty"`  // the first error, with its line
	Notes      []string         `json:"notes,omitempty"`
}

// Check reads a whole SQL file and says what it holds. What is wrong with the file is part of the result: an error is one of r or ctx.
func Check(ctx context.Context, r io.Reader) (*CheckResult, error) {
	in := &watched{r: r}
	head := bufio.NewReaderSize(in, sniffBytes)
	first, _ := head.Peek(sniffBytes) // an error comes again
	c := &checker{at: map[string]int{}}
	c.sniff(string(first))
	err := c.all(ctx, sqlsplit.NewReader(head, c.dialect))
	switch {
	case ctx.Err() != nil:
		return nil, fail.Op(context.Cause(ctx), "check an SQL file")
	case in.err != nil && !errors.Is(in.err, io.ErrUnexpectedEOF):
		return nil, fail.Op(in.err, "check an SQL file")
	}
	c.res.Bytes = in.size
	c.judge(err)
	return &c.res, nil
}

// watched keeps what its reader met, to tell it from what is wrong with the text.
type watched struct {
	r    io.Reader
	size int64
	err  error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.size += int64(n)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// checker reads a file.
type checker struct {
	dialect sqlsplit.Dialect
	res     CheckResult
	at      map[string]int // places in res.Tables
	begun   bool           // SQLite: within its transaction
	ended   bool           // the mark at the end was seen, and nothing but talk since
}

const sniffBytes = 16 << 10

// writers are the programs that say so at the top of their files.
var writers = [...]struct {
	mark, engine, writer string
	dialect              sqlsplit.Dialect
}{
	{mysqlHead, "mysql", "holdfast", sqlsplit.MySQL},
	{"-- Dumped by Holdfast", "postgres", "holdfast", sqlsplit.PostgreSQL},
	{"-- Dumped by pg_dump", "postgres", "pg_dump", sqlsplit.PostgreSQL},
	{"-- PostgreSQL database dump", "postgres", "pg_dump", sqlsplit.PostgreSQL},
	{"-- MySQL dump ", "mysql", "mysqldump", sqlsplit.MySQL},
	{"-- MariaDB dump ", "mysql", "mysqldump", sqlsplit.MySQL},
	{"PRAGMA foreign_keys=OFF;", "sqlite", "sqlite3", sqlsplit.SQLite},
	{"COPY ", "postgres", "", sqlsplit.PostgreSQL},
	{"/*!40", "mysql", "", sqlsplit.MySQL},
	{"PRAGMA ", "sqlite", "", sqlsplit.SQLite},
	{" AUTOINCREMENT", "sqlite", "", sqlsplit.SQLite},
	{"`", "mysql", "", sqlsplit.MySQL},
}

// Engine returns the engine that a file is for, when its beginning has the mark of the program that wrote it, or "".
func Engine(head string) string {
	for _, w := range writers {
		if w.writer != "" && (strings.HasPrefix(head, w.mark) || strings.Contains(head, "\n"+w.mark)) {
			return w.engine
		}
	}
	return ""
}

// sniff finds out from a file's beginning whose it is.
func (c *checker) sniff(head string) {
	for _, w := range writers {
		if strings.HasPrefix(head, w.mark) || strings.Contains(head, "\n"+w.mark) || w.writer == "" && strings.Contains(head, w.mark) {
			c.dialect, c.res.Engine, c.res.Writer = w.dialect, w.engine, w.writer
			break
		}
	}
	for _, mark := range []string{"-- Dumped from database version ", "-- Server version\t"} {
		if _, v, ok := strings.Cut(head, mark); ok && c.res.Version == "" {
			v, _, _ = strings.Cut(v, "\n")
			c.res.Version = strings.TrimSpace(v)
		}
	}
}

func (c *checker) all(ctx context.Context, r *sqlsplit.Reader) error {
	for ctx.Err() == nil {
		p, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch p.Kind {
		case sqlsplit.Remark:
			c.remark(p.Text)
		case sqlsplit.Statement:
			c.statement(p)
			if mode := sqlMode(c.dialect, p.Text); mode != "" {
				r.SetMode(mode)
			}
		case sqlsplit.Copy:
			c.ended = false
			c.res.Statements++
			if _, err := io.Copy(io.Discard, r.Data()); err != nil {
				c.copied(p, r.Data().Rows())
				return err
			}
			c.copied(p, r.Data().Rows())
		}
	}
	return ctx.Err()
}

// sqlMode returns what a statement that sets MySQL's SQL mode says, "" for another statement.
func sqlMode(d sqlsplit.Dialect, text string) string {
	if d != sqlsplit.MySQL || len(text) > 1<<10 || !strings.Contains(strings.ToLower(text), "sql_mode") {
		return ""
	}
	for i, t := range sqlsplit.Head(d, text, 2) {
		if t.Is("set") && i < 2 {
			return text
		}
	}
	return ""
}

func (c *checker) remark(text string) {
	c.ended = c.ended || c.dialect != sqlsplit.SQLite && marksEnd(text)
}

func (c *checker) copied(p sqlsplit.Piece, n int64) {
	list := sqlsplit.Head(c.dialect, p.Text, 4)
	c.count(c.name(list, 1), n)
	if strings.Contains(strings.ToLower(p.Text), "csv") {
		c.note("lines of CSV were counted as rows")
	}
}

func (c *checker) note(text string) {
	if !slices.Contains(c.res.Notes, text) {
		c.res.Notes = append(c.res.Notes, text)
	}
}

// name returns the table's name at list[i] as [rows.Table] writes it.
func (c *checker) name(list []sqlsplit.Token, i int) string {
	text := sqlsplit.Token.Plain
	if c.dialect == sqlsplit.PostgreSQL {
		text = sqlsplit.Token.Name
	}
	var t rows.Table
	switch {
	case i+2 < len(list) && list[i+1].Text == ".":
		t = rows.Table{Schema: text(list[i]), Name: text(list[i+2])}
	case i < len(list):
		t.Name = text(list[i])
	}
	return t.String()
}

func (c *checker) count(table string, n int64) {
	i, ok := c.at[table]
	if !ok {
		i = len(c.res.Tables)
		c.at[table] = i
		c.res.Tables = append(c.res.Tables, rows.TableRows{Name: table})
	}
	c.res.Tables[i].Rows += n
	c.res.Rows += n
}

func (c *checker) statement(p sqlsplit.Piece) {
	c.res.Statements++
	list := sqlsplit.Head(c.dialect, p.Text, 12)
	if len(list) == 0 {
		return
	}
	c.ended = false
	if c.dialect == sqlsplit.SQLite {
		switch {
		case list[0].Is("begin"):
			c.begun = true
		case list[0].Is("commit") && c.begun:
			c.ended = true
		case list[0].Is("rollback"):
			c.note(fmt.Sprintf("line %d: ROLLBACK: its writer met an error", p.Line))
		}
	}
	switch {
	case list[0].Is("insert"), list[0].Is("replace"):
		at := slices.IndexFunc(list, func(t sqlsplit.Token) bool { return t.Is("into") })
		n, known := tuples(c.dialect, p.Text)
		if name := c.name(list, at+1); !strings.HasPrefix(name, "sqlite_") {
			c.count(name, n)
		}
		if !known {
			c.note("rows that come out of a SELECT were not counted")
		}
	case list[0].Is("create"):
		for i, t := range list {
			if t.Text == "(" || t.Is("virtual") {
				break
			}
			if t.Is("table") && i < 3 {
				i++
				for i < len(list) && (list[i].Is("if") || list[i].Is("not") || list[i].Is("exists")) {
					i++
				}
				c.count(c.name(list, i), 0)
				break
			}
		}
	}
}

// tuples counts the rows of an INSERT; known is false when only the server could.
func tuples(d sqlsplit.Dialect, text string) (n int64, known bool) {
	depth, values := 0, false
	sqlsplit.EachToken(d, text, func(t sqlsplit.Token) bool {
		switch {
		case t.Kind == sqlsplit.Punct && t.Text == "(":
			if depth == 0 && values {
				n++
			}
			depth++
		case t.Kind == sqlsplit.Punct && t.Text == ")":
			depth--
		case depth == 0 && (t.Is("values") || t.Is("value") && d == sqlsplit.MySQL):
			values = true
		case depth == 0 && t.Is("on"): // CONFLICT, DUPLICATE KEY: with parentheses of its own
			return !values
		}
		return true
	})
	if values && n == 0 { // DEFAULT VALUES
		n = 1
	}
	return n, values
}

// judge decides on the state of the file, of which err was found.
func (c *checker) judge(err error) {
	switch {
	case err != nil:
		c.res.Err = err.Error()
		c.res.State = Broken
		if fail.KindOf(err) == fail.Damaged || errors.Is(err, io.ErrUnexpectedEOF) {
			c.res.State = Truncated
		}
	case c.res.Statements == 0 && !c.ended:
		c.res.State = Empty
	case !c.ended && c.res.Writer != "":
		c.res.State = Truncated
		c.res.Err = "the end of the file is missing"
	case c.res.Rows == 0:
		c.res.State = NoRows
	case !c.ended:
		c.res.State = Unmarked
	default:
		c.res.State = Complete
	}
}
