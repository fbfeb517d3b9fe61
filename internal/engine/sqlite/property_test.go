package sqlite

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// randomDatabase makes a database of any page size, mode and shape: overflowing rows, free pages, deep trees.
func randomDatabase(t *rapid.T, path string) {
	conn, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exec := func(format string, args ...any) {
		sql := fmt.Sprintf(format, args...)
		if err := conn.Exec(sql); err != nil {
			t.Fatalf("%.300s: %v", sql, err)
		}
	}
	exec("PRAGMA page_size=%d; PRAGMA auto_vacuum=%d; PRAGMA encoding='%s'; PRAGMA cache_size=-4000",
		512<<rapid.IntRange(0, 7).Draw(t, "page size"), rapid.IntRange(0, 2).Draw(t, "auto_vacuum"),
		rapid.SampledFrom([]string{"UTF-8", "UTF-16le", "UTF-16be"}).Draw(t, "encoding"))
	exec("PRAGMA journal_mode=%s; PRAGMA synchronous=OFF", rapid.SampledFrom([]string{"WAL", "DELETE", "PERSIST"}).Draw(t, "journal"))
	types := rapid.SampledFrom([]string{"", "INT", "TEXT", "REAL", "BLOB", "NUMERIC", "BOOLEAN"})
	names := rapid.SampledFrom([]string{"a", "B", "select", "with space", `q"uote`, "ünï", "rowid", "é'", "tab\t"})
	for i := range rapid.IntRange(0, 4).Draw(t, "tables") {
		columns := rapid.SliceOfNDistinct(names, 1, 5, func(s string) string { return s }).Draw(t, "columns")
		var defs []string
		for _, c := range columns {
			defs = append(defs, quote(c)+" "+types.Draw(t, "type"))
		}
		table := quote(fmt.Sprintf("t %d", i))
		end := ")"
		switch rapid.IntRange(0, 2).Draw(t, "key") {
		case 1:
			end = ", pk INTEGER PRIMARY KEY)"
		case 2:
			end = ", pk TEXT, PRIMARY KEY(pk)) WITHOUT ROWID"
		}
		exec("CREATE TABLE %s(%s%s", table, strings.Join(defs, ","), end)
		if rapid.Bool().Draw(t, "index") {
			exec("CREATE INDEX %s ON %s(%s)", quote(fmt.Sprintf("i %d", i)), table, quote(columns[0]))
		}
		n := rapid.SampledFrom([]int{0, 1, 5, 100, 2000}).Draw(t, "rows")
		long := rapid.SampledFrom([]int{3, 20, 300, 9000}).Draw(t, "length")
		if n*long > 2_000_000 {
			n = 2_000_000 / long
		}
		values := make([]string, len(columns))
		for j := range values {
			values[j] = rapid.SampledFrom([]string{"NULL", "x", "-x*1000000007", "x/7.0", "randomblob(abs(random())%%%d)", "hex(randomblob(abs(random())%%%d))",
				"'a'||char(9)||'b\\n'||char(10)||x", "''", "char(0,1,2,8,11,12,13,0x1F600)||x", "CAST(randomblob(5) AS TEXT)", "9e999"}).Draw(t, "value")
			values[j] = strings.ReplaceAll(values[j], "%%%d", "%"+strconv.Itoa(long))
		}
		if end != ")" {
			values = append(values, "x*3")
		}
		exec("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%d) INSERT INTO %s SELECT %s FROM c WHERE x<=%[1]d", n, table, strings.Join(values, ","))
		if rapid.Bool().Draw(t, "delete") {
			exec("DELETE FROM %s WHERE abs(random())%%3=0", table)
		}
	}
}

