package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// has reports whether a table has all of the columns.
func has(t *rows.Table, names []string) bool {
	return len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return columnOf(t, n) == nil })
}

func columnOf(t *rows.Table, name string) *rows.Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// uniqueName is the key of foreign.unique.
func uniqueName(t *rows.Table, columns []string) string {
	sorted := slices.Sorted(slices.Values(columns))
	return fmt.Sprintf("%s %q", t, sorted)
}

// keys defines primary keys, unique columns, indexes, and where identities go on.
func (f *foreign) keys(t *rows.Table) {
	constraint := func(want, what string, columns []string) {
		name := f.pick(t.Schema, want)
		f.post(&heading{Name: t.Name + " " + name, Type: "CONSTRAINT", Schema: t.Schema}, "ALTER TABLE ONLY %s ADD CONSTRAINT %s %s (%s)",
			quoteTable(t), quoteIdent(name), what, idents("", columns))
		f.unique[uniqueName(t, columns)] = true
	}
	switch {
	case has(t, t.PrimaryKey):
		constraint(t.Name+"_pkey", "PRIMARY KEY", t.PrimaryKey)
	case len(t.PrimaryKey) > 0:
		f.omit("primary key of %s: (%s)", t, strings.Join(t.PrimaryKey, ", "))
	}
	for _, ix := range t.Indexes {
		switch {
		case !has(t, ix.Columns):
			f.omit("index %s of %s: %s", ix.Name, t, ix.Definition)
			continue
		case ix.Unique && f.unique[uniqueName(t, ix.Columns)]:
			continue
		}
		unique := ""
		if ix.Unique {
			unique = "UNIQUE "
			f.unique[uniqueName(t, ix.Columns)] = true
		}
		name := ix.Name
		if f.taken[qualified{t.Schema, name}] { // they need not differ between tables elsewhere
			name = t.Name + "_" + name
		}
		name = f.pick(t.Schema, name)
		f.post(&heading{Name: name, Type: "INDEX", Schema: t.Schema}, "CREATE %sINDEX %s ON %s USING btree (%s)",
			unique, quoteIdent(name), quoteTable(t), idents("", ix.Columns))
	}
	for _, columns := range t.Unique {
		switch {
		case f.unique[uniqueName(t, columns)]:
		case has(t, columns):
			constraint(t.Name+"_"+strings.Join(columns, "_")+"_key", "UNIQUE", columns)
		default:
			f.omit("unique columns of %s: (%s)", t, strings.Join(columns, ", "))
		}
	}
	for _, c := range t.Columns {
		if identity(c) {
			f.sequence(t, c)
		}
	}
}

// sequence lets an identity go on behind what the rows have, and what the other engine had given out.
func (f *foreign) sequence(t *rows.Table, c rows.Column) {
	last := int64(0)
	for _, q := range f.from.Sequences {
		if of := f.from.Table(q.Table); of != nil && f.local[of] == t && q.Column == c.Name && q.Called {
			last = q.Last
		}
	}
	f.post(&heading{Name: t.Name, Type: "SEQUENCE SET", Schema: t.Schema},
		"SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence(%s, %s), greatest(x.top, %d, 1), greatest(x.top, %d) >= 1) FROM (SELECT pg_catalog.max(%s) AS top FROM %s) x",
		quoteLiteral(quoteTable(t)), quoteLiteral(c.Name), last, last, quoteIdent(c.Name), quoteTable(t))
}

// references defines the foreign keys of a table, whose text forms of other tables are those of from.
func (f *foreign) references(from, t *rows.Table) {
	for _, k := range from.ForeignKeys {
		to := f.local[f.from.Table(k.Table)]
		why := ""
		switch {
		case to == nil:
			why = "there is no such table"
		case !has(t, k.Columns) || !has(to, k.References) || len(k.Columns) != len(k.References):
			why = "columns are left out"
		case !f.unique[uniqueName(to, k.References)]:
			why = "the referenced columns are not unique"
		default:
			for i := range k.Columns {
				if !matching(columnOf(t, k.Columns[i]), columnOf(to, k.References[i])) {
					why = "the types differ"
				}
			}
		}
		if why != "" {
			f.omit("foreign key (%s) of %s to %s (%s): %s", strings.Join(k.Columns, ", "), t, k.Table, strings.Join(k.References, ", "), why)
			continue
		}
		name, clause := strings.Join(k.Columns, "_"), ""
		if k.Name != "" {
			if name = k.Name; len(name) > maxIdentifier { // else the server cuts it, and two may become one
				name = f.pick(t.Schema, name)
			}
			clause = "CONSTRAINT " + quoteIdent(name) + " "
		}
		sql := fmt.Sprintf("ALTER TABLE ONLY %s ADD %sFOREIGN KEY (%s) REFERENCES %s (%s)", quoteTable(t), clause,
			idents("", k.Columns), quoteTable(to), idents("", k.References))
		for _, action := range []struct{ when, what string }{{"DELETE", k.OnDelete}, {"UPDATE", k.OnUpdate}} {
			if slices.Contains([]string{"cascade", "set null", "set default", "restrict"}, action.what) {
				sql += " ON " + action.when + " " + strings.ToUpper(action.what)
			}
		}
		if k.Deferrable {
			sql += " DEFERRABLE INITIALLY DEFERRED"
		}
		f.post(&heading{Name: t.Name + " " + name, Type: "FK CONSTRAINT", Schema: t.Schema}, "%s", sql)
	}
}

// matching reports whether a foreign key can be between two columns.
func matching(a, b *rows.Column) bool {
	class := func(c *rows.Column) string {
		name, _, _ := strings.Cut(foreignType(*c), "(")
		switch name {
		case "smallint", "integer", "bigint":
			return "integer"
		case "character varying", "text":
			return "text"
		}
		return name
	}
	return class(a) == class(b)
}
