package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

func ptr[T any](v T) *T { return &v }

func readSorted(t testing.TB, v *View, table string, columns, by []string) string {
	t.Helper()
	r, err := v.ReadSorted(t.Context(), v.Schema().Table(table), columns, by)
	must(t, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	must(t, err)
	return string(text)
}

// liveAndStored opens a database both ways.
func liveAndStored(t testing.TB, path string) []*View {
	t.Helper()
	live, err := OpenView(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { _ = live.Close() })
	c := copyImage(t, path, unit)
	stored, err := OpenStored(t.Context(), "x", bytes.NewReader(c.data), int64(len(c.data)))
	must(t, err)
	t.Cleanup(func() { _ = stored.Close() })
	return []*View{live, stored}
}

func TestReadSorted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "CREATE TABLE t(a INT, b TEXT COLLATE NOCASE, r REAL, low TEXT AS (lower(b)))", "CREATE INDEX t_r ON t(r, a)",
		"INSERT INTO t VALUES(1,'b',1),(2,'A',2),(3,'a',NULL),(4,NULL,0.5),(5,x'ff',3)",
		"CREATE TABLE own(k TEXT PRIMARY KEY, v) WITHOUT ROWID", "INSERT INTO own VALUES('z',1),('y',2)")
	for i, v := range liveAndStored(t, path) {
		for _, tc := range []struct {
			name, table string
			columns, by []string
			want        string
		}{
			{"the_column's_collation_decides", "t", []string{"a"}, []string{"b", "-a"}, "4\n3\n2\n1\n5\n"},
			{"descending", "t", []string{"a"}, []string{"-a"}, "5\n4\n3\n2\n1\n"},
			{"an_index_may_serve", "t", []string{"r", "a"}, []string{"r"}, "\\N\t3\n0.5\t4\n1\t1\n2\t2\n3\t5\n"},
			{"generated_columns_can_be_read", "t", []string{"low", "a"}, []string{"a"}, "b\t1\na\t2\na\t3\n\\N\t4\n\\\\xff\t5\n"},
			{"no_order_is_that_of_the_table", "t", []string{"a"}, nil, "1\n2\n3\n4\n5\n"},
			{"a_table_without_rowid", "own", []string{"v"}, []string{"v"}, "1\n2\n"},
			{"its_own_order", "own", []string{"k"}, nil, "y\nz\n"},
		} {
			t.Run(fmt.Sprintf("%s/%d", tc.name, i), func(t *testing.T) {
				if diff := cmp.Diff(tc.want, readSorted(t, v, tc.table, tc.columns, tc.by)); diff != "" {
					t.Error(diff)
				}
			})
		}
		_, err := v.ReadSorted(t.Context(), v.Schema().Table("t"), []string{"nope"}, nil)
		wantKind(t, err, fail.NotFound, "no column nope")
		_, err = v.ReadSorted(t.Context(), v.Schema().Table("t"), []string{"a"}, []string{"-nope"})
		wantKind(t, err, fail.NotFound, "no column nope")
		_, err = v.ReadSorted(t.Context(), &rows.Table{Name: "nope"}, nil, nil)
		wantKind(t, err, fail.NotFound, "nope")
	}
}

