package sqlite

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// A naive table of columns id, u, a, b; values are row text without escapes, `\N` is NULL.
type naive struct {
	rows   [][]string
	serial bool // id is given by a counter
	seq    int
	unique [][]int // places that must be unique; NULLs never clash
}

var naiveColumns = []string{"id", "u", "a", "b"}

func places(names []string) (list []int) {
	for _, name := range names {
		list = append(list, slices.Index(naiveColumns, name))
	}
	return list
}

func pick(row []string, at []int) string {
	var b strings.Builder
	for _, i := range at {
		b.WriteString(row[i] + "\x00")
	}
	return b.String()
}

// merge does what [rows.Merger] promises; ok is false when it must refuse.
func (n *naive) merge(m *rows.Merge, load [][]string) (got rows.Merged, ok bool) {
	var in [][]string // whole rows; "" is not given
	named := map[string]bool{}
	all, key, set := places(m.Columns), places(m.Key), places(m.Set)
	if len(set) > 0 {
		key = all
	}
	keys := map[string]bool{}
	for _, values := range load {
		row := make([]string, len(naiveColumns))
		for i, p := range all {
			row[p] = values[i]
		}
		rest := slices.DeleteFunc(slices.Clone(all), func(p int) bool { return slices.Contains(set, p) || row[p] == `\N` })
		named[pick(row, set)] = true
		if len(set) > 0 && slices.ContainsFunc(set, func(p int) bool { return row[p] == `\N` }) {
			return got, false
		}
		if len(set) > 0 && len(rest) == 0 && len(set) < len(all) {
			continue
		}
		if k := pick(row, key); len(key) > 0 && keys[k] {
			return got, false
		} else {
			keys[k] = true
		}
		in = append(in, row)
	}
	if m.Replace {
		got.Deleted, n.rows = int64(len(n.rows)), nil
	}
	if len(set) > 0 {
		before := len(n.rows)
		n.rows = slices.DeleteFunc(n.rows, func(row []string) bool { return named[pick(row, set)] && !keys[pick(row, key)] })
		got.Deleted += int64(before - len(n.rows))
	}
	for _, row := range in {
		var there []int
		for i, old := range n.rows {
			if len(key) > 0 && pick(old, key) == pick(row, key) {
				there = append(there, i)
			}
		}
		switch {
		case len(there) > 1 && len(set) == 0:
			return got, false
		case len(there) == 0:
			got.Inserted++
			continue
		}
		if pick(n.rows[there[0]], all) == pick(row, all) {
			got.Same++
		} else {
			got.Changed++
		}
	}
	n.write(in, all, key)
	return got, n.valid()
}

// write changes and appends.
func (n *naive) write(in [][]string, all, key []int) {
	old := len(n.rows)
	for _, row := range in {
		i := slices.IndexFunc(n.rows[:old], func(r []string) bool { return len(key) > 0 && pick(r, key) == pick(row, key) })
		if i >= 0 {
			n.rows[i] = slices.Clone(n.rows[i])
			for _, p := range all {
				n.rows[i][p] = row[p]
			}
			continue
		}
		row = slices.Clone(row)
		if n.serial && row[0] == "" {
			n.seq++
			row[0] = strconv.Itoa(n.seq)
		}
		if id, err := strconv.Atoi(row[0]); err == nil {
			n.seq = max(n.seq, id)
		}
		for p, v := range row {
			if v == "" {
				row[p] = `\N`
			}
		}
		n.rows = append(n.rows, row)
	}
}

func (n *naive) valid() bool {
	for _, at := range n.unique {
		seen := map[string]bool{}
		for _, row := range n.rows {
			if k := pick(row, at); strings.Contains(k, `\N`) {
				continue
			} else if seen[k] {
				return false
			} else {
				seen[k] = true
			}
		}
	}
	return true
}

