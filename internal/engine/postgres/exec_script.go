package postgres

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// ScriptOptions tune an ExecScript.
type ScriptOptions struct {
	NoTransaction bool              // each statement by itself, as psql does: for CREATE DATABASE, VACUUM and the like
	DryRun        bool              // undo everything at the end
	Observer      func(rows.Update) // called for each table whose rows came by COPY, when they are in
}

// ExecScript runs a plain SQL file, of sqltext or of pg_dump, on the database at url, in one transaction: all of it or nothing. The
// file's own BEGIN and COMMIT are left out. What psql alone could do (its backslash commands) is refused, as is COPY with the server's own files
// and programs. Apart from that a file is a program that runs with the rights of the URL's user, as it would in psql.
//
// An error names the line of the statement, or of the row. Values of sequences are outside of transactions: a script that fails may have set
// those of sequences that were there before; a DryRun leaves them out. Kinds: Unsupported and Damaged for the file, else those of the server's errors.
func ExecScript(ctx context.Context, url string, r io.Reader, opt ScriptOptions) (*rows.ScriptResult, error) {
	if opt.NoTransaction && opt.DryRun {
		return nil, fail.New(fail.Usage, "", "a dry run needs a transaction")
	}
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = appName
	}
	if cfg.RuntimeParams["client_encoding"] == "" {
		cfg.RuntimeParams["client_encoding"] = "UTF8"
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fail.Op(hinted(explainIn(ctx, err)), "connect to %s", hostOf(cfg))
	}
	defer conn.Close(context.WithoutCancel(ctx)) // which ends a transaction that was not committed
	run := &scriptRun{conn: conn.PgConn(), opt: opt, version: serverVersion(conn), at: map[string]int{}, noted: map[string]bool{}}
	run.result.DryRun = opt.DryRun
	if err := run.all(ctx, sqlsplit.NewReader(r, sqlsplit.PostgreSQL)); err != nil {
		return nil, fail.Op(err, "run the script on %s", cfg.Database)
	}
	return &run.result, nil
}

// scriptRun is a script being run.
type scriptRun struct {
	conn    *pgconn.PgConn
	opt     ScriptOptions
	version int
	result  rows.ScriptResult
	at      map[string]int // places in result.Tables
	noted   map[string]bool
}

func (s *scriptRun) note(text string) {
	if !s.noted[text] {
		s.noted[text] = true
		s.result.Notes = append(s.result.Notes, text)
	}
}

func (s *scriptRun) all(ctx context.Context, r *sqlsplit.Reader) error {
	if !s.opt.NoTransaction {
		if _, err := s.exec(ctx, "BEGIN"); err != nil {
			return explainIn(ctx, err)
		}
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch p.Kind {
		case sqlsplit.Statement:
			err = s.statement(ctx, p)
		case sqlsplit.Copy:
			err = s.copy(ctx, p, r.Data())
		default:
			continue
		}
		if err != nil {
			return err
		}
		if !s.opt.NoTransaction && s.conn.TxStatus() != 'T' {
			return fail.New(fail.Unsupported, hintNoTransaction, "line %d: %s: this ended the transaction", p.Line, excerpt(p.Text))
		}
	}
	if s.opt.NoTransaction {
		return nil
	}
	end := "COMMIT"
	if s.opt.DryRun {
		end = "SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK"
	}
	if _, err := s.exec(ctx, end); err != nil {
		return fail.Op(explainIn(ctx, err), "check and commit")
	}
	return nil
}

const hintNoTransaction = "run the script without one transaction around it (--no-transaction): what is done before an error then stays"

// exec runs SQL and forgets the rows it returns. The tag is that of the last statement.
func (s *scriptRun) exec(ctx context.Context, sql string) (tag pgconn.CommandTag, err error) {
	results := s.conn.Exec(ctx, sql)
	for results.NextResult() {
		rr := results.ResultReader()
		for rr.NextRow() {
		}
		tag, _ = rr.Close() // its error is that of results
	}
	return tag, results.Close()
}

func (s *scriptRun) statement(ctx context.Context, p sqlsplit.Piece) error {
	list := sqlsplit.Head(sqlsplit.PostgreSQL, p.Text, 8)
	skip, err := s.leftOut(list)
	if err != nil {
		return fail.Op(err, "line %d", p.Line)
	}
	if skip {
		return nil
	}
	tag, err := s.exec(ctx, p.Text)
	if err != nil {
		return s.explain(ctx, p, err)
	}
	s.result.Statements++
	if len(list) > 2 && list[0].Is("insert") && tag.Insert() {
		s.count(tableAt(list, 2).String(), tag.RowsAffected())
	}
	return nil
}

