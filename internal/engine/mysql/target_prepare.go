package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// parseScript takes a file of definitions apart; see scriptText.
func parseScript(text string) (list []statement, err error) {
	delimiter := ""
	for line, rest := "", text; rest != ""; {
		line, rest, _ = strings.Cut(rest, "\n")
		if d, ok := strings.CutPrefix(line, "DELIMITER "); ok {
			delimiter = d
			continue
		}
		head, ok := strings.CutPrefix(line, "-- {")
		if !ok {
			continue
		}
		var s statement
		if err := json.Unmarshal([]byte("{"+head), &s.label); err != nil {
			return nil, fmt.Errorf("a statement's label: %w", err)
		}
		if delimiter == "" || delimiter == ";" {
			return nil, fmt.Errorf("a statement without a delimiter")
		}
		end := strings.Index(rest, "\n"+delimiter+"\n")
		if end < 0 {
			return nil, fmt.Errorf("the statement for %s %s has no end", s.Kind, s.Name)
		}
		s.sql, rest = rest[:end], rest[end+len(delimiter)+2:]
		list = append(list, s)
	}
	return list, nil
}

// loadSettings is what sessions that restore set: foreign keys are made behind the rows, and the source
// saw to it that they hold.
const loadSettings = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', SESSION foreign_key_checks = 0, SESSION innodb_lock_wait_timeout = 3600"

// open connects and, if asked, makes the database.
func (t *Target) open(ctx context.Context) error {
	var err error
	if t.main, err = connect(ctx, t.cfg, !t.opt.Create); err != nil {
		if isNumber(err, errNoDatabase) {
			return fail.Wrap(fail.NotFound, err, "--create makes it", "open it")
		}
		return err
	}
	if err := t.alone(ctx, t.main, beginWait); err != nil {
		return err
	}
	if t.opt.Create {
		if err := t.createDatabase(ctx, t.main); err != nil {
			return err
		}
	}
	if err := t.setUp(ctx, t.main); err != nil {
		return err
	}
	t.server = t.main.server
	if !t.server.maria {
		for _, name := range []string{"sql_generate_invisible_primary_key", "sql_require_primary_key"} {
			_ = t.main.exec(ctx, "SET SESSION "+name+" = 0") // for those who may: tables are made as they were
		}
	}
	row, err := t.main.one(ctx, "SELECT @@local_infile, @@lower_case_table_names")
	if err != nil {
		return err
	}
	t.local, t.folds = row[0].s == "1", row[1].s != "0"
	if from := t.schema.Origin.Attribute("lower_case_table_names"); t.folds && from != row[1].s {
		return t.checkCase()
	}
	return nil
}

// checkCase refuses tables whose names this server would take for one.
func (t *Target) checkCase() error {
	seen := map[string]string{}
	for _, table := range t.schema.Tables {
		lower := strings.ToLower(table.Name)
		if other := seen[lower]; other != "" {
			return fail.New(fail.Unsupported, "restore into a server with lower_case_table_names=0",
				"this server does not tell the tables %s and %s apart (lower_case_table_names)", other, table)
		}
		seen[lower] = table.String()
	}
	return nil
}

