package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A merging is one merge of a plan at work. Columns are known by their place in the merge's Columns.
type merging struct {
	m       *rows.Merge
	info    *table
	desc    *rows.Table // as the database has it now
	result  rows.Merged
	table   string // for SQL
	stage   string // likewise, the temporary table; made unless direct
	conn    *sqlite3.Conn
	storage []storage
	collate []string // collation of each column
	notNull []bool
	key     []int // places of the key's columns
	fresh   []bool
	sets    []bool // whether it is of Merge.Set

	direct bool          // rows go straight into the table
	upsert bool          // SQLite itself knows the key, which has no NULLs
	put    *sqlite3.Stmt // stores a row
	param  []int         // the parameter of each column in put; 0 is none
	loaded int64
}

// newMerging looks whether a merge fits the database.
func newMerging(m *rows.Merge, s *rows.Schema, tables map[string]*table, number int) (*merging, error) {
	desc, info := s.Table(m.Table.String()), tables[m.Table.Name]
	if desc == nil || info == nil {
		return nil, fail.New(fail.NotFound, "", "merge into %s: no such table", m.Table)
	}
	refuse := func(format string, args ...any) error {
		return fail.New(fail.Usage, "", "merge into %s: %s", m.Table, fmt.Sprintf(format, args...))
	}
	if info.virtual {
		return nil, refuse("it is a virtual table")
	}
	g := &merging{
		m: m, desc: desc, info: info, table: "main." + quote(info.name), stage: fmt.Sprintf("temp.holdfast_stage_%d", number),
		fresh: make([]bool, len(m.Columns)), sets: make([]bool, len(m.Columns)), result: rows.Merged{Merge: m},
	}
	for i, name := range m.Columns {
		c := columnNamed(desc, name)
		switch {
		case c == nil:
			return nil, refuse("no column %s", name)
		case c.Generated:
			return nil, refuse("column %s is computed", name)
		case slices.Contains(m.Columns[:i], name):
			return nil, refuse("column %s is there twice", name)
		}
		g.storage = append(g.storage, storageOf(c.Native))
		g.notNull = append(g.notNull, c.NotNull)
		g.fresh[i], g.sets[i] = slices.Contains(m.Fresh, name), slices.Contains(m.Set, name)
	}
	keys := m.Key
	if len(m.Set) > 0 {
		keys = m.Columns
	}
	for _, name := range append(slices.Clone(keys), m.Set...) {
		i := slices.Index(m.Columns, name)
		if i < 0 {
			return nil, refuse("the rows have no column %s", name)
		}
		if !slices.Contains(g.key, i) {
			g.key = append(g.key, i)
		}
	}
	if len(m.Columns) == 0 {
		return nil, refuse("no columns")
	}
	return g, nil
}

// begin empties the table if it must, and chooses where rows go. alone says that no other merge of the
// plan is for this table.
func (g *merging) begin(alone bool) error {
	conn := g.conn
	if g.m.Replace {
		if err := conn.Exec("DELETE FROM " + g.table); err != nil {
			return err
		}
		g.result.Deleted = conn.Changes()
	}
	g.upsert = len(g.key) > 0 && !slices.ContainsFunc(g.key, func(k int) bool { return !g.notNull[k] }) && g.knowsKey()
	rows, err := one(conn, "SELECT EXISTS(SELECT 1 FROM "+g.table+")")
	if err != nil {
		return err
	}
	g.direct = alone && len(g.m.Set) == 0 && (len(g.key) == 0 || rows == "0" && g.upsert)
	g.param = make([]int, len(g.m.Columns))
	n := 0
	for i := range g.param {
		if !g.direct || !g.fresh[i] {
			n++
			g.param[i] = n
		}
	}
	into := g.stage
	if g.direct {
		into = g.table + "(" + g.names("", g.inserted()) + ")"
	} else if err := g.makeStage(); err != nil {
		return err
	}
	if n == 0 { // of a table whose every column is fresh
		g.put, _, err = conn.Prepare("INSERT INTO " + g.table + " DEFAULT VALUES")
		return err
	}
	g.put, _, err = conn.Prepare("INSERT INTO " + into + " VALUES(" + strings.Repeat(",?", n)[1:] + ")")
	return err
}

