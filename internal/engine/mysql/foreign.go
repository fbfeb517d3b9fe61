package mysql

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// Limits of this engine.
const (
	maxName    = 64   // characters of an identifier
	maxComment = 1024 // of a column's comment
	maxVarchar = 16383
	keyBytes   = 3072   // of a key
	rowBytes   = 49_152 // of what keys have in a row, of 65535 in all
)

// holdsRows reports whether rows of the table can be loaded here.
func holdsRows(t *rows.Table) bool {
	return t.Extension == "" && native(t, "shadow_of") == "" && (t.Kind == rows.Ordinary || t.Kind == rows.Partitioned)
}

// nameOf is what a table is called here: the usual schemas of other engines have no name, another one becomes a prefix.
func (t *Target) nameOf(table *rows.Table) string {
	if t.schema.Origin.Engine == "mysql" {
		return table.Name
	}
	if root := t.partitionOf(table); root != nil {
		table = root
	}
	switch table.Schema {
	case "", "public", "main":
		return table.Name
	}
	return table.Schema + "_" + table.Name
}

// partitionOf returns the partitioned table that a partition belongs to, at the top; nil when table is none.
func (t *Target) partitionOf(table *rows.Table) (root *rows.Table) {
	for range t.schema.Tables {
		if table.Parent == "" {
			break
		}
		parent := t.schema.Table(table.Parent)
		if parent == nil || parent.Kind != rows.Partitioned {
			break
		}
		root, table = parent, parent
	}
	return root
}

// omit lists what is not carried over.
func (t *Target) omit(format string, args ...any) {
	t.left = append(t.left, fmt.Sprintf(format, args...))
}

// planForeign makes definitions for the tables of another engine, or of a backup of rows alone.
func (t *Target) planForeign() error {
	names := map[string]*rows.Table{}
	for _, table := range t.schema.Tables {
		name := t.nameOf(table)
		root := t.partitionOf(table)
		switch {
		case !holdsRows(table) && root == nil:
			t.omit("%s %s", table.Kind, table)
			continue
		case root != nil:
			continue
		case names[strings.ToLower(name)] != nil:
			return fail.New(fail.Unsupported, "leave one of them out with --exclude", "tables %s and %s would have one name here", names[strings.ToLower(name)], table)
		case len([]rune(name)) > maxName:
			return fail.New(fail.Unsupported, "leave it out with --exclude", "the name of table %s is longer than %d characters", table, maxName)
		}
		names[strings.ToLower(name)] = table
		sql, err := t.foreignSQL(table, name)
		if err != nil {
			return err
		}
		t.add(&loadTable{table: table, name: name, sql: sql})
	}
	for _, table := range t.schema.Tables { // partitions are loaded into their root
		if root := t.partitionOf(table); root != nil && t.tables[root] != nil {
			t.tables[table] = &loadTable{table: table, name: t.tables[root].name, into: t.tables[root].into}
		}
	}
	for _, s := range t.schema.Sequences {
		if s.Table == "" {
			t.omit("sequence %s", (&rows.Table{Schema: s.Schema, Name: s.Name}).String())
		}
	}
	t.foreignKeys()
	return nil
}

// foreignSQL is the definition of a table of another engine.
func (t *Target) foreignSQL(table *rows.Table, name string) (*tableSQL, error) {
	sql := &tableSQL{head: "CREATE TABLE " + quoteIdent(name) + " ("}
	keyed := t.keyedColumns(table)
	counter := false
	for i := range table.Columns {
		c := &table.Columns[i]
		if len([]rune(c.Name)) > maxName {
			return nil, fail.New(fail.Unsupported, "", "the name of column %s of %s is longer than %d characters", c.Name, table, maxName)
		}
		if c.Generated {
			t.omit("the expression of generated column %s of %s: its values are left out", c.Name, table)
			continue
		}
		typ := t.columnType(table, c, keyed[c.Name])
		if c.Type == rows.Int { // this engine wants both sides of a reference to be of one type
			root, top := t.referenced(table, c)
			typ = t.quietType(root, top, keyed[c.Name])
		}
		line := "  " + quoteIdent(c.Name) + " " + typ
		if c.NotNull || slices.Contains(table.PrimaryKey, c.Name) {
			line += " NOT NULL"
		} else if c.Type == rows.Instant || c.Type == rows.Timestamp {
			line += " NULL"
		}
		switch {
		case t.counts(table, c) && !counter && len(table.PrimaryKey) > 0 && table.PrimaryKey[0] == c.Name:
			counter = true
			line += " AUTO_INCREMENT"
		case c.Literal != nil:
			line += t.defaultSQL(c, typ)
		case c.Default != "" && !strings.EqualFold(c.Default, "NULL") && !strings.HasPrefix(strings.ToUpper(c.Default), "NULL::"):
			t.omit("the default of column %s of %s: %s", c.Name, table, c.Default)
		}
		if c.Comment != "" {
			line += " COMMENT " + quoteLiteral(cutRunes(c.Comment, maxComment))
		}
		sql.columns = append(sql.columns, line)
	}
	if len(sql.columns) == 0 {
		return nil, fail.New(fail.Unsupported, "leave it out with --exclude", "table %s has no columns", table)
	}
	if len(table.PrimaryKey) > 0 {
		sql.columns = append(sql.columns, "  PRIMARY KEY ("+quoteIdents(table.PrimaryKey)+")")
	}
	t.foreignIndexes(table, sql)
	// Text is compared byte by byte and to its end, as the other engines do.
	collation := "utf8mb4_0900_bin"
	if t.server.maria {
		collation = "utf8mb4_nopad_bin"
	}
	sql.tail = ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=" + collation
	if table.Comment != "" {
		sql.tail += " COMMENT=" + quoteLiteral(cutRunes(table.Comment, 2048))
	}
	return sql, nil
}

func cutRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

// referenced follows the references of a number to the column at their end; it is the column itself when there are none.
func (t *Target) referenced(table *rows.Table, c *rows.Column) (*rows.Table, *rows.Column) {
	for range 10 { // references may go in a circle
		found := false
		for _, k := range table.ForeignKeys {
			parent, i := t.schema.Table(k.Table), slices.Index(k.Columns, c.Name)
			if parent == nil || i < 0 || i >= len(k.References) || parent == table {
				continue
			}
			if to := column(parent, k.References[i]); to != nil && to.Type == rows.Int {
				table, c, found = parent, to, true
				break
			}
		}
		if !found {
			break
		}
	}
	return table, c
}

// counts reports whether a column numbers its rows.
func (t *Target) counts(table *rows.Table, c *rows.Column) bool {
	if c.Type != rows.Int {
		return false
	}
	return c.Identity != "" || strings.HasPrefix(c.Default, "nextval(") || slices.ContainsFunc(t.schema.Sequences, func(s rows.Sequence) bool {
		return s.Table == table.String() && s.Column == c.Name
	})
}

// columnType is the type of a column here. keyed is how many bytes a key has for one that does not say how long it may be; 0 is no key.
func (t *Target) columnType(table *rows.Table, c *rows.Column, keyed int) string {
	if t.schema.Origin.Engine == "mysql" { // of a backup without definitions
		return c.Native
	}
	switch t.portableType(c) {
	case rows.Bool:
		return "tinyint(1)"
	case rows.Int:
		return integerType(c.Size)
	case rows.Float:
		if c.Size == 32 {
			return "float"
		}
		return "double"
	case rows.Decimal:
		if c.Size == 0 || c.Size > 65 || c.Scale < 0 || c.Scale > 38 || c.Scale > c.Size {
			return "decimal(65,30)"
		}
		return fmt.Sprintf("decimal(%d,%d)", c.Size, c.Scale)
	case rows.Bytes:
		if keyed > 0 {
			return fmt.Sprintf("varbinary(%d)", keyed)
		}
		return "longblob"
	case rows.Date:
		return "date"
	case rows.Time:
		return "time(6)"
	case rows.Timestamp, rows.Instant:
		return "datetime(6)"
	case rows.Interval:
		t.omit("type %s of column %s of %s: it becomes a number of microseconds", c.Native, c.Name, table)
		return "bigint"
	case rows.UUID:
		if t.server.atLeast(100700, 0) {
			return "uuid"
		}
		return "char(32)"
	case rows.JSON:
		return "json"
	case rows.Enum:
		if len(c.Values) > 0 {
			quoted := make([]string, len(c.Values))
			for i, v := range c.Values {
				quoted[i] = quoteLiteral(v)
			}
			return "enum(" + strings.Join(quoted, ",") + ")"
		}
	case rows.Text:
	default:
		t.omit("%s of column %s of %s: it becomes text", strings.TrimSpace("type "+c.Native), c.Name, table)
	}
	switch {
	case sized(c):
		return fmt.Sprintf("varchar(%d)", c.Size)
	case keyed > 0:
		return fmt.Sprintf("varchar(%d)", keyed/4)
	}
	return "longtext"
}

// integerType is the type of a number of so many bits; 0 is unknown.
func integerType(n int) string {
	switch {
	case n == 0 || n > 32 && n <= 64:
		return "bigint"
	case n <= 16:
		return "smallint"
	case n <= 32:
		return "int"
	}
	return "bigint unsigned"
}

// portableType is the column's type, and what Django means by the ones SQLite does not have.
func (t *Target) portableType(c *rows.Column) rows.Type {
	switch {
	case t.schema.Origin.Engine == "sqlite" && strings.EqualFold(c.Native, "char(32)") && t.schema.Table("django_migrations") != nil:
		return rows.UUID
	case strings.HasPrefix(c.Native, "time") && strings.HasSuffix(c.Native, "with time zone") && c.Type == rows.Time:
		return rows.Other
	}
	return c.Type
}

