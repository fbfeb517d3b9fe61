package sqltext

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

const (
	preData  = "schema/pre-data.sql"
	postData = "schema/post-data.sql"

	postgresHead = "PostgreSQL database dump"
	postgresEnd  = "PostgreSQL database dump complete"
)

// Rows must be read with the settings that row text is written with; what follows them with the user's own.
const (
	rowSettings = "SET datestyle = 'ISO, YMD';\nSET intervalstyle = 'postgres';\nSET lc_monetary = 'C';\n\n"
	rowReset    = "RESET datestyle;\nRESET intervalstyle;\nRESET lc_monetary;\n\n"
)

// postgresFile is a file being written.
type postgresFile struct {
	*output
	v   rows.View
	opt WriteOptions
	sum *Summary
	key string // of \restrict; "" when the definitions' pg_dump did not know it
}

func writePostgres(ctx context.Context, v rows.View, out *output, opt WriteOptions, sum *Summary) error {
	f := &postgresFile{output: out, v: v, opt: opt, sum: sum}
	return readAhead(ctx, v, opt.Jobs, func(ctx context.Context, a *ahead) error {
		if err := f.head(); err != nil {
			return err
		}
		if err := f.definitions(preData); err != nil {
			return err
		}
		if err := f.rows(ctx, a); err != nil {
			return err
		}
		f.sequences()
		if err := f.definitions(postData); err != nil {
			return err
		}
		f.title(postgresEnd)
		if f.key != "" {
			f.text(`\unrestrict `, f.key, "\n\n")
		}
		return f.err
	})
}

// title writes a comment as pg_dump does.
func (f *postgresFile) title(text string) { f.text("--\n-- ", text, "\n--\n\n") }

// head writes what stands before the definitions: settings, and statements that remove an older copy.
func (f *postgresFile) head() error {
	var settings strings.Builder
	d := &drops{clean: f.opt.Clean, ifExists: f.opt.IfExists, views: map[string]string{}, attached: map[string]bool{}}
	for _, file := range []string{preData, postData} {
		err := f.eachEntry(file, func(p sqlsplit.Piece, h *sqlsplit.Heading, list []sqlsplit.Token) {
			switch {
			case p.Kind == sqlsplit.Meta && f.key == "" && strings.HasPrefix(p.Text, `\restrict `):
				f.key = rand.Text()
			case p.Kind != sqlsplit.Statement:
			case h != nil:
				d.see(h, p.Text, list)
			case file == preData && !(len(list) > 1 && list[1].Is("transaction_timeout")): // unknown before version 17
				settings.WriteString(p.Text + "\n")
			}
		})
		if err != nil {
			return err
		}
	}
	o := &f.v.Schema().Origin
	f.title(postgresHead)
	if f.key != "" {
		f.text(`\restrict `, f.key, "\n\n")
	}
	f.text("-- Dumped from database version ", oneLine(o.Version), "\n-- Dumped by Holdfast, definitions by ", oneLine(o.Tools), "\n\n")
	if settings.Len() == 0 { // only rows were backed up
		f.sum.Notes = append(f.sum.Notes, "the file has rows only: the tables must be there")
		settings.WriteString("SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET idle_in_transaction_session_timeout = 0;\nSET client_encoding = 'UTF8';\n" +
			"SET standard_conforming_strings = on;\nSELECT pg_catalog.set_config('search_path', '', false);\nSET client_min_messages = warning;\nSET row_security = off;\n")
	}
	f.text(settings.String(), "\n")
	f.text(d.text()...)
	return f.err
}

