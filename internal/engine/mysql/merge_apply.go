package mysql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// same is the condition that two rows are alike in some columns, as the table's own collation has it. NULL is like NULL.
func same(a, b string, names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		q := quoteIdent(n)
		list[i] = a + "." + q + " <=> " + b + "." + q
	}
	return strings.Join(list, " AND ")
}

// differs is the condition that two rows are not the same to the last bit in some columns.
func (g *merging) differs(names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		q := quoteIdent(n)
		plain := "NOT (" + g.t() + "." + q + " <=> s." + q + ")"
		exact := "NOT (BINARY " + g.t() + "." + q + " <=> BINARY s." + q + ")"
		switch c := g.column(n); {
		case c.charset != "" || c.data == "json":
			list[i] = exact
		case c.data == "float" || c.data == "double": // 0 equals -0, and text has fewer digits
			list[i] = "(" + plain + " OR " + exact + ")"
		default:
			list[i] = plain
		}
	}
	return "(" + strings.Join(list, " OR ") + ")"
}

func prefixed(prefix string, names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = prefix + quoteIdent(n)
	}
	return strings.Join(list, ", ")
}

// without returns names but those of list.
func without(names, list []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(list, n) })
}

// merge puts the rows of one merge where they belong.
func (m *Merger) merge(ctx context.Context, g *merging) error {
	if g.direct {
		g.result.Inserted = g.loaded
		return nil
	}
	if g.loaded == 0 {
		return nil
	}
	if len(g.Set) > 0 {
		if err := m.complete(ctx, g); err != nil {
			return err
		}
	}
	row, err := m.s.one(ctx, "SELECT count(*) FROM "+g.stage())
	if err != nil {
		return err
	}
	staged, _ := strconv.ParseInt(row[0].s, 10, 64)
	missing := ""
	if len(g.Key) > 0 {
		if err := m.refuse(ctx, g, "FROM "+g.stage()+" s", "two of the rows have the key"); err != nil {
			return err
		}
		if err := m.update(ctx, g); err != nil {
			return err
		}
		missing = fmt.Sprintf(" WHERE NOT EXISTS (SELECT 1 FROM %s %s WHERE %s)", g.name, g.t(), same(g.t(), "s", g.Key))
	}
	names := without(g.Columns, g.Fresh)
	g.result.Inserted, err = m.s.affect(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s s%s ORDER BY s.%s",
		g.name, quoteIdents(names), prefixed("s.", names), g.stage(), missing, quoteIdent(rowColumn)))
	if len(names) == 0 {
		return fail.New(fail.Unsupported, "", "every column is left to its default")
	}
	g.result.Same = max(0, staged-g.result.Inserted-g.result.Changed)
	return err
}

// complete deletes the rows of the loaded groups that were not loaded, and forgets what only named its group.
func (m *Merger) complete(ctx context.Context, g *merging) error {
	groups := quoteIdent("holdfast~groups~" + strconv.Itoa(g.number))
	if err := m.s.exec(ctx, fmt.Sprintf("CREATE TEMPORARY TABLE %s AS SELECT DISTINCT %s FROM %s", groups, quoteIdents(g.Set), g.stage())); err != nil {
		return err
	}
	if others := without(g.Columns, g.Set); len(others) > 0 {
		sql := "DELETE FROM " + g.stage() + " WHERE true"
		for _, n := range others {
			sql += " AND " + quoteIdent(n) + " IS NULL"
		}
		if err := m.s.exec(ctx, sql); err != nil {
			return err
		}
	}
	n, err := m.s.affect(ctx, fmt.Sprintf("DELETE %[1]s FROM %[2]s %[1]s JOIN %[3]s g ON %[4]s LEFT JOIN %[5]s s ON %[6]s WHERE s.%[7]s IS NULL",
		g.t(), g.name, groups, same(g.t(), "g", g.Set), g.stage(), same(g.t(), "s", g.Columns), quoteIdent(rowColumn)))
	g.result.Deleted += n
	return err
}

// update changes the rows that are there and differ.
func (m *Merger) update(ctx context.Context, g *merging) error {
	join := fmt.Sprintf("%s %s JOIN %s s ON %s", g.name, g.t(), g.stage(), same(g.t(), "s", g.Key))
	if !g.identified() && len(g.Set) == 0 {
		// One row must not stand for several.
		if err := m.refuse(ctx, g, "FROM "+join, "several rows that are there already have the key"); err != nil {
			return err
		}
	}
	names := without(g.Columns, append(slices.Clone(g.Key), g.Fresh...))
	// A key may be equal for the table and yet be spelt in another way.
	var spelt []string
	for _, n := range g.Key {
		if g.column(n).charset != "" && !slices.Contains(g.Fresh, n) && len(g.Set) == 0 {
			spelt = append(spelt, n)
		}
	}
	names = append(names, spelt...)
	if len(names) == 0 {
		return nil
	}
	set := make([]string, len(names))
	for i, n := range names {
		set[i] = g.t() + "." + quoteIdent(n) + " = s." + quoteIdent(n)
	}
	if err := m.s.exec(ctx, "SAVEPOINT holdfast_change"); err != nil {
		return err
	}
	var err error
	g.result.Changed, err = m.s.affect(ctx, "UPDATE "+join+" SET "+strings.Join(set, ", ")+" WHERE "+g.differs(names))
	if isNumber(err, 1062) {
		return m.move(ctx, g, names, join)
	}
	return err
}

// move is update for rows that trade values of which there can only be one: keys are checked row by row, so all of them
// leave the table before the first one comes back.
func (m *Merger) move(ctx context.Context, g *merging, names []string, join string) error {
	if !g.identified() {
		return fail.New(fail.Incomplete, "", "rows trade unique values and have no unique key to be found by")
	}
	var all, values []string
	for _, c := range g.Table.Stored() {
		from := g.t() + "."
		if slices.Contains(names, c.Name) {
			from = "s."
		}
		all = append(all, c.Name)
		values = append(values, from+quoteIdent(c.Name))
	}
	aside := quoteIdent("holdfast~move~" + strconv.Itoa(g.number))
	for _, sql := range []string{
		"ROLLBACK TO SAVEPOINT holdfast_change",
		"CREATE TEMPORARY TABLE " + aside + " AS SELECT " + strings.Join(values, ", ") + " FROM " + join + " WHERE " + g.differs(names),
		"DELETE " + g.t() + " FROM " + g.name + " " + g.t() + " JOIN " + aside + " a ON " + same(g.t(), "a", g.Key),
	} {
		if err := m.s.exec(ctx, sql); err != nil {
			return err
		}
	}
	var err error
	g.result.Changed, err = m.s.affect(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s", g.name, quoteIdents(all), quoteIdents(all), aside))
	return err
}

// refuse makes an error of a key that a query has several times.
func (m *Merger) refuse(ctx context.Context, g *merging, from, why string) error {
	row, err := m.s.one(ctx, "SELECT "+prefixed("s.", g.Key)+" "+from+" GROUP BY "+prefixed("s.", g.Key)+" HAVING count(*) > 1 LIMIT 1")
	if err != nil || row == nil {
		return err
	}
	return fail.New(fail.Incomplete, "", "%s (%s) = (%s)", why, strings.Join(g.Key, ", "), strings.Join(shown(row), ", "))
}

// shown is a row for people: short, and with NULL for what is not there.
func shown(row []cell) []string {
	list := make([]string, len(row))
	for i, c := range row {
		list[i] = cutRunes(strings.ToValidUTF8(c.s, "\uFFFD"), 100)
		if c.null {
			list[i] = "NULL"
		}
	}
	return list
}
