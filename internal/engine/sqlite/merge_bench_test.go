package sqlite

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// wide is a table of 20 columns as Django declares them, and rows for it.
func wide(t testing.TB, n int) (path string, text []byte) {
	path = filepath.Join(t.TempDir(), "wide.db")
	ddl := `CREATE TABLE "wide" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "name" varchar(100) NOT NULL, "slug" varchar(50) NOT NULL, "note" text NOT NULL, "price" decimal NOT NULL,
		"ok" bool NOT NULL, "at" datetime NOT NULL, "day" date NULL, "r" real NOT NULL, "u" char(32) NOT NULL, "owner_id" integer NULL`
	for i := range 9 {
		ddl += fmt.Sprintf(`, "n%d" integer NOT NULL`, i)
	}
	build(t, path, ddl+")", `CREATE INDEX "wide_owner" ON "wide"("owner_id")`)
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%d\tcustomer number %d\tslug-%d\tsome text with words\\n and %d\t%d.25\t%d\t2024-01-02 03:04:05.678901\t2024-01-02\t%d.125\t%032x\t%d", i+1, i, i, i*7, i, i%2, i, i, i%1000)
		for k := range 9 {
			fmt.Fprintf(&b, "\t%d", i*k)
		}
		b.WriteByte('\n')
	}
	return path, b.Bytes()
}

func mergeWide(t testing.TB, path string, text []byte) rows.Merged {
	v, err := OpenView(t.Context(), path)
	must(t, err)
	table := v.Schema().Table("wide")
	must(t, v.Close())
	m, err := NewMerger(path, MergerOptions{})
	must(t, err)
	plan := &rows.Merge{Table: table, Key: []string{"id"}}
	for _, c := range table.Columns {
		plan.Columns = append(plan.Columns, c.Name)
	}
	must(t, m.Begin(t.Context(), []*rows.Merge{plan}))
	_, err = m.Load(t.Context(), plan, bytes.NewReader(text))
	must(t, err)
	merged, err := m.Finish(t.Context(), false)
	must(t, err)
	return merged[0]
}

// BenchmarkMerge loads 200,000 rows of 20 columns: into an empty table, over equal rows, and over rows that all change.
func BenchmarkMerge(b *testing.B) {
	const n = 200_000
	for _, kind := range []string{"empty", "same", "changed"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				path, text := wide(b, n)
				if kind != "empty" {
					mergeWide(b, path, text)
				}
				if kind == "changed" {
					text = bytes.ReplaceAll(text, []byte("with words"), []byte("without"))
				}
				b.StartTimer()
				got := mergeWide(b, path, text)
				if got.Inserted+got.Same+got.Changed != n {
					b.Fatalf("%+v", got)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
