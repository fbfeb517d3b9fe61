package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func text(s string) *string { return &s }

// TestDescribe checks the facts of a schema that other engines build tables from.
func TestDescribe(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, `
			CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
			CREATE DOMAIN money2 AS numeric(9,2);
			CREATE TABLE a (id int PRIMARY KEY, n numeric(10,3) DEFAULT 1.5, d money2, free numeric, m mood DEFAULT 'it''s ok',
				v varchar(20) DEFAULT E'a\\b''c', neg bigint DEFAULT -1, b boolean DEFAULT true, j jsonb DEFAULT '{"a": 1}', day date DEFAULT '2020-01-02',
				nul text DEFAULT NULL, now timestamptz DEFAULT now(), f float8 DEFAULT -0.5, cat text DEFAULT 'a' || 'b', rounded int DEFAULT 1.5,
				today date DEFAULT 'today'::text::date, bin bytea DEFAULT '\x0041', tags text[] DEFAULT '{}', g int GENERATED ALWAYS AS (5) STORED,
				c char(3) DEFAULT 'x', s smallserial, cast_ text DEFAULT 'z'::varchar, at timestamptz DEFAULT '2020-01-02 03:04:05+02', empty text DEFAULT '');
			COMMENT ON TABLE a IS 'the table'; COMMENT ON COLUMN a.v IS 'the "column"';
			CREATE INDEX plain ON a (v, n) INCLUDE (b); CREATE INDEX part ON a (v) WHERE n > 1; CREATE INDEX expr ON a (lower(v));
			CREATE INDEX pattern ON a (v varchar_pattern_ops); CREATE INDEX gin ON a USING gin (j); CREATE UNIQUE INDEX uniq ON a (n);
			CREATE TABLE b (x int REFERENCES a ON DELETE CASCADE ON UPDATE SET NULL, y int DEFAULT 0 REFERENCES a ON DELETE SET DEFAULT ON UPDATE RESTRICT,
				z int REFERENCES a DEFERRABLE);`)
		v := openView(t, pg, url, Options{DataOnly: true})
		a, b := tableOf(t, v, "public.a"), tableOf(t, v, "public.b")

		literals := map[string]*string{}
		for _, c := range a.Columns {
			literals[c.Name] = c.Literal
		}
		want := map[string]*string{
			"id": nil, "n": text("1.5"), "d": nil, "free": nil, "m": text("it's ok"), "v": text(`a\b'c`), "neg": text("-1"), "b": text("t"), "j": text(`{"a": 1}`),
			"day": text("2020-01-02"), "nul": nil, "now": nil, "f": text("-0.5"), "cat": nil, "rounded": nil, "today": nil, "bin": text(`\x0041`), "tags": text("{}"),
			"g": nil, "c": text("x"), "s": nil, "cast_": text("z"), "at": text("2020-01-02 01:04:05+00"), "empty": text(""),
		}
		if diff := cmp.Diff(want, literals); diff != "" {
			t.Errorf("literals differ (-want +got):\n%s", diff)
		}
		column := func(name string) rows.Column {
			for _, c := range a.Columns {
				if c.Name == name {
					return c
				}
			}
			t.Fatalf("no column %s", name)
			return rows.Column{}
		}
		for name, want := range map[string][2]int{"n": {10, 3}, "d": {9, 2}, "free": {0, 0}, "v": {20, 0}, "neg": {64, 0}} {
			if c := column(name); c.Size != want[0] || c.Scale != want[1] {
				t.Errorf("%s has size %d and scale %d, want %v", name, c.Size, c.Scale, want)
			}
		}
		if diff := cmp.Diff([]string{"sad", "it's ok", "happy"}, column("m").Values); diff != "" {
			t.Errorf("values of the enum differ (-want +got):\n%s", diff)
		}
		if a.Comment != "the table" || column("v").Comment != `the "column"` || column("n").Comment != "" {
			t.Errorf("comments are %q, %q, %q", a.Comment, column("v").Comment, column("n").Comment)
		}
		indexes := map[string][]string{}
		for _, ix := range a.Indexes {
			indexes[ix.Name] = ix.Columns
		}
		if diff := cmp.Diff(map[string][]string{"plain": {"v", "n"}, "part": nil, "expr": nil, "pattern": nil, "gin": nil, "uniq": {"n"}}, indexes); diff != "" {
			t.Errorf("columns of indexes differ (-want +got):\n%s", diff)
		}
		keys := []rows.ForeignKey{
			{Name: "b_x_fkey", Columns: []string{"x"}, Table: "public.a", References: []string{"id"}, OnDelete: "cascade", OnUpdate: "set null"},
			{Name: "b_y_fkey", Columns: []string{"y"}, Table: "public.a", References: []string{"id"}, OnDelete: "set default", OnUpdate: "restrict"},
			{Name: "b_z_fkey", Columns: []string{"z"}, Table: "public.a", References: []string{"id"}, Deferrable: true},
		}
		if diff := cmp.Diff(keys, b.ForeignKeys); diff != "" {
			t.Errorf("foreign keys differ (-want +got):\n%s", diff)
		}
	})
}
