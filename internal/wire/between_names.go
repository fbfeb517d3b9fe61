package wire

import (
	"crypto/md5"
	"encoding/hex"
	"slices"
	"strings"

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

// rename gives tables the names that they must have on the other engine. Where Django shortened the name of a
// model's table for one engine it looks for another one on the next.
func rename(s *rows.Schema, from, to string, g *models.Graph) (changed []string) {
	full := map[string]string{} // names before Django shortened them, by text form
	if g != nil && g.Django {
		for _, m := range g.Models {
			fullNames(m, longestName[from], full)
		}
	}
	names := map[string]string{} // new text forms by old ones
	for _, t := range s.Tables {
		old := t.String()
		name := t.Name
		if long := full[old]; long != "" {
			name = long
		}
		taken := func(name string) bool {
			return slices.ContainsFunc(s.Tables, func(o *rows.Table) bool { return o != t && o.Schema == t.Schema && strings.EqualFold(o.Name, name) })
		}
		if name = shorten(name, longestName[to]); name != t.Name && !taken(name) {
			t.Name = name
			names[old] = t.String()
			changed = append(changed, "the name of table "+old+": it is "+t.String()+" there")
		}
	}
	if len(names) == 0 {
		return nil
	}
	for _, t := range s.Tables {
		t.ForeignKeys = slices.Clone(t.ForeignKeys)
		for i := range t.ForeignKeys {
			if name := names[t.ForeignKeys[i].Table]; name != "" {
				t.ForeignKeys[i].Table = name
			}
		}
		if name := names[t.Parent]; name != "" {
			t.Parent = name
		}
	}
	s.Sequences = slices.Clone(s.Sequences)
	for i := range s.Sequences {
		if name := names[s.Sequences[i].Table]; name != "" {
			s.Sequences[i].Table = name
		}
	}
	return changed
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
