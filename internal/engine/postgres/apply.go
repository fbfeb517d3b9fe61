package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// purpose says how a statement of a definitions script is treated.
type purpose uint8

const (
	define  purpose = iota // it must succeed
	owning                 // ALTER … OWNER TO, GRANT, REVOKE: may lack a role or the right to it
	remark                 // COMMENT ON something that an extension or the cluster owns
	setting                // SET, RESET, set_config: changes what follows
	become                 // SET SESSION AUTHORIZATION: the grants up to RESET are somebody else's
	unbecome
)

// action is a statement made ready to be run.
type action struct {
	statement
	purpose purpose
	roles   []string // that it names, when it is about ownership
}

// classify looks at a statement's own words; the entry it stands under is only its name.
func classify(s statement) action {
	list := tokens(s.text)
	word := func(i int, words ...string) bool {
		for k, w := range words {
			if i+k >= len(list) || !list[i+k].Is(w) {
				return false
			}
		}
		return true
	}
	n := len(list)
	switch {
	case word(0, "set", "session", "authorization"):
		return action{s, become, names(list[3:])}
	case word(0, "reset", "session", "authorization"):
		return action{s, unbecome, nil}
	case word(0, "set"), word(0, "reset"), word(0, "select") && strings.Contains(s.text, "set_config"):
		return action{s, setting, nil}
	case word(0, "alter", "default", "privileges"):
		return action{s, owning, append(between(list, "role", "in", "grant", "revoke"), grantees(list)...)}
	case word(0, "grant"), word(0, "revoke"):
		return action{s, owning, grantees(list)}
	case word(0, "alter") && n > 4 && word(n-4, "owner", "to"):
		return action{s, owning, names(list[n-2:])}
	case word(0, "alter", "database"), word(0, "alter", "role"):
		return action{s, remark, nil}
	case word(0, "comment", "on", "extension"), word(0, "comment", "on", "schema") && n > 3 && list[3].Name() == "public":
		return action{s, remark, nil}
	}
	return action{s, define, nil}
}

// grantees returns the roles after the last TO or FROM of a grant.
func grantees(list []token) []string {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Is("to") || list[i].Is("from") {
			return names(list[i+1:])
		}
	}
	return nil
}

// between returns the names after the first word from up to any of the words until.
func between(list []token, from string, until ...string) []string {
	for i, t := range list {
		if !t.Is(from) {
			continue
		}
		for k := i + 1; k < len(list); k++ {
			for _, w := range until {
				if list[k].Is(w) {
					return names(list[i+1 : k])
				}
			}
		}
	}
	return nil
}

// names returns the role names in a list like «a, "B" WITH GRANT OPTION;»; the key words that
// stand for roles are no names.
func names(list []token) []string {
	var roles []string
	for _, t := range list {
		if t.Is("with") || t.Is("granted") {
			break
		}
		name := t.Name()
		if t.Kind == sqlsplit.String {
			name = strings.Trim(t.Text, "'")
		}
		if name == "" || t.Kind == sqlsplit.Ident && (name == "public" || name == "group" || strings.HasPrefix(name, "current_") || name == "session_user") {
			continue
		}
		roles = append(roles, name)
	}
	return roles
}

// applier runs definitions on one connection, in order.
type applier struct {
	t     *Target
	conn  *session
	stage string // for the observer
	inTx  bool   // a statement that may fail needs a savepoint
	done  int
	total int
}

// window is how many statements are on their way at once: enough to hide the network's delay.
const window = 100

