package mysql

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

const (
	hintScriptClient = "only the engine's own client carries out its commands: take the line out, or use the client if you trust the file"
	hintOneDatabase  = "dump one database at a time and without --databases, and name the database to load into"
	noteCommits      = "the server commits at each definition: had there been an error, what came before it would have stayed"
	noteOne          = "the script's own BEGIN and COMMIT, LOCK TABLES and DISABLE KEYS were left out: all of it is one transaction"
)

// clientWords begin what the client does itself, when they begin a line.
var clientWords = map[string]bool{"source": true, "system": true, "connect": true, "tee": true, "notee": true, "pager": true, "nopager": true, "edit": true, "charset": true, "go": true, "ego": true}

// rowWords begin statements that do not end a transaction.
var rowWords = map[string]bool{"insert": true, "replace": true, "update": true, "delete": true, "select": true, "with": true, "values": true, "set": true, "do": true, "savepoint": true, "release": true}

// anyDefiner is a DEFINER clause as mysqldump writes it, in a comment for certain versions too.
var anyDefiner = regexp.MustCompile(`(?is)^((?:/\*M?!\d*\s*)?CREATE\b` + gap + `(?:(?:OR\s+REPLACE\b|AGGREGATE\b|ALGORITHM\s*=\s*\w+)` + gap + `)*)\bDEFINER\s*=\s*` + account + `(?:\s*@\s*` + account + `)?`)

// gap is what may stand between words: the brackets of a comment for certain versions.
const gap = `(?:\s|/\*M?!\d*|\*/)*`

const account = "(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|\\w+(?:\\(\\))?)"

// judge decides what becomes of a statement: it may be left out or refused.
func (s *scriptRun) judge(p sqlsplit.Piece, list []sqlsplit.Token) (skip bool, err error) {
	if err := s.refuse(p.Text, list); err != nil {
		return false, err
	}
	first := strings.ToLower(list[0].Text)
	if first == "alter" && names(list, "database", "schema") { // mysqldump names the database that it dumped
		s.note("ALTER DATABASE was left out: it may name another database")
		return true, nil
	}
	if first == "set" && isReplication(list) {
		s.note("what mysqldump sets for replicas (GTID_PURGED, SQL_LOG_BIN) was left out")
		return true, nil
	}
	if !s.whole {
		return false, nil
	}
	switch {
	case starts(list, "begin"), starts(list, "start", "transaction"), starts(list, "commit"), starts(list, "lock", "table"), starts(list, "lock", "tables"),
		starts(list, "unlock", "tables"), starts(list, "unlock", "table"), commitsItself(list), switchesKeys(list):
		s.note(noteOne)
		return true, nil
	case first == "rollback" && !starts(list, "rollback", "to") && !starts(list, "rollback", "work", "to"):
		return false, fail.New(fail.Unsupported, "run it without one transaction around it (--no-transaction)", "ROLLBACK would undo what the script did before")
	case s.opt.DryRun && setsSequence(p.Text, first):
		s.note("values of sequences were not set: that could not be undone")
		return true, nil
	case s.opt.DryRun && first == "set" && setsServer(list):
		return false, fail.New(fail.Usage, "", "a dry run can't undo settings of the server")
	case rowWords[first], first == "rollback":
		return false, nil
	case s.opt.DryRun:
		return false, fail.New(fail.Usage, "nothing was changed; try the file on a copy, or let holdfast verify read it through",
			"a dry run of %s: the server commits at it, so it could not be undone", sqlsplit.Excerpt(sqlsplit.MySQL, p.Text))
	}
	s.whole, s.stays = false, s.did // the server commits at it
	s.result.Notes = slices.DeleteFunc(s.result.Notes, func(n string) bool { return n == noteOne })
	s.note(noteCommits)
	return false, nil
}

// isReplication recognizes the settings by which mysqldump keeps the history of a server: they are not about the database, and the binary log must
// have what is loaded.
func isReplication(list []sqlsplit.Token) bool {
	for _, t := range list {
		if t.Is("gtid_purged") || t.Is("sql_log_bin") {
			return true
		}
	}
	return false
}

// commitsItself recognizes SET autocommit = 1, which ends a transaction.
func commitsItself(list []sqlsplit.Token) bool {
	if !list[0].Is("set") {
		return false
	}
	for i, t := range list[:max(0, len(list)-2)] {
		if t.Is("autocommit") && (list[i+1].Text == "=" || list[i+1].Text == ":") {
			return list[i+2].Text != "0" && !list[i+2].Is("off")
		}
	}
	return false
}

// switchesKeys recognizes ALTER TABLE … DISABLE KEYS.
func switchesKeys(list []sqlsplit.Token) bool {
	n := len(list)
	return starts(list, "alter", "table") && n >= 5 && n <= 7 && list[n-1].Is("keys") && (list[n-2].Is("disable") || list[n-2].Is("enable"))
}

