package sqltext_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/sqltext"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// many is one of everything that an SQLite database may hold.
const many = `
PRAGMA user_version=7;
CREATE TABLE "order" (id INTEGER PRIMARY KEY AUTOINCREMENT, "Mixed ""Case" TEXT, r REAL, b BLOB, n NUMERIC, x, g AS (id * 2) STORED) -- a comment
;
INSERT INTO "order" ("Mixed ""Case", r, b, n, x) VALUES ('it''s', 0.1, x'00ff', 1, '1'), (NULL, -0.0, x'', 1.5, 1), ('a' || char(10) || 'b\n', 9e999, NULL, '007', 1.0),
	(char(13) || char(10) || '\r\n', -9e999, '\x41', 'text', x'31'), ('a' || char(0) || 'b', 1e300, 'text', 9223372036854775807, -9223372036854775808),
	('żółć 😀 ;', 123456789.123456789, NULL, 1e16, 5e-324), ('', 3.0, 'COMMIT;', 12345678901234567890, 1e15);
INSERT INTO "order" (id) VALUES (1000);
DELETE FROM "order" WHERE id = 1000;
CREATE TABLE keyed (a TEXT, b INT, PRIMARY KEY (b, a)) WITHOUT ROWID;
INSERT INTO keyed VALUES ('x', 2), ('y', 1);
CREATE TABLE strict (i INT, t ANY) STRICT;
INSERT INTO strict VALUES (1, '1'), (2, 1), (3, 1.0);
CREATE TABLE empty (a, b DEFAULT 'x;y');
CREATE VIRTUAL TABLE words USING fts5(body, tokenize = 'porter');
INSERT INTO words VALUES ('running away'), ('it''s "quoted"');
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
INSERT INTO boxes VALUES (1, 0.5, 2);
CREATE INDEX by_n ON "order" (n) WHERE n > 1;
CREATE VIEW seen AS SELECT id FROM "order";
CREATE TRIGGER t AFTER INSERT ON keyed WHEN new.b > 5 BEGIN DELETE FROM empty; SELECT CASE WHEN 1 THEN 2 END; INSERT INTO words VALUES (new.a); END;
CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES "order" (id));
INSERT INTO child VALUES (1, 1), (2, 999);
ANALYZE;
`

// dump is what sqlite3 says of a database, and its values with their types.
func dump(t *testing.T, program, path string) string {
	t.Helper()
	text := run(t, exec.Command(program, path, ".dump", "PRAGMA user_version", "PRAGMA integrity_check",
		`SELECT id, quote(r), quote(b), quote(x), typeof(n), typeof(x), hex("Mixed ""Case") FROM "order"`, "SELECT * FROM words WHERE words MATCH 'run'"), nil)
	return strings.ReplaceAll(text, "ANALYZE sqlite_schema;\n", "") // once for each table of statistics, of which each build has its own
}

func TestWrite_sqlite(t *testing.T) {
	program := servers.Program(t, "sqlite3")
	for _, encoding := range []string{"UTF-8", "UTF-16le"} {
		t.Run(encoding, func(t *testing.T) { testSQLite(t, program, encoding) })
	}
}

func testSQLite(t *testing.T, program, encoding string) {
	dir := t.TempDir()
	original := filepath.Join(dir, "a.db")
	run(t, exec.Command(program, original), []byte("PRAGMA encoding='"+encoding+"';\n"+many))
	want := dump(t, program, original)
	same := func(t *testing.T, path string) {
		t.Helper()
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(dump(t, program, path), "\n")); diff != "" {
			t.Errorf("dump differs (-original +restored):\n%s", diff)
		}
	}
	live, err := sqlite.OpenView(t.Context(), original)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	file, sum := write(t, live, sqltext.WriteOptions{})
	checkSummary(t, file, sum)

	t.Run("sqlite3_reads_it", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "b.db")
		run(t, exec.Command(program, "-bail", path), file)
		same(t, path)
	})
	t.Run("a_stored_image_gives_the_same", func(t *testing.T) {
		data, err := os.ReadFile(original)
		if err != nil {
			t.Fatal(err)
		}
		v, err := sqlite.OpenStored(t.Context(), "a.db", bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if again, _ := write(t, v, sqltext.WriteOptions{}); !bytes.Equal(file, again) {
			t.Error("the files differ")
		}
	})
	t.Run("we_load_it_and_what_sqlite3_writes", func(t *testing.T) {
		stock := []byte(run(t, exec.Command(program, original, ".dump"), nil))
		for name, script := range map[string][]byte{"ours": file, "stock": stock} {
			path := filepath.Join(t.TempDir(), name+".db")
			res, err := sqlite.ExecScript(t.Context(), path, bytes.NewReader(script), sqlite.ScriptOptions{})
			if err != nil {
				t.Fatal(name, err)
			}
			var n int64
			for _, table := range res.Tables {
				n += table.Rows
			}
			if n != sum.Rows || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "1 rows violate") {
				t.Errorf("%s: %d rows, notes %q; want %d rows", name, n, res.Notes, sum.Rows)
			}
			if name == "ours" {
				same(t, path)
			}
		}
	})
	t.Run("a_second_time_is_refused_and_changes_nothing", func(t *testing.T) {
		_, err := sqlite.ExecScript(t.Context(), original, bytes.NewReader(file), sqlite.ScriptOptions{})
		if fail.KindOf(err) != fail.Exists {
			t.Errorf("got %v", err)
		}
		same(t, original)
	})
}