// leftOut decides on statements that are not the server's business here.
func (s *scriptRun) leftOut(list []token) (skip bool, err error) {
	is := func(words ...string) bool {
		for i, w := range words {
			if i >= len(list) || !list[i].Is(w) {
				return false
			}
		}
		return true
	}
	switch {
	case is("copy"):
		return false, fail.New(fail.Unsupported, "", "COPY with a file or program of the server, or to the client")
	case is("create", "database"), is("drop", "database"):
		return false, fail.New(fail.Unsupported, "dump without --create and one database at a time, and name the database to load into", "%s DATABASE", strings.ToUpper(list[0].Text))
	case is("set", "transaction_timeout") && s.version < 17:
		return true, nil // written by a newer pg_dump
	case s.opt.DryRun && len(list) > 3 && is("select", "pg_catalog") && list[3].Is("setval"):
		s.note("values of sequences were not set: that could not be undone")
		return true, nil
	case s.opt.NoTransaction:
	case is("commit", "prepared"), is("rollback", "prepared"), is("prepare", "transaction"):
		return false, fail.New(fail.Unsupported, hintNoTransaction, "a prepared transaction")
	case is("begin"), is("start", "transaction"), is("commit"), is("end"):
		s.note("the script's own BEGIN and COMMIT were left out: all of it is one transaction")
		return true, nil
	case is("abort"), is("rollback") && !is("rollback", "to") && !is("rollback", "work", "to") && !is("rollback", "transaction", "to"):
		return false, fail.New(fail.Unsupported, hintNoTransaction, "ROLLBACK would undo what the script did before")
	}
	return false, nil
}

// tableAt returns the table that is named at list[i].
func tableAt(list []token, i int) *rows.Table {
	if q, ok := qualifiedAt(list, i); ok {
		return &rows.Table{Schema: q.schema, Name: q.name}
	}
	if i < len(list) {
		return &rows.Table{Name: list[i].Name()}
	}
	return &rows.Table{}
}

func (s *scriptRun) count(table string, n int64) {
	i, ok := s.at[table]
	if !ok {
		i = len(s.result.Tables)
		s.at[table] = i
		s.result.Tables = append(s.result.Tables, rows.TableRows{Name: table})
	}
	s.result.Tables[i].Rows += n
}

func (s *scriptRun) copy(ctx context.Context, p sqlsplit.Piece, data *sqlsplit.Data) error {
	src := &gate{r: data}
	tag, err := s.conn.CopyFrom(ctx, src, p.SQL())
	if rerr := src.shut(); rerr != nil {
		return rerr // the reason, of which the server's error is the consequence
	}
	if err != nil {
		return s.explainRow(ctx, p, data, err)
	}
	s.result.Statements++
	table := tableAt(sqlsplit.Head(sqlsplit.PostgreSQL, p.Text, 4), 1)
	s.count(table.String(), tag.RowsAffected())
	if s.opt.Observer != nil {
		s.opt.Observer(rows.Update{Table: table, Rows: tag.RowsAffected(), Done: true})
	}
	return nil
}

// gate passes reads on until it is shut. The driver reads on a goroutine that it leaves alone after an error of the server.
type gate struct {
	mu   sync.Mutex
	r    io.Reader
	err  error // of r; guarded by mu
	done bool  // guarded by mu
}

func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done {
		return 0, io.ErrClosedPipe
	}
	n, err := g.r.Read(p)
	if err != nil && err != io.EOF {
		g.err = err
	}
	return n, err
}

// shut waits for a read under way, allows no more, and returns what went wrong while reading.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = true
	return g.err
}

// explain says where in the script the server found err.
func (s *scriptRun) explain(ctx context.Context, p sqlsplit.Piece, err error) error {
	line := p.Line
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Position > 1 {
			at := 0
			for n := pg.Position - 1; n > 0 && at < len(p.Text); n-- {
				_, size := utf8.DecodeRuneInString(p.Text[at:])
				at += size
			}
			line += strings.Count(p.Text[:at], "\n")
		}
		if pg.Code == "25001" && !s.opt.NoTransaction {
			return fail.Wrap(fail.Unsupported, explainIn(ctx, err), hintNoTransaction, "line %d: %s", line, excerpt(p.Text))
		}
	}
	return fail.Op(explainIn(ctx, err), "line %d: %s", line, excerpt(p.Text))
}

var copyLine = regexp.MustCompile(`^COPY .*, line (\d+)(?:, column ([^:]+))?`)

// explainRow says which row of a COPY the server did not take.
func (s *scriptRun) explainRow(ctx context.Context, p sqlsplit.Piece, data *sqlsplit.Data, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return s.explain(ctx, p, err)
	}
	m := copyLine.FindStringSubmatch(pg.Where)
	if m == nil {
		return s.explain(ctx, p, err)
	}
	n, _ := strconv.Atoi(m[1])
	what := excerpt(p.Text)
	if m[2] != "" {
		what += " column " + m[2]
	}
	short := *pg
	short.Where = "" // it repeats the row
	return fail.Op(explainIn(ctx, &short), "line %d: %s", data.Line()+n-1, what)
}

func excerpt(text string) string { return sqlsplit.Excerpt(sqlsplit.PostgreSQL, text) }
