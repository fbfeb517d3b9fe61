package wire

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-db/holdfast/internal/format/fixture/models"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// longestName is how many characters a table's name may have; 0 is any number.
var longestName = map[string]int{Postgres: 63, MySQL: 64}

// shorten makes a name fit as Django does: with the beginning of its MD5 at the end.
func shorten(name string, most int) string {
	r := []rune(name)
	if most == 0 || len(r) <= most {
		return name
	}
	sum := md5.Sum([]byte(name))
	return string(r[:most-4]) + hex.EncodeToString(sum[:2])
}

// A names gives tables, or the columns of one table, names that an engine can have, each another one.
type names struct {
	to    string
	taken map[string]bool
}

// claim returns a name like the wished one that nothing else has.
func (n *names) claim(name string) string {
	if n.to == MySQL {
		name = strings.TrimRight(name, " ")
	}
	free := n.fit(name)
	for i := 2; n.taken[n.folded(free)]; i++ {
		free = n.fit(name + "_" + strconv.Itoa(i))
	}
	n.taken[n.folded(free)] = true
	return free
}

// folded is what the engine goes by: some don't tell capitals from small letters.
func (n *names) folded(name string) string {
	if n.to == Postgres {
		return name
	}
	return strings.ToLower(name)
}

func (n *names) fit(name string) string {
	switch n.to {
	case MySQL:
		name = strings.TrimRight(name, " ")
	case SQLite:
		if len(name) >= 7 && strings.EqualFold(name[:7], "sqlite_") {
			name = "_" + name
		}
	}
	if name == "" {
		name = "_"
	}
	name = shorten(name, longestName[n.to])
	if most := longestName[n.to]; n.to == Postgres && len(name) > most { // which counts bytes
		sum := md5.Sum([]byte(name))
		cut := most - 4
		for !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + hex.EncodeToString(sum[:2])
	}
	return name
}

// rename gives tables and columns the names that they must have on the other engine. Where Django shortened the name of a
// model's table for one engine it looks for another one on the next. The tables of s are changed; what they share with others is not.
func rename(s *rows.Schema, from, to string, g *models.Graph) (changed []string) {
	full := map[string]string{} // names before Django shortened them, by text form
	if g != nil && g.Django {
		for _, m := range g.Models {
			fullNames(m, longestName[from], full)
		}
	}
	tables := names{to, map[string]bool{}}
	renamed := map[string]string{}            // new text forms by old ones
	columns := map[string]map[string]string{} // new names by old ones, by the table's old text form
	list, within := inOrder(s, to)
	for _, t := range list {
		old, was := t.String(), t.Name
		if full[old] != "" {
			t.Name = full[old]
		}
		if to != Postgres {
			if t.Kind != rows.LargeObjects && t.Schema != "" && t.Schema != "public" && t.Schema != "main" {
				t.Name = t.Schema + "_" + t.Name
			}
			t.Schema = ""
		}
		t.Name = tables.claim(t.Name)
		if renamed[old] = t.String(); t.Name != was && !within[t] {
			changed = append(changed, fmt.Sprintf("the name of table %s: it is %s there", old, t))
		}
		var said []string
		columns[old], said = renameColumns(t, old, to)
		if !within[t] {
			changed = append(changed, said...)
		}
	}
	for _, t := range s.Tables {
		if name := renamed[t.Parent]; name != "" {
			t.Parent = name
		}
		t.ForeignKeys = slices.Clone(t.ForeignKeys)
		for i := range t.ForeignKeys {
			k := &t.ForeignKeys[i]
			if name := renamed[k.Table]; name != "" {
				k.References = mapped(columns[k.Table], k.References)
				k.Table = name
			}
		}
	}
	s.Sequences = slices.Clone(s.Sequences)
	for i := range s.Sequences {
		q := &s.Sequences[i]
		if name := renamed[q.Table]; name != "" {
			q.Column = mapped(columns[q.Table], []string{q.Column})[0]
			q.Table = name
		}
	}
	return changed
}