func (g *merging) collations() error {
	for _, name := range g.m.Columns {
		_, collation, _, _, _, err := g.conn.TableColumnMetadata("main", g.info.name, name)
		if err != nil {
			return err
		}
		if collation == "" {
			collation = "BINARY"
		}
		g.collate = append(g.collate, collation)
	}
	return nil
}

// knowsKey reports whether the table has a unique index or primary key of just the key's columns.
func (g *merging) knowsKey() bool {
	st, _, err := g.conn.Prepare("INSERT INTO " + g.table + "(" + g.names("", g.key) + ") VALUES(" + strings.Repeat(",1", len(g.key))[1:] + ") ON CONFLICT(" + g.names("", g.key) + ") DO NOTHING")
	if err != nil {
		return false
	}
	return st.Close() == nil
}

// rowidKey reports whether the key is the rowid.
func (g *merging) rowidKey() bool {
	return len(g.key) == 1 && len(g.m.Set) == 0 && g.info.rowid != "" && g.info.rowid == quote(g.m.Columns[g.key[0]]) && columnNamed(g.desc, g.m.Columns[g.key[0]]).Identity != ""
}

// makeStage makes the temporary table. Its unique index finds keys that come twice, and serves the joins.
func (g *merging) makeStage() error {
	var b strings.Builder
	for i := range g.m.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		if g.rowidKey() && i == g.key[0] {
			fmt.Fprintf(&b, "c%d INTEGER PRIMARY KEY", i)
			continue
		}
		fmt.Fprintf(&b, "c%d %s COLLATE %s", i, g.storage[i].declaration(), quote(g.collate[i]))
	}
	if len(g.key) > 0 && !g.rowidKey() {
		var first, rest []string // those of Set in front
		for _, k := range g.key {
			if name := fmt.Sprintf("c%d", k); g.sets[k] {
				first = append(first, name)
			} else {
				rest = append(rest, name)
			}
		}
		b.WriteString(", UNIQUE(" + strings.Join(append(first, rest...), ",") + ")")
	}
	return g.conn.Exec("CREATE TABLE " + g.stage + "(" + b.String() + ")")
}

// inserted returns the places of the columns that a new row gets from its row text.
func (g *merging) inserted() (list []int) {
	for i := range g.m.Columns {
		if !g.fresh[i] {
			list = append(list, i)
		}
	}
	return list
}

// updated returns the places of the columns that a row which is there gets from its row text. Of the key only what
// can differ although it is equal.
func (g *merging) updated() (list []int) {
	for i := range g.m.Columns {
		if isKey := slices.Contains(g.key, i); !g.fresh[i] && (!isKey || g.collate[i] != "BINARY") {
			list = append(list, i)
		}
	}
	return list
}

// names returns a list of columns by their names, each behind prefix.
func (g *merging) names(prefix string, places []int) string {
	list := make([]string, len(places))
	for i, p := range places {
		list[i] = prefix + quote(g.m.Columns[p])
	}
	return strings.Join(list, ",")
}

// staged returns a list of columns of the stage, each behind prefix.
func staged(prefix string, places []int) string {
	list := make([]string, len(places))
	for i, p := range places {
		list[i] = fmt.Sprintf("%sc%d", prefix, p)
	}
	return strings.Join(list, ",")
}

// matches is the condition that row «t» of the table is row «s» of the stage.
func (g *merging) matches() string {
	op := " IS "
	if g.upsert {
		op = "="
	}
	terms := make([]string, len(g.key))
	for i, k := range g.key {
		terms[i] = "t." + quote(g.m.Columns[k]) + op + fmt.Sprintf("s.c%d", k)
	}
	return strings.Join(terms, " AND ")
}

// differs is the condition that row «t» of the table lacks a value of another row, whose columns value names.
func (g *merging) differs(value func(place int) string) string {
	terms := []string{"0"}
	for _, i := range g.updated() {
		terms = append(terms, "t."+quote(g.m.Columns[i])+" COLLATE BINARY IS NOT "+value(i))
	}
	return "(" + strings.Join(terms, " OR ") + ")"
}

func stageColumn(place int) string { return fmt.Sprintf("s.c%d", place) }

// assignments is the list behind SET.
func (g *merging) assignments(value func(place int) string) string {
	var list []string
	for _, i := range g.updated() {
		list = append(list, quote(g.m.Columns[i])+"="+value(i))
	}
	return strings.Join(list, ",")
}