func (t *Target) session(ctx context.Context) (*session, error) {
	s, err := connect(ctx, t.cfg, true)
	if err != nil {
		return nil, err
	}
	if err := t.setUp(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (t *Target) setUp(ctx context.Context, s *session) error {
	if err := s.exec(ctx, loadSettings); err != nil {
		return fail.Op(explainIn(ctx, err), "set up a session")
	}
	s.keepWarnings(ctx)
	t.ids = append(t.ids, s.id)
	return nil
}

// openPool opens the connections that load rows.
func (t *Target) openPool(ctx context.Context) error {
	t.idle = make(chan *session, t.opt.Jobs)
	for n := range t.opt.Jobs {
		s, err := t.session(ctx)
		if n > 0 && isNumber(err, 1040, 1203, 1226) {
			return nil
		}
		if err != nil {
			return err
		}
		t.idle <- s
	}
	return nil
}

func (t *Target) acquire(ctx context.Context) (*session, error) {
	select {
	case s := <-t.idle:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var wordPattern = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// createDatabase makes the database with the character set of the source, and makes it the session's.
func (t *Target) createDatabase(ctx context.Context, s *session) error {
	name := quoteIdent(t.cfg.DBName)
	row, err := s.one(ctx, "SELECT 1 FROM information_schema.schemata WHERE schema_name = "+quoteLiteral(t.cfg.DBName))
	if err != nil {
		return err
	}
	if row != nil {
		if !t.opt.Clean {
			return fail.New(fail.Exists, "--clean drops it first; without --create an empty one is used", "create it: it exists")
		}
		if err := s.exec(ctx, "DROP DATABASE "+name); err != nil {
			return fail.Op(explainIn(ctx, err), "drop it")
		}
		t.had = fmt.Sprintf("--clean dropped %s, and it is gone; that was", t.where)
	}
	sql := "CREATE DATABASE " + name + " CHARACTER SET utf8mb4"
	if o := &t.schema.Origin; o.Engine == "mysql" && wordPattern.MatchString(o.Attribute("character_set")) && wordPattern.MatchString(o.Attribute("collation")) {
		sql = "CREATE DATABASE " + name + " CHARACTER SET " + o.Attribute("character_set") + " COLLATE " + o.Attribute("collation")
	}
	t.server = s.server
	sql = t.adapt(sql)
	if err := s.exec(ctx, sql); err != nil {
		return fail.Op(explainIn(ctx, err), "create it")
	}
	t.did = created
	return fail.Op(explainIn(ctx, s.exec(ctx, "USE "+name)), "open it")
}

// makeRoom looks at what is there, and removes it if it may.
func (t *Target) makeRoom(ctx context.Context) error {
	if t.opt.DataOnly {
		return nil
	}
	found, err := t.inventory(ctx, t.main)
	if err != nil {
		return err
	}
	if t.opt.Partial {
		t.did = max(t.did, adding)
		for _, o := range found {
			for _, table := range t.schema.Tables {
				if o.name == t.nameOf(table) && (o.kind != "TABLE" || !t.opt.Clean) {
					return fail.New(fail.Exists, "--clean replaces it", "%s %s is there already", strings.ToLower(o.kind), table)
				}
			}
		}
		return nil
	}
	if len(found) > 0 && !t.opt.Clean {
		return fail.New(fail.Exists, "--clean removes everything in it first", "it is not empty: it holds %s", inWords(found))
	}
	if len(found) > 0 {
		before := t.did
		t.did = max(t.did, filling)
		t.had = fmt.Sprintf("--clean removed %s, and that is gone; it was", inWords(found))
		dropped, err := t.wipe(ctx, t.main, found)
		if err != nil && dropped == 0 && cutText(err) == "" && ctx.Err() == nil { // the server said no, and nothing is gone
			t.did, t.had = before, ""
		}
		return err
	}
	t.did = max(t.did, filling)
	return nil
}

// makeTables makes sequences and tables.
func (t *Target) makeTables(ctx context.Context) error {
	if err := t.plan(); err != nil {
		return err
	}
	for i, s := range t.pre {
		if s.Kind == "table" || t.opt.Partial && !t.wanted(s) {
			continue
		}
		t.observe("definitions", i, len(t.pre))
		if err := t.main.exec(ctx, t.owned(t.adapt(s.sql))); err != nil {
			return fail.Op(t.explainOther(ctx, err), "make %s %s", s.Kind, s.Name)
		}
	}
	for i, lt := range t.order {
		t.observe("definitions", i, len(t.order))
		if err := t.main.exec(ctx, lt.createSQL()); err != nil {
			return fail.Op(t.explainOther(ctx, err), "make table %s", lt.table)
		}
	}
	return nil
}

// wanted reports whether a definition belongs to the chosen tables.
func (t *Target) wanted(s statement) bool {
	name := s.Table
	if s.Kind == "table" {
		name = s.Name
	}
	for table := range t.tables {
		if table.Name == name || s.Kind == "sequence" && strings.Contains(t.tables[table].createSQL(), quoteIdent(s.Name)) {
			return true
		}
	}
	return false
}

func (t *Target) owned(sql string) string {
	if t.opt.NoOwner {
		return withoutDefiner(sql)
	}
	return sql
}

// plan decides how each table is made.
func (t *Target) plan() error {
	if !t.native {
		return t.planForeign()
	}
	defs := map[string]string{}
	for _, s := range t.pre {
		if s.Kind == "table" {
			defs[s.Name] = s.sql
		}
	}
	for _, table := range t.schema.Tables {
		sql, ok := defs[table.Name]
		sql = t.adapt(sql)
		if !ok {
			return fail.New(fail.Damaged, "", "the backup has no definition of table %s", table)
		}
		lt := &loadTable{table: table, name: table.Name, sql: parseTable(sql), skip: table.Kind == rows.Foreign}
		t.add(lt)
	}
	return nil
}

func (t *Target) add(lt *loadTable) {
	lt.into = lt.name
	if t.opt.Partial {
		lt.into = "holdfast~" + strconv.Itoa(len(t.order)+1)
		if !t.server.maria && lt.sql != nil {
			lt.keepChecks()
		}
	}
	t.tables[lt.table] = lt
	t.order = append(t.order, lt)
}
