package mysql

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// loadTable is a table that rows are loaded into.
type loadTable struct {
	table  *rows.Table
	name   string // in the end
	into   string // while it is loaded
	sql    *tableSQL
	fields []field // one for each stored column
	skip   bool    // its rows are elsewhere
	joined bool    // loads are part of a transaction that goes on

	bytes    int64        // expected
	parts    atomic.Int64 // not loaded yet
	expected bool

	checks []string // rules to make when the table is in place: MySQL allows each name once in a database

	drop    sync.Once
	dropErr error
	dropped []named // keys to build behind the rows
}

var createHead = regexp.MustCompile("^CREATE TABLE `(?:[^`]|``)*` ")

// createSQL is the statement that makes the table under the name it is loaded by.
func (lt *loadTable) createSQL() string {
	return createHead.ReplaceAllLiteralString(lt.sql.sql(), "CREATE TABLE "+quoteIdent(lt.into)+" ")
}

var checkLine = regexp.MustCompile("^  (CONSTRAINT `((?:[^`]|``)*)` CHECK .*)$")

// keepChecks takes away the rules whose names the table may have to share with the one that it replaces. The server's own names follow the table's.
func (lt *loadTable) keepChecks() {
	lt.sql.columns = slices.DeleteFunc(lt.sql.columns, func(line string) bool {
		m := checkLine.FindStringSubmatch(line)
		if m != nil {
			lt.checks = append(lt.checks, "ADD "+m[1])
		}
		return m != nil
	})
}

// deferFrom is the size from which on it pays to build keys behind the rows.
const deferFrom = 8 << 20

// dropKeys takes the secondary keys off a large table before its first row. A table without a primary key may be
// stored by another key, and one that counts by a secondary key needs it: those keep theirs.
func (t *Target) dropKeys(ctx context.Context, s *session, lt *loadTable) error {
	lt.drop.Do(func() {
		if !lt.expected || lt.bytes < deferFrom || lt.sql == nil || !strings.Contains(lt.sql.tail, "ENGINE=InnoDB") ||
			!slices.ContainsFunc(lt.sql.columns, func(c string) bool { return strings.HasPrefix(c, "  PRIMARY KEY") }) {
			return
		}
		for _, c := range lt.table.Columns {
			if c.Identity != "" && (len(lt.table.PrimaryKey) == 0 || lt.table.PrimaryKey[0] != c.Name) {
				return
			}
		}
		var list []string
		for _, k := range lt.sql.keys {
			if strings.HasPrefix(k.sql, "KEY") || strings.HasPrefix(k.sql, "UNIQUE") {
				list = append(list, "DROP KEY "+quoteIdent(k.name))
				lt.dropped = append(lt.dropped, k)
			} else { // fulltext and spatial keys come last, and the order of keys is kept
				lt.dropped = nil
				return
			}
		}
		if len(list) > 0 {
			lt.dropErr = s.exec(ctx, "ALTER TABLE "+quoteIdent(lt.into)+" "+strings.Join(list, ", "))
		}
	})
	return lt.dropErr
}

// buildKeys makes the keys that dropKeys took off.
func (t *Target) buildKeys(ctx context.Context, s *session, lt *loadTable) error {
	if len(lt.dropped) == 0 {
		return nil
	}
	list := make([]string, len(lt.dropped))
	for i, k := range lt.dropped {
		list[i] = "ADD " + k.sql
	}
	lt.dropped = nil
	if err := s.exec(ctx, "ALTER TABLE "+quoteIdent(lt.into)+" "+strings.Join(list, ", ")); err != nil {
		return fail.Op(explainIn(ctx, err), "build the keys")
	}
	return nil
}

// there is what the server's catalog says of a column that rows are loaded into.
type there struct {
	data, native, charset, collation string
	counts, nullable                 bool
}

// columnsOf reads the columns of a table by their names in lower case.
func columnsOf(ctx context.Context, s *session, table string) (map[string]there, error) {
	columns := map[string]there{}
	err := s.each(ctx, `SELECT column_name, data_type, column_type, coalesce(character_set_name, ''), coalesce(collation_name, ''), extra, is_nullable
		FROM information_schema.columns WHERE table_schema = database() AND table_name = `+quoteLiteral(table), func(row []cell) error {
		columns[strings.ToLower(row[0].s)] = there{strings.ToLower(row[1].s), row[2].s, row[3].s, row[4].s,
			strings.Contains(strings.ToLower(row[5].s), "auto_increment"), row[6].s == "YES"}
		return nil
	})
	return columns, err
}

// newField says how a column of this type is loaded from text in UTF-8 that the server takes for bytes.
func newField(name string, x there) field {
	f := field{column: name, enum: x.data == "enum" && !slices.Contains(members(x.native), ""), counts: x.counts}
	switch {
	case x.data == "bit":
		f.set, f.bare = "CAST(%s AS UNSIGNED)", true
	case x.data == "json", x.data == "uuid", x.data == "inet4", x.data == "inet6", x.charset != "" && !strings.HasPrefix(x.charset, "utf8") && x.charset != "ascii":
		f.set = "CONVERT(%s USING utf8mb4)"
	}
	return f
}

// readFields finds out what the columns of the table, as it is now, need.
func (t *Target) readFields(ctx context.Context, lt *loadTable) error {
	columns, err := columnsOf(ctx, t.main, lt.into)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		return fail.New(fail.NotFound, "", "table %s is not there", lt.table)
	}
	lt.fields = nil
	for _, c := range lt.table.Stored() {
		x, ok := columns[strings.ToLower(c.Name)]
		if !ok {
			return fail.New(fail.Mismatch, "", "table %s has no column %s here", lt.table, c.Name)
		}
		f := newField(c.Name, x)
		if f.conv, err = t.conversion(&c); err != nil {
			return err
		}
		f.hex = f.conv == nil && t.isHex(&c)
		lt.fields = append(lt.fields, f)
	}
	return nil
}

// isHex reports whether the source gives a column as \x….
func (t *Target) isHex(c *rows.Column) bool {
	if t.schema.Origin.Engine != "mysql" {
		return c.Type == rows.Bytes
	}
	_, kind := reading(c)
	return kind == hexed
}
