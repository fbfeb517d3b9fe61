package wire

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// prune takes out of the adapted tables what no other engine, or not this one, can make of them, and names it. What the engine's own
// target takes out and names is left to it.
func prune(s *rows.Schema, to string) (lost []string) {
	for _, t := range s.Tables {
		generated := withoutGenerated(t)
		if to != Postgres && rootOf(s, t) != t {
			continue // a partition, whose definition stays behind
		}
		if lost = append(lost, generated...); to == MySQL {
			lost = append(lost, shortRow(t)...)
		}
	}
	if to != MySQL {
		return lost
	}
	deferred := 0
	for _, t := range s.Tables {
		if rootOf(s, t) != t {
			continue
		}
		kept := []rows.ForeignKey{}
		for _, k := range t.ForeignKeys {
			parent := s.Table(k.Table)
			if parent == nil { // the target says so
				kept = append(kept, k)
				continue
			}
			why := ""
			if k, why = reference(t, parent, k); why != "" {
				lost = append(lost, fmt.Sprintf("foreign key (%s) of %s to %s: %s", strings.Join(k.Columns, ", "), t, k.Table, why))
				continue
			}
			if k.Deferrable {
				deferred++
			}
			kept = append(kept, k)
		}
		t.ForeignKeys = kept
	}
	if deferred > 0 {
		lost = append(lost, fmt.Sprintf("that %d foreign keys can wait for the end of a transaction: here each is checked at once", deferred))
	}
	return lost
}

// withoutGenerated takes the generated columns of a table out, and the keys over them.
func withoutGenerated(t *rows.Table) (lost []string) {
	gone := map[string]bool{}
	for _, c := range t.Columns {
		if c.Generated {
			gone[c.Name] = true
			lost = append(lost, fmt.Sprintf("generated column %s of %s, with its values", c.Name, t))
		}
	}
	if len(gone) == 0 {
		return nil
	}
	over := func(columns []string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return gone[c] })
	}
	t.Columns = t.Stored()
	if over(t.PrimaryKey) {
		lost = append(lost, fmt.Sprintf("primary key (%s) of %s", strings.Join(t.PrimaryKey, ", "), t))
		t.PrimaryKey = nil
	}
	keep := func(what, name string, columns []string) bool {
		if !over(columns) {
			return true
		}
		lost = append(lost, strings.Join(strings.Fields(fmt.Sprintf("%s %s (%s) of %s", what, name, strings.Join(columns, ", "), t)), " "))
		return false
	}
	var unique [][]string
	for _, u := range t.Unique {
		if keep("unique key", "", u) {
			unique = append(unique, u)
		}
	}
	var indexes []rows.Index
	for _, x := range t.Indexes {
		if keep("index", x.Name, x.Columns) {
			indexes = append(indexes, x)
		}
	}
	var keys []rows.ForeignKey
	for _, k := range t.ForeignKeys {
		if keep("foreign key", k.Name, k.Columns) {
			keys = append(keys, k)
		}
	}
	t.Unique, t.Indexes, t.ForeignKeys = unique, indexes, keys
	return lost
}

// reference fits a foreign key to MySQL, which wants a key with the columns in the same order at the other end. why says what is in the way.
func reference(t, parent *rows.Table, k rows.ForeignKey) (fitting rows.ForeignKey, why string) {
	if len(k.Columns) != len(k.References) {
		return k, "it refers to another number of columns"
	}
	for i := range k.Columns {
		a, b := columnNamed(t, k.Columns[i]), columnNamed(parent, k.References[i])
		switch {
		case a == nil || b == nil:
			return k, "columns are left out"
		case keyClass(a) != keyClass(b):
			return k, "the types differ"
		}
	}
	keys := append([][]string{parent.PrimaryKey}, parent.Unique...)
	for _, x := range parent.Indexes {
		if x.Unique {
			keys = append(keys, x.Columns)
		}
	}
	for _, key := range keys {
		if len(key) != len(k.References) || slices.ContainsFunc(k.References, func(c string) bool { return !slices.Contains(key, c) }) {
			continue
		}
		columns := make([]string, len(key))
		for i, c := range key {
			columns[i] = k.Columns[slices.Index(k.References, c)]
		}
		k.Columns, k.References = columns, key
		return k, ""
	}
	return k, "the referenced columns are not unique"
}

func columnNamed(t *rows.Table, name string) *rows.Column {
	if i := slices.IndexFunc(t.Columns, func(c rows.Column) bool { return c.Name == name }); i >= 0 {
		return &t.Columns[i]
	}
	return nil
}

// keyClass is the same for types that MySQL lets refer to each other.
func keyClass(c *rows.Column) string {
	switch c.Type {
	case rows.Array, rows.Any, rows.Other:
		return string(rows.Text)
	case rows.Float, rows.Decimal:
		return fmt.Sprint(c.Type, c.Size, c.Scale)
	case rows.Enum:
		return fmt.Sprint(c.Type, len(c.Values))
	}
	return string(c.Type)
}

