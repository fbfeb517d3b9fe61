package sqlite

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// definition is a row of sqlite_schema.
type definition struct {
	kind, name, table, sql string
	virtual                bool
}

// definitions returns what schema.sql defines. It is run on a database in memory, so that SQLite itself finds where
// each statement ends; it may not reach for other files.
func definitions(native fs.FS) (list []definition, err error) {
	script, err := fs.ReadFile(native, scriptName)
	if err != nil {
		return nil, fail.Wrap(fail.Damaged, err, "", "read %s", scriptName)
	}
	conn, err := sqlite3.Open(":memory:")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, _, _, _, _ string) sqlite3.AuthorizerReturnCode {
		if action == sqlite3.AUTH_ATTACH || action == sqlite3.AUTH_DETACH {
			return sqlite3.AUTH_DENY
		}
		return sqlite3.AUTH_OK
	}); err != nil {
		return nil, err
	}
	if err := conn.Exec(string(script)); err != nil {
		return nil, err
	}
	err = each(conn, "SELECT type, name, tbl_name, sql, type='table' AND rootpage=0 FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid", nil, func(st *sqlite3.Stmt) error {
		list = append(list, definition{st.ColumnText(0), st.ColumnText(1), st.ColumnText(2), st.ColumnText(3), st.ColumnBool(4)})
		return nil
	})
	return list, err
}

// prepareNative makes the tables of s by their own definitions.
func (t *RowsTarget) prepareNative(s *rows.Schema, native fs.FS) error {
	all, err := definitions(native)
	if err != nil {
		return err
	}
	wanted := make(map[string]*rows.Table)
	for _, table := range s.Tables {
		wanted[table.Name] = table
	}
	complete := !slices.ContainsFunc(all, func(d definition) bool { return d.kind == "table" && wanted[d.name] == nil })
	made := 0
	for _, d := range all {
		table := wanted[d.table]
		switch {
		case d.kind == "view" && !complete || d.kind != "view" && table == nil && !complete:
		case d.kind != "table":
			t.after = append(t.after, d.sql)
		case d.virtual:
			// To run CREATE VIRTUAL TABLE would make the tables behind it, which come on their own.
			made++
			t.after = append(t.after, "PRAGMA writable_schema=ON", fmt.Sprintf("INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',%s,%[1]s,0,%s)", literal(d.name), literal(d.sql)), "PRAGMA writable_schema=OFF")
		default:
			made++
			if err := t.conn.Exec(d.sql); err != nil {
				return fmt.Errorf("table %s: %w", table, err)
			}
			t.tables[table.String()] = nativeLoading(table, t.typed)
		}
	}
	if made < len(s.Tables) {
		return fail.New(fail.Damaged, "", "%s defines %d of %d tables", scriptName, made, len(s.Tables))
	}
	for _, q := range s.Sequences {
		if table := s.Table(q.Table); table != nil {
			t.after = append(t.after, raiseCounter(table.Name, q.Last)...)
		}
	}
	return nil
}

func nativeLoading(table *rows.Table, typed bool) *loading {
	l := &loading{}
	var names []string
	for _, c := range table.Stored() {
		names = append(names, quote(c.Name))
		how := typedStorage
		if !typed {
			how = storageOf(c.Native)
		}
		l.columns = append(l.columns, importer{storage: how})
	}
	l.sql = insertInto(table.Name, names)
	return l
}

func insertInto(table string, names []string) string {
	if len(names) == 0 {
		return "INSERT INTO " + quote(table) + " DEFAULT VALUES"
	}
	return "INSERT INTO " + quote(table) + "(" + strings.Join(names, ",") + ") VALUES(" + strings.Repeat(",?", len(names))[1:] + ")"
}

// raiseCounter returns the SQL that sets the AUTOINCREMENT counter of a table to at least last.
func raiseCounter(table string, last int64) []string {
	return []string{
		fmt.Sprintf("INSERT INTO sqlite_sequence(name,seq) SELECT %s,0 WHERE NOT EXISTS(SELECT 1 FROM sqlite_sequence WHERE name=%[1]s)", literal(table)),
		fmt.Sprintf("UPDATE sqlite_sequence SET seq=max(seq,%d) WHERE name=%s", last, literal(table)),
	}
}
