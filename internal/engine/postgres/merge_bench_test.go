package postgres

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// BenchmarkMerger loads rows of 20 columns: into an empty table, as plain COPY does, over equal ones, and over ones that all differ.
func BenchmarkMerger(b *testing.B) {
	const n = 200_000
	pg := servers.Postgres(b, servers.PostgresVersions()[0])
	url := pg.CreateDatabase(b)
	pg.SQL(b, url, `CREATE TABLE owner (id int PRIMARY KEY); INSERT INTO owner SELECT generate_series(0, 999);
		CREATE TABLE wide (id serial PRIMARY KEY, owner_id int NOT NULL REFERENCES owner DEFERRABLE INITIALLY DEFERRED, a int, b int, c bigint, d text, e text, f text, g varchar(50),
		h numeric(10,2), i float8, j boolean, k timestamptz, l date, m uuid, n jsonb, o text, p int, q int, r text);
		CREATE INDEX ON wide (owner_id);`)
	text := func(salt int) []byte {
		var t bytes.Buffer
		for i := range n {
			fmt.Fprintf(&t, "%d\t%d\t%d\t%d\t%d\tsome text %d\tanother text\t\\N\tname %d\t%d.25\t%d.5\tt\t2024-01-02 03:04:05.%06d+00\t2024-01-02\t00000000-0000-0000-0000-%012d\t{\"a\": %d}\tx\t%d\t%d\tthe end\n",
				i+1, i%1000, i, i%7, i*11, i+salt, i, i, i, i, i, i, i%5, i%3)
		}
		return t.Bytes()
	}
	v, err := Open(b.Context(), url, Options{DataOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	_ = v.Close()
	table := v.Schema().Table("public.wide")
	m := &rows.Merge{Table: table, Key: []string{"id"}}
	for _, c := range table.Columns {
		m.Columns = append(m.Columns, c.Name)
	}
	run := func(name string, data []byte) {
		start := time.Now()
		x := NewMerger(url, MergerOptions{})
		if err := x.Begin(b.Context(), []*rows.Merge{m}); err != nil {
			b.Fatal(err)
		}
		if _, err := x.Load(b.Context(), m, bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		loaded := time.Since(start)
		got, err := x.Finish(b.Context(), false)
		if err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		b.Logf("%-20s %8.0f rows/s; %v, of which load %v; %+v", name, n/took.Seconds(), took.Round(time.Millisecond), loaded.Round(time.Millisecond), got[0])
		b.ReportMetric(n/took.Seconds(), name+"_rows/s")
	}
	old, changed := text(0), text(1)
	for range b.N {
		pg.SQL(b, url, "TRUNCATE wide")
		start := time.Now()
		cfg, _ := parseURL(url)
		conn, err := connect(b.Context(), cfg, "test")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.PgConn().CopyFrom(b.Context(), bytes.NewReader(old), "COPY public.wide FROM STDIN"); err != nil {
			b.Fatal(err)
		}
		_ = conn.Close(b.Context())
		b.ReportMetric(n/time.Since(start).Seconds(), "copy_rows/s")
		pg.SQL(b, url, "TRUNCATE wide")
		run("empty", old)
		run("equal", old)
		run("changed", changed)
		m.Replace = true
		run("replace", old)
		m.Replace = false
	}
}
