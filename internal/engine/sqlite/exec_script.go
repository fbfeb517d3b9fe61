package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// ScriptOptions tune an ExecScript.
type ScriptOptions struct {
	DryRun bool // undo everything at the end
}

// ExecScript runs a plain SQL file, of sqltext or of sqlite3's .dump, on the database file at path, which is created if need be, in
// one transaction: all of it or nothing. The script's own BEGIN and COMMIT are left out, and foreign keys are not enforced, as .dump wants it; rows
// that violate one are noted.
//
// The script is not trusted: it can't reach other files (ATTACH, VACUUM INTO), load extensions, set more than a few harmless PRAGMAs, or write to
// the schema but for what .dump does to define a table of FTS3 to FTS5 or R*Tree. An error names the line of the statement. Kinds: Unsupported
// and Damaged for the script, Incomplete and Exists for what it asks, Locked, Denied, NoSpace.
func ExecScript(ctx context.Context, path string, r io.Reader, opt ScriptOptions) (_ *rows.ScriptResult, err error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, pathError(err, "open %s", path)
	}
	f, err := os.OpenFile(full, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	created := err == nil
	if created {
		err = f.Close()
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return nil, pathError(err, "create %s", path)
	}
	defer func() {
		if created && (err != nil || opt.DryRun) {
			err = errors.Join(err, pathError(os.Remove(full), "remove %s", path))
		}
	}()
	uri := "file:" + (&url.URL{Path: full}).EscapedPath() + "?" + string(readWrite)
	conn, err := sqlite3.OpenContext(sqlite3.WithMaxMemory(ctx, mostMemory), uri)
	if err != nil {
		return nil, sqlError(ctx, err, "open %s", path)
	}
	run := &scriptRun{conn: conn, at: map[string]int{}}
	run.result.DryRun = opt.DryRun
	old := conn.SetInterrupt(ctx)
	err = run.all(ctx, sqlsplit.NewReader(r, sqlsplit.SQLite), opt)
	conn.SetInterrupt(old)
	end(conn)
	if cerr := conn.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, sqlError(ctx, err, "run the script on %s", path)
	}
	return &run.result, nil
}

// scriptRun is a script being run.
type scriptRun struct {
	conn   *sqlite3.Conn
	result rows.ScriptResult
	at     map[string]int // places in result.Tables
	begun  bool
	denied string // what the authorizer refused
}

func (s *scriptRun) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(s.result.Notes, text) {
		s.result.Notes = append(s.result.Notes, text)
	}
}

func (s *scriptRun) all(ctx context.Context, r *sqlsplit.Reader, opt ScriptOptions) error {
	if err := s.prepare(); err != nil {
		return err
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if p.Kind != sqlsplit.Statement {
			continue
		}
		if err := s.statement(p); err != nil {
			return s.explain(ctx, p, err)
		}
		if s.begun && s.conn.GetAutocommit() {
			return fail.New(fail.Unsupported, "", "line %d: %s: this ended the transaction", p.Line, sqlsplit.Excerpt(sqlsplit.SQLite, p.Text))
		}
	}
	if err := s.conn.SetAuthorizer(nil); err != nil {
		return err
	}
	if opt.DryRun || !s.begun {
		return nil
	}
	broken := 0
	if err := each(s.conn, "PRAGMA foreign_key_check", nil, func(*sqlite3.Stmt) error { broken++; return nil }); err != nil {
		s.note("foreign keys were not checked: %v", err)
	}
	if broken > 0 {
		s.note("%d rows violate a foreign key", broken)
	}
	return s.conn.Exec("COMMIT")
}