// defaultSQL is the clause of a constant default.
func (t *Target) defaultSQL(c *rows.Column, typ string) string {
	text := []byte(*c.Literal)
	if conv, err := t.conversion(c); err == nil && conv != nil {
		if text, err = conv(nil, text); err != nil {
			t.omit("the default of column %s: %s", c.Name, *c.Literal)
			return ""
		}
	}
	literal := quoteLiteral(string(text))
	if c.Type == rows.Bytes && strings.HasPrefix(*c.Literal, `\x`) && hexDigits.MatchString((*c.Literal)[2:]) {
		literal = "X'" + (*c.Literal)[2:] + "'"
	}
	if typ == "longtext" || typ == "json" || typ == "longblob" {
		return " DEFAULT (" + literal + ")"
	}
	return " DEFAULT " + literal
}

var hexDigits = regexp.MustCompile(`^(?:[0-9a-fA-F]{2})*$`)

// foreignIndexes adds the keys that are not primary.
func (t *Target) foreignIndexes(table *rows.Table, sql *tableSQL) {
	seen := map[string]bool{strings.Join(table.PrimaryKey, "\x00"): true}
	used := map[string]bool{}
	add := func(name string, unique bool, columns []string) {
		id := strings.Join(columns, "\x00")
		if unique && seen[id] {
			return
		}
		seen[id] = seen[id] || unique
		if name = cutRunes(name, maxName); name == "" || used[strings.ToLower(name)] || strings.EqualFold(name, "PRIMARY") {
			name = "key_" + strconv.Itoa(len(sql.keys)+1)
		}
		used[strings.ToLower(name)] = true
		kind := "KEY "
		if unique {
			kind = "UNIQUE KEY "
		}
		sql.keys = append(sql.keys, named{name, kind + quoteIdent(name) + " (" + t.keyColumns(table, columns, unique) + ")"})
	}
	for _, i := range table.Indexes {
		if len(i.Columns) == 0 {
			t.omit("index %s of %s: %s", i.Name, table, i.Definition)
			continue
		}
		add(i.Name, i.Unique, i.Columns)
	}
	for _, u := range table.Unique {
		add("", true, u)
	}
}

// keyColumns lists the columns of a key; of a long text an ordinary key has only the beginning.
func (t *Target) keyColumns(table *rows.Table, columns []string, unique bool) string {
	list := make([]string, len(columns))
	keyed := t.keyedColumns(table)
	for i, name := range columns {
		list[i] = quoteIdent(name)
		c := column(table, name)
		if c == nil || unique {
			continue
		}
		typ := t.quietType(table, c, keyed[name])
		size := c.Size * 4
		if size == 0 {
			size = keyed[name]
		}
		if typ == "longtext" || typ == "longblob" || typ == "json" || strings.HasPrefix(typ, "var") && size*len(columns) > keyBytes {
			list[i] += fmt.Sprintf("(%d)", min(191, keyBytes/4/len(columns)))
		}
	}
	return strings.Join(list, ", ")
}

// quietType is columnType without a second entry among what is omitted.
func (t *Target) quietType(table *rows.Table, c *rows.Column, keyed int) string {
	left := t.left
	defer func() { t.left = left }()
	return t.columnType(table, c, keyed)
}

// foreignKeys makes the statements that follow the rows.
func (t *Target) foreignKeys() {
	used := map[string]bool{}
	for _, lt := range t.order {
		for _, k := range lt.table.ForeignKeys {
			parent := t.schema.Table(k.Table)
			if parent == nil || t.tables[parent] == nil {
				t.omit("foreign key (%s) of %s: table %s is not copied", strings.Join(k.Columns, ", "), lt.table, k.Table)
				continue
			}
			name := cutRunes(k.Name, maxName)
			for n := 1; name == "" || used[strings.ToLower(name)]; n++ {
				name = fmt.Sprintf("%s_%d", cutRunes(lt.name, maxName-8), n)
			}
			used[strings.ToLower(name)] = true
			sql := fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s FOREIGN KEY (%s) REFERENCES %s (%s)", quoteIdent(lt.name), quoteIdent(name),
				quoteIdents(k.Columns), quoteIdent(t.tables[parent].name), quoteIdents(k.References))
			for _, rule := range []struct{ on, do string }{{"DELETE", k.OnDelete}, {"UPDATE", k.OnUpdate}} {
				switch do := strings.ToUpper(rule.do); do {
				case "CASCADE", "SET NULL", "RESTRICT":
					sql += " ON " + rule.on + " " + do
				case "SET DEFAULT":
					t.omit("ON %s SET DEFAULT of foreign key %s of %s", rule.on, k.Name, lt.table)
				}
			}
			t.post = append(t.post, statement{label{Kind: "foreign key", Name: k.Name, Table: lt.table.Name}, sql})
		}
	}
	for _, s := range t.schema.Sequences {
		if table := t.schema.Table(s.Table); table != nil && t.tables[table] != nil {
			c := column(table, s.Column)
			next := s.Last
			if s.Called {
				next++
			}
			if c != nil && t.counts(table, c) && next > 1 && len(table.PrimaryKey) > 0 && table.PrimaryKey[0] == c.Name {
				t.post = append(t.post, statement{label{Kind: "counter", Name: s.Name, Table: table.Name},
					fmt.Sprintf("ALTER TABLE %s AUTO_INCREMENT = %d", quoteIdent(t.tables[table].name), next)})
			}
		}
	}
}
