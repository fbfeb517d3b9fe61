package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// loading is one merge of a test and its rows.
type loading struct {
	table   string
	columns string // separated by spaces, as all lists here
	key     string
	set     string
	fresh   string
	replace bool
	text    string
}

// schemaOf reads the description of a database.
func schemaOf(t *testing.T, pg *servers.PG, url string) *rows.Schema {
	t.Helper()
	v, err := Open(t.Context(), url, Options{DataOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return v.Schema()
}

// merge runs a whole merge as a caller does, and aborts it on an error.
func merge(ctx context.Context, schema *rows.Schema, url string, dry bool, list ...loading) ([]rows.Merged, error) {
	m := NewMerger(url, MergerOptions{})
	plan := make([]*rows.Merge, len(list))
	for i, f := range list {
		plan[i] = &rows.Merge{Table: schema.Table(f.table), Columns: strings.Fields(f.columns), Key: strings.Fields(f.key),
			Set: strings.Fields(f.set), Fresh: strings.Fields(f.fresh), Replace: f.replace}
	}
	run := func() ([]rows.Merged, error) {
		if err := m.Begin(ctx, plan); err != nil {
			return nil, err
		}
		for i, f := range list {
			if f.text == "" {
				continue
			}
			c, err := m.Load(ctx, plan[i], strings.NewReader(f.text))
			if err != nil {
				return nil, err
			}
			if want := int64(strings.Count(f.text, "\n")); c.Rows != want {
				return nil, fmt.Errorf("counted %d rows, want %d", c.Rows, want)
			}
		}
		return m.Finish(ctx, dry)
	}
	done, err := run()
	if err != nil {
		err = errors.Join(err, m.Abort(context.WithoutCancel(ctx)))
	}
	return done, err
}

func query(t *testing.T, pg *servers.PG, url, sql string) []string {
	t.Helper()
	cfg, err := parseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var b strings.Builder
	if _, err := conn.PgConn().CopyTo(t.Context(), &b, "COPY ("+sql+") TO STDOUT"); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return lines([]byte(b.String()))
}

var ignoreMerge = cmpopts.IgnoreFields(rows.Merged{}, "Merge")

const mergeSchema = `
CREATE TABLE team (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name text NOT NULL UNIQUE, boss int, meta json, at point, up text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE person (id serial PRIMARY KEY, team_id int REFERENCES team, friend_id int REFERENCES person, name varchar(10), amount numeric, age int CHECK (age >= 0));
ALTER TABLE team ADD CONSTRAINT boss FOREIGN KEY (boss) REFERENCES person;
COMMENT ON CONSTRAINT boss ON team IS 'who says';
CREATE TABLE likes (id bigserial PRIMARY KEY, a int NOT NULL REFERENCES person DEFERRABLE INITIALLY DEFERRED, b int NOT NULL REFERENCES person ON DELETE CASCADE, UNIQUE (a, b));
CREATE TABLE other (id int PRIMARY KEY, team_id int REFERENCES team ON DELETE CASCADE, person_id int REFERENCES person, code text UNIQUE);`

const mergeRows = `
INSERT INTO team (name, meta, at) VALUES ('red', '{"a":1}', '(1,2)'), ('blue', NULL, NULL);
INSERT INTO person (team_id, friend_id, name, amount, age) VALUES (1, 2, 'ann', 1.0, 30), (2, 1, 'bob', NULL, 40), (NULL, NULL, 'cy', 3, 50);
UPDATE team SET boss = 1 WHERE id = 1;
INSERT INTO likes (a, b) VALUES (1, 2), (1, 3), (2, 3);
INSERT INTO other VALUES (1, 1, 1);`

var teams, persons = loading{table: "public.team", columns: "id name boss meta at", key: "id"},
	loading{table: "public.person", columns: "id team_id friend_id name amount age", key: "id"}

func (f loading) with(lines ...string) loading {
	for _, l := range lines {
		f.text += strings.ReplaceAll(l, " ", "\t") + "\n"
	}
	return f
}

func (f loading) replacing() loading { f.replace = true; return f }

func TestMerger_Merge(t *testing.T) {
	links := loading{table: "public.likes", columns: "a b", set: "a", fresh: "id"}
	top, urls := t, map[*servers.PG]string{}
	for name, tt := range map[string]struct {
		empty  bool
		loads  []loading
		counts []rows.Merged
		want   map[string][]string
	}{
		"fills_empty_tables_in_any_order": {
			empty: true,
			loads: []loading{
				persons.with(`1 2 2 ann \N 1`, `2 1 1 bob 2.50 2`, `7 \N 7 cy 1 3`),
				teams.with(`1 red 7 {"a":1} (1,2)`, `2 blue \N \N \N`),
				links.with(`1 2`, `7 \N`),
			},
			counts: []rows.Merged{{Inserted: 3}, {Inserted: 2}, {Inserted: 1}},
			want: map[string][]string{
				"SELECT id, team_id, friend_id, name, amount, age FROM public.person ORDER BY 1":                        {"1\t2\t2\tann\t\\N\t1", "2\t1\t1\tbob\t2.50\t2", "7\t\\N\t7\tcy\t1\t3"},
				"SELECT id, boss, up FROM public.team ORDER BY 1":                                                       {"1\t7\tRED", "2\t\\N\tBLUE"},
				"SELECT a, b FROM public.likes":                                                                         {"1\t2"},
				"SELECT nextval('public.person_id_seq'), nextval('public.team_id_seq'), nextval('public.likes_id_seq')": {"8\t3\t3"}, // a dry run draws defaults, too
			},
		},
		"changes_what_differs_to_the_last_digit": {
			loads: []loading{
				teams.with(`1 red 1 {"a":1} (1,2)`, `2 blue 3 null (0,0)`, `3 new 9 \N \N`),
				persons.with(`1 1 2 ann 1.00 30`, `2 2 1 bob \N 40`, `9 3 9 di \N \N`),
			},
			counts: []rows.Merged{{Inserted: 1, Changed: 1, Same: 1}, {Inserted: 1, Changed: 1, Same: 1}},
			want: map[string][]string{
				"SELECT id, name, boss, meta, at FROM public.team ORDER BY 1": {"1\tred\t1\t{\"a\":1}\t(1,2)", "2\tblue\t3\tnull\t(0,0)", "3\tnew\t9\t\\N\t\\N"},
				"SELECT id, amount, team_id FROM public.person ORDER BY 1":    {"1\t1.00\t1", "2\t\\N\t2", "3\t3\t\\N", "9\t\\N\t3"},
				"SELECT nextval('public.person_id_seq'), nextval('public.team_id_seq'), pg_get_constraintdef(oid), obj_description(oid) FROM pg_constraint WHERE conname = 'boss'": {
					"10\t4\tFOREIGN KEY (boss) REFERENCES public.person(id)\twho says"},
			},
		},
		"completes_sets": {
			loads:  []loading{links.with(`1 3`, `1 1`, `3 \N`, `2 \N`, `2 \N`)},
			counts: []rows.Merged{{Inserted: 1, Same: 1, Deleted: 2}},
			want:   map[string][]string{"SELECT a, b FROM public.likes ORDER BY 1, 2": {"1\t1", "1\t3"}},
		},
		"replaces_what_others_reference_without_changing_them": {
			loads: []loading{
				teams.replacing().with(`1 red 1 \N \N`),
				persons.with(`2 \N \N \N \N \N`),
			},
			counts: []rows.Merged{{Inserted: 1, Deleted: 2}, {Changed: 1}},
			want: map[string][]string{
				"SELECT id FROM public.team":                                                               {"1"},
				"SELECT id, team_id FROM public.other":                                                     {"1\t1"},
				"SELECT nextval('public.team_id_seq')":                                                     {"2"},
				"SELECT id, team_id FROM public.person ORDER BY 1":                                         {"1\t1", "2\t\\N", "3\t\\N"},
				"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'other_team_id_fkey'": {"FOREIGN KEY (team_id) REFERENCES public.team(id) ON DELETE CASCADE"},
			},
		},
		"replaces_by_truncating": {
			loads: []loading{
				teams.replacing().with(`5 red \N \N \N`), persons.replacing(), {table: "public.likes", columns: "id a b", key: "id", replace: true},
				{table: "public.other", columns: "id team_id", key: "id", replace: true},
			},
			counts: []rows.Merged{{Inserted: 1, Deleted: 2}, {Deleted: 3}, {Deleted: 3}, {Deleted: 1}},
			want: map[string][]string{
				"SELECT id FROM public.team": {"5"}, "SELECT * FROM public.person": nil,
				"SELECT nextval('public.team_id_seq'), nextval('public.person_id_seq')": {"6\t1"},
			},
		},
		"finds_rows_by_another_key": {
			loads:  []loading{{table: "public.team", columns: "name boss", key: "name", fresh: "id"}, loading{table: "public.team", columns: "name boss", key: "name", fresh: "id"}.with(`red 2`, `green 3`)},
			counts: []rows.Merged{{}, {Inserted: 1, Changed: 1}},
			want:   map[string][]string{"SELECT id, name, boss FROM public.team ORDER BY 1": {"1\tred\t2", "2\tblue\t\\N", "4\tgreen\t3"}},
		},
		"trades_values_that_are_unique": {
			loads:  []loading{{table: "public.other", columns: "id code", key: "id", text: "1\ta\n2\tb\n3\tc\n"}, {table: "public.other", columns: "id code", key: "id", text: "1\tc\n2\ta\n3\tb\n"}},
			counts: []rows.Merged{{Inserted: 2, Changed: 1}, {Changed: 3}},
			want:   map[string][]string{"SELECT * FROM public.other ORDER BY 1": {"1\t1\t1\tc", "2\t\\N\t\\N\ta", "3\t\\N\t\\N\tb"}},
		},
		"appends_rows_without_a_key": {
			loads:  []loading{loading{table: "public.likes", columns: "a b", fresh: "id"}.with(`3 1`, `3 2`)},
			counts: []rows.Merged{{Inserted: 2}},
			want:   map[string][]string{"SELECT count(*), max(id) FROM public.likes": {"5\t7"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, pg *servers.PG) {
				if urls[pg] == "" {
					urls[pg] = pg.CreateDatabase(top)
				}
				url, sql := urls[pg], mergeSchema
				if !tt.empty {
					sql += mergeRows
				}
				pg.SQL(t, url, "DROP TABLE IF EXISTS team, person, likes, other CASCADE;"+sql)
				schema := schemaOf(t, pg, url)
				before := query(t, pg, url, everyRow)
				dry, err := merge(t.Context(), schema, url, true, tt.loads...)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, query(t, pg, url, everyRow)); diff != "" {
					t.Fatalf("a dry run changed rows:\n%s", diff)
				}
				got, err := merge(t.Context(), schema, url, false, tt.loads...)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.counts, got, ignoreMerge); diff != "" {
					t.Errorf("counts differ (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.counts, dry, ignoreMerge); diff != "" {
					t.Errorf("counts of the dry run differ (-want +got):\n%s", diff)
				}
				for sql, want := range tt.want {
					if diff := cmp.Diff(want, query(t, pg, url, sql)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", sql, diff)
					}
				}
			})
		})
	}
}