func setsSequence(text, first string) bool {
	return (first == "do" || first == "select") && strings.Contains(strings.ToLower(text), "setval")
}

// setsServer recognizes settings that outlive the session.
func setsServer(list []sqlsplit.Token) bool {
	for _, t := range list {
		if t.Is("global") || t.Is("persist") || t.Is("persist_only") || t.Is("password") || t.Is("role") {
			return true
		}
	}
	return false
}

// refuse refuses what reads or writes files, leaves the database, or is for the client.
func (s *scriptRun) refuse(text string, list []sqlsplit.Token) error {
	first := strings.ToLower(list[0].Text)
	switch {
	case first == "load":
		return fail.New(fail.Unsupported, "dump rows as INSERT statements", "LOAD DATA reads a file of the server or of this machine")
	case first == "use" && len(list) > 1 && list[1].Plain() != s.cfg.DBName:
		return fail.New(fail.Unsupported, hintOneDatabase, "USE leaves the database that was named")
	case (first == "create" || first == "drop") && names(list, "database", "schema"):
		return fail.New(fail.Unsupported, hintOneDatabase, "%s DATABASE", strings.ToUpper(first))
	case first == "install" || first == "uninstall" || first == "shutdown" || first == "kill":
		return fail.New(fail.Unsupported, "", "%s is about the server, not the database", strings.ToUpper(first))
	case list[0].Kind == sqlsplit.Ident && clientWords[first]:
		return fail.New(fail.Unsupported, hintScriptClient, "client command %q", first)
	case first == "insert" || first == "replace" || first == "create" || first == "alter": // whose values are many, or whose body runs later
		return nil
	}
	var before sqlsplit.Token
	var err error
	sqlsplit.EachToken(sqlsplit.MySQL, text, func(t sqlsplit.Token) bool {
		if t.Kind == sqlsplit.Punct && len(t.Text) > 1 { // of /*!50000 … */
			return true
		}
		if before.Is("into") && (t.Is("outfile") || t.Is("dumpfile")) {
			err = fail.New(fail.Unsupported, "", "INTO %s writes a file on the server", strings.ToUpper(t.Text))
		}
		before = t
		return err == nil
	})
	return err
}

// names reports whether CREATE, DROP or ALTER is about one of the kinds of things.
func names(list []sqlsplit.Token, kinds ...string) bool {
	for _, t := range list[1:min(len(list), 4)] {
		for _, k := range kinds {
			if t.Is(k) {
				return true
			}
		}
		if !t.Is("or") && !t.Is("replace") && !t.Is("if") {
			return false
		}
	}
	return false
}

// explain names the statement that an error is of.
func (s *scriptRun) explain(ctx context.Context, p sqlsplit.Piece, err error) error {
	e := explainIn(ctx, err)
	switch {
	case isNumber(err, 1227):
		e = fail.Wrap(fail.Denied, err, "dump without DEFINER clauses, or load as a user with SET USER or SUPER", "define something for another user")
	case isNumber(err, 1419):
		e = fail.Wrap(fail.Denied, err, "set log_bin_trust_function_creators=1 on the server", "define a routine or trigger")
	}
	return fail.Op(discreet(e), "line %d: %s", p.Line, sqlsplit.Excerpt(sqlsplit.MySQL, p.Text))
}

// Errors quote names and values, which may be secrets.
var (
	beforeName = regexp.MustCompile(`(?i)(?:column|key|table|view|database|function|procedure|trigger|variable|set|collation|engine|user|for|in|is) $`)
	afterValue = regexp.MustCompile(`(?s)^.*'( (?:for|in|at|to) .*)$`)
)

// discreet takes values out of what the server says: from the first quote that no word for a name stands before to the last one.
func discreet(err error) error {
	var my *mysql.MySQLError
	if !errors.As(err, &my) || my.Number == 1644 { // a SIGNAL's own words
		return err
	}
	short := *my
	if before, _, ok := strings.Cut(my.Message, " near '"); ok { // the statement's own text
		short.Message = before
	} else {
		for from := 0; ; {
			i := strings.IndexByte(short.Message[from:], '\'')
			if i < 0 {
				break
			}
			at := from + i
			if at > 0 && short.Message[at-1] >= 'A' { // Can't
				from = at + 1
				continue
			}
			if !beforeName.MatchString(short.Message[:at]) {
				rest := ""
				if m := afterValue.FindStringSubmatch(short.Message[at+1:]); m != nil {
					rest = m[1]
				}
				short.Message = short.Message[:at] + "…" + rest
				break
			}
			end := strings.IndexByte(short.Message[at+1:], '\'')
			if end < 0 {
				break
			}
			from = at + end + 2
		}
	}
	var known *fail.Error
	if errors.As(err, &known) {
		return &fail.Error{Kind: known.Kind, Hint: known.Hint, Msg: known.Msg, Err: &short}
	}
	return &short
}
