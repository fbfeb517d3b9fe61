package mysql

import (
	"context"
	"io"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// ScriptOptions tune an ExecScript.
type ScriptOptions struct {
	NoTransaction bool // each statement by itself, as the mariadb client does
	DryRun        bool // undo everything at the end: only for scripts of rows
	NoOwner       bool // leave DEFINER clauses out: views, triggers and routines belong to who runs the script
}

// ExecScript runs a plain SQL file, of sqltext, mysqldump or mariadb-dump, on the database at url.
//
// A script of rows alone is one transaction, as far as its tables' engines have any: all of it or nothing. Its own BEGIN and COMMIT,
// LOCK TABLES and DISABLE KEYS are then left out. The server commits at each definition, however: from the first one on the script runs statement by
// statement, and what was done before an error stays, which the error and Notes say.
//
// Files of the server or of this machine are neither read nor written, client commands are refused, as are other databases than url's. Apart
// from that a script is a program that runs with the rights of the URL's user. An error names the line of the statement, and no values.
// Kinds: Unsupported and Damaged for the file, Usage for a dry run of definitions, else those of the server's errors.
func ExecScript(ctx context.Context, url string, r io.Reader, opt ScriptOptions) (*rows.ScriptResult, error) {
	if opt.NoTransaction && opt.DryRun {
		return nil, fail.New(fail.Usage, "", "a dry run needs a transaction")
	}
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	s, err := connect(ctx, cfg, true)
	if err != nil {
		return nil, err
	}
	defer s.close() // which ends a transaction that was not committed
	run := &scriptRun{s: s, cfg: cfg, opt: opt, whole: !opt.NoTransaction, at: map[string]int{}, noted: map[string]bool{}}
	run.result.DryRun = opt.DryRun
	if err := run.all(ctx, sqlsplit.NewReader(r, sqlsplit.MySQL)); err != nil {
		if run.stays {
			err = fail.Op(err, "what came before the error was done and stays")
		}
		return nil, fail.Op(err, "run the script on %s", cfg.DBName)
	}
	return &run.result, nil
}

// scriptRun is a script being run.
type scriptRun struct {
	s      *session
	cfg    *mysql.Config
	opt    ScriptOptions
	whole  bool // all so far is one transaction
	did    bool // something was changed
	stays  bool // and can't be undone
	result rows.ScriptResult
	at     map[string]int // places in result.Tables
	noted  map[string]bool
}

func (s *scriptRun) note(text string) {
	if !s.noted[text] {
		s.noted[text] = true
		s.result.Notes = append(s.result.Notes, text)
	}
}

// begin makes the session as the server's own client has it, but for the character set, which is UTF-8.
func (s *scriptRun) begin(ctx context.Context) error {
	set := "SET SESSION sql_mode = @@GLOBAL.sql_mode, SESSION time_zone = @@GLOBAL.time_zone"
	if s.whole {
		set += ", SESSION autocommit = 0"
	}
	if err := s.s.exec(ctx, set); err != nil {
		return err
	}
	if s.opt.DryRun {
		return s.onlyTransactions(ctx)
	}
	return nil
}

// onlyTransactions refuses a dry run where rows can't be taken back.
func (s *scriptRun) onlyTransactions(ctx context.Context) error {
	row, err := s.s.one(ctx, `SELECT t.table_name, t.engine FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine
		WHERE t.table_schema = database() AND t.table_type <> 'VIEW' AND t.table_type <> 'SEQUENCE' AND coalesce(e.transactions, '') <> 'YES' ORDER BY 1 LIMIT 1`)
	if err != nil || row == nil {
		return err
	}
	return fail.New(fail.Unsupported, "try it on a copy", "a dry run here: table %s is of the engine %s, which can't undo anything", row[0].s, row[1].s)
}

func (s *scriptRun) all(ctx context.Context, r *sqlsplit.Reader) error {
	if err := s.begin(ctx); err != nil {
		return explainIn(ctx, err)
	}
	if err := s.readMode(ctx, r); err != nil {
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
		list := words(p.Text)
		if len(list) == 0 {
			continue // a comment for other versions, or a lone semicolon
		}
		if err := s.statement(ctx, p, list); err != nil {
			return err
		}
		if list[0].Is("set") && len(p.Text) < 1<<16 && strings.Contains(strings.ToLower(p.Text), "sql_mode") {
			if err := s.readMode(ctx, r); err != nil {
				return err
			}
		}
	}
	end := "COMMIT"
	if s.opt.DryRun {
		end = "ROLLBACK"
	}
	return fail.Op(explainIn(ctx, s.s.exec(ctx, end)), "end the script")
}

// readMode tells the reader how strings are written from here on.
func (s *scriptRun) readMode(ctx context.Context, r *sqlsplit.Reader) error {
	row, err := s.s.one(ctx, "SELECT @@sql_mode")
	if err != nil {
		return explainIn(ctx, err)
	}
	r.SetMode(row[0].s)
	return nil
}

// headWords is how many tokens of a statement are looked at.
const headWords = 40

// words returns the first tokens of a statement; of «/*!40000 … */» only what is within.
func words(text string) (list []sqlsplit.Token) {
	for _, t := range sqlsplit.Head(sqlsplit.MySQL, text, headWords) {
		if t.Kind != sqlsplit.Punct || t.Text != ";" && len(t.Text) == 1 {
			list = append(list, t)
		}
	}
	return list
}

func starts(list []sqlsplit.Token, words ...string) bool {
	for i, w := range words {
		if i >= len(list) || !list[i].Is(w) {
			return false
		}
	}
	return true
}

func (s *scriptRun) statement(ctx context.Context, p sqlsplit.Piece, list []sqlsplit.Token) error {
	skip, err := s.judge(p, list)
	if err != nil {
		return fail.Op(err, "line %d", p.Line)
	}
	if skip {
		return nil
	}
	sql := p.SQL()
	if s.opt.NoOwner {
		sql = anyDefiner.ReplaceAllString(sql, "$1")
	}
	n, err := s.s.affect(ctx, sql)
	switch {
	case isNumber(err, errEmptyQuery):
		return nil
	case err != nil:
		return s.explain(ctx, p, err)
	}
	s.result.Statements++
	s.did = s.did || !list[0].Is("set") && !list[0].Is("select")
	s.stays = s.did && !s.whole
	if list[0].Is("insert") || list[0].Is("replace") {
		s.count(tableName(list), n)
	}
	return nil
}

const errEmptyQuery = 1065

// tableName returns the table that an INSERT or REPLACE names, as [rows.Table] writes it.
func tableName(list []sqlsplit.Token) string {
	i := 1
	for i < len(list) && list[i].Kind == sqlsplit.Ident {
		switch strings.ToLower(list[i].Text) {
		case "low_priority", "high_priority", "delayed", "ignore", "into":
			i++
			continue
		}
		break
	}
	if i+2 < len(list) && list[i+1].Text == "." {
		i += 2
	}
	if i >= len(list) {
		return ""
	}
	return (&rows.Table{Name: list[i].Plain()}).String()
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