// inOrder returns the tables in the order in which they choose their names: those that are no table of their own there come last, and
// names that fit as they are come first. Those within are partitions whose rows go into another table.
func inOrder(s *rows.Schema, to string) (list []*rows.Table, within map[*rows.Table]bool) {
	rank, within := make(map[*rows.Table]int, len(s.Tables)), map[*rows.Table]bool{}
	for _, t := range s.Tables {
		fits := names{to: to}
		isPart := rootOf(s, t) != t
		within[t] = isPart && to != Postgres
		switch {
		case t.Kind != rows.Ordinary && t.Kind != rows.Partitioned, isPart:
			rank[t] = 2
		case fits.fit(t.Name) != t.Name || to != Postgres && t.Schema != "" && t.Schema != "public" && t.Schema != "main":
			rank[t] = 1
		}
	}
	list = slices.Clone(s.Tables)
	slices.SortStableFunc(list, func(a, b *rows.Table) int { return rank[a] - rank[b] })
	return list, within
}

// rootOf returns the partitioned table that has t's rows elsewhere: at the top; t itself when it is no partition.
func rootOf(s *rows.Schema, t *rows.Table) *rows.Table {
	for range s.Tables {
		if t.Parent == "" { // before the search, which is long
			break
		}
		up := s.Table(t.Parent)
		if up == nil || up.Kind != rows.Partitioned {
			break
		}
		t = up
	}
	return t
}

// renameColumns gives the columns of a table, which had another name, theirs, and tells of those that changed.
func renameColumns(t *rows.Table, table, to string) (by map[string]string, said []string) {
	by = map[string]string{}
	taken := names{to, map[string]bool{}}
	t.Columns = slices.Clone(t.Columns)
	change := func(i int) {
		c := &t.Columns[i]
		name := taken.claim(c.Name)
		if by[c.Name] = name; name != c.Name {
			said = append(said, fmt.Sprintf("the name of column %s of %s: it is %s there", plainName(c.Name), table, plainName(name)))
			c.Name = name
		}
	}
	var late []int
	for i, c := range t.Columns {
		if taken.fit(c.Name) == c.Name {
			change(i)
		} else {
			late = append(late, i)
		}
	}
	for _, i := range late {
		change(i)
	}
	if len(said) == 0 {
		return by, nil
	}
	t.PrimaryKey = mapped(by, t.PrimaryKey)
	t.Unique = slices.Clone(t.Unique)
	for i := range t.Unique {
		t.Unique[i] = mapped(by, t.Unique[i])
	}
	t.Indexes = slices.Clone(t.Indexes)
	for i := range t.Indexes {
		t.Indexes[i].Columns = mapped(by, t.Indexes[i].Columns)
	}
	t.ForeignKeys = slices.Clone(t.ForeignKeys)
	for i := range t.ForeignKeys {
		t.ForeignKeys[i].Columns = mapped(by, t.ForeignKeys[i].Columns)
	}
	return by, said
}

// plainName is a name in quotes where it would else be hard to see.
func plainName(name string) string { return (&rows.Table{Name: name}).String() }

// mapped returns names by a map; what it lacks stays.
func mapped(by map[string]string, list []string) []string {
	out := slices.Clone(list)
	for i, name := range out {
		if now, ok := by[name]; ok {
			out[i] = now
		}
	}
	return out
}

// fullNames finds the whole names of the tables of a model that were shortened to most characters.
func fullNames(m *models.Model, most int, full map[string]string) {
	base := m.Table.Name
	if name := strings.ReplaceAll(m.Label, ".", "_"); shorten(name, most) == base {
		base, full[m.Table.String()] = name, name
	}
	for _, link := range m.M2M {
		if name := base + "_" + link.Name; shorten(name, most) == link.Table.Name {
			full[link.Table.String()] = name
		}
	}
}
