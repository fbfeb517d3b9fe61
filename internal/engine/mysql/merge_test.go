package mysql

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

var ignoreMerge = cmpopts.IgnoreFields(rows.Merged{}, "Merge")

// loading is one merge of a test: lists of names are separated by spaces.
type loading struct {
	table, columns, key, fresh, set string
	replace                         bool
	text                            string
}

// merge runs a whole merge of rows into the tables that schema describes.
func merge(ctx context.Context, schema *rows.Schema, url string, dry bool, loads ...loading) ([]rows.Merged, error) {
	m, err := NewMerger(url, MergerOptions{})
	if err != nil {
		return nil, err
	}
	var plan []*rows.Merge
	for _, l := range loads {
		plan = append(plan, &rows.Merge{Table: schema.Table(l.table), Columns: strings.Fields(l.columns), Key: strings.Fields(l.key),
			Fresh: strings.Fields(l.fresh), Set: strings.Fields(l.set), Replace: l.replace})
	}
	err = m.Begin(ctx, plan)
	for i := range plan {
		if err == nil {
			_, err = m.Load(ctx, plan[i], strings.NewReader(loads[i].text))
		}
	}
	var done []rows.Merged
	if err == nil {
		done, err = m.Finish(ctx, dry)
	}
	if err != nil {
		return nil, errors.Join(err, m.Abort(ctx))
	}
	return done, nil
}

func TestMerger(t *testing.T) { eachFlavour(t, testMerger) }