// everyRow shows all rows, and the state of the foreign keys.
const everyRow = `SELECT 'team', t::text FROM public.team t UNION ALL SELECT 'person', t::text FROM public.person t UNION ALL SELECT 'likes', t::text FROM public.likes t
	UNION ALL SELECT 'other', t::text FROM public.other t UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2`

func TestMerger_Errors(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	url := pg.CreateDatabase(t)
	pg.SQL(t, url, mergeSchema+mergeRows)
	before, schema := query(t, pg, url, everyRow), schemaOf(t, pg, url)
	for name, tt := range map[string]struct {
		loads []loading
		kind  fail.Kind
		says  []string
		never string
	}{
		"two_rows_with_one_key_for_a_full_table": {[]loading{persons.with(`1 1 2 ann 1 1`, `1 1 2 ann 1 1`)}, fail.Incomplete, []string{"public.person", "(id) = (1)"}, ""},
		"two_rows_with_one_key_for_an_empty_table": {[]loading{persons.replacing().with(`1 1 1 ann 1 1`, `1 1 1 ann 1 1`)},
			fail.Incomplete, []string{"public.person", "row 2", "person_pkey", "(id)=(1)"}, "ann"},
		"two_rows_with_one_key_that_nothing_guards": {[]loading{{table: "public.person", columns: "id name", key: "name", replace: true, text: "1\tann\n2\tann\n"}},
			fail.Incomplete, []string{"public.person", "(name) = (ann)"}, ""},
		"two_rows_there_with_one_key":    {[]loading{{table: "public.likes", columns: "a b", key: "a", fresh: "id", text: "1\t1\n"}}, fail.Incomplete, []string{"public.likes", "(a) = (1)", "already"}, ""},
		"a_value_that_is_taken":          {[]loading{teams.with(`9 blue \N \N \N`)}, fail.Incomplete, []string{"public.team", "team_name_key", "(name)=(blue)"}, ""},
		"a_null_where_none_may_be":       {[]loading{teams.with(`9 \N 1 "secret" \N`)}, fail.Incomplete, []string{"public.team", `"name"`}, "secret"},
		"a_check_that_fails":             {[]loading{persons.with(`9 1 1 secret 1 -1`)}, fail.Incomplete, []string{"public.person", "person_age_check"}, "secret"},
		"a_value_of_another_type":        {[]loading{persons.with(`1 1 1 secret 1 1`, `2 1 1 secret x 1`)}, fail.Incomplete, []string{"public.person", "row 2", "column amount", `"x"`}, "secret"},
		"a_value_that_is_too_long":       {[]loading{persons.with(`1 1 1 abcdefghijk 1 1`)}, fail.Incomplete, []string{"row 1", "column name", "character varying(10)"}, ""},
		"a_row_with_too_few_columns":     {[]loading{persons.with(`1 1`)}, fail.Incomplete, []string{"row 1", "friend_id"}, ""},
		"a_column_that_is_not_there":     {[]loading{{table: "public.team", columns: "id nope", key: "id"}}, fail.NotFound, []string{"public.team", "nope"}, ""},
		"a_generated_column":             {[]loading{{table: "public.team", columns: "id up", key: "id"}}, fail.Usage, []string{"public.team", "up"}, ""},
		"a_key_that_rows_do_not_carry":   {[]loading{{table: "public.team", columns: "name", key: "id"}}, fail.Usage, []string{"public.team", "id"}, ""},
		"a_reference_to_nothing":         {[]loading{persons.with(`8 77 99 x 1 1`, `9 77 9 x 1 1`)}, fail.Incomplete, []string{"2 rows of public.person name team_id", "1 rows of public.person name friend_id", "row 8: 77"}, ""},
		"a_row_that_others_still_name":   {[]loading{teams.replacing().with(`2 blue \N \N \N`)}, fail.Incomplete, []string{"1 rows of public.other name team_id", "1 rows of public.person name team_id"}, ""},
		"a_reference_deferred_by_itself": {[]loading{{table: "public.likes", columns: "a b", set: "a", fresh: "id", text: "1\t88\n"}}, fail.Incomplete, []string{"1 rows of public.likes name b", "row 4: 88"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := merge(t.Context(), schema, url, false, tt.loads...)
			if fail.KindOf(err) != tt.kind {
				t.Errorf("got kind %v, want %v: %v", fail.KindOf(err), tt.kind, err)
			}
			for _, s := range tt.says {
				if !strings.Contains(fmt.Sprint(err), s) {
					t.Errorf("error lacks %q: %v", s, err)
				}
			}
			if tt.never != "" && strings.Contains(fmt.Sprint(err), tt.never) {
				t.Errorf("error shows the row: %v", err)
			}
			if diff := cmp.Diff(before, query(t, pg, url, everyRow)); diff != "" {
				t.Errorf("the database changed:\n%s", diff)
			}
		})
	}
}

func TestMerger_Violations(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	url := pg.CreateDatabase(t)
	pg.SQL(t, url, mergeSchema+mergeRows)
	schema := schemaOf(t, pg, url)
	var text []string
	for i := range 9 {
		text = append(text, fmt.Sprintf(`%d 77 %d x 1 1`, 20+i, 20+i))
	}
	_, err := merge(t.Context(), schema, url, true, persons.with(text...))
	var v *rows.Violations
	if !errors.As(err, &v) || len(v.List) != 1 {
		t.Fatalf("got %v, want one violation", err)
	}
	got := v.List[0]
	if got.Table != schema.Table("public.person") || got.References != "public.team" || got.Count != 9 || len(got.Examples) != examples ||
		!slices.Equal(got.Columns, []string{"team_id"}) || !slices.Equal(got.To, []string{"id"}) {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff(rows.BrokenRow{Key: []string{"20"}, Values: []string{"77"}}, got.Examples[0]); diff != "" {
		t.Errorf("example differs (-want +got):\n%s", diff)
	}
}
