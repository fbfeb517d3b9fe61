package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// Names that an engine can't have, or not twice, become others, and that is said.
func TestCopy_Names(t *testing.T) {
	long := strings.Repeat("long_", 20)
	for _, tc := range []struct {
		name, from, to string
		sql            string
		omits          []string
		query, want    string
	}{
		{"tables_that_differ_in_case", Postgres, MySQL, `CREATE TABLE "Users" (id int PRIMARY KEY); CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE k (a int REFERENCES users (id), b int REFERENCES "Users" (id)); INSERT INTO "Users" VALUES (1); INSERT INTO users VALUES (2); INSERT INTO k VALUES (2, 1);`,
			[]string{"the name of table public.users: it is users_2 there"}, "SELECT count(*) FROM k JOIN users_2 u ON a = u.id JOIN `Users` v ON b = v.id", "1"},
		{"tables_that_differ_in_case", MySQL, SQLite, "CREATE TABLE Users (id int PRIMARY KEY); CREATE TABLE users (id int PRIMARY KEY); INSERT INTO Users VALUES (1); INSERT INTO users VALUES (2), (3);",
			[]string{"the name of table users: it is users_2 there"}, "SELECT group_concat(id) FROM users_2", "2,3"},
		{"columns_that_differ_in_case", Postgres, SQLite, `CREATE TABLE t (id int PRIMARY KEY, "A" text, a text UNIQUE); INSERT INTO t VALUES (1, 'great', 'small');`,
			[]string{"the name of column a of public.t: it is a_2 there"}, "SELECT a || a_2 FROM t", "greatsmall"},
		{"columns_that_differ_in_case", Postgres, MySQL, `CREATE TABLE t (id int PRIMARY KEY, "A" text, a text UNIQUE); INSERT INTO t VALUES (1, 'great', 'small');`,
			[]string{"the name of column a of public.t: it is a_2 there"}, "SELECT concat(a, a_2) FROM t", "greatsmall"},
		{"schemas", Postgres, SQLite, `CREATE SCHEMA s; CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE s.t (id int PRIMARY KEY REFERENCES t (id)); CREATE TABLE s_t (id int); CREATE INDEX i ON t (id); CREATE INDEX i ON s.t (id); INSERT INTO t VALUES (1), (2); INSERT INTO s.t VALUES (2);`,
			[]string{"the name of table s.t: it is s_t_2 there"}, "SELECT count(*) FROM t JOIN s_t_2 USING (id)", "1"},
		{"schemas", Postgres, MySQL, `CREATE SCHEMA s; CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE s.t (id int PRIMARY KEY REFERENCES t (id)); CREATE INDEX i ON t (id); CREATE INDEX i ON s.t (id); INSERT INTO t VALUES (1), (2); INSERT INTO s.t VALUES (2);`,
			[]string{"the name of table s.t: it is s_t there"}, "SELECT count(*) FROM t JOIN s_t USING (id)", "1"},
		{"partitions", Postgres, MySQL, `CREATE TABLE p (id int, d int, PRIMARY KEY (id, d)) PARTITION BY RANGE (d); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (5); INSERT INTO p VALUES (1, 1); CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (x int) INHERITS (a);`,
			[]string{"inheritance of public.b from public.a", "partitions of public.p: the rows of public.p1 are in it"}, "SELECT count(*) FROM p", "1"},
		{"long", SQLite, Postgres, `CREATE TABLE "` + long + `1" (id integer PRIMARY KEY, "` + long + `1" int, "` + long + `2" int); CREATE TABLE "` + long + `2" (id integer PRIMARY KEY REFERENCES "` + long + `1" (id)); INSERT INTO "` + long + `1" VALUES (1, 2, 3); INSERT INTO "` + long + `2" VALUES (1);`,
			[]string{"the name of table " + long + "1: it is " + shorten(long+"1", 63) + " there", "the name of column " + long + "2 of " + long + "1: it is " + shorten(long+"2", 63) + " there"},
			"SELECT count(*) FROM " + shorten(long+"1", 63) + " JOIN " + shorten(long+"2", 63) + " USING (id) WHERE " + shorten(long+"2", 63) + " = 3", "1"},
		{"long_in_bytes", MySQL, Postgres, "CREATE TABLE t (id int PRIMARY KEY, `" + strings.Repeat("é", 50) + "1` int, `" + strings.Repeat("é", 50) + "2` int); INSERT INTO t VALUES (1, 2, 3);",
			[]string{"the name of column \"" + strings.Repeat("é", 50) + "1\" of t"}, "SELECT to_jsonb(t)::text LIKE '%: 2%: 3%' FROM t", "t"},
		{"odd", SQLite, MySQL, `CREATE TABLE "select " ("from" integer PRIMARY KEY, "" int, "q""x" int, "back` + "`" + `tick" int, "trail " int); INSERT INTO "select " VALUES (1, 2, 3, 4, 5);`,
			[]string{`the name of table "select ": it is select there`, `the name of column "" of "select ": it is _ there`, `the name of column "trail " of "select ": it is trail there`}, "SELECT `from` + _ + `q\"x` + `back``tick` + trail FROM `select`", "15"},
		{"sqlites_own", MySQL, SQLite, "CREATE TABLE sqlite_x (id int PRIMARY KEY); INSERT INTO sqlite_x VALUES (1);", []string{"the name of table sqlite_x: it is _sqlite_x there"}, "SELECT id FROM _sqlite_x", "1"},
	} {
		t.Run(tc.name+"_from_"+tc.from+"_to_"+tc.to, func(t *testing.T) {
			source, target := newPlace(t, tc.from), newPlace(t, tc.to)
			source.sql(t, map[string]string{MySQL: "SET NAMES utf8mb4;"}[tc.from]+tc.sql)
			done := mustCopy(t, source, target, CopyOptions{})
			if done.Compared.Values != done.Compared.Tables || len(done.Compared.Notes) > 0 {
				t.Errorf("compared %+v", done.Compared)
			}
			for _, want := range tc.omits {
				if !slices.ContainsFunc(done.Omitted, func(s string) bool { return strings.HasPrefix(s, want) }) {
					t.Errorf("omitted %q, want %q among it", done.Omitted, want)
				}
			}
			if got := target.sql(t, tc.query); got != tc.want {
				t.Errorf("%s: %s, want %s", tc.query, got, tc.want)
			}
		})
	}
}

