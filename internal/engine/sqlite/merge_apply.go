package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// finish brings the staged rows into the table and counts what that did.
func (g *merging) finish() error {
	if g.direct {
		g.result.Inserted = g.loaded
		return nil
	}
	if len(g.key) == 0 {
		err := g.conn.Exec("INSERT INTO " + g.table + "(" + g.names("", g.inserted()) + ") SELECT " + staged("s.", g.inserted()) + " FROM " + g.stage + " s")
		g.result.Inserted = g.conn.Changes()
		return err
	}
	if g.there() == "" {
		return fail.New(fail.Unsupported, "", "columns hide all three names of the rowid")
	}
	if err := g.refuseTwins(); err != nil {
		return err
	}
	if len(g.m.Set) > 0 {
		return g.finishSet()
	}
	if !g.upsert {
		if err := g.refuseAmbiguous(); err != nil {
			return err
		}
	}
	if err := g.conn.Exec("SAVEPOINT merge"); err != nil {
		return err
	}
	err := g.write()
	if errors.Is(err, sqlite3.CONSTRAINT) && (g.info.rowid != "" || g.info.withoutRowid) {
		// Two rows may be about to swap values that must be unique: take both out before either comes back.
		if err = g.again(false); errors.Is(err, sqlite3.CONSTRAINT) {
			err = g.again(true) // to find the row
		}
	}
	if err != nil {
		return err
	}
	g.result.Same = g.loaded - g.result.Inserted - g.result.Changed
	return g.conn.Exec("RELEASE merge")
}

// there is an expression that is NULL where a LEFT JOIN found no row «t»; "" when there is none.
func (g *merging) there() string {
	switch {
	case g.upsert:
		return "t." + quote(g.m.Columns[g.key[0]])
	case g.info.withoutRowid:
		return "t." + quote(g.desc.PrimaryKey[0])
	case g.info.rowid != "":
		return "t." + g.info.rowid
	}
	return ""
}

// newRows is the FROM clause of the staged rows that the table doesn't have.
func (g *merging) newRows() string {
	return " FROM " + g.stage + " s LEFT JOIN " + g.table + " t ON " + g.matches() + " WHERE " + g.there() + " IS NULL"
}