// reference returns the row text of a table as the documentation of the format describes it, made the slow way.
func reference(t *rapid.T, conn *sqlite3.Conn, v *View, table *rows.Table) (rowCount int, text map[string]int) {
	text = make(map[string]int)
	err := each(conn, "SELECT * FROM "+quote(table.Name), nil, func(st *sqlite3.Stmt) error {
		var line []byte
		for i, c := range table.Columns {
			if i > 0 {
				line = append(line, '\t')
			}
			switch st.ColumnType(i) {
			case sqlite3.NULL:
				line = append(line, `\N`...)
			case sqlite3.INTEGER:
				line = append(line, fmt.Sprint(st.ColumnInt64(i))...)
			case sqlite3.FLOAT:
				line = appendFloat(line, st.ColumnFloat(i), c.Type == rows.Float)
			case sqlite3.TEXT:
				s := st.ColumnText(i)
				if strings.ToValidUTF8(s, "") != s {
					line = append(line, fmt.Sprintf(`\\x%x`, s)...)
				} else {
					line = append(line, strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\b", `\b`, "\f", `\f`, "\v", `\v`).Replace(s)...)
				}
			case sqlite3.BLOB:
				line = append(line, fmt.Sprintf(`\\x%x`, st.ColumnBlob(i, nil))...)
			}
		}
		rowCount++
		text[string(line)]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rowCount, text
}

// TestAnyDatabase: an image of any database equals the file, counts its rows without reading them, and is the
// same rows stored as live, which are those that SQLite gives.
func TestAnyDatabase(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", n))
		defer func() {
			for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
				_ = os.Remove(path + suffix)
			}
		}()
		randomDatabase(r, path)
		c := copyImage(t, path, unit)
		if file, err := os.ReadFile(path); err != nil || !bytes.Equal(file, c.data) {
			r.Fatalf("the image differs from the file (%d and %d bytes): %v", len(c.data), len(file), err)
		}
		live, err := openView(t.Context(), path, 16<<10)
		if err != nil {
			r.Fatal(err)
		}
		defer live.Close()
		stored, err := openStored(t.Context(), "x", io.NewSectionReader(bytes.NewReader(c.data), 0, int64(len(c.data))), 16<<10)
		if err != nil {
			r.Fatal(err)
		}
		defer stored.Close()
		conn, err := open(path)
		if err != nil {
			r.Fatal(err)
		}
		defer conn.Close()
		if len(c.info.Tables) != len(live.Schema().Tables) {
			r.Fatalf("the image has tables %v, the view %d", c.info.Tables, len(live.Schema().Tables))
		}
		for i, table := range live.Schema().Tables {
			count, want := reference(r, conn, live, table)
			if got := c.info.Tables[i]; got.Name != table.String() || got.Rows != int64(count) {
				r.Fatalf("the image counts %v, SQLite %d rows of %s", got, count, table)
			}
			text := readAll(t, live, table)
			if other := readAll(t, stored, stored.Schema().Tables[i]); other != text {
				r.Fatalf("rows of %s differ, live and stored", table)
			}
			for line := range strings.Lines(text) {
				want[strings.TrimSuffix(line, "\n")]--
			}
			for line, left := range want {
				if left != 0 {
					r.Fatalf("%s: row %q is there %d times too few", table, line, left)
				}
			}
		}
	})
}

// TestSecondImage differs from the first only where the database was touched.
func TestSecondImage(t *testing.T) {
	for _, journal := range []string{"WAL", "DELETE"} {
		path := filepath.Join(t.TempDir(), "x.db")
		bank(t, path, journal, 20<<20)
		first := copyImage(t, path, unit)
		keep := start(t, "exec", path, "UPDATE account SET balance=1 WHERE id=1000", "UPDATE bulk SET data=zeroblob(8000) WHERE id=500")
		second := copyImage(t, path, unit)
		keep.stop()
		if len(first.data) != len(second.data) {
			t.Fatalf("%s: %d and %d bytes", journal, len(first.data), len(second.data))
		}
		changed := 0
		for off := 0; off < len(first.data); off += unit {
			end := min(off+unit, len(first.data))
			if !bytes.Equal(first.data[off:end], second.data[off:end]) {
				changed++
			}
		}
		if changed < 2 || changed > 4 { // two rows, and page 1 with its change counter
			t.Errorf("%s: %d of %d extents changed", journal, changed, len(first.data)/unit)
		}
	}
}