func testMerger(t *testing.T, m *servers.MySQLServer) {
	const tables = `CREATE TABLE a (id int AUTO_INCREMENT PRIMARY KEY, name varchar(20) UNIQUE, x float, raw blob, l varchar(20) CHARACTER SET latin1, b bit(3), self int REFERENCES a (id), c int AS (char_length(name)) VIRTUAL);
		CREATE TABLE link (id int AUTO_INCREMENT PRIMARY KEY, a int NOT NULL, z int, UNIQUE (a, z), CONSTRAINT fk FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE);
		INSERT INTO a (id, name, x, raw, l, b) VALUES (1, 'one', 1.5, x'00ff', 'ä', 5), (2, 'two', NULL, NULL, NULL, NULL);
		INSERT INTO link (a, z) VALUES (1, 10), (1, 11), (2, 20);`
	const columns, rest = "id name x raw l b self", "\\N\t\\N\t\\N\t\\N\t\\N\n"
	for _, c := range []struct {
		rule   string
		loads  []loading
		want   []rows.Merged
		kind   fail.Kind
		broken int64
		check  string // SQL, then what it gives
		gives  string
	}{
		{rule: "inserts_changes_and_leaves", loads: []loading{{table: "a", columns: columns, key: "id",
			text: "1\tone\t1.5\t\\\\x00ff\tä\t5\t\\N\n2\tTWO\t0.1\t\\\\x5c0a\tö\\f\t7\t3\n3\tthree\t" + rest}},
			want:  []rows.Merged{{Inserted: 1, Changed: 1, Same: 1}},
			check: "SELECT id, name, x, hex(raw), hex(l), b+0, self, c FROM a ORDER BY id", gives: "1\tone\t1.5\t00FF\tE4\t5\tNULL\t3\n2\tTWO\t0.1\t5C0A\tF60C\t7\t3\t3\n3\tthree\tNULL\tNULL\tNULL\tNULL\tNULL\t5"},
		{rule: "replaces_without_cascades", loads: []loading{{table: "a", columns: columns, key: "id", replace: true, text: "1\tuno\t" + rest + "2\tdos\t" + rest}},
			want: []rows.Merged{{Inserted: 2, Deleted: 2}}, check: "SELECT count(*) FROM link", gives: "3"},
		{rule: "rows_trade_unique_values", loads: []loading{{table: "a", columns: "id name", key: "id", text: "1\ttwo\n2\tone\n"}},
			want: []rows.Merged{{Changed: 2}}, check: "SELECT id, name, x FROM a ORDER BY id", gives: "1\ttwo\t1.5\n2\tone\tNULL"},
		{rule: "completes_groups", loads: []loading{{table: "link", columns: "a z", set: "a", text: "1\t11\n1\t12\n2\t\\N\n"}},
			want: []rows.Merged{{Inserted: 1, Same: 1, Deleted: 2}}, check: "SELECT a, z FROM link ORDER BY a, z", gives: "1\t11\n1\t12"},
		{rule: "leaves_fresh_columns_to_their_defaults", loads: []loading{{table: "a", columns: "id name", key: "name", fresh: "id", text: "77\tone\n78\tnew\n"}},
			want: []rows.Merged{{Inserted: 1, Same: 1}}, check: "SELECT name, id < 70 FROM a ORDER BY name", gives: "new\t1\none\t1\ntwo\t1"},
		{rule: "finds_circles_and_forward_references", loads: []loading{{table: "link", columns: "id a z", key: "id", text: "9\t5\t1\n"}, {table: "a", columns: "id name self", key: "id", text: "5\tf\t6\n6\tg\t5\n"}},
			want: []rows.Merged{{Inserted: 1}, {Inserted: 2}}},
		{rule: "refuses_broken_references", loads: []loading{{table: "link", columns: "id a z", key: "id", text: "9\t55\t1\n"}}, kind: fail.Incomplete, broken: 1},
		{rule: "refuses_to_leave_references_behind", loads: []loading{{table: "a", columns: columns, key: "id", replace: true, text: "1\tone\t" + rest}}, kind: fail.Incomplete, broken: 1},
		{rule: "refuses_two_rows_with_one_key", loads: []loading{{table: "a", columns: "id name", key: "id", text: "8\tx\n8\ty\n"}}, kind: fail.Incomplete},
		{rule: "refuses_two_rows_with_one_key_in_an_empty_table", loads: []loading{{table: "link", columns: "id a z", key: "id", replace: true, text: "8\t1\t1\n8\t1\t2\n"}}, kind: fail.Incomplete},
		{rule: "refuses_what_the_table_refuses", loads: []loading{{table: "link", columns: "id a z", key: "id", text: "8\t\\N\t1\n"}}, kind: fail.Incomplete},
		{rule: "refuses_what_does_not_fit", loads: []loading{{table: "a", columns: "id name", key: "id", text: "8\t" + strings.Repeat("x", 21) + "\n"}}, kind: fail.Incomplete},
		{rule: "refuses_text_that_is_no_row", loads: []loading{{table: "a", columns: "id name", key: "id", text: "8\tx"}}, kind: fail.Damaged},
		{rule: "refuses_unknown_columns", loads: []loading{{table: "a", columns: "id nix", key: "id", text: ""}}, kind: fail.Usage},
	} {
		t.Run(c.rule, func(t *testing.T) {
			db := m.CreateDatabase(t)
			m.SQL(t, db, tables)
			schema := open(t, db, Options{}).Schema()
			before := dump(t, m, db)
			if c.kind == 0 {
				if got, err := merge(t.Context(), schema, db, true, c.loads...); err != nil || cmp.Diff(c.want, got, ignoreMerge) != "" {
					t.Fatalf("dry: got %+v, %v", got, err)
				}
				if diff := cmp.Diff(counters.ReplaceAllString(before, ""), counters.ReplaceAllString(dump(t, m, db), "")); diff != "" {
					t.Fatalf("a dry run changed something: %s", diff)
				}
			}
			got, err := merge(t.Context(), schema, db, false, c.loads...)
			if c.kind != 0 {
				var v *rows.Violations
				if fail.KindOf(err) != c.kind || errors.As(err, &v) != (c.broken > 0) || v != nil && (len(v.List) != 1 || v.List[0].Count != c.broken || len(v.List[0].Examples) != 1) {
					t.Errorf("got %v of kind %v", err, fail.KindOf(err))
				}
				if diff := cmp.Diff(counters.ReplaceAllString(before, ""), counters.ReplaceAllString(dump(t, m, db), "")); diff != "" {
					t.Errorf("the failure left something: %s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, ignoreMerge); diff != "" {
				t.Error(diff)
			}
			if c.check != "" {
				if diff := cmp.Diff(c.gives, m.SQL(t, db, c.check)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// modelRows are the rows of a table (id, ref, v) by id.
type modelRows map[string][3]string

func (m modelRows) text() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(m)) {
		row := m[id]
		b.WriteString(strings.Join(row[:], "\t") + "\n")
	}
	return b.String()
}

// TestMerger_Model compares with a naive model: two tables whose rows refer to each other.
func TestMerger_Model(t *testing.T) { eachFlavour(t, testMerger_Model) }

func testMerger_Model(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	const ddl = "CREATE TABLE p (id int PRIMARY KEY, ref int, v varchar(5) COLLATE utf8mb4_bin UNIQUE); CREATE TABLE q (id int PRIMARY KEY, ref int, v varchar(5));" +
		"ALTER TABLE p ADD FOREIGN KEY (ref) REFERENCES q (id); ALTER TABLE q ADD FOREIGN KEY (ref) REFERENCES p (id) ON DELETE CASCADE;"
	m.SQL(t, db, ddl)
	schema := open(t, db, Options{}).Schema()
	cfg, err := parseURL(db)
	if err != nil {
		t.Fatal(err)
	}
	s, err := connect(t.Context(), cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	good, bad := 0, 0
	enough := 1000
	if !isMaria(m) { // the second kind of server sees fewer
		enough = 30
	}
	rapid.Check(t, func(rt *rapid.T) {
		if good+bad >= enough {
			return
		}
		if modelRun(rt, s, schema, db) {
			good++
		} else {
			bad++
		}
	})
	if least := min(10, enough/10); good < least || bad < least {
		t.Errorf("%d merges went well and %d did not: the test shows too little", good, bad)
	}
}

func drawRows(t *rapid.T) modelRows {
	m := modelRows{}
	for range rapid.IntRange(0, 4).Draw(t, "rows") {
		id := rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(t, "id")
		m[id] = [3]string{id, rapid.SampledFrom([]string{`\N`, `\N`, "1", "2", "3"}).Draw(t, "ref"), rapid.SampledFrom([]string{`\N`, "x", "y", "Z", "ž"}).Draw(t, "v")}
	}
	return m
}

func sound(p, q modelRows) bool {
	taken := map[string]bool{}
	for _, row := range p {
		if taken[row[2]] || row[1] != `\N` && q[row[1]][0] == "" {
			return false
		}
		taken[row[2]] = row[2] != `\N`
	}
	for _, row := range q {
		if row[1] != `\N` && p[row[1]][0] == "" {
			return false
		}
	}
	return true
}

func modelRun(t *rapid.T, s *session, schema *rows.Schema, url string) bool {
	ctx := context.Background()
	exec := func(sql string) {
		if err := s.exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	tables := map[string]modelRows{"p": drawRows(t), "q": drawRows(t)}
	if !sound(tables["p"], tables["q"]) {
		tables = map[string]modelRows{"p": {}, "q": {}}
	}
	exec("SET foreign_key_checks = 0")
	for name, m := range tables {
		exec("DELETE FROM " + name)
		for _, row := range m {
			exec("INSERT INTO " + name + " VALUES (" + strings.ReplaceAll("'"+strings.Join(row[:], "','")+"'", `'\N'`, "NULL") + ")")
		}
	}
	old := map[string]string{"p": tables["p"].text(), "q": tables["q"].text()}
	var loads []loading
	var want []rows.Merged
	for _, name := range rapid.SampledFrom([][]string{{"p"}, {"q"}, {"p", "q"}, {"q", "p"}}).Draw(t, "plan") {
		l := loading{table: name, columns: "id ref v", key: "id", replace: rapid.Bool().Draw(t, "replace")}
		list := drawRows(t)
		l.text = list.text()
		var done rows.Merged
		if l.replace {
			done.Deleted = int64(len(tables[name]))
			tables[name] = modelRows{}
		}
		for id, row := range list {
			switch old, there := tables[name][id]; {
			case !there:
				done.Inserted++
			case old == row:
				done.Same++
			default:
				done.Changed++
			}
			tables[name][id] = row
		}
		want, loads = append(want, done), append(loads, l)
	}
	ok := sound(tables["p"], tables["q"])
	got, err := merge(ctx, schema, url, false, loads...)
	if (err == nil) != ok {
		t.Fatalf("got error %v, want that it works: %t", err, ok)
	}
	for name, m := range tables {
		end := old[name]
		if ok {
			end = m.text()
		}
		list := modelRows{}
		err := s.each(ctx, "SELECT id, ref, v FROM "+name, func(row []cell) error {
			var r [3]string
			for i, c := range row {
				if r[i] = c.s; c.null {
					r[i] = `\N`
				}
			}
			list[r[0]] = r
			return nil
		})
		if diff := cmp.Diff(end, list.text()); err != nil || diff != "" {
			t.Fatalf("rows of %s differ (-want +got), after %v:\n%s", name, err, diff)
		}
	}
	if diff := cmp.Diff(want, got, ignoreMerge); ok && diff != "" {
		t.Fatalf("counts differ (-want +got):\n%s", diff)
	}
	return ok
}
