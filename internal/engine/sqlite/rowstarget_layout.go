package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// Omitted lists, by name, what a [RowsTarget] does not carry over from s. Functions, views and triggers are not in the
// portable description: from another engine than SQLite none of them comes along, and none is listed.
func Omitted(s *rows.Schema) []string {
	if s.Origin.Engine == "sqlite" {
		return nil
	}
	return newLayout(s).omitted
}

// A layout says what the tables of another engine are called and look like here.
type layout struct {
	engine  string
	tables  []*placed
	byName  map[string]*placed // by the source's text form
	omitted []string
	taken   map[string]bool // names of tables and indexes, in lower case
}

// A placed is a table of the source.
type placed struct {
	src     *rows.Table
	name    string
	columns map[string]string // names here, by those of the source
	into    *placed           // where its rows go: itself, or the table it is a partition of; nil for nowhere
	serial  string            // the column that AUTOINCREMENT numbers
	indexes []string
}

func (l *layout) omit(format string, args ...any) {
	l.omitted = append(l.omitted, fmt.Sprintf(format, args...))
}

func newLayout(s *rows.Schema) *layout {
	l := &layout{engine: s.Origin.Engine, byName: make(map[string]*placed), taken: make(map[string]bool)}
	counts := make(map[string]int)
	for _, t := range s.Tables {
		counts[strings.ToLower(t.Name)]++
	}
	for _, t := range s.Tables {
		p := &placed{src: t, columns: make(map[string]string)}
		l.tables, l.byName[t.String()] = append(l.tables, p), p
	}
	for _, p := range l.tables {
		if p.into = l.root(p); p.into != p {
			continue
		}
		name := p.src.Name
		if counts[strings.ToLower(name)] > 1 && p.src.Schema != "" {
			name = p.src.Schema + "_" + name
		}
		p.name = l.claim(name)
		if p.name != p.src.Name {
			l.omit("the name of table %s: it is %s here", p.src, p.name)
		}
	}
	l.omitPartitions()
	for _, p := range l.tables {
		if p.into == p {
			p.place(l, s)
		}
	}
	for _, p := range l.tables {
		if p.into == p {
			p.plan(l)
		}
	}
	return l
}

// root returns the table that p's rows go into, and says what is lost on the way; nil for nowhere.
func (l *layout) root(p *placed) *placed {
	switch p.src.Kind {
	case rows.MatView, rows.Foreign:
		l.omit("%s %s", map[rows.Kind]string{rows.MatView: "materialized view", rows.Foreign: "foreign table"}[p.src.Kind], p.src)
		return nil
	}
	at := p
	for range l.tables { // no more than there are, should they go in circles
		up := l.byName[at.src.Parent]
		if up == nil || up.src.Kind != rows.Partitioned {
			break
		}
		at = up
	}
	if at == p && p.src.Parent != "" && p.src.Kind == rows.Ordinary {
		l.omit("inheritance of %s from %s", p.src, p.src.Parent)
	}
	return at
}

func (l *layout) omitPartitions() {
	of := make(map[*placed][]string)
	for _, p := range l.tables {
		if p.into != nil && p.into != p {
			of[p.into] = append(of[p.into], p.src.String())
		}
	}
	for _, p := range l.tables {
		if len(of[p]) > 0 {
			l.omit("partitions of %s: the rows of %s are in it", p.src, rows.Few(of[p]))
		}
	}
}

// claim returns a name like the wished one that nothing else has.
func (l *layout) claim(name string) string {
	if strings.HasPrefix(strings.ToLower(name), "sqlite_") {
		name = "_" + name
	}
	return unique(l.taken, name)
}

// unique returns name, or else name with a number, and marks it as taken. SQLite doesn't tell capitals from small letters.
func unique(taken map[string]bool, name string) string {
	free := name
	for n := 2; taken[strings.ToLower(free)]; n++ {
		free = fmt.Sprintf("%s_%d", name, n)
	}
	taken[strings.ToLower(free)] = true
	return free
}

