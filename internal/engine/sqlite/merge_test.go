package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ncruces/go-sqlite3/ext/fts5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// TestMergeStorage merges values of every storage class into columns of every affinity, into an empty table and over rows.
func TestMergeStorage(t *testing.T) {
	for _, before := range []string{"SELECT 1", "INSERT INTO t(id) VALUES(1)"} {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, `CREATE TABLE t(id INTEGER PRIMARY KEY, i integer, ok bool, n decimal, r real, at datetime, x text, c varchar(9), raw BLOB, geo POINT, any_, more AS (i+1))`, before)
		columns := []string{"id", "i", "ok", "n", "r", "at", "x", "c", "raw", "geo", "any_"}
		got, err := mergeAll(t, path, []*rows.Merge{{Columns: columns, Key: []string{"id"}}}, []string{strings.ReplaceAll(
			`1 9223372036854775807 1 1.50 1 2024-01-02 123 \\x41 \\x00ff \\x01 12
2 -9223372036854775808 0 7.0 1e+100 2024 \\x00 1e5 text \\x 1.5
3 9223372036854775808 x 0.1 Infinity \N Infinity \t\\ \\x \\x1 007
4 -0 007 1e2 -Infinity  1.0 \N 12 \\xzz -5
5 0 1 12345678901234567890.5 0.1 12:00 \\N 0 \\xAB \N \\xff
6 1 1 1 1 1 1 1 1 1 2.0
`, " ", "\t")}, false)
		must(t, err)
		if got[0].Inserted+got[0].Changed != 6 {
			t.Errorf("%+v", got[0])
		}
		want := `1 integer:9223372036854775807 integer:1 real:1.5 real:1.0 text:'2024-01-02' text:'123' text:'\x41' blob:X'00FF' blob:X'01' integer:12 
2 integer:-9223372036854775808 integer:0 integer:7 real:1.0e+100 integer:2024 text:'\x00' text:'1e5' text:'text' blob:X'' real:1.5 
3 real:9.2233720368547758e+18 text:'x' real:0.1 real:9.0e+999 null:NULL text:'Infinity' text:'	\' blob:X'' text:'\x1' text:'007' 
4 integer:0 integer:7 integer:100 real:-9.0e+999 text:'' text:'1.0' null:NULL text:'12' text:'\xzz' integer:-5 
5 integer:0 integer:1 real:1.2345678901234567e+19 real:0.1 text:'12:00' text:'\N' text:'0' blob:X'AB' null:NULL blob:X'FF' 
6 integer:1 integer:1 integer:1 real:1.0 integer:1 text:'1' text:'1' text:'1' integer:1 real:2.0 `
		sql := "SELECT id||' '"
		for _, c := range columns[1:] {
			sql += "||typeof(" + c + ")||':'||quote(" + c + ")||' '"
		}
		text := query(t, path, sql+" FROM t")
		for i, line := range strings.Split(want, "\n") {
			if got := strings.Split(text, "\n")[i]; got != line {
				t.Errorf("after %s:\ngot  %s\nwant %s", before, got, line)
			}
		}
		if again, err := mergeAll(t, path, []*rows.Merge{{Columns: columns, Key: []string{"id"}}}, []string{viewText(t, path, "t")}, false); err != nil || again[0].Same != 6 {
			t.Errorf("what the view gives, merged again: %+v, %v", again, err)
		}
	}
}

// viewText is the row text of a table without its generated columns.
func viewText(t testing.TB, path, table string) string {
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	return readAll(t, v, v.Schema().Table(table))
}

var library = []string{
	`CREATE TABLE author(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, CHECK(name<>'bad'))`,
	`CREATE TABLE book(id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, a INT NOT NULL REFERENCES author(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, after INT REFERENCES book(id))`,
	`CREATE TABLE shelf(book_id INT NOT NULL REFERENCES book(id) ON DELETE CASCADE, tag TEXT, UNIQUE(book_id, tag))`,
	`CREATE TABLE lost(x INT REFERENCES nowhere(id))`,
	`INSERT INTO author VALUES(1,'ann'),(2,'bob')`, `INSERT INTO book VALUES(1,'one',1,NULL),(2,'two',2,1),(3,'old',99,NULL)`,
	`INSERT INTO shelf VALUES(1,'x'),(1,'y'),(2,'x')`, `INSERT INTO lost VALUES(5)`,
}

