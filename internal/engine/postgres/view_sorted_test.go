package postgres

import (
	"io"
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