// run applies the statements. Statements travel in groups, yet each commits by itself.
func (a *applier) run(ctx context.Context, list []statement) error {
	a.total += len(list)
	var group []action
	flush := func() error {
		err := a.send(ctx, group)
		a.done += len(group)
		group = group[:0]
		a.t.observe(a.stage, a.done, a.total)
		return err
	}
	other := false // between SET SESSION AUTHORIZATION that did not work and RESET
	for _, s := range list {
		act := classify(s)
		if act.purpose == unbecome && other {
			other = false
			continue
		}
		if other || !a.t.wanted(&act) {
			other = other || act.purpose == become
			a.done++
			continue
		}
		// What changes the session's state is run apart, so that nothing after it is under way.
		apart := act.purpose == setting || act.purpose == become || act.purpose == unbecome
		if apart || len(group) == window {
			if err := flush(); err != nil {
				return err
			}
		}
		if !apart {
			group = append(group, act)
			continue
		}
		if err := a.one(ctx, act); err != nil {
			if act.purpose != become || !errors.Is(err, errSkipped) {
				return err
			}
			other = true
		}
		a.done++
	}
	return flush()
}

// errSkipped marks a statement that did not work and need not.
var errSkipped = errors.New("skipped")

// one runs a single action, in a savepoint when its failure must not end a transaction.
func (a *applier) one(ctx context.Context, act action) error {
	sql := act.text
	if a.inTx && act.purpose != define {
		sql = "SAVEPOINT holdfast;" + sql + "\n;RELEASE SAVEPOINT holdfast"
	}
	err := a.conn.exec(ctx, sql)
	if err == nil {
		return nil
	}
	verdict := a.judge(ctx, act, err)
	if errors.Is(verdict, errSkipped) && a.inTx {
		if rerr := a.conn.exec(ctx, "ROLLBACK TO SAVEPOINT holdfast; RELEASE SAVEPOINT holdfast"); rerr != nil {
			return explainIn(ctx, rerr)
		}
	}
	if errors.Is(verdict, errSkipped) && act.purpose != become {
		return nil
	}
	return verdict
}

// send runs a group of actions, in one round trip where that is possible.
func (a *applier) send(ctx context.Context, group []action) error {
	if a.inTx || len(group) < 2 {
		for _, act := range group {
			if err := a.one(ctx, act); err != nil {
				return err
			}
		}
		return nil
	}
	p := a.conn.conn.PgConn().StartPipeline(ctx)
	for _, act := range group {
		p.SendQueryParams(act.text, nil, nil, nil, nil)
		p.SendPipelineSync()
	}
	err := p.Flush()
	for i := 0; i < len(group) && err == nil; i++ {
		if rerr := pipelineResult(p); rerr != nil {
			if err = a.judge(ctx, group[i], rerr); errors.Is(err, errSkipped) {
				err = nil
			}
		}
	}
	if cerr := p.Close(); err == nil {
		err = explainIn(ctx, cerr)
	}
	return explainIn(ctx, err)
}

// pipelineResult waits for one statement and the sync behind it.
func pipelineResult(p *pgconn.Pipeline) error {
	var first error
	for {
		res, err := p.GetResults()
		if err != nil {
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Severity == "FATAL" {
				return err
			}
			first = err
			continue
		}
		switch r := res.(type) {
		case *pgconn.ResultReader:
			if _, err := r.Close(); err != nil && first == nil {
				first = err
			}
		case *pgconn.PipelineSync:
			return first
		case nil:
			return first
		}
	}
}

// judge decides what the failure of an action means: errSkipped when the restore goes on
// without it, which was noted, else the error to return.
func (a *applier) judge(ctx context.Context, act action, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && ctx.Err() == nil {
		missing := pg.Code == "42704" // undefined object
		denied := pg.Code == "42501"
		switch {
		case (act.purpose == owning || act.purpose == become) && (missing || denied || pg.Code == "0LP01"):
			a.t.note("ownership and grants of role %s were left out where the server refused them: %s", strings.Join(act.roles, ", "), pg.Message)
			return errSkipped
		case act.purpose == remark && (denied || missing):
			a.t.note("%s was left out: %s", act.heading, pg.Message)
			return errSkipped
		case act.purpose == setting && missing:
			a.t.note("this server has not all settings of the backup's: %s", pg.Message)
			return errSkipped
		}
	}
	err = explainIn(ctx, err)
	kind, hint := fail.KindOf(err), fail.HintOf(err)
	if errors.As(err, &pg) {
		switch {
		case strings.HasPrefix(pg.Code, "23"): // integrity constraint violation
			kind, hint = fail.Incomplete, "the rows break it, as they did in the original database: look for damage there"
		default:
			hint = cmp.Or(hint, definitionHint(pg))
			if hint == "" && a.t.unknownHere(pg.Code) {
				kind, hint = fail.Unsupported, a.t.olderHint()
			}
		}
	}
	return fail.Wrap(kind, err, hint, "create %s", act.heading)
}