func merge(table string, key ...string) *rows.Merge {
	columns := map[string][]string{"author": {"id", "name"}, "book": {"id", "title", "a", "after"}, "shelf": {"book_id", "tag"}, "lost": {"x"}}
	return &rows.Merge{Table: &rows.Table{Name: table}, Columns: columns[table], Key: key}
}

func TestMergeReferences(t *testing.T) {
	for _, tc := range []struct {
		name   string
		plan   []*rows.Merge
		texts  []string
		broken string // «table columns count key values», of each violation
	}{
		{"forward_self_and_circle", []*rows.Merge{merge("book", "id"), merge("author", "id")}, []string{"7\tx\t9\t8\n8\ty\t9\t7\n", "9\tzoe\n"}, ""},
		{"old_violations_are_none_of_ours", []*rows.Merge{merge("book", "id")}, []string{"1\tnew\t1\t\\N\n3\told\t99\t\\N\n"}, ""},
		{"an_old_violation_with_a_new_value_is_new", []*rows.Merge{merge("book", "id")}, []string{"3\told\t98\t\\N\n"}, "book [a] 1 [3] [98]"},
		{"new_violations", []*rows.Merge{merge("book", "id")}, []string{"7\tx\t50\t60\n8\tx\t51\t\\N\n"}, "book [a] 2 [7] [50]; book [after] 1 [7] [60]"},
		{"children_of_replaced_parents", []*rows.Merge{{Table: &rows.Table{Name: "author"}, Columns: []string{"id", "name"}, Key: []string{"id"}, Replace: true}}, []string{"1\tann\n"}, "book [a] 1 [2] [2]"},
		{"no_cascade_takes_children_along", []*rows.Merge{{Table: &rows.Table{Name: "author"}, Columns: []string{"id", "name"}, Key: []string{"id"}, Replace: true}}, []string{"1\tann\n2\tbob\n"}, ""},
		{"a_parent_that_is_no_table", []*rows.Merge{merge("lost")}, []string{"6\n\\N\n"}, "lost [x] 1 [2] [6]"},
		{"a_key_that_changes_under_its_children", []*rows.Merge{{Table: &rows.Table{Name: "author"}, Columns: []string{"id", "name"}, Key: []string{"name"}}}, []string{"5\tann\n"}, "book [a] 1 [1] [1]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			build(t, path, library...)
			before := dump(t, path)
			_, err := mergeAll(t, path, tc.plan, tc.texts, false)
			var v *rows.Violations
			if errors.As(err, &v) == (tc.broken == "") || err != nil && fail.KindOf(err) != fail.Incomplete {
				t.Fatalf("got %v", err)
			}
			if v == nil {
				return
			}
			var broken []string
			for _, x := range v.List {
				broken = append(broken, fmt.Sprint(x.Table, " ", x.Columns, " ", x.Count, " ", x.Examples[0].Key, " ", x.Examples[0].Values))
			}
			if diff := cmp.Diff(tc.broken, strings.Join(broken, "; ")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, dump(t, path)); diff != "" {
				t.Errorf("the database changed: %s", diff)
			}
		})
	}
}

// dump returns all rows of the library.
func dump(t testing.TB, path string) string {
	return query(t, path, "SELECT 'a'||quote(id)||quote(name) FROM author UNION ALL SELECT 'b'||quote(id)||quote(title)||quote(a)||quote(after) FROM book UNION ALL SELECT 's'||quote(book_id)||quote(tag) FROM shelf UNION ALL SELECT 'l'||quote(x) FROM lost UNION ALL SELECT name||seq FROM sqlite_sequence")
}

