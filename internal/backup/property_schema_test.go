package backup_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// A schemaGen writes a script that makes a random database. A statement may fail in the server, as a row that breaks
// a constraint does: the script goes on without it.
type schemaGen struct {
	*rapid.T
	script     strings.Builder
	statements int
	taken      map[string]bool
	serial     int
	schemas    []string // quoted
	types      []columnType
	tables     []*genTable
	views      []string
}

type genTable struct {
	name    string // with its schema, quoted
	columns []genColumn
	key     []genColumn
	parted  bool
}

type genColumn struct {
	name string // quoted
	columnType
	auto bool // filled by the server
}

// randomSchema returns the script and the number of its statements.
func randomSchema(t *rapid.T) (script string, statements int) {
	g := &schemaGen{T: t, taken: map[string]bool{}, types: baseTypes()}
	g.exec("SET client_min_messages = error; SET timezone = 'Asia/Kathmandu'; SET row_security = off; SET check_function_bodies = off")
	g.makeSchemas()
	g.makeTypes()
	for range g.n("tables", 1, 5) {
		g.makeTable()
	}
	for range g.n("foreign keys", 0, 3) {
		g.makeForeignKey()
	}
	for _, table := range g.tables {
		g.changeTable(table)
	}
	for range g.n("views", 0, 3) {
		g.makeView()
	}
	for range g.n("others", 0, 4) {
		g.makeOther()
	}
	return g.script.String(), g.statements
}

func (g *schemaGen) exec(format string, args ...any) {
	fmt.Fprintf(&g.script, format+";\n", args...)
	g.statements++
}

func (g *schemaGen) n(label string, low, high int) int {
	return rapid.IntRange(low, high).Draw(g.T, label)
}

// maybe is true one time in n.
func (g *schemaGen) maybe(label string, n int) bool { return g.n(label, 1, n) == n }

func (g *schemaGen) pick(label string, list ...string) string {
	return rapid.SampledFrom(list).Draw(g.T, label)
}