// eachEntry reads one file of definitions. A statement comes with the heading it stands under and its tokens.
func (f *postgresFile) eachEntry(file string, see func(p sqlsplit.Piece, h *sqlsplit.Heading, list []sqlsplit.Token)) (err error) {
	native := f.v.Native()
	if native == nil {
		return nil
	}
	in, err := native.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	var h *sqlsplit.Heading
	for r := sqlsplit.NewReader(in, sqlsplit.PostgreSQL); ; {
		p, err := r.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fail.Op(err, "read %s", file)
		case p.Kind == sqlsplit.Copy:
			return fail.New(fail.Damaged, "", "read %s: line %d: rows among definitions", file, p.Line)
		case p.Kind == sqlsplit.Remark:
			if e, ok := sqlsplit.ParseHeading(p.Text); ok {
				h = &e
				see(p, h, nil)
			} else if p.Text == "-- "+postgresHead {
				h = nil // large objects stand before pg_dump's own text: its settings come now
			}
		case p.Kind == sqlsplit.Meta:
			see(p, h, nil)
		case p.Kind == sqlsplit.Statement && p.Text != ";":
			see(p, h, sqlsplit.Tokens(sqlsplit.PostgreSQL, p.Text))
		}
	}
}

// definitions writes the statements of a file that the options want, each entry under its heading.
func (f *postgresFile) definitions(file string) error {
	heading := ""
	return f.eachEntry(file, func(p sqlsplit.Piece, h *sqlsplit.Heading, list []sqlsplit.Token) {
		switch {
		case p.Kind == sqlsplit.Remark:
			heading = p.Text
		case p.Kind != sqlsplit.Statement || h == nil || !f.wants(list):
		default:
			if heading != "" {
				if i := strings.LastIndex(heading, "; Owner: "); i >= 0 && !f.opt.Owner {
					heading = heading[:i] + "; Owner: -"
				}
				f.text("--\n", heading, "\n--\n\n")
				heading = ""
			}
			f.text(p.Text, "\n\n")
		}
	})
}

// wants reports whether a statement belongs into the file.
func (f *postgresFile) wants(list []sqlsplit.Token) bool {
	n := len(list)
	is := func(words ...string) bool {
		for i, w := range words {
			if i >= n || !list[i].Is(w) {
				return false
			}
		}
		return true
	}
	switch {
	case is("grant"), is("revoke"), is("alter", "default", "privileges"), is("set", "session", "authorization"), is("reset", "session", "authorization"):
		return f.opt.Privileges
	case is("alter") && n > 4 && list[n-4].Is("owner") && list[n-3].Is("to"):
		return f.opt.Owner
	case is("set", "transaction_timeout"):
		return false
	}
	return true
}

// rows writes the rows of all tables.
func (f *postgresFile) rows(ctx context.Context, a *ahead) error {
	if len(a.parts) == 0 {
		return f.err
	}
	f.text(rowSettings)
	for i := 0; i < len(a.parts); {
		t := a.parts[i].part.Table
		k := i
		for k < len(a.parts) && a.parts[k].part.Table == t {
			k++
		}
		w := newTableWriter(f, t)
		w.begin()
		for _, r := range a.parts[i:k] {
			since := w.rows
			if err := a.each(ctx, r, w.chunk); err != nil {
				return err
			}
			if f.opt.Observer != nil {
				f.opt.Observer(rows.Update{Table: t, Rows: w.rows - since, Done: true})
			}
		}
		if err := w.end(); err != nil {
			return err
		}
		if t.Kind != rows.LargeObjects { // whose pieces are no rows
			f.sum.add(w.name, w.rows)
		}
		i = k
	}
	f.text(rowReset)
	return f.err
}

func (f *postgresFile) sequences() {
	for _, s := range f.v.Schema().Sequences {
		f.title(fmt.Sprintf("Name: %s; Type: SEQUENCE SET; Schema: %s; Owner: -", oneLine(s.Name), oneLine(s.Schema)))
		f.text(fmt.Sprintf("SELECT pg_catalog.setval(%s, %d, %t);\n\n", literal(ident(s.Schema)+"."+ident(s.Name)), s.Last, s.Called))
	}
}

// ident quotes an identifier where it must be, and does no harm where it need not.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal quotes text for a session with standard_conforming_strings, as the files' are.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// oneLine makes text fit for a comment.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