// TestReadSortedMuch sorts more than fits into the cache, with several readers at once, and breaks off.
func TestReadSortedMuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "CREATE TABLE t(a INT, b TEXT)",
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<60000) INSERT INTO t SELECT x*7919%60000, hex(randomblob(40)) FROM c")
	for _, v := range liveAndStored(t, path) {
		readers := make([]io.ReadCloser, 3)
		for i := range readers {
			var err error
			readers[i], err = v.ReadSorted(t.Context(), v.Schema().Table("t"), []string{"a", "b"}, []string{"a"})
			must(t, err)
		}
		for _, r := range readers {
			text, err := io.ReadAll(r)
			must(t, err)
			must(t, r.Close())
			n := 0
			for line := range strings.Lines(string(text)) {
				if want := fmt.Sprintf("%d\t", n); !strings.HasPrefix(line, want) {
					t.Fatalf("row %d is %.20s", n, line)
				}
				n++
			}
			if n != 60000 {
				t.Errorf("%d rows", n)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := v.ReadSorted(ctx, v.Schema().Table("t"), []string{"b"}, []string{"b"})
		must(t, err)
		cancel()
		_, err = io.ReadAll(r)
		wantKind(t, err, fail.Interrupted, "t")
		must(t, r.Close())
	}
}

// TestViewFacts reads what Django declares, and what only the text of a table tells.
func TestViewFacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, `CREATE TABLE "author" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT)`,
		`CREATE TABLE "book" ("id" char(32) NOT NULL PRIMARY KEY, "js" text NULL CHECK ((JSON_VALID("js") OR "js" IS NULL)), "title" varchar(200) NOT NULL DEFAULT 'it''s',
		"price" decimal(12, 3) NULL DEFAULT 1.50, "ok" bool NOT NULL DEFAULT TRUE, "n" integer unsigned DEFAULT -5 CHECK ("n" >= 0), "r" real DEFAULT (2), "raw" BLOB DEFAULT X'00FF',
		"at" datetime DEFAULT CURRENT_TIMESTAMP, "none" text DEFAULT NULL, "expr" int DEFAULT (1+1), "big" text DEFAULT 0x10, "plain" text, -- , REFERENCES nothing
		"a_id" integer NOT NULL REFERENCES "author" ("id") DEFERRABLE INITIALLY DEFERRED, "b_id" integer CONSTRAINT by_b REFERENCES "author" ON DELETE SET NULL NOT DEFERRABLE,
		"c_id" integer, CONSTRAINT "fk c" FOREIGN KEY ("c_id") REFERENCES author(id) ON UPDATE CASCADE ON DELETE RESTRICT DEFERRABLE, CHECK (json_valid(title) = 0 /* ) REFERENCES */))`,
		`CREATE INDEX i1 ON book(title, n)`, `CREATE INDEX i2 ON book(lower(title))`, `CREATE UNIQUE INDEX i3 ON book(n) WHERE n>1`, `CREATE INDEX i4 ON book(title COLLATE NOCASE)`, `CREATE UNIQUE INDEX i5 ON book(ok DESC)`)
	for _, v := range liveAndStored(t, path) {
		book := v.Schema().Table("book")
		var got []string
		for _, c := range book.Columns {
			lit := "-"
			if c.Literal != nil {
				lit = *c.Literal
			}
			got = append(got, fmt.Sprintf("%s %s %d %d %s", c.Name, c.Type, c.Size, c.Scale, lit))
		}
		if diff := cmp.Diff([]string{"id uuid 0 0 -", "js json 0 0 -", "title json 0 0 it's", "price decimal 12 3 1.5", "ok bool 0 0 1", "n int 64 0 -5", "r float 64 0 2", `raw bytes 0 0 \x00ff`,
			"at timestamp 0 0 -", "none text 0 0 -", "expr int 64 0 -", "big text 0 0 16", "plain text 0 0 -", "a_id int 64 0 -", "b_id int 64 0 -", "c_id int 64 0 -"}, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]rows.ForeignKey{
			{Columns: []string{"a_id"}, Table: "author", References: []string{"id"}, Deferrable: true},
			{Name: "by_b", Columns: []string{"b_id"}, Table: "author", References: []string{"id"}, OnDelete: "set null"},
			{Name: "fk c", Columns: []string{"c_id"}, Table: "author", References: []string{"id"}, Deferrable: true, OnDelete: "restrict", OnUpdate: "cascade"},
		}, book.ForeignKeys); diff != "" {
			t.Error(diff)
		}
		var columns []string
		for _, x := range book.Indexes {
			columns = append(columns, fmt.Sprint(x.Name, x.Columns))
		}
		if diff := cmp.Diff([]string{"i1[title n]", "i2[]", "i3[]", "i4[]", "i5[ok]"}, columns); diff != "" {
			t.Error(diff)
		}
	}
}

// TestConstants compares what constant says of a default with what SQLite stores.
func TestConstants(t *testing.T) {
	var names, defaults []string
	for _, typ := range []string{"INTEGER", "TEXT", "REAL", "DECIMAL(5,1)", "BLOB"} {
		for _, d := range []string{"1", "-1", "+1", "1.0", "1.5", "-.5", "1e3", "1e30", "0x1F", "'1'", "'1.0'", "'x'", "''", "' 7 '", "'\\N'", "x'aB'", "TRUE", "false", "9223372036854775807", "9223372036854775808", "'it''s'", "1.25e-7"} {
			names = append(names, fmt.Sprintf("c%d %s DEFAULT %s", len(names), typ, d))
			defaults = append(defaults, typ+" "+d)
		}
	}
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "CREATE TABLE t("+strings.Join(names, ", ")+")", "INSERT INTO t DEFAULT VALUES")
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	table := v.Schema().Table("t")
	values, err := rows.ParseRow(nil, []byte(strings.TrimSuffix(readAll(t, v, table), "\n")), len(names))
	must(t, err)
	for i, c := range table.Columns {
		if slices.Contains([]string{"TEXT 1e30", "TEXT 9223372036854775808", "TEXT 1.25e-7"}, defaults[i]) {
			if c.Literal != nil {
				t.Errorf("%s: got %s, want nothing", defaults[i], *c.Literal)
			}
			continue
		}
		if c.Literal == nil || *c.Literal != string(values[i].Text) {
			t.Errorf("%s: got %v, SQLite stores %s", defaults[i], deref(c.Literal), values[i].Text)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return "nothing"
	}
	return *s
}

// FuzzClauses parses any text: it must end, and not panic.
func FuzzClauses(f *testing.F) {
	f.Add(`CREATE TABLE "a"([b] int CHECK(json_valid("b")) REFERENCES c -- x`)
	f.Add("'''\"\"` /* DEFERRABLE")
	f.Fuzz(func(_ *testing.T, s string) {
		parseClauses(s)
		for _, a := range []byte("itbrn") {
			constant(s, a)
		}
	})
}