// oddNames are what people and programs call their tables. They come out quoted.
func oddNames() []string {
	return []string{
		"a", "items", "Upper", "camelCase", "with space", " lead", "trail ", "do.t", `q"uote`, `""`, "it's", "new\nline", "tab\t", "cr\r", `back\slash`, `\`, `\.`, `\N`, "ünï", "日本語", "\U0001F600", "e\u0301",
		"select", "user", "table", "order", "public", "NULL", "123", "-", "--x", "/*", ";", "$$", "$1", ":v", ":'v'", "%s", "*", "?", "{}", "[1]", "a,b", "(", "~", "C:\\x", "../up", "/etc", "con", ".", "..",
		strings.Repeat("long", 15) + "abc", strings.Repeat("ü", 31) + "z", "x" + strings.Repeat(" ", 61) + "y", "\x01\x7f",
	}
}

// name returns a new quoted name.
func (g *schemaGen) name() string {
	s := rapid.SampledFrom(oddNames()).Draw(g.T, "name")
	if g.taken[s] {
		g.serial++
		s = fmt.Sprintf("%d%s", g.serial, s)
		for len(s) > 63 {
			r := []rune(s)
			s = string(r[:len(r)-1])
		}
	}
	g.taken[s] = true
	return quoteName(s)
}

func (g *schemaGen) schema() string { return g.pick("schema", g.schemas...) }

// newName returns a new name in one of the schemas.
func (g *schemaGen) newName() string { return g.schema() + "." + g.name() }

func (g *schemaGen) makeSchemas() {
	g.schemas = []string{"public"}
	g.taken["public"] = true
	for range g.n("schemas", 0, 2) {
		s := g.name()
		g.exec("CREATE SCHEMA %s", s)
		g.schemas = append(g.schemas, s)
	}
	if g.maybe("hstore", 3) {
		s := g.schema()
		g.exec("CREATE EXTENSION hstore SCHEMA %s", s)
		g.exec("SET search_path = public, %s", s)
		g.types = append(g.types, columnType{name: s + ".hstore", value: hstoreValue(s + ".hstore"), index: []string{"gin", "gist", "hash"}})
	}
}

func (g *schemaGen) makeTypes() {
	for range g.n("types", 0, 4) {
		base := rapid.SampledFrom(g.types).Draw(g.T, "base type")
		name, kind := g.newName(), g.pick("kind of type", "enum", "domain", "composite", "range")
		if kind != "range" && g.maybe("of arrays", 3) {
			base = arrayOf(base)
		}
		switch kind {
		case "enum":
			labels := []string{quoteText(""), "'x'", quoteText("a,b"), quoteText(`q"`), quoteText("n\nl"), quoteText(`\`), "'NULL'", "'é'"}
			g.exec("CREATE TYPE %s AS ENUM (%s)", name, strings.Join(labels, ", "))
			g.exec("ALTER TYPE %s ADD VALUE 'first' BEFORE 'x'", name)
			g.types = append(g.types, columnType{name: name, index: btreeHash, value: func(t *rapid.T) string {
				return rapid.SampledFrom(append(labels, "'first'")).Draw(t, "label") + "::" + name
			}})
		case "domain":
			more := g.pick("domain's", "", " NOT NULL", " CHECK (VALUE IS NOT NULL OR 1 = 1)", " DEFAULT NULL", " CONSTRAINT "+g.name()+" CHECK (pg_column_size(VALUE) < 100000)")
			g.exec("CREATE DOMAIN %s AS %s%s", name, base.name, more)
			base.name, base.whole = name, false
			g.types = append(g.types, base)
		case "composite":
			other := rapid.SampledFrom(g.types).Draw(g.T, "other type")
			g.exec("CREATE TYPE %s AS (%s %s, %s %s)", name, g.name(), base.name, g.name(), other.name)
			g.types = append(g.types, columnType{name: name, value: func(t *rapid.T) string {
				if rapid.Bool().Draw(t, "null inside") {
					return "ROW(NULL, " + other.value(t) + ")::" + name
				}
				return "ROW(" + base.value(t) + ", " + other.value(t) + ")::" + name
			}})
		case "range":
			bare, _, _ := strings.Cut(base.name, " COLLATE")
			g.exec("CREATE TYPE %s AS RANGE (SUBTYPE = %s, MULTIRANGE_TYPE_NAME = %s)", name, bare, g.newName())
			g.types = append(g.types, columnType{name: name, index: ranges, value: func(t *rapid.T) string {
				return fmt.Sprintf("%s(least(%s, %s), NULL, '%s')", name, base.value(t), base.value(t), rapid.SampledFrom([]string{"[)", "()", "(]"}).Draw(t, "bounds"))
			}})
		}
	}
}

func (g *schemaGen) column() genColumn {
	// Types made here come up as often as all the built-in ones together.
	types := g.types
	if own := g.types[len(baseTypes()):]; len(own) > 0 && g.maybe("own type", 2) {
		types = own
	}
	c := genColumn{name: g.name(), columnType: rapid.SampledFrom(types).Draw(g.T, "type")}
	if g.maybe("array", 4) {
		c.columnType = arrayOf(c.columnType)
	}
	return c
}

// define returns what stands behind a column's name in CREATE TABLE.
func (g *schemaGen) define(c *genColumn) string {
	def := c.columnType.name
	switch g.n("column's", 0, 11) {
	case 0:
		def += " NOT NULL"
	case 1:
		def += " DEFAULT " + c.value(g.T)
	case 2:
		def += fmt.Sprintf(" CONSTRAINT %s CHECK (pg_column_size(%s) < 100000)", g.name(), c.name)
	case 3:
		if c.whole {
			def, c.auto = c.columnType.name+g.pick("identity", " GENERATED ALWAYS AS IDENTITY", " GENERATED BY DEFAULT AS IDENTITY (START 7 INCREMENT 3 CACHE 5)", " GENERATED ALWAYS AS IDENTITY (START -5 INCREMENT -2 CYCLE)"), true
		}
	case 4:
		if c.whole {
			def, c.auto = g.pick("serial", "serial", "bigserial", "smallserial"), true
		}
	case 5:
		def += g.pick("null", " NULL", " UNIQUE")
	}
	return def
}