func TestMergeRefuses(t *testing.T) {
	table := func(m rows.Merge) *rows.Merge { m.Table = &rows.Table{Name: "author"}; return &m }
	for _, tc := range []struct {
		name, text string
		m          *rows.Merge
		kind       fail.Kind
		message    string
	}{
		{"a_key_twice", "5\tx\n6\ty\n5\tz\n", merge("author", "id"), fail.Incomplete, "merge row 3 into author (id 5): two rows have this key"},
		{"a_key_twice_in_an_empty_table", "5\tx\n5\tz\n", table(rows.Merge{Columns: []string{"id", "name"}, Key: []string{"id"}, Replace: true}), fail.Incomplete, "row 2 into author (id 5): two rows have this key"},
		{"another_unique_value_twice", "5\tx\n6\tx\n", table(rows.Merge{Columns: []string{"id", "name"}, Key: []string{"id"}, Replace: true}), fail.Incomplete, "row 2 into author (id 6): the table refuses it: sqlite3: constraint failed: UNIQUE constraint failed: author.name"},
		{"a_unique_value_of_another_row", "5\tann\n", merge("author", "id"), fail.Incomplete, "merge into author: the table refuses it: row (id 5): sqlite3: constraint failed: UNIQUE constraint failed: author.name"},
		{"a_NULL_that_may_not_be", "5\t\\N\n", merge("author", "id"), fail.Incomplete, "row (id 5): sqlite3: constraint failed: NOT NULL constraint failed: author.name"},
		{"a_check", "5\tbad\n", merge("author", "id"), fail.Incomplete, "row (id 5): sqlite3: constraint failed: CHECK constraint failed"},
		{"no_key", "\\N\tx\n", merge("author", "id"), fail.Incomplete, "id, which is part of the key, is NULL"},
		{"a_text_as_rowid", "x\tx\n", merge("author", "id"), fail.Incomplete, "row 1"},
		{"too_many_columns", "5\tx\ty\n", merge("author", "id"), fail.Damaged, "row 1: 3 columns, want 2"},
		{"too_few_columns", "5\n", merge("author", "id"), fail.Damaged, "row 1: 1 columns, want 2"},
		{"half_a_row", "5\tx\n6\ty", merge("author", "id"), fail.Damaged, "row 2 has no end"},
		{"an_unknown_escape", "5\t\\q\n", merge("author", "id"), fail.Damaged, "column 2: a backslash"},
		{"a_group_without_name", "\\N\tx\n", table(rows.Merge{Columns: []string{"id", "name"}, Set: []string{"id"}}), fail.Incomplete, "NULL"},
		{"an_unknown_table", "", &rows.Merge{Table: &rows.Table{Name: "nope"}, Columns: []string{"id"}}, fail.NotFound, "no such table"},
		{"an_unknown_column", "", table(rows.Merge{Columns: []string{"nope"}}), fail.Usage, "no column nope"},
		{"a_column_twice", "", table(rows.Merge{Columns: []string{"id", "id"}}), fail.Usage, "twice"},
		{"a_key_that_is_not_loaded", "", table(rows.Merge{Columns: []string{"id"}, Key: []string{"name"}}), fail.Usage, "no column name"},
		{"no_columns", "", table(rows.Merge{}), fail.Usage, "no columns"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			build(t, path, library...)
			before := dump(t, path)
			_, err := mergeAll(t, path, []*rows.Merge{tc.m}, []string{tc.text}, false)
			wantKind(t, err, tc.kind, tc.message)
			if diff := cmp.Diff(before, dump(t, path)); diff != "" {
				t.Errorf("the database changed: %s", diff)
			}
		})
	}
}

func TestMergeTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, append(library, `CREATE TABLE log(what)`, `CREATE TRIGGER tr AFTER UPDATE ON author BEGIN INSERT INTO log VALUES(old.name||new.name); END`,
		"UPDATE sqlite_sequence SET seq=1 WHERE name='author'")...)
	plan := []*rows.Merge{
		{Table: &rows.Table{Name: "shelf"}, Columns: []string{"book_id", "tag"}, Set: []string{"book_id"}},
		{Table: &rows.Table{Name: "author"}, Columns: []string{"id", "name"}, Key: []string{"id"}},
		{Table: &rows.Table{Name: "author"}, Columns: []string{"name"}, Key: []string{"name"}, Fresh: []string{"id"}},
		{Table: &rows.Table{Name: "author"}, Columns: []string{"name"}, Fresh: []string{"id"}},
		{Table: &rows.Table{Name: "lost"}, Columns: []string{"x"}, Replace: true},
	}
	texts := []string{"1\ty\n1\tz\n2\t\\N\n", "1\tbob\n2\tann\n", "bob\ncarl\n", "dora\n", "\\N\n"}
	before := dump(t, path)
	for _, dry := range []bool{true, false} {
		got, err := mergeAll(t, path, plan, texts, dry)
		must(t, err)
		want := []rows.Merged{{Inserted: 1, Same: 1, Deleted: 2}, {Changed: 2}, {Inserted: 1, Same: 1}, {Inserted: 1}, {Inserted: 1, Deleted: 1}}
		for i := range want {
			want[i].Merge = plan[i]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dry %v: %s", dry, diff)
		}
		if after := dump(t, path); dry && after != before {
			t.Errorf("a dry run changed the database: %s", cmp.Diff(before, after))
		}
	}
	if got := query(t, path, "SELECT id||name FROM author ORDER BY id"); got != "1bob\n2ann\n4carl\n5dora" {
		t.Errorf("authors that swapped their names, and a new one: %s", got)
	}
	if got := query(t, path, "SELECT seq FROM sqlite_sequence WHERE name='author'"); got != "5" {
		t.Errorf("counter %s", got)
	}
	if got := query(t, path, "SELECT book_id||tag FROM shelf ORDER BY 1"); got != "1y\n1z" {
		t.Errorf("shelf %q", got)
	}
}