// mostRow is how many bytes MySQL has for a row without its long texts, less something for the numbers. mostKey is how many a key has, mostKeys
// are those that the engine gives to texts of any length in all keys of a table.
const (
	mostRow  = 60_000
	mostKey  = 3072
	mostKeys = 49_152
)

// shortRow makes long texts of the longest ones that are in no key, until a row of the table is not too long for MySQL.
func shortRow(t *rows.Table) (lost []string) {
	keyed, shares := keyShares(t)
	for {
		sum, longest := 0, -1
		for i, c := range t.Columns {
			if c.Type != rows.Text || c.Size <= 0 || c.Size > 16383 {
				sum += shares[c.Name]
				continue
			}
			if sum += c.Size * 4; !keyed[c.Name] && (longest < 0 || c.Size > t.Columns[longest].Size) {
				longest = i
			}
		}
		if sum <= mostRow || longest < 0 {
			return lost
		}
		c := &t.Columns[longest]
		lost = append(lost, fmt.Sprintf("the limit of %d characters of column %s of %s", c.Size, c.Name, t))
		c.Size = 0
	}
}

// keyShares are the columns of a table that are in a key, and how many bytes those take of them at most that MySQL keeps in the row to tell them apart:
// texts and blobs of any length, in keys that take them whole.
func keyShares(t *rows.Table) (keyed map[string]bool, shares map[string]int) {
	keyed, shares = map[string]bool{}, map[string]int{}
	whole := slices.Concat([][]string{t.PrimaryKey}, t.Unique)
	for _, x := range t.Indexes {
		if x.Unique {
			whole = append(whole, x.Columns)
		}
		for _, c := range x.Columns {
			keyed[c] = true
		}
	}
	for _, k := range t.ForeignKeys {
		whole = append(whole, k.Columns)
	}
	for _, key := range whole {
		var open []string
		for _, name := range key {
			keyed[name] = true
			c := columnNamed(t, name)
			if c != nil && (c.Type == rows.Bytes || keyClass(c) == string(rows.Text) && (c.Type != rows.Text || c.Size <= 0 || c.Size > 16383)) {
				open = append(open, name)
			}
		}
		for _, name := range open {
			share := mostKey / len(open)
			if old, ok := shares[name]; ok {
				share = min(share, old)
			}
			shares[name] = share
		}
	}
	for name := range shares {
		shares[name] = min(shares[name], mostKeys/len(shares))
	}
	return keyed, shares
}

// losses names what is lost besides, of a schema as its own engine describes it.
func losses(s *rows.Schema, from, to string) (lost []string) {
	insensitive := map[string][]string{} // tables, by collation
	partitions := map[string][]string{}  // by the table that gets their rows
	for _, t := range s.Tables {
		if t.Kind != rows.Ordinary && t.Kind != rows.Partitioned || slices.ContainsFunc(t.Native, func(p rows.Pair) bool { return p.Name == "shadow_of" }) {
			continue // the target says so
		}
		if root := rootOf(s, t); to == MySQL && root != t {
			partitions[root.String()] = append(partitions[root.String()], t.String())
			continue
		} else if to == MySQL && t.Parent != "" && t.Kind == rows.Ordinary {
			lost = append(lost, fmt.Sprintf("inheritance of %s from %s", t, t.Parent))
		}
		texts := false
		for _, c := range t.Columns {
			texts = texts || c.Type == rows.Text || c.Type == rows.Enum
			switch {
			case c.Generated:
			case from == Postgres && strings.HasSuffix(c.Native, "citext"):
				lost = append(lost, fmt.Sprintf("comparison of column %s of %s without regard to case", c.Name, t))
			case to == Postgres && (c.Type == rows.Any || c.Type == rows.Array || c.Type == rows.Other && !isAddress(c.Native)):
				lost = append(lost, strings.Join(strings.Fields(fmt.Sprintf("type %s of column %s of %s: it becomes text", c.Native, c.Name, t)), " "))
			}
		}
		for _, p := range t.Native {
			switch {
			case from == SQLite && p.Name == "collation":
				lost = append(lost, fmt.Sprintf("collation of column %s of %s: texts are compared by bytes there", p.Value, t))
			case from == MySQL && p.Name == "collation" && texts && strings.HasSuffix(p.Value, "_ci"):
				insensitive[p.Value] = append(insensitive[p.Value], t.String())
			}
		}
	}
	for collation, tables := range insensitive {
		lost = append(lost, fmt.Sprintf("collation %s: texts are compared by bytes in %s", collation, strings.Join(tables, ", ")))
	}
	for root, tables := range partitions {
		lost = append(lost, fmt.Sprintf("partitions of %s: the rows of %s are in it", root, rows.Few(tables)))
	}
	slices.Sort(lost)
	return lost
}