// unknownHere reports whether an error is likely to come of the server being older than the one the backup was taken from: it does not know
// a syntax, a type, a function, a collation, an option or a combination of them.
func (t *Target) unknownHere(code string) bool {
	return t.version < major(t.schema.Origin.Version) &&
		slices.Contains([]string{"42601", "42704", "42883", "42703", "42P17", "0A000", "22023", "42809", "42611"}, code)
}

func (t *Target) olderHint() string {
	return fmt.Sprintf("the backup is from PostgreSQL %d and this server is version %d, which most likely does not know this: restore into a server that is not older, or some tables with --table",
		major(t.schema.Origin.Version), t.version)
}

// definitionHint is the way out of failures that only definitions meet.
func definitionHint(pg *pgconn.PgError) string {
	switch {
	case pg.Code == "0A000" && strings.Contains(pg.Message, "extension"), pg.Code == "58P01":
		return "install the extension on the server"
	case pg.Code == "42704" && strings.Contains(pg.Message, "role"):
		return "create the role first; the backup's globals.sql has its definition"
	case pg.Code == "42501":
		return "restore as a role with more rights"
	}
	return ""
}

// known is what exists in the target's cluster, beside the database.
type known struct{ roles, tablespaces map[string]bool }

// wanted reports whether an action is to be run at all, and notes why one that could matter is not.
// It may change a setting that this server can't have.
func (t *Target) wanted(act *action) bool {
	switch act.purpose {
	case owning, become, unbecome:
		if t.opt.NoOwner {
			return false
		}
		for _, role := range act.roles {
			if !t.known.roles[role] {
				t.note("role %s does not exist here: its ownership and grants were left out; the backup's globals.sql has its definition", quoteIdent(role))
				return false
			}
		}
	case define:
		if strings.Contains(act.text, internalOption) {
			return dropInternal(act)
		}
	case setting:
		list := tokens(act.text)
		if len(list) > 3 && list[1].Is("client_encoding") {
			return false // pg_dump was asked for UTF-8, and the session has it
		}
		if len(list) > 3 && list[1].Is("transaction_timeout") && t.version < 17 {
			return false
		}
		if len(list) > 3 && list[1].Is("default_tablespace") {
			if name := list[3].Name(); name != "" && !t.known.tablespaces[name] {
				t.note("tablespace %s does not exist here: the default one was used", quoteIdent(name))
				act.text = "SET default_tablespace = '';"
			}
		}
	}
	return true
}

// internalOption is a column option in which some minor releases keep a number of their own. A pg_dump of
// another release shows it; no server takes it over.
const internalOption = "pg_attver"

// dropInternal leaves the internal option out of a statement, and reports whether anything is left.
func dropInternal(act *action) bool {
	list := tokens(act.text)
	at := slices.IndexFunc(list, func(t token) bool { return t.Is(internalOption) })
	if !list[0].Is("alter") || at < 0 || at+4 > len(list) || list[at-1].Text != "(" && list[at-1].Text != "," {
		return true
	}
	// «( pg_attver = n )», or followed or preceded by others.
	rest := list[at+3:]
	switch {
	case list[at-1].Text == "(" && rest[0].Text == ")":
		return false
	case rest[0].Text == ",":
		rest = rest[1:]
	default:
		at--
	}
	var b strings.Builder
	for _, t := range append(slices.Clone(list[:at]), rest...) {
		b.WriteString(t.Text)
		b.WriteByte(' ')
	}
	act.text = b.String()
	return true
}