func TestMergeFile(t *testing.T) {
	t.Run("the_file_must_be_a_database", func(t *testing.T) {
		dir := t.TempDir()
		_, err := NewMerger(filepath.Join(dir, "no.db"), MergerOptions{})
		wantKind(t, err, fail.NotFound, "no.db")
		put(t, filepath.Join(dir, "empty.db"), nil)
		_, err = NewMerger(filepath.Join(dir, "empty.db"), MergerOptions{})
		wantKind(t, err, fail.Unsupported, "empty")
		put(t, filepath.Join(dir, "text.db"), []byte(strings.Repeat("text", 100)))
		_, err = NewMerger(filepath.Join(dir, "text.db"), MergerOptions{})
		wantKind(t, err, fail.Unsupported, "not an SQLite database")
		_, err = NewMerger(dir, MergerOptions{})
		wantKind(t, err, fail.Unsupported, "directory")
	})
}

func TestMergeFaults(t *testing.T) {
	for _, journal := range []string{"WAL", "DELETE"} {
		t.Run("another_writer_"+journal, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			build(t, path, append([]string{"PRAGMA journal_mode=" + journal}, library...)...)
			conn, err := open(path)
			must(t, err)
			must(t, conn.Exec("BEGIN IMMEDIATE"))
			m, err := NewMerger(path, MergerOptions{BusyWait: 10 * time.Millisecond})
			must(t, err)
			wantKind(t, m.Begin(t.Context(), nil), fail.Locked, path)
			must(t, m.Abort(t.Context()))
			must(t, conn.Close())
			must(t, m.Begin(t.Context(), nil))
			other, err := open(path)
			must(t, err)
			defer other.Close()
			must(t, other.Exec("PRAGMA busy_timeout=0"))
			if err := other.Exec("INSERT INTO lost VALUES(1)"); err == nil {
				t.Error("others may write during a merge")
			}
			must(t, m.Abort(t.Context()))
		})
		t.Run("killed_"+journal, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			build(t, path, append([]string{"PRAGMA journal_mode=" + journal}, library...)...)
			before := dump(t, path)
			for _, at := range []string{"loaded", "finished"} {
				start(t, "merge", path, at).kill()
				if got := query(t, path, "PRAGMA integrity_check"); got != "ok" {
					t.Error(got)
				}
				if diff := cmp.Diff(before, dump(t, path)); diff != "" {
					t.Errorf("killed when %s: %s", at, diff)
				}
			}
		})
		t.Run("disk_full_"+journal, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			build(t, path, append([]string{"PRAGMA journal_mode=" + journal}, library...)...)
			before := dump(t, path)
			m, err := NewMerger(path, MergerOptions{})
			must(t, err)
			plan := merge("author")
			must(t, m.Begin(t.Context(), []*rows.Merge{plan}))
			must(t, m.conn.Exec("PRAGMA max_page_count=40"))
			_, err = m.Load(t.Context(), plan, io.LimitReader(authors{}, 9<<20))
			wantKind(t, err, fail.NoSpace, "author")
			must(t, m.Abort(t.Context()))
			if diff := cmp.Diff(before, dump(t, path)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMergeCommitAndTriggers(t *testing.T) {
	t.Run("a_reader_in_the_way_of_the_commit", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, library...)
		before := dump(t, path)
		reader, err := open(path)
		must(t, err)
		defer reader.Close()
		must(t, begin(reader))
		m, err := NewMerger(path, MergerOptions{BusyWait: 10 * time.Millisecond})
		must(t, err)
		plan := merge("author")
		must(t, m.Begin(t.Context(), []*rows.Merge{plan}))
		_, err = m.Load(t.Context(), plan, strings.NewReader("7\tx\n"))
		must(t, err)
		_, err = m.Finish(t.Context(), false)
		wantKind(t, err, fail.Locked, "commit")
		must(t, m.Abort(t.Context()))
		end(reader)
		if diff := cmp.Diff(before, dump(t, path)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a_trigger_that_needs_the_application", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, append(library, "CREATE TRIGGER tr AFTER INSERT ON author BEGIN SELECT only_the_application_knows(new.id); END")...)
		_, err := mergeAll(t, path, []*rows.Merge{merge("author", "id")}, []string{"7\tx\n"}, false)
		wantKind(t, err, fail.Unsupported, "only_the_application_knows")
	})
	t.Run("triggers_that_keep_a_full_text_index", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, library...)
		conn, err := open(path)
		must(t, err)
		defer conn.Close()
		must(t, fts5.Register(conn))
		must(t, conn.Exec(`CREATE VIRTUAL TABLE ft USING fts5(name, content='author', content_rowid='id');
			INSERT INTO ft(ft) VALUES('rebuild');
			CREATE TRIGGER ai AFTER INSERT ON author BEGIN INSERT INTO ft(rowid, name) VALUES(new.id, new.name); END;
			CREATE TRIGGER au AFTER UPDATE ON author BEGIN INSERT INTO ft(ft, rowid, name) VALUES('delete', old.id, old.name); INSERT INTO ft(rowid, name) VALUES(new.id, new.name); END;`))
		_, err = mergeAll(t, path, []*rows.Merge{merge("author", "id")}, []string{"1\tzoe\n7\tzoe two\n"}, false)
		must(t, err)
		if got, err := one(conn, "SELECT group_concat(rowid) FROM ft WHERE ft MATCH 'zoe'"); err != nil || got != "1,7" {
			t.Errorf("found %s, %v", got, err)
		}
	})
}