// place names the columns and finds the one that is numbered.
func (p *placed) place(l *layout, s *rows.Schema) {
	taken := make(map[string]bool)
	for _, c := range p.src.Columns {
		if c.Generated {
			l.omit("generated column %s.%s", p.src, c.Name)
			continue
		}
		p.columns[c.Name] = unique(taken, c.Name)
		if p.columns[c.Name] != c.Name {
			l.omit("the name of column %s.%s: it is %s here", p.src, c.Name, p.columns[c.Name])
		}
		numbered := c.Identity != "" || slices.ContainsFunc(s.Sequences, func(q rows.Sequence) bool { return q.Table == p.src.String() && q.Column == c.Name })
		switch {
		case numbered && p.isKey(c):
			p.serial = c.Name
		case numbered:
			l.omit("numbering of %s.%s", p.src, c.Name)
		case c.Default != "" && c.Literal == nil && !strings.EqualFold(strings.SplitN(c.Default, ":", 2)[0], "NULL"):
			l.omit("default of %s.%s: %s", p.src, c.Name, c.Default)
		}
		if c.Type == rows.Array || c.Type == rows.Other {
			l.omit("type %s of %s.%s: its values are texts", c.Native, p.src, c.Name)
		}
	}
	if p.src.Comment != "" || slices.ContainsFunc(p.src.Columns, func(c rows.Column) bool { return c.Comment != "" }) {
		l.omit("comments of %s", p.src)
	}
}

// isKey reports whether c alone is an integer primary key: the rowid.
func (p *placed) isKey(c rows.Column) bool {
	return c.Type == rows.Int && len(p.src.PrimaryKey) == 1 && p.src.PrimaryKey[0] == c.Name
}

// plan decides on foreign keys and indexes, now that every table is placed.
func (p *placed) plan(l *layout) {
	for _, x := range p.src.Indexes {
		columns, ok := p.here(x.Columns)
		if !ok {
			l.omit("index %s of %s: %s", x.Name, p.src, x.Definition)
			continue
		}
		how := "CREATE INDEX "
		if x.Unique {
			how = "CREATE UNIQUE INDEX "
		}
		p.indexes = append(p.indexes, how+quote(l.claim(x.Name))+" ON "+quote(p.name)+"("+columns+")")
	}
	for i := range p.src.ForeignKeys {
		if fk := &p.src.ForeignKeys[i]; p.foreignKey(l, fk) == "" {
			l.omit("foreign key %s of %s (%s) to %s", fk.Name, p.src, strings.Join(fk.Columns, ", "), fk.Table)
		}
	}
	for _, u := range p.src.Unique {
		if _, ok := p.here(u); !ok {
			l.omit("unique constraint of %s (%s)", p.src, strings.Join(u, ", "))
		}
	}
}

// here returns columns by their names here as a list; false when there is none or one is missing.
func (p *placed) here(columns []string) (string, bool) {
	list := make([]string, len(columns))
	for i, name := range columns {
		here, ok := p.columns[name]
		if !ok {
			return "", false
		}
		list[i] = quote(here)
	}
	return strings.Join(list, ", "), len(list) > 0
}

// foreignKey returns the constraint, or "" when SQLite can't have it: it wants a unique key at the other end.
func (p *placed) foreignKey(l *layout, fk *rows.ForeignKey) string {
	to := l.byName[fk.Table]
	if to == nil || to.into != to {
		return ""
	}
	from, ok := p.here(fk.Columns)
	refers, there := to.here(fk.References)
	if !ok || !there || len(fk.Columns) != len(fk.References) || !to.isUnique(fk.References) {
		return ""
	}
	sql := "FOREIGN KEY (" + from + ") REFERENCES " + quote(to.name) + "(" + refers + ")"
	if fk.Name != "" {
		sql = "CONSTRAINT " + quote(fk.Name) + " " + sql
	}
	actions := []string{"cascade", "set null", "set default", "restrict"}
	if slices.Contains(actions, fk.OnDelete) {
		sql += " ON DELETE " + strings.ToUpper(fk.OnDelete)
	}
	if slices.Contains(actions, fk.OnUpdate) {
		sql += " ON UPDATE " + strings.ToUpper(fk.OnUpdate)
	}
	if fk.Deferrable {
		sql += " DEFERRABLE INITIALLY DEFERRED"
	}
	return sql
}

// isUnique reports whether the columns, in any order, are a key of the table.
func (p *placed) isUnique(columns []string) bool {
	same := func(key []string) bool {
		return len(key) == len(columns) && !slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(key, c) })
	}
	return same(p.src.PrimaryKey) || slices.ContainsFunc(p.src.Unique, same) ||
		slices.ContainsFunc(p.src.Indexes, func(x rows.Index) bool { return x.Unique && same(x.Columns) })
}

