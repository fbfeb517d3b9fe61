package mysql

import (
	"context"
	"regexp"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// readForeignKeys adds the foreign keys to their tables.
func (d *describer) readForeignKeys(ctx context.Context) error {
	return d.s.each(ctx, `SELECT k.table_name, k.constraint_name, k.column_name, k.referenced_table_schema = database(), k.referenced_table_schema,
			k.referenced_table_name, k.referenced_column_name, r.delete_rule, r.update_rule
		FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r
			ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
		WHERE k.table_schema = database() AND k.constraint_schema = database() AND k.referenced_table_name IS NOT NULL
		ORDER BY k.table_name, k.constraint_name, k.ordinal_position`, func(row []cell) error {
		t := d.tables[row[0].s]
		if t == nil {
			return nil
		}
		n := len(t.ForeignKeys)
		if n == 0 || t.ForeignKeys[n-1].Name != row[1].s {
			to := &rows.Table{Name: row[5].s}
			if row[3].s != "1" {
				to.Schema = row[4].s
			}
			t.ForeignKeys = append(t.ForeignKeys, rows.ForeignKey{Name: row[1].s, Table: to.String(), OnDelete: action(row[7].s), OnUpdate: action(row[8].s)})
			n++
		}
		k := &t.ForeignKeys[n-1]
		k.Columns, k.References = append(k.Columns, row[2].s), append(k.References, row[6].s)
		return nil
	})
}

// action is a foreign key's rule. RESTRICT and NO ACTION are the same here, and the first is what others
// mean by the second.
func action(rule string) string {
	switch rule = strings.ToLower(rule); rule {
	case "no action", "restrict":
		return ""
	}
	return rule
}

// named is a key or constraint and its line in a CREATE TABLE.
type named struct{ name, sql string }

// tableSQL is a CREATE TABLE taken apart.
type tableSQL struct {
	head    string // CREATE TABLE `t` (
	columns []string
	keys    []named // that are not primary
	foreign []named
	tail    string // ) ENGINE=… and the partitions
}

var (
	keyLine     = regexp.MustCompile("^  (?:UNIQUE |FULLTEXT |SPATIAL |VECTOR )?KEY `((?:[^`]|``)*)` ")
	foreignLine = regexp.MustCompile("^  CONSTRAINT `((?:[^`]|``)*)` FOREIGN KEY ")
)

// parseTable takes the text of SHOW CREATE TABLE apart. The server writes each column, key and constraint on a line
// of its own; a line break inside of one is within quotes, and the next line does not begin like a key.
func parseTable(text string) *tableSQL {
	lines := strings.Split(text, "\n")
	t := &tableSQL{head: lines[0]}
	for i := 1; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, ")") {
			t.tail = strings.Join(lines[i:], "\n")
			break
		}
		bare := strings.TrimSuffix(line, ",")
		if m := keyLine.FindStringSubmatch(line); m != nil {
			t.keys = append(t.keys, named{strings.ReplaceAll(m[1], "``", "`"), strings.TrimSpace(bare)})
		} else if m := foreignLine.FindStringSubmatch(line); m != nil {
			t.foreign = append(t.foreign, named{strings.ReplaceAll(m[1], "``", "`"), strings.TrimSpace(bare)})
		} else if len(t.columns) > 0 && !strings.HasPrefix(line, "  ") {
			t.columns[len(t.columns)-1] += "\n" + bare
		} else {
			t.columns = append(t.columns, bare)
		}
	}
	return t
}

// sql puts the definition together again, without foreign keys.
func (t *tableSQL) sql() string {
	lines := append([]string(nil), t.columns...)
	for _, k := range t.keys {
		lines = append(lines, "  "+k.sql)
	}
	return t.head + "\n" + strings.Join(lines, ",\n") + "\n" + t.tail
}