// prepare makes the connection safe for a script that is not trusted.
func (s *scriptRun) prepare() error {
	if err := s.conn.BusyTimeout(defaultBusyWait); err != nil {
		return err
	}
	if err := s.conn.Exec("PRAGMA foreign_keys=OFF; PRAGMA trusted_schema=OFF"); err != nil {
		return err
	}
	s.conn.Limit(sqlite3.LIMIT_ATTACHED, 0)
	return s.conn.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, name, name4, _, _ string) sqlite3.AuthorizerReturnCode {
		what := ""
		switch action {
		case sqlite3.AUTH_ATTACH, sqlite3.AUTH_DETACH:
			what = "ATTACH and DETACH"
		case sqlite3.AUTH_PRAGMA:
			if !pragmas[strings.ToLower(name)] {
				what = "PRAGMA " + name
			}
		case sqlite3.AUTH_FUNCTION:
			if f := strings.ToLower(name4); f == "load_extension" || f == "fts3_tokenizer" {
				what = "function " + f
			}
		case sqlite3.AUTH_CREATE_VTABLE:
			if !modules[strings.ToLower(name4)] {
				what = "a virtual table of module " + name4
			}
		}
		if what == "" {
			return sqlite3.AUTH_OK
		}
		s.denied = what
		return sqlite3.AUTH_DENY
	})
}

// pragmas are those that a script may set. Those that are false here are left out: they belong to the program that runs it.
var pragmas = map[string]bool{
	"encoding": true, "page_size": true, "auto_vacuum": true, "user_version": true, "application_id": true,
	"foreign_keys": false, "defer_foreign_keys": false, "synchronous": false, "journal_mode": false, "cache_size": false, "temp_store": false,
	"locking_mode": false, "writable_schema": false,
}

// modules are the virtual tables that a script may define.
var modules = map[string]bool{"fts3": true, "fts4": true, "fts5": true, "rtree": true, "rtree_i32": true, "geopoly": true}

func (s *scriptRun) statement(p sqlsplit.Piece) error {
	list := sqlsplit.Head(sqlsplit.SQLite, p.Text, 8)
	switch word := list[0]; {
	case word.Text == ";", word.Is("begin"), word.Is("commit"), word.Is("end"):
		return nil // all is one transaction
	case word.Is("pragma"):
		return s.pragma(p, list)
	case word.Is("rollback") && !slices.ContainsFunc(list, func(t sqlsplit.Token) bool { return t.Is("to") }):
		return fail.New(fail.Damaged, "write the file again", "its writer met an error")
	case word.Is("vacuum"), word.Is("attach"), word.Is("detach"):
		return fail.New(fail.Unsupported, "", "not in a script that is loaded")
	}
	if err := s.begin(); err != nil {
		return err
	}
	if len(list) > 2 && list[0].Is("insert") && (strings.EqualFold(list[2].Plain(), "sqlite_schema") || strings.EqualFold(list[2].Plain(), "sqlite_master")) {
		s.result.Statements++
		return s.virtual(p.Text)
	}
	if err := s.conn.Exec(p.Text); err != nil {
		return err
	}
	s.result.Statements++
	if len(list) > 2 && (list[0].Is("insert") || list[0].Is("replace")) {
		at := slices.IndexFunc(list, func(t sqlsplit.Token) bool { return t.Is("into") }) + 1
		if at < len(list) && !isInternal(list[at].Plain()) {
			s.count((&rows.Table{Name: list[at].Plain()}).String(), s.conn.Changes())
		}
	}
	return nil
}

// begin opens the transaction, once: the text encoding and the page size can only be set before.
func (s *scriptRun) begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	return s.conn.Exec("BEGIN IMMEDIATE")
}

