package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// TestRowsTargetModel copies random databases by rows and compares definitions and rows; what the copy's View gives,
// merged into the copy, changes nothing that row text shows.
func TestRowsTargetModel(t *testing.T) {
	dir := t.TempDir()
	number, total := 0, int64(0)
	rapid.Check(t, func(rt *rapid.T) {
		number++
		from, to := filepath.Join(dir, fmt.Sprintf("%d.db", number)), filepath.Join(dir, fmt.Sprintf("%d-copy.db", number))
		defer os.Remove(from)
		defer os.Remove(to)
		randomDatabase(rt, from)
		v, err := OpenView(t.Context(), from)
		must(t, err)
		defer v.Close()
		if len(v.Schema().Tables) == 0 {
			return
		}
		target, err := NewRowsTarget(to, RowsTargetOptions{})
		must(t, err)
		report, err := rows.Copy(t.Context(), v, target, rows.CopyOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		total += report.Total().Rows
		const all = "SELECT type||name||ifnull(sql,'') FROM sqlite_schema ORDER BY type, name"
		if diff := cmp.Diff(query(t, from, all), query(t, to, all)); diff != "" {
			rt.Fatal(diff)
		}
		for _, pragma := range []string{"page_size", "encoding", "auto_vacuum"} {
			if a, b := query(t, from, "PRAGMA "+pragma), query(t, to, "PRAGMA "+pragma); a != b {
				rt.Errorf("%s: %s, was %s", pragma, b, a)
			}
		}
		if query(t, from, "PRAGMA encoding") == "UTF-8" { // half a character in UTF-16 is another one after a trip through UTF-8
			exactly(t, v, filepath.Join(dir, fmt.Sprintf("%d-exact.db", number)))
		}
		remerge(t, to, v)
		copied, err := OpenView(t.Context(), to)
		must(t, err)
		defer copied.Close()
		again, err := rows.Measure(t.Context(), copied, rows.CopyOptions{})
		must(t, err)
		if diff := cmp.Diff(report.Tables(), again.Tables()); diff != "" {
			rt.Fatal(diff)
		}
	})
	if total < 1000 {
		t.Errorf("only %d rows were copied", total)
	}
}

// remerge merges the rows of v into path, where they are already.
func remerge(t *testing.T, path string, v *View) {
	t.Helper()
	var plan []*rows.Merge
	var texts []string
	for _, table := range v.Schema().Tables {
		if len(table.PrimaryKey) == 0 {
			continue
		}
		m := &rows.Merge{Table: table, Key: table.PrimaryKey}
		for _, c := range table.Stored() {
			m.Columns = append(m.Columns, c.Name)
		}
		plan, texts = append(plan, m), append(texts, readAll(t, v, table))
	}
	got, err := mergeAll(t, path, plan, texts, false)
	must(t, err)
	for _, m := range got {
		if m.Inserted+m.Deleted > 0 {
			t.Errorf("%s: %+v", m.Merge.Table, m)
		}
	}
}