func (g *merging) count(from string) (int64, error) {
	text, err := one(g.conn, "SELECT count(*)"+from)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// write updates and inserts.
func (g *merging) write() (err error) {
	into := "INSERT INTO " + g.table + " AS t(" + g.names("", g.inserted()) + ") SELECT " + staged("s.", g.inserted())
	if g.upsert {
		if g.result.Inserted, err = g.count(g.newRows()); err != nil {
			return err
		}
		do := "NOTHING"
		if len(g.updated()) > 0 {
			excluded := func(i int) string { return "excluded." + quote(g.m.Columns[i]) }
			do = "UPDATE SET " + g.assignments(excluded) + " WHERE " + g.differs(excluded)
		}
		err = g.conn.Exec(into + " FROM " + g.stage + " s WHERE true ON CONFLICT(" + g.names("", g.key) + ") DO " + do)
		g.result.Changed = g.conn.Changes() - g.result.Inserted
		return err
	}
	if len(g.updated()) > 0 {
		if err := g.conn.Exec("UPDATE " + g.table + " AS t SET " + g.assignments(stageColumn) + " FROM " + g.stage + " s WHERE " + g.matches() + " AND " + g.differs(stageColumn)); err != nil {
			return err
		}
		g.result.Changed = g.conn.Changes()
	}
	err = g.conn.Exec(into + g.newRows())
	g.result.Inserted = g.conn.Changes()
	return err
}

// again undoes what write did and does it by taking out all rows that change, and putting them back; when single, row by
// row, so that an error names the row.
func (g *merging) again(single bool) (err error) {
	if err := g.conn.Exec("ROLLBACK TO merge"); err != nil {
		return err
	}
	out, fresh := g.stage+"_out", g.stage+"_new"
	kept, into, back, find := g.rewriting(out)
	for _, sql := range []string{
		"CREATE TABLE " + out + " AS SELECT " + kept + "," + staged("s.", g.key) + " FROM " + g.stage + " s JOIN " + g.table + " t ON " + g.matches() + " WHERE " + g.differs(stageColumn),
		"CREATE TABLE " + fresh + " AS SELECT s.*" + g.newRows(),
		"DELETE FROM " + g.table + " WHERE " + find,
	} {
		if err := g.conn.Exec(sql); err != nil {
			return err
		}
	}
	if g.result.Changed, err = g.insertFrom(out, into, back, single); err != nil {
		return err
	}
	g.result.Inserted, err = g.insertFrom(fresh, g.names("", g.inserted()), staged("", g.inserted()), single)
	return err
}

// insertFrom inserts the rows of a temporary table, which has the key's columns as the stage has.
func (g *merging) insertFrom(from, into, columns string, single bool) (int64, error) {
	insert := "INSERT INTO " + g.table + "(" + into + ") SELECT " + columns + " FROM " + from
	if !single {
		err := g.conn.Exec(insert)
		return g.conn.Changes(), err
	}
	one, _, err := g.conn.Prepare(insert + " WHERE rowid=?")
	if err != nil {
		return 0, err
	}
	defer one.Close()
	return 0, each(g.conn, "SELECT rowid,"+staged("", g.key)+" FROM "+from, nil, func(st *sqlite3.Stmt) error {
		if err := one.BindInt64(1, st.ColumnInt64(0)); err != nil {
			return err
		}
		if err := one.Exec(); err != nil {
			return fmt.Errorf("row%s: %w", g.keyText(g.keyOf(st, 1)), err)
		}
		return nil
	})
}

// rewriting returns what again keeps of the rows that change, the columns it goes back into, those it comes from, and
// the condition that finds such rows in the table.
func (g *merging) rewriting(out string) (kept, into, back, find string) {
	var keep, to, from []string
	for i, c := range g.info.columns {
		expr := "t." + quote(c.name)
		if at := slices.Index(g.m.Columns, c.name); slices.Contains(g.updated(), at) {
			expr = stageColumn(at)
		}
		keep, to, from = append(keep, fmt.Sprintf("%s AS f%d", expr, i)), append(to, quote(c.name)), append(from, fmt.Sprintf("f%d", i))
	}
	if g.info.withoutRowid {
		var old []string
		for i, name := range g.desc.PrimaryKey {
			keep, old = append(keep, fmt.Sprintf("t.%s AS p%d", quote(name), i)), append(old, fmt.Sprintf("p%d", i))
		}
		find = "(" + quoteAll(g.desc.PrimaryKey) + ") IN (SELECT " + strings.Join(old, ",") + " FROM " + out + ")"
	} else {
		find = g.info.rowid + " IN (SELECT r FROM " + out + ")"
		keep = append(keep, "t."+g.info.rowid+" AS r")
		if !slices.Contains(to, g.info.rowid) {
			to, from = append(to, g.info.rowid), append(from, "r")
		}
	}
	return strings.Join(keep, ","), strings.Join(to, ","), strings.Join(from, ","), find
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, ",")
}