func (s *scriptRun) pragma(p sqlsplit.Piece, list []sqlsplit.Token) error {
	if len(list) < 2 {
		return s.conn.Exec(p.Text)
	}
	name := strings.ToLower(list[1].Plain())
	runs, known := pragmas[name]
	switch {
	case !known:
		return fail.New(fail.Unsupported, "take the line out if nothing depends on it", "PRAGMA %s is not for a script that is loaded", name)
	case !runs:
		return nil
	case name == "user_version", name == "application_id":
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.result.Statements++
	return s.conn.Exec(p.Text)
}

// virtual defines a virtual table as .dump does: by a row of the schema, whose tables then come with their rows. Nothing
// else may be written there, since SQLite believes what it finds.
func (s *scriptRun) virtual(text string) error {
	refused := fail.New(fail.Unsupported, "", "only the definition of a virtual table may be put into the schema")
	list := sqlsplit.Tokens(sqlsplit.SQLite, text)
	shape := strings.Fields("insert into ? ( type , name , tbl_name , rootpage , sql ) values ( ' , ' , ' , 0 , ' ) ;")
	if len(list) != len(shape) {
		return refused
	}
	var values []string
	for i, t := range list {
		switch {
		case shape[i] == "?":
		case shape[i] == "'" && t.Kind == sqlsplit.String:
			values = append(values, strings.ReplaceAll(t.Text[1:len(t.Text)-1], "''", "'"))
		case !strings.EqualFold(t.Text, shape[i]):
			return refused
		}
	}
	name, sql := values[1], values[3]
	head := sqlsplit.Tokens(sqlsplit.SQLite, sql)
	if len(head) > 5 && head[3].Is("if") {
		head = slices.Delete(head, 3, 6)
	}
	pieces, err := sqlsplit.Split(sqlsplit.SQLite, sql+"\n;")
	if err != nil || len(pieces) != 1 || len(head) < 6 || !head[0].Is("create") || !head[1].Is("virtual") || !head[2].Is("table") || head[3].Plain() != name ||
		!head[4].Is("using") || !modules[strings.ToLower(head[5].Plain())] || values[0] != "table" || values[2] != name || isInternal(name) {
		return refused
	}
	found, err := one(s.conn, "SELECT count(*) FROM sqlite_schema WHERE lower(name)=lower("+literal(name)+")")
	if err != nil {
		return err
	}
	if found != "0" {
		return fail.New(fail.Exists, "", "table %s already exists", name)
	}
	if _, err := s.conn.Config(sqlite3.DBCONFIG_WRITABLE_SCHEMA, true); err != nil {
		return err
	}
	err = s.conn.Exec(text)
	_, cerr := s.conn.Config(sqlite3.DBCONFIG_WRITABLE_SCHEMA, false)
	return errors.Join(err, cerr)
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

// explain says where in the script err arose.
func (s *scriptRun) explain(ctx context.Context, p sqlsplit.Piece, err error) error {
	line := p.Line
	var known *fail.Error
	var e *sqlite3.Error
	if errors.As(err, &e) {
		if rest := e.SQL(); rest != "" && strings.HasSuffix(p.Text, rest) {
			line += strings.Count(strings.TrimSuffix(p.Text, rest), "\n")
		}
	}
	what := fmt.Sprintf("line %d: %s", line, sqlsplit.Excerpt(sqlsplit.SQLite, p.Text))
	switch {
	case s.denied != "":
		return fail.New(fail.Unsupported, "", "%s: %s: not in a script that is loaded", what, s.denied)
	case errors.As(err, &known), ctx.Err() != nil:
		return fail.Op(err, "%s", what)
	case errors.Is(err, sqlite3.CONSTRAINT):
		return fail.Wrap(fail.Incomplete, bareSQL(e), "", "%s", what)
	case errors.Is(err, sqlite3.ERROR):
		kind := fail.Incomplete
		if strings.Contains(err.Error(), "already exists") {
			kind = fail.Exists
		}
		return fail.Wrap(kind, bareSQL(e), "", "%s", what)
	}
	return sqlError(ctx, err, "%s", what)
}

// bareSQL is the error's text without the driver's quotation of the statement, which has values in it.
func bareSQL(e *sqlite3.Error) error {
	text, _, _ := strings.Cut(e.Error(), "\n")
	return errors.New(strings.TrimPrefix(text, "sqlite3: "))
}
