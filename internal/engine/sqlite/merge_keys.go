package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// mostExamples is how many rows of a violation are told.
const mostExamples = 5

// A keyCheck is a foreign key of or to a merged table. Rows that violate it before the merge are none of ours; they
// are kept aside in a temporary table.
type keyCheck struct {
	child   *rows.Table
	fk      *rows.ForeignKey
	parent  *rows.Table // nil when there is no such table
	key     []string    // expressions that name a row of child: its primary key or rowid
	before  string      // the temporary table; "" when there was no violation
	merging []*merging  // into child
	above   []*merging  // into parent
}

// beginChecks finds the foreign keys that the plan can break and takes note of rows that violate them already.
func (m *Merger) beginChecks(schema *rows.Schema) error {
	into := make(map[string][]*merging)
	for _, g := range m.plan {
		into[g.desc.Name] = append(into[g.desc.Name], g)
	}
	for _, child := range schema.Tables {
		for i := range child.ForeignKeys {
			fk := &child.ForeignKeys[i]
			c := &keyCheck{child: child, fk: fk, parent: schema.Table(fk.Table), merging: into[child.Name]}
			if c.parent != nil {
				c.above = slices.DeleteFunc(slices.Clone(into[c.parent.Name]), func(g *merging) bool { return !g.canRemove(fk.References) })
			}
			if len(c.merging)+len(c.above) == 0 {
				continue
			}
			if c.parent != nil && len(fk.References) != len(fk.Columns) {
				return fail.New(fail.Unsupported, "", "foreign key of %s (%s) names no columns of %s", child, strings.Join(fk.Columns, ", "), fk.Table)
			}
			m.checks = append(m.checks, c)
			if err := c.look(m.conn, len(m.checks)); err != nil {
				return err
			}
		}
	}
	return nil
}

// canRemove reports whether the merge can take away values of columns that others refer to.
func (g *merging) canRemove(columns []string) bool {
	return g.m.Replace || len(g.m.Set) > 0 || slices.ContainsFunc(g.updated(), func(i int) bool { return slices.Contains(columns, g.m.Columns[i]) })
}

// look keeps the violations of now.
func (c *keyCheck) look(conn *sqlite3.Conn, number int) error {
	for _, name := range c.child.PrimaryKey {
		c.key = append(c.key, "c."+quote(name))
	}
	if len(c.key) == 0 {
		if name := hiddenRowid(c.child.Columns); name != "" {
			c.key = []string{"c." + name}
		}
	}
	var columns, names []string
	for i, expr := range c.named() {
		names = append(names, fmt.Sprintf("b%d", i))
		columns = append(columns, expr+" AS "+names[i])
	}
	name := fmt.Sprintf("temp.holdfast_broken_%d", number)
	if err := conn.Exec("CREATE TABLE " + name + " AS SELECT " + strings.Join(columns, ",") + c.broken()); err != nil {
		return err
	}
	any, err := one(conn, "SELECT EXISTS(SELECT 1 FROM "+name+")")
	if err != nil || any == "0" {
		return err
	}
	c.before = name
	return conn.Exec(fmt.Sprintf("CREATE INDEX temp.holdfast_broken_index_%d ON holdfast_broken_%d(%s)", number, number, strings.Join(names, ",")))
}

// named returns the expressions for key and reference of a row «c».
func (c *keyCheck) named() []string {
	list := slices.Clone(c.key)
	for _, name := range c.fk.Columns {
		list = append(list, "c."+quote(name))
	}
	return list
}

// broken is the FROM clause of the rows «c» that violate the key.
func (c *keyCheck) broken() string {
	var set, equal []string
	for i, name := range c.fk.Columns {
		set = append(set, "c."+quote(name)+" IS NOT NULL")
		if c.parent != nil {
			equal = append(equal, "p."+quote(c.fk.References[i])+"=c."+quote(name))
		}
	}
	sql := " FROM main." + quote(c.child.Name) + " c WHERE " + strings.Join(set, " AND ")
	if c.parent == nil {
		return sql
	}
	return sql + " AND NOT EXISTS(SELECT 1 FROM main." + quote(c.parent.Name) + " p WHERE " + strings.Join(equal, " AND ") + ")"
}

// touched reports whether anything happened that can have broken the key.
func (c *keyCheck) touched() bool {
	return slices.ContainsFunc(c.merging, func(g *merging) bool { return g.result.Inserted+g.result.Changed > 0 }) ||
		slices.ContainsFunc(c.above, func(g *merging) bool { return g.result.Deleted+g.result.Changed > 0 })
}

// checkReferences returns *rows.Violations, of kind Incomplete, for the rows that violate a foreign key and did not before.
func (m *Merger) checkReferences() error {
	var found rows.Violations
	for _, c := range m.checks {
		if !c.touched() {
			continue
		}
		v, err := c.find(m.conn)
		if err != nil {
			return err
		}
		if v.Count > 0 {
			found.List = append(found.List, v)
		}
	}
	if len(found.List) == 0 {
		return nil
	}
	return fail.Wrap(fail.Incomplete, &found, "load the rows that are missing too", "broken references")
}

// find returns the rows that violate the key now and not before.
func (c *keyCheck) find(conn *sqlite3.Conn) (rows.Violation, error) {
	v := rows.Violation{Table: c.child, Columns: c.fk.Columns, References: c.fk.Table, To: c.fk.References}
	if len(c.merging) > 0 {
		v.Table = c.merging[0].m.Table
	}
	named := c.named()
	sql := "SELECT " + strings.Join(named, ",") + c.broken()
	if c.before != "" {
		var same []string
		for i, expr := range named {
			same = append(same, fmt.Sprintf("b.b%d IS %s", i, expr))
		}
		sql += " AND NOT EXISTS(SELECT 1 FROM " + c.before + " b WHERE " + strings.Join(same, " AND ") + ")"
	}
	err := each(conn, sql, nil, func(st *sqlite3.Stmt) error {
		if v.Count++; v.Count > mostExamples {
			return nil
		}
		var row rows.BrokenRow
		for i := range named {
			if i < len(c.key) {
				row.Key = append(row.Key, cell(st, i))
			} else {
				row.Values = append(row.Values, cell(st, i))
			}
		}
		v.Examples = append(v.Examples, row)
		return nil
	})
	return v, err
}