func (n *naive) text() string {
	lines := make([]string, len(n.rows))
	for i, row := range n.rows {
		lines[i] = strings.Join(row, "\t")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// naiveTables are the kinds of tables, and the merges that make sense on each.
var naiveTables = []struct {
	ddl    string
	unique [][]int
	merges []rows.Merge
}{
	{"CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, u TEXT UNIQUE, a INT, b REAL, low TEXT AS (lower(u)))", [][]int{{0}, {1}}, []rows.Merge{
		{Columns: []string{"id", "u", "a", "b"}, Key: []string{"id"}},
		{Columns: []string{"a", "id"}, Key: []string{"id"}},
		{Columns: []string{"u", "b"}, Key: []string{"u"}, Fresh: []string{"id"}},
		{Columns: []string{"u", "b"}, Fresh: []string{"id"}},
	}},
	{"CREATE TABLE t(id INT NOT NULL, u TEXT NOT NULL, a INT, b REAL, PRIMARY KEY(u, id)) WITHOUT ROWID; CREATE UNIQUE INDEX ub ON t(b)", [][]int{{0, 1}, {3}}, []rows.Merge{
		{Columns: []string{"b", "u", "id"}, Key: []string{"id", "u"}},
		{Columns: []string{"id", "u"}, Set: []string{"id"}},
		{Columns: []string{"id", "u", "a"}, Key: []string{"a"}},
	}},
	{"CREATE TABLE t(id INT, u TEXT, a INT, b REAL)", nil, []rows.Merge{
		{Columns: []string{"id", "u", "a", "b"}},
		{Columns: []string{"id", "a"}, Key: []string{"id"}},
		{Columns: []string{"id", "u", "b"}, Key: []string{"u", "id"}},
		{Columns: []string{"a", "u", "id"}, Set: []string{"id"}},
		{Columns: []string{"id", "a", "u"}, Set: []string{"id", "u"}},
	}},
}

// TestMergerModel compares merges with what a model in plain Go makes of them, first dry and then in earnest.
func TestMergerModel(t *testing.T) {
	dir := t.TempDir()
	number := 0
	done := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom(naiveTables).Draw(rt, "table")
		number++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", number))
		defer os.Remove(path)
		build(t, path, kind.ddl)
		model := &naive{serial: strings.Contains(kind.ddl, "AUTOINCREMENT"), unique: kind.unique}
		for range rapid.IntRange(1, 4).Draw(rt, "merges") {
			m := rapid.SampledFrom(kind.merges).Draw(rt, "merge")
			m.Replace = rapid.IntRange(0, 5).Draw(rt, "replace") == 0
			var never []string // NULL
			if strings.Contains(kind.ddl, "NOT NULL") && len(m.Set) == 0 {
				never = []string{"id", "u"}
			} else if strings.Contains(kind.ddl, "PRIMARY KEY") {
				never = []string{"id"}
			}
			load := drawRows(rt, m.Columns, never)
			next := *model
			next.rows = slices.Clone(model.rows)
			want, ok := next.merge(&m, load)
			for _, dry := range []bool{true, false} {
				got, err := mergeText(t, path, &m, load, dry)
				if (err == nil) != ok {
					rt.Fatalf("%+v of %v into %q: got %v, want ok %v", m, load, model.text(), err, ok)
				}
				got.Merge = nil
				if diff := gocmp.Diff(want, got); ok && diff != "" {
					rt.Fatalf("%+v of %v into %q: %s", m, load, model.text(), diff)
				}
				if ok && !dry {
					model = &next
				}
				lines := strings.Split(query(t, path, `SELECT concat_ws(char(9), ifnull(id,'\N'), ifnull(u,'\N'), ifnull(a,'\N'), ifnull(CAST(b AS INT),'\N')) FROM t`), "\n")
				slices.Sort(lines)
				if diff := gocmp.Diff(model.text(), strings.Join(lines, "\n")); diff != "" {
					rt.Fatalf("dry %v: %+v of %v: %s", dry, m, load, diff)
				}
			}
			done[fmt.Sprint(ok)]++
		}
	})
	if done["true"] < 30 || done["false"] < 5 {
		t.Errorf("too little was tried: %v", done)
	}
}

func drawRows(rt *rapid.T, columns, never []string) (load [][]string) {
	value := rapid.SampledFrom([]string{"1", "2", "3", "4", `\N`})
	for range rapid.IntRange(0, 5).Draw(rt, "rows") {
		row := make([]string, len(columns))
		for i, name := range columns {
			if row[i] = value.Draw(rt, name); row[i] == `\N` && slices.Contains(never, name) {
				row[i] = "5"
			}
		}
		load = append(load, row)
	}
	return load
}

// mergeText runs one merge. The error is that of whichever step failed first.
func mergeText(t testing.TB, path string, merge *rows.Merge, load [][]string, dry bool) (rows.Merged, error) {
	t.Helper()
	lines := make([]string, len(load))
	for i, row := range load {
		lines[i] = strings.Join(row, "\t") + "\n"
	}
	got, err := mergeAll(t, path, []*rows.Merge{merge}, []string{strings.Join(lines, "")}, dry)
	if err != nil {
		return rows.Merged{}, err
	}
	return got[0], nil
}

// mergeAll merges texts by a plan, whose tables, when nil, are called «t».
func mergeAll(t testing.TB, path string, plan []*rows.Merge, texts []string, dry bool) ([]rows.Merged, error) {
	t.Helper()
	for _, p := range plan {
		p.Table = cmp.Or(p.Table, &rows.Table{Name: "t"})
	}
	m, err := NewMerger(path, MergerOptions{})
	must(t, err)
	if err = m.Begin(t.Context(), plan); err == nil {
		for i, text := range texts {
			if _, err = m.Load(t.Context(), plan[i], strings.NewReader(text)); err != nil {
				break
			}
		}
	}
	var got []rows.Merged
	if err == nil {
		got, err = m.Finish(t.Context(), dry)
	}
	if err != nil {
		must(t, m.Abort(t.Context()))
	}
	return got, err
}