func TestMergeBrokenOff(t *testing.T) {
	t.Run("a_cancelled_context", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, library...)
		m, err := NewMerger(path, MergerOptions{})
		must(t, err)
		plan := merge("author")
		ctx, cancel := context.WithCancel(t.Context())
		must(t, m.Begin(ctx, []*rows.Merge{plan}))
		cancel()
		_, err = m.Load(ctx, plan, strings.NewReader("7\tx\n"))
		wantKind(t, err, fail.Interrupted, "author")
		must(t, m.Abort(t.Context()))
	})
	t.Run("errors_of_the_reader_are_passed_on", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, library...)
		m, err := NewMerger(path, MergerOptions{})
		must(t, err)
		plan := merge("author")
		must(t, m.Begin(t.Context(), []*rows.Merge{plan}))
		_, err = m.Load(t.Context(), plan, io.MultiReader(strings.NewReader("7\tx\n"), iotestErr{fail.New(fail.Unavailable, "", "gone")}))
		wantKind(t, err, fail.Unavailable, "gone")
		must(t, m.Abort(t.Context()))
	})
}

type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) { return 0, e.err }

// authors is row text without end.
type authors struct{}

func (authors) Read(p []byte) (int, error) {
	line := "\\N\t" + strings.Repeat("x", 500) + "%09d\n"
	return copy(p, fmt.Sprintf(line, time.Now().UnixNano()%1e9)), nil
}

// childMerge merges much, until everything is loaded or even merged, and waits to be killed.
func childMerge(path, until string) error {
	ctx := context.Background()
	m, err := NewMerger(path, MergerOptions{})
	if err != nil {
		return err
	}
	plan := &rows.Merge{Table: &rows.Table{Name: "author"}, Columns: []string{"id", "name"}, Key: []string{"id"}, Replace: until == "loaded"}
	if err := m.Begin(ctx, []*rows.Merge{plan}); err != nil {
		return err
	}
	if err := m.conn.Exec("PRAGMA cache_size=10"); err != nil { // so that pages go to the file early
		return err
	}
	var text strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&text, "%d\tname %d\n", i, i)
	}
	if _, err := m.Load(ctx, plan, strings.NewReader(text.String())); err != nil {
		return err
	}
	if until == "finished" {
		for _, g := range m.plan {
			if err := g.finish(); err != nil {
				return err
			}
		}
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