func (g *schemaGen) makeTable() {
	t := &genTable{name: g.newName()}
	var defs []string
	for range g.n("columns", 0, 6) {
		c := g.column()
		defs = append(defs, c.name+" "+g.define(&c))
		t.columns = append(t.columns, c)
	}
	defs = append(defs, g.generated(t)...)
	kind := g.pick("kind of table", "plain", "plain", "plain", "plain", "unlogged", "inherits", "range", "list", "hash")
	if kind == "range" || kind == "list" || kind == "hash" {
		g.makePartitioned(t, kind, defs)
	} else {
		g.makePlain(t, kind, defs)
	}
	g.tables = append(g.tables, t)
	for range g.n("dropped", 0, 1) {
		gone := g.name()
		g.exec("ALTER TABLE %s ADD COLUMN %s int DEFAULT 7", t.name, gone)
		defer g.exec("ALTER TABLE %s DROP COLUMN %s", t.name, gone)
	}
	g.fill(t)
	if g.maybe("later column", 4) { // whose value old rows do not hold
		c := g.column()
		g.exec("ALTER TABLE %s ADD COLUMN %s %s DEFAULT %s", t.name, c.name, c.columnType.name, c.value(g.T))
		t.columns = append(t.columns, c)
		g.fill(t)
	}
}

// generated adds a column that the server computes, now and then.
func (g *schemaGen) generated(t *genTable) []string {
	if len(t.columns) == 0 || !g.maybe("generated", 4) {
		return nil
	}
	from := rapid.SampledFrom(t.columns).Draw(g.T, "from")
	expr := fmt.Sprintf("(%s IS NULL)::int", from.name)
	switch {
	case from.whole:
		expr = fmt.Sprintf("(%s / 2 + 1)", from.name)
	case from.text:
		expr = fmt.Sprintf("length(upper(%s || E'\\n'))", from.name)
	}
	return []string{fmt.Sprintf("%s bigint GENERATED ALWAYS AS (%s) STORED", g.name(), expr)}
}

func (g *schemaGen) makePlain(t *genTable, kind string, defs []string) {
	if g.maybe("key", 2) {
		if c := (genColumn{name: g.name(), columnType: g.types[g.n("key type", 0, 3)]}); c.index != nil {
			defs = slices.Insert(defs, g.n("key at", 0, len(defs)), fmt.Sprintf("%s %s CONSTRAINT %s PRIMARY KEY", c.name, c.columnType.name, g.name()))
			t.columns = append(t.columns, c)
			t.key = []genColumn{c}
		}
	}
	before, after := "", ""
	switch {
	case kind == "unlogged":
		before = "UNLOGGED "
	case kind == "inherits" && len(g.tables) > 0:
		if parent := rapid.SampledFrom(g.tables).Draw(g.T, "parent"); !parent.parted {
			after = " INHERITS (" + parent.name + ")"
			t.columns = append(t.columns, parent.columns...)
		}
	}
	if g.maybe("storage parameters", 5) {
		after += " WITH (fillfactor = 70, autovacuum_enabled = false)"
	}
	g.exec("CREATE %sTABLE %s (%s)%s", before, t.name, strings.Join(defs, ", "), after)
}

