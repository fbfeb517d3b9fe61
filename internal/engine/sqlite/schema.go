package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// table is what the reader of a table's rows needs to know.
type table struct {
	name         string
	columns      []column // stored ones
	rowid        string   // how SQL names the rowid; "" when it can't
	order        string   // ORDER BY that is the b-tree's own order; may be ""
	virtual      bool
	withoutRowid bool
	typed        bool    // each value is given with a letter for what it is stored as
	mustSort     bool    // the order is asked for: any index may serve it, and no other order will do
	cuts         []int64 // rowids after which a part ends, ascending
}

type column struct {
	name  string
	float bool // REAL affinity
}

// schemaReader reads the description of a database through one connection.
type schemaReader struct {
	conn   *sqlite3.Conn
	pages  *pages            // nil: no estimates
	part   int64             // bytes of a part, about
	sql    map[string]string // of tables and indexes, by name
	shadow map[string]string // tables behind a virtual table, by name
	notes  []string
}

// read returns all tables but SQLite's own, in the order in which they were made.
func (r *schemaReader) read() (*rows.Schema, map[string]*table, error) {
	type entry struct {
		name string
		root uint32
	}
	var entries []entry
	var virtual []string
	r.sql, r.shadow = make(map[string]string), make(map[string]string)
	err := each(r.conn, "SELECT type, name, rootpage, sql FROM sqlite_schema WHERE type IN ('table','index') ORDER BY rowid", nil, func(st *sqlite3.Stmt) error {
		name := st.ColumnText(1)
		r.sql[name] = st.ColumnText(3)
		if st.ColumnText(0) == "table" && !isInternal(name) {
			entries = append(entries, entry{name, uint32(st.ColumnInt64(2))})
			if st.ColumnInt64(2) == 0 {
				virtual = append(virtual, name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if of := shadowOf(e.name, virtual); of != "" && e.root != 0 {
			r.shadow[e.name] = of
		}
	}
	schema, tables := &rows.Schema{}, make(map[string]*table)
	for _, e := range entries {
		t, info, err := r.table(e.name, e.root)
		if err != nil {
			return nil, nil, fmt.Errorf("table %s: %w", e.name, err)
		}
		schema.Tables = append(schema.Tables, t)
		tables[e.name] = info
	}
	r.references(schema)
	schema.Sequences, err = r.sequences(schema)
	return schema, tables, err
}

// shadowSuffixes are those of the tables that FTS3 to FTS5 and R*Tree keep their content in.
var shadowSuffixes = [...]string{"content", "segments", "segdir", "docsize", "stat", "data", "idx", "config", "node", "rowid", "parent"}

// shadowOf returns the virtual table that a table belongs to, or "".
func shadowOf(name string, virtual []string) string {
	for _, v := range virtual {
		if rest, ok := strings.CutPrefix(name, v+"_"); ok && slices.Contains(shadowSuffixes[:], rest) {
			return v
		}
	}
	return ""
}

func (r *schemaReader) table(name string, root uint32) (*rows.Table, *table, error) {
	t := &rows.Table{Name: name, Kind: rows.Ordinary}
	info := &table{name: name, virtual: root == 0}
	if info.virtual {
		// What its columns are only its module knows, which may not be here.
		t.Kind = rows.Foreign
		t.Native = []rows.Pair{{Name: "virtual", Value: r.sql[name]}}
		return t, info, nil
	}
	if err := r.flags(t, info); err != nil {
		return nil, nil, err
	}
	if of := r.shadow[name]; of != "" {
		t.Native = append(t.Native, rows.Pair{Name: "shadow_of", Value: of})
	}
	text := parseClauses(r.sql[name])
	t.Native = append(t.Native, text.collations...)
	if err := r.columns(t, info, text); err != nil {
		return nil, nil, err
	}
	if err := r.indexes(t, info); err != nil {
		return nil, nil, err
	}
	if err := r.foreignKeys(t, text); err != nil {
		return nil, nil, err
	}
	if r.pages != nil {
		r.estimate(t, info, root)
	}
	return t, info, nil
}

// flags reads what only table_list tells.
func (r *schemaReader) flags(t *rows.Table, info *table) error {
	return each(r.conn, "SELECT wr, strict FROM pragma_table_list WHERE schema='main' AND name=?", []string{t.Name}, func(st *sqlite3.Stmt) error {
		if info.withoutRowid = st.ColumnBool(0); info.withoutRowid {
			t.Native = append(t.Native, rows.Pair{Name: "without_rowid", Value: "true"})
		}
		if st.ColumnBool(1) {
			t.Native = append(t.Native, rows.Pair{Name: "strict", Value: "true"})
		}
		return nil
	})
}

func (r *schemaReader) columns(t *rows.Table, info *table, text clauses) error {
	const plain, hiddenVirtual, hiddenStored = 0, 2, 3
	type key struct {
		at   int
		name string
	}
	var keys []key
	err := each(r.conn, "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?)", []string{t.Name}, func(st *sqlite3.Stmt) error {
		c := rows.Column{Name: st.ColumnText(0), Native: st.ColumnText(1), NotNull: st.ColumnBool(2), Default: st.ColumnText(3)}
		c.Type, c.Size = portable(c.Native)
		hidden := st.ColumnInt(5)
		c.Generated = hidden == hiddenVirtual || hidden == hiddenStored
		text.refine(&c)
		if n := st.ColumnInt(4); n > 0 {
			keys = append(keys, key{n, c.Name})
		}
		t.Columns = append(t.Columns, c)
		if hidden == plain {
			info.columns = append(info.columns, column{c.Name, affinity(c.Native) == 'r'})
		}
		return nil
	})
	slices.SortFunc(keys, func(a, b key) int { return a.at - b.at })
	for _, k := range keys {
		t.PrimaryKey = append(t.PrimaryKey, k.name)
	}
	return err
}

// indexes reads keys and indexes, and finds out how the rowid is named and the rows are ordered.
func (r *schemaReader) indexes(t *rows.Table, info *table) error {
	primary := false // an index of its own for the primary key
	err := each(r.conn, "SELECT name, \"unique\", origin, partial FROM pragma_index_list(?) ORDER BY seq DESC", []string{t.Name}, func(st *sqlite3.Stmt) error {
		name, unique, origin := st.ColumnText(0), st.ColumnBool(1), st.ColumnText(2)
		columns, order, plain, err := r.indexed(name)
		if err != nil {
			return err
		}
		switch origin {
		case "c":
			x := rows.Index{Name: name, Unique: unique, Definition: r.sql[name]}
			if plain && !st.ColumnBool(3) {
				x.Columns = columns
			}
			t.Indexes = append(t.Indexes, x)
			return nil
		case "pk":
			primary = true
		}
		if origin == "u" {
			t.Unique = append(t.Unique, columns)
		} else if info.withoutRowid {
			info.order = order
		}
		return nil
	})
	if err != nil || info.withoutRowid {
		return err
	}
	if len(t.PrimaryKey) == 1 && !primary { // INTEGER PRIMARY KEY is the rowid itself
		for i := range t.Columns {
			if c := &t.Columns[i]; c.Name == t.PrimaryKey[0] {
				c.NotNull, c.Identity, c.Size, c.Type = true, "default", 64, rows.Int
				info.rowid = quote(c.Name)
			}
		}
	} else {
		info.rowid = hiddenRowid(t.Columns)
	}
	info.order = info.rowid
	return nil
}

// hiddenRowid returns a name of the rowid that no column has taken.
func hiddenRowid(columns []rows.Column) string {
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		if !slices.ContainsFunc(columns, func(c rows.Column) bool { return strings.EqualFold(c.Name, name) }) {
			return name
		}
	}
	return ""
}

// indexed returns the key columns of an index, also as ORDER BY, and whether it is over columns alone, compared by their bytes.
func (r *schemaReader) indexed(name string) (columns []string, order string, plain bool, err error) {
	plain = true
	err = each(r.conn, "SELECT name, coll, \"desc\", cid FROM pragma_index_xinfo(?) WHERE key", []string{name}, func(st *sqlite3.Stmt) error {
		plain = plain && st.ColumnInt(3) >= 0 && st.ColumnText(1) == "BINARY"
		columns = append(columns, st.ColumnText(0))
		if order != "" {
			order += ","
		}
		order += quote(st.ColumnText(0)) + " COLLATE " + quote(st.ColumnText(1))
		if st.ColumnBool(2) {
			order += " DESC"
		}
		return nil
	})
	return columns, order, plain, err
}

func (r *schemaReader) foreignKeys(t *rows.Table, text clauses) error {
	last := -1
	err := each(r.conn, "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq", []string{t.Name}, func(st *sqlite3.Stmt) error {
		if id := st.ColumnInt(0); id != last {
			last = id
			to := rows.Table{Name: st.ColumnText(1)}
			fk := rows.ForeignKey{Table: to.String(), OnUpdate: action(st.ColumnText(4)), OnDelete: action(st.ColumnText(5))}
			if i := len(t.ForeignKeys); i < len(text.references) {
				fk.Name, fk.Deferrable = text.references[i].name, text.references[i].deferrable
			}
			t.ForeignKeys = append(t.ForeignKeys, fk)
		}
		fk := &t.ForeignKeys[len(t.ForeignKeys)-1]
		fk.Columns = append(fk.Columns, st.ColumnText(2))
		if st.ColumnType(3) != sqlite3.NULL {
			fk.References = append(fk.References, st.ColumnText(3))
		}
		return nil
	})
	return err
}

// references fills in what foreign keys leave out: the referenced columns, when they are the primary key,
// and the right spelling of the table's name.
func (r *schemaReader) references(s *rows.Schema) {
	for _, t := range s.Tables {
		for i := range t.ForeignKeys {
			fk := &t.ForeignKeys[i]
			for _, to := range s.Tables {
				name := rows.Table{Name: strings.ToLower(to.Name)}
				if low := strings.ToLower(fk.Table); low != name.String() && !strings.EqualFold(fk.Table, to.String()) {
					continue
				}
				fk.Table = to.String()
				if len(fk.References) == 0 {
					fk.References = to.PrimaryKey
				}
			}
		}
	}
}

// sequences returns the counters of AUTOINCREMENT tables.
func (r *schemaReader) sequences(s *rows.Schema) (all []rows.Sequence, err error) {
	if _, ok := r.sql["sqlite_sequence"]; !ok {
		return nil, nil
	}
	err = each(r.conn, "SELECT name, seq FROM sqlite_sequence ORDER BY rowid", nil, func(st *sqlite3.Stmt) error {
		for _, t := range s.Tables {
			if t.Name == st.ColumnText(0) && len(t.PrimaryKey) == 1 {
				all = append(all, rows.Sequence{Name: t.Name, Table: t.String(), Column: t.PrimaryKey[0], Last: st.ColumnInt64(1), Called: true})
			}
		}
		return nil
	})
	return all, err
}

// affinity returns a letter for a declared type by SQLite's rules: (i)nteger, (t)ext, (b)lob, (r)eal, (n)umeric.
func affinity(declared string) byte {
	d := strings.ToUpper(declared)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(d, w) })
	}
	switch {
	case has("INT"):
		return 'i'
	case has("CHAR", "CLOB", "TEXT"):
		return 't'
	case d == "" || has("BLOB") || d == "ANY":
		return 'b'
	case has("REAL", "FLOA", "DOUB"):
		return 'r'
	}
	return 'n'
}

// portable returns the type that a column was declared to hold. SQLite does not see to it that it does.
func portable(declared string) (t rows.Type, size int) {
	d := strings.ToUpper(declared)
	switch affinity(declared) {
	case 'i':
		return rows.Int, 64
	case 't':
		return rows.Text, 0
	case 'r':
		return rows.Float, 64
	case 'b':
		if strings.Contains(d, "BLOB") {
			return rows.Bytes, 0
		}
		return rows.Any, 0
	}
	for _, w := range []struct {
		word string
		t    rows.Type
	}{{"BOOL", rows.Bool}, {"TIMESTAMP", rows.Timestamp}, {"DATETIME", rows.Timestamp}, {"DATE", rows.Date}, {"TIME", rows.Time}, {"UUID", rows.UUID}, {"JSON", rows.JSON}} {
		if strings.HasPrefix(d, w.word) {
			return w.t, 0
		}
	}
	return rows.Decimal, 0
}
