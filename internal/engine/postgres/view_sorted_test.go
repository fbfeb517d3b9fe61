package postgres

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestView_ReadSorted(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, `
			CREATE TABLE s (a int, "-b" text, c text, g text GENERATED ALWAYS AS (c || '!') STORED);
			INSERT INTO s VALUES (2, 'x', E'tab\t'), (1, NULL, 'n'), (1, 'y', 'm'), (10, 'x', 'k');
			CREATE TABLE child () INHERITS (s);
			INSERT INTO child VALUES (5, 'child', 'c');
			CREATE TABLE p (k int) PARTITION BY LIST (k);
			CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1, 3);
			CREATE TABLE p2 PARTITION OF p DEFAULT;
			INSERT INTO p SELECT generate_series(1, 4);`)
		v := openView(t, pg, url, Options{DataOnly: true})
		pg.SQL(t, url, `INSERT INTO s VALUES (3, 'later', 'not in the snapshot')`)
		for name, tt := range map[string]struct {
			table       string
			columns, by []string
			want        []string
		}{
			"by_two_columns":              {"public.s", []string{"c", "a"}, []string{"a", "c"}, []string{"m\t1", "n\t1", `tab\t` + "\t2", "k\t10"}},
			"descending":                  {"public.s", []string{"a"}, []string{"-a"}, []string{"10", "2", "1", "1"}},
			"a_name_that_has_a_minus":     {"public.s", []string{"-b", "a"}, []string{"-b", "-a"}, []string{"x\t10", "x\t2", "y\t1", "\\N\t1"}},
			"a_generated_column":          {"public.s", []string{"g"}, []string{"g"}, []string{"k!", "m!", "n!", `tab\t!`}},
			"partitions_of_a_table":       {"public.p", []string{"k"}, []string{"-k"}, []string{"4", "3", "2", "1"}},
			"no_columns_and_no_order":     {"public.p1", nil, nil, []string{"", ""}},
			"descending_by_a_minus_twice": {"public.s", []string{"-b"}, []string{"--b", "a"}, []string{`\N`, "y", "x", "x"}},
		} {
			t.Run(name, func(t *testing.T) {
				if diff := cmp.Diff(tt.want, readSorted(t, v, tt.table, tt.columns, tt.by)); diff != "" {
					t.Errorf("rows differ (-want +got):\n%s", diff)
				}
			})
		}
		t.Run("refuses_unknown_columns", func(t *testing.T) {
			_, err := v.ReadSorted(t.Context(), tableOf(t, v, "public.s"), []string{"a"}, []string{"nope"})
			if fail.KindOf(err) != fail.Usage {
				t.Errorf("got %v, want a usage error", err)
			}
		})
		t.Run("the_reader_serves_again", func(t *testing.T) {
			s := tableOf(t, v, "public.s")
			if got := len(readTable(t, v, s)); got != 4 {
				t.Errorf("got %d rows, want 4", got)
			}
		})
	})
}

func readSorted(t *testing.T, v *View, table string, columns, by []string) []string {
	t.Helper()
	var s rows.Sorter = v
	r, err := s.ReadSorted(t.Context(), tableOf(t, v, table), columns, by)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return lines(data)
}

// A large table comes in order and whole from several connections at once, wherever its keys lie.
func TestView_ReadSortedRanges(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	for name, key := range map[string]string{
		"even":        "n",
		"with_gaps":   "CASE WHEN n < 30000 THEN n ELSE n::bigint * 1000000007 END",
		"negative":    "-9223372036854775807 + n",
		"whole_range": "CASE WHEN n % 2 = 0 THEN 9223372036854775807 - n ELSE -9223372036854775807 + n END",
	} {
		t.Run(name, func(t *testing.T) {
			url := pg.CreateDatabase(t)
			pg.SQL(t, url, `CREATE TABLE big (id bigint PRIMARY KEY, pad text);
				INSERT INTO big SELECT `+key+`, repeat('x', 400) FROM generate_series(1, 60000) n ORDER BY md5(n::text); ANALYZE big`)
			v := openView(t, pg, url, Options{DataOnly: true})
			big := tableOf(t, v, "public.big")
			if list, err := v.ranges(t.Context(), big, []string{"id"}); err != nil || len(list) < 4 {
				t.Fatalf("ranges %q, %v: the table is to be cut", list, err)
			}
			pg.SQL(t, url, `INSERT INTO big VALUES (0, 'not in the snapshot') ON CONFLICT DO NOTHING`)
			got := readSorted(t, v, "public.big", []string{"id"}, []string{"id"})
			want := strings.Fields(pg.SQL(t, url, `SELECT id FROM big WHERE pad <> 'not in the snapshot' ORDER BY id`))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rows differ (-want +got):\n%.2000s", diff)
			}
			r, err := v.ReadSorted(t.Context(), big, []string{"id", "pad"}, []string{"id"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(make([]byte, 100)); err != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil { // in the middle
				t.Error(err)
			}
		})
	}
	t.Run("a_cut_connection_is_an_error", func(t *testing.T) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, `CREATE TABLE big (id int PRIMARY KEY, pad text); INSERT INTO big SELECT n, repeat('x', 1000) FROM generate_series(1, 60000) n; ANALYZE big`)
		v := openView(t, pg, url, Options{DataOnly: true})
		r, err := v.ReadSorted(t.Context(), tableOf(t, v, "public.big"), []string{"id", "pad"}, []string{"id"})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		pg.SQL(t, url, `SELECT pg_sleep(1)`) // for as much as is read ahead
		begun := 0
		for _, k := range r.(*rangeReader).ranges {
			if len(k.blocks) > 0 {
				begun++
			}
		}
		if most := cap(r.(*rangeReader).ahead); begun > most {
			t.Errorf("%d ranges were read ahead, at most %d may be", begun, most)
		}
		pg.SQL(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		if n, err := io.Copy(io.Discard, r); fail.KindOf(err) != fail.Unavailable {
			t.Errorf("read on for %d bytes and got %v, want an error", n, err)
		}
	})
}