// Within SQLite each value stays what it is, also where its column was declared for something else.
func TestCopy_SQLiteKeepsStorageClasses(t *testing.T) {
	source, target := newPlace(t, SQLite), newPlace(t, SQLite)
	source.sql(t, `CREATE TABLE t (id integer PRIMARY KEY, s text, b blob, a); CREATE TABLE other (x);
		INSERT INTO t VALUES (1, x'6162', '\x61', '1'), (2, '\x6162', 12, 1), (3, cast(x'61ff62' as text), 'a\b', '1.0'), (4, '', x'', '\x31'), (5, 'a', 1.5, x'31');`)
	const all = "SELECT id, typeof(s), hex(s), typeof(b), hex(b), typeof(a), hex(a) FROM t"
	want := source.sql(t, all)
	mustCopy(t, source, target, CopyOptions{})
	if diff := cmp.Diff(want, target.sql(t, all)); diff != "" {
		t.Errorf("the copy differs (-source +copy):\n%s", diff)
	}
	s, part := newStore(t), newPlace(t, SQLite)
	if _, err := restoreTo(t, s, backUp(t, s, source.url), part.url, TargetOptions{}, "t"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, part.sql(t, all)); diff != "" {
		t.Errorf("a restored table differs (-source +restored):\n%s", diff)
	}
}

func TestNames_Claim(t *testing.T) {
	for _, tc := range []struct {
		to         string
		list, want []string
	}{
		{Postgres, []string{"A", "a", "a", ""}, []string{"A", "a", "a_2", "_"}},
		{MySQL, []string{"A", "a", "a_2", "a "}, []string{"A", "a_2", "a_2_2", "a_3"}},
		{SQLite, []string{"SQLITE_x", "x", "X"}, []string{"_SQLITE_x", "x", "X_2"}},
		{Postgres, []string{strings.Repeat("é", 63), strings.Repeat("é", 31), strings.Repeat("x", 63)}, []string{strings.Repeat("é", 29) + "3fdc", strings.Repeat("é", 31), strings.Repeat("x", 63)}},
	} {
		n := names{tc.to, map[string]bool{}}
		var got []string
		for _, name := range tc.list {
			got = append(got, n.claim(name))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.to, diff)
		}
		for _, name := range got {
			if len(name) > 63 {
				t.Errorf("%s has %d bytes", name, len(name))
			}
		}
	}
}

// What changes names leaves the tables of the source as they are.
func TestRename_LeavesTheSource(t *testing.T) {
	source := &rows.Table{Schema: "s", Name: "t", Kind: rows.Ordinary, Columns: []rows.Column{{Name: "A"}, {Name: "a"}}, PrimaryKey: []string{"a"}, Unique: [][]string{{"a"}},
		Indexes: []rows.Index{{Columns: []string{"a"}}}, ForeignKeys: []rows.ForeignKey{{Columns: []string{"a"}, Table: "s.t", References: []string{"a"}}}}
	before := *source
	copied := *source
	s := &rows.Schema{Tables: []*rows.Table{&copied}, Sequences: []rows.Sequence{{Table: "s.t", Column: "a"}}}
	rename(s, Postgres, SQLite, nil)
	if diff := cmp.Diff(&before, source); diff != "" {
		t.Error(diff)
	}
	want := rows.Table{Name: "s_t", Kind: rows.Ordinary, Columns: []rows.Column{{Name: "A"}, {Name: "a_2"}}, PrimaryKey: []string{"a_2"}, Unique: [][]string{{"a_2"}},
		Indexes: []rows.Index{{Columns: []string{"a_2"}}}, ForeignKeys: []rows.ForeignKey{{Columns: []string{"a_2"}, Table: "s_t", References: []string{"a_2"}}}}
	if diff := cmp.Diff(want, copied); diff != "" {
		t.Error(diff)
	}
	if q := s.Sequences[0]; q.Table != "s_t" || q.Column != "a_2" {
		t.Errorf("sequence %+v", q)
	}
}

// A partition whose rows go into another table has no name there that could be told.
func TestRename_Partitions(t *testing.T) {
	tables := func() []*rows.Table {
		columns := []rows.Column{{Name: "A"}, {Name: "a"}}
		return []*rows.Table{
			{Schema: "public", Name: "EV", Kind: rows.Ordinary},
			{Schema: "s", Name: "p", Kind: rows.Partitioned},
			{Schema: "public", Name: "mid", Kind: rows.Partitioned, Parent: "s.p"},
			{Schema: "public", Name: "ev", Kind: rows.Ordinary, Parent: "public.mid", Columns: columns},
			{Schema: "s", Name: "q", Kind: rows.Ordinary, Parent: "s.p"},
		}
	}
	changed := rename(&rows.Schema{Tables: tables()}, Postgres, SQLite, nil)
	if diff := cmp.Diff([]string{"the name of table s.p: it is s_p there"}, changed); diff != "" {
		t.Errorf("what is told (-want +got):\n%s", diff)
	}
}