// finishSet deletes the rows of loaded groups that were not loaded, and inserts the new ones.
func (g *merging) finishSet() error {
	var set, rest []int
	for i, in := range g.sets {
		if in {
			set = append(set, i)
		} else {
			rest = append(rest, i)
		}
	}
	named := "(0)" // the condition that a staged row only names its group
	if len(rest) > 0 {
		named = "(coalesce(" + staged("s.", rest) + ",NULL) IS NULL)"
	}
	err := g.conn.Exec("DELETE FROM " + g.table + " AS t WHERE (" + g.names("t.", set) + ") IN (SELECT " + staged("", set) + " FROM " + g.stage +
		") AND NOT EXISTS(SELECT 1 FROM " + g.stage + " s WHERE " + g.matches() + " AND NOT " + named + ")")
	if err != nil {
		return err
	}
	g.result.Deleted += g.conn.Changes()
	if err := g.conn.Exec("INSERT INTO " + g.table + "(" + g.names("", g.inserted()) + ") SELECT " + staged("s.", g.inserted()) + g.newRows() + " AND NOT " + named); err != nil {
		return err
	}
	g.result.Inserted = g.conn.Changes()
	all, err := g.count(" FROM " + g.stage + " s WHERE NOT " + named)
	g.result.Same = all - g.result.Inserted
	return err
}

// refuseTwins finds staged rows with one key that the unique index let through, since it takes one NULL for another than the next.
func (g *merging) refuseTwins() error {
	where := make([]string, 0, len(g.key))
	for _, k := range g.key {
		where = append(where, fmt.Sprintf("s.c%d IS NULL", k))
	}
	if g.upsert && len(g.m.Set) == 0 {
		return nil
	}
	sql := "SELECT " + staged("s.", g.key) + " FROM " + g.stage + " s WHERE (" + strings.Join(where, " OR ") + ")"
	if len(g.m.Set) > 0 {
		sql += " AND coalesce(" + staged("s.", g.others()) + ",NULL) IS NOT NULL"
	}
	return g.refuse(sql+" GROUP BY "+staged("s.", g.key)+" HAVING count(*)>1 LIMIT 1", "two rows have this key")
}

// others returns the places of the columns that are not of Set, or 0 when all are.
func (g *merging) others() (list []int) {
	for i, in := range g.sets {
		if !in {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return []int{0}
	}
	return list
}

// refuseAmbiguous finds a key that several rows of the table have.
func (g *merging) refuseAmbiguous() error {
	return g.refuse("SELECT "+staged("s.", g.key)+" FROM "+g.stage+" s JOIN "+g.table+" t ON "+g.matches()+" GROUP BY "+staged("s.", g.key)+" HAVING count(*)>1 LIMIT 1",
		"several rows that are there already have this key")
}

// refuse makes an error of the first row of a query, which is a key.
func (g *merging) refuse(sql, why string) error {
	return each(g.conn, sql, nil, func(st *sqlite3.Stmt) error {
		return fail.New(fail.Incomplete, "", "row%s: %s", g.keyText(g.keyOf(st, 0)), why)
	})
}

// keyOf returns the key that stands in a query's columns from the given one on.
func (g *merging) keyOf(st *sqlite3.Stmt, from int) []rows.Value {
	values := make([]rows.Value, len(g.m.Columns))
	for i, k := range g.key {
		values[k] = rows.Value{Text: []byte(cell(st, from+i)), IsNull: st.ColumnType(from+i) == sqlite3.NULL}
	}
	return values
}

// cell returns a column of a query as people read it.
func cell(st *sqlite3.Stmt, i int) string {
	switch st.ColumnType(i) {
	case sqlite3.NULL:
		return "NULL"
	case sqlite3.BLOB:
		return fmt.Sprintf(`\x%x`, st.ColumnRawBlob(i))
	}
	return strings.ToValidUTF8(st.ColumnText(i), "\uFFFD")
}

// stored reports whether the table has a row with the key of values.
func (g *merging) stored(values []rows.Value) bool {
	terms := make([]string, len(g.key))
	for i, k := range g.key {
		terms[i] = quote(g.m.Columns[k]) + "=?"
	}
	st, _, err := g.conn.Prepare("SELECT 1 FROM " + g.table + " WHERE " + strings.Join(terms, " AND "))
	if err != nil {
		return false
	}
	defer st.Close()
	var b binder
	for i, k := range g.key {
		if b.bind(st, i+1, g.storage[k], values[k]) != nil {
			return false
		}
	}
	return st.Step()
}