// create returns CREATE TABLE. literal makes SQL of a default.
func (p *placed) create(l *layout, literal func(importer, string) (string, error)) (string, error) {
	var parts []string
	for _, c := range p.src.Stored() {
		part, err := p.column(l, c, literal)
		if err != nil {
			return "", fmt.Errorf("column %s.%s: %w", p.src, c.Name, err)
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		parts = append(parts, `"nothing"`) // SQLite has no table without columns
	}
	if key, ok := p.here(p.src.PrimaryKey); ok && !p.rowid() {
		parts = append(parts, "PRIMARY KEY ("+key+")")
	}
	for _, u := range p.src.Unique {
		if key, ok := p.here(u); ok {
			parts = append(parts, "UNIQUE ("+key+")")
		}
	}
	for i := range p.src.ForeignKeys {
		if sql := p.foreignKey(l, &p.src.ForeignKeys[i]); sql != "" {
			parts = append(parts, sql)
		}
	}
	return "CREATE TABLE " + quote(p.name) + " (" + strings.Join(parts, ", ") + ")", nil
}

// rowid reports whether the primary key is one integer.
func (p *placed) rowid() bool {
	return slices.ContainsFunc(p.src.Stored(), p.isKey)
}

func (p *placed) column(l *layout, c rows.Column, text func(importer, string) (string, error)) (string, error) {
	name := quote(p.columns[c.Name])
	if p.isKey(c) {
		if c.Name == p.serial {
			return name + " integer NOT NULL PRIMARY KEY AUTOINCREMENT", nil
		}
		return name + " integer NOT NULL PRIMARY KEY", nil
	}
	sql := name + " " + declared(c)
	if c.NotNull || slices.Contains(p.src.PrimaryKey, c.Name) {
		sql += " NOT NULL"
	}
	if c.Literal != nil {
		value, err := text(p.importer(l.engine, c), *c.Literal)
		if err != nil {
			return "", err
		}
		sql += " DEFAULT " + value
	}
	switch {
	case c.Type == rows.JSON:
		sql += " CHECK ((JSON_VALID(" + name + ") OR " + name + " IS NULL))"
	case c.Type == rows.Enum && len(c.Values) > 0:
		values := make([]string, len(c.Values))
		for i, v := range c.Values {
			values[i] = literal(v)
		}
		if l.engine != "postgres" {
			values = append(values, "''") // what MySQL makes of a value that it doesn't know
		}
		sql += " CHECK (" + name + " IN (" + strings.Join(values, ", ") + "))"
	}
	return sql, nil
}

// declared returns the type as Django declares it.
func declared(c rows.Column) string {
	switch c.Type {
	case rows.Bool, rows.Date, rows.Time:
		return string(c.Type)
	case rows.Int:
		if c.Size > 32 {
			return "bigint"
		}
		return "integer"
	case rows.Float:
		return "real"
	case rows.Decimal:
		if c.Size > 0 {
			return fmt.Sprintf("decimal(%d, %d)", c.Size, c.Scale)
		}
		return "decimal"
	case rows.Text:
		if c.Size > 0 {
			return fmt.Sprintf("varchar(%d)", c.Size)
		}
	case rows.Bytes:
		return "BLOB"
	case rows.Timestamp, rows.Instant:
		return "datetime"
	case rows.Interval:
		return "bigint"
	case rows.UUID:
		return "char(32)"
	case rows.Any:
		return ""
	}
	return "text"
}

func (p *placed) importer(engine string, c rows.Column) importer {
	im := importer{typ: c.Type, name: p.src.String() + "." + c.Name, rowid: p.isKey(c)}
	if engine == "sqlite" {
		im.storage = storageOf(c.Native)
	}
	return im
}

// loading says how rows of p go into their table.
func (p *placed) loading(engine string) *loading {
	l := &loading{}
	var names []string
	for _, c := range p.src.Stored() {
		names = append(names, quote(p.into.columns[c.Name]))
		l.columns = append(l.columns, p.importer(engine, c))
	}
	l.sql = insertInto(p.into.name, names)
	return l
}

// counters returns the SQL that sets the numbering of keys behind that of the source.
func (l *layout) counters(s *rows.Schema) (sql []string) {
	for _, q := range s.Sequences {
		p := l.byName[q.Table]
		if p == nil || p.into != p || p.serial == "" || p.serial != q.Column {
			continue
		}
		last := q.Last
		if !q.Called {
			last--
		}
		sql = append(sql, raiseCounter(p.name, max(last, 0))...)
	}
	return sql
}