func (g *schemaGen) makePartitioned(t *genTable, kind string, defs []string) {
	types := map[string]string{"range": "int", "list": "text", "hash": g.pick("hash of", "int", "text", "uuid", "date", "enum")}
	values := map[string]func(*rapid.T) string{
		"int": oneOf("int", "-5", "0", "7", "99", "1000"), "text": oneOf("text", "a", "b", `it's \`, "other", ""),
		"uuid": drawn("uuid", "%x", rapid.SliceOfN(rapid.Byte(), 16, 16)), "date": oneOf("date", "2000-01-01", "infinity"),
	}
	attach := true
	if types[kind] == "enum" { // whose hash is another one in another database: pg_dump writes rows in the column order of a partition, which then is another one
		attach = false
		types[kind] = g.newName()
		g.exec("CREATE TYPE %s AS ENUM ('a', 'b', 'c', 'd', 'e')", types[kind])
		values[types[kind]] = oneOf(types[kind], "a", "b", "c", "d", "e")
	}
	c := genColumn{name: g.name(), columnType: columnType{name: types[kind], index: btree, value: values[types[kind]]}}
	defs = append(defs, c.name+" "+c.columnType.name)
	t.columns, t.parted = append(t.columns, c), true
	if g.maybe("key", 2) {
		defs = append(defs, fmt.Sprintf("CONSTRAINT %s PRIMARY KEY (%s)", g.name(), c.name))
		t.key = []genColumn{c}
	}
	g.exec("CREATE TABLE %s (%s) PARTITION BY %s (%s)", t.name, strings.Join(defs, ", "), strings.ToUpper(kind), c.name)
	bounds := map[string][]string{
		"range": {"FOR VALUES FROM (MINVALUE) TO (0)", "FOR VALUES FROM (0) TO (100)"},
		"list":  {`FOR VALUES IN ('a', NULL)`, `FOR VALUES IN ('b', E'it''s \\')`},
		"hash":  {"FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "FOR VALUES WITH (MODULUS 4, REMAINDER 1)", "FOR VALUES WITH (MODULUS 4, REMAINDER 3)"},
	}[kind]
	if kind != "hash" && g.maybe("default partition", 2) {
		bounds = append(bounds, "DEFAULT")
	}
	for i, b := range bounds {
		part := g.newName()
		if i == 0 && g.maybe("sub-partitions", 3) {
			g.exec("CREATE TABLE %s PARTITION OF %s %s PARTITION BY HASH (%s)", part, t.name, b, c.name)
			g.exec("CREATE TABLE %s PARTITION OF %s FOR VALUES WITH (MODULUS 1, REMAINDER 0)", g.newName(), part)
			continue
		}
		if i == 1 && attach && g.maybe("attached", 2) { // whose columns may stand in another order
			slices.Reverse(defs)
			g.exec("CREATE TABLE %s (%s)", part, strings.Join(slices.DeleteFunc(slices.Clone(defs), func(d string) bool { return strings.HasPrefix(d, "CONSTRAINT ") }), ", "))
			g.exec("ALTER TABLE %s ATTACH PARTITION %s %s", t.name, part, b)
			continue
		}
		g.exec("CREATE TABLE %s PARTITION OF %s %s", part, t.name, b)
	}
}

// fill inserts random rows, some of which the server refuses.
func (g *schemaGen) fill(t *genTable) {
	for range g.pickCount() {
		var names, values []string
		for _, c := range t.columns {
			if c.auto || g.maybe("left out", 8) {
				continue
			}
			v := "NULL"
			if !g.maybe("null", 6) {
				v = c.value(g.T)
			}
			names, values = append(names, c.name), append(values, v)
		}
		if len(names) == 0 {
			g.exec("INSERT INTO %s DEFAULT VALUES", t.name)
			continue
		}
		g.exec("INSERT INTO %s (%s) VALUES (%s)", t.name, strings.Join(names, ", "), strings.Join(values, ", "))
	}
	if g.maybe("many", 6) {
		g.exec("INSERT INTO %s (%s) SELECT %[2]s FROM %[1]s, generate_series(1, 500)", t.name, strings.Join(columnNames(t.columns), ", "))
	}
	if g.maybe("delete", 8) {
		g.exec("DELETE FROM %s WHERE ctid = ANY (SELECT ctid FROM %[1]s LIMIT 1)", t.name)
	}
}

func (g *schemaGen) pickCount() int {
	return rapid.SampledFrom([]int{0, 1, 3, 8, 15}).Draw(g.T, "rows")
}

func columnNames(columns []genColumn) []string {
	var names []string
	for _, c := range columns {
		if !c.auto {
			names = append(names, c.name)
		}
	}
	return names
}
