package mysql

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/rows/rowstest"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// open opens a view that ends with the test.
func open(t *testing.T, url string, opt Options) *View {
	t.Helper()
	v, err := Open(t.Context(), url, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// text reads all rows of a table.
func text(t *testing.T, v *View, table string) string {
	t.Helper()
	var all []byte
	for _, p := range v.Parts(v.Schema().Table(table)) {
		r, err := v.Read(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		all = append(all, data...)
	}
	return string(all)
}

func TestView(t *testing.T) { eachFlavour(t, testView) }

func testView(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, `CREATE TABLE a (id int PRIMARY KEY AUTO_INCREMENT, name varchar(30), price decimal(10,2), at timestamp(6) NULL, raw blob, f float, d double, b bit(10), ok tinyint(1));
		SET time_zone='+02:00';
		INSERT INTO a (name, price, at, raw, f, d, b, ok) VALUES ('x\ty\\z\n', 1.50, '2024-05-06 07:08:09.5', x'00ff5c', 0.1, 0.1, b'1000000001', 1), (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
		CREATE TABLE nothing (id int);`)
	v := open(t, db, Options{})
	if o := v.Schema().Origin; o.Engine != "mysql" || strings.Contains(o.Version, "MariaDB") != isMaria(m) || !strings.Contains(o.Position, "binlog.") || isMaria(m) && !strings.Contains(o.Position, "gtid") {
		t.Errorf("origin: %+v", o)
	}
	t.Run("gives_row_text", func(t *testing.T) {
		want := "1\tx\\ty\\\\z\\n\t1.50\t2024-05-06 05:08:09.500000\t\\\\x00ff5c\t0.1\t0.1\t513\t1\n" + "2\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n"
		if got := text(t, v, "a"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("keeps_the_contract", func(t *testing.T) { rowstest.View(t, v) })
	t.Run("reads_in_the_order_of_the_collation", func(t *testing.T) {
		db := m.CreateDatabase(t)
		m.SQL(t, db, "CREATE TABLE s (id int PRIMARY KEY, n varchar(10), up varchar(10) AS (upper(n)) VIRTUAL); INSERT INTO s (id, n) VALUES (1, 'b'), (2, NULL), (3, 'B'), (4, 'ä'), (5, 'a')")
		v := open(t, db, Options{})
		r, err := v.ReadSorted(t.Context(), v.Schema().Table("s"), []string{"up", "id"}, []string{"n", "-id"})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if want := "\\N\t2\nA\t5\nÄ\t4\nB\t3\nB\t1\n"; err != nil || string(got) != want {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := v.ReadSorted(t.Context(), v.Schema().Table("s"), []string{"id"}, []string{"nix"}); fail.KindOf(err) != fail.NotFound {
			t.Errorf("got %v", err)
		}
	})
	t.Run("describes_columns_in_words_of_all_engines", func(t *testing.T) {
		without := func(s, uuid string) string {
			if isMaria(m) {
				return s
			}
			return strings.ReplaceAll(s, uuid, "")
		}
		db := m.CreateDatabase(t)
		m.SQL(t, db, without(`CREATE TABLE d (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, ok tinyint(1) DEFAULT 1, i int unsigned NOT NULL DEFAULT 7, p decimal(8,3) DEFAULT 1.500, t varchar(9) DEFAULT 'it''s \\' COMMENT 'c', n text,
			e enum('a','b''c') DEFAULT 'a', j json, u uuid, at datetime(6) DEFAULT current_timestamp(6), ts timestamp NULL, y year, b bit(3) DEFAULT b'101', raw varbinary(5) DEFAULT 'x', g int AS (i + 1) VIRTUAL, UNIQUE (t), KEY two (i, p), KEY pre (n(5)))`, " u uuid,"))
		got := open(t, db, Options{}).Schema().Tables[0]
		var b strings.Builder
		for _, c := range got.Columns {
			literal := "-"
			if c.Literal != nil {
				literal = *c.Literal
			}
			fmt.Fprintf(&b, "%s %s %d %d %t %s %t %s %q %s\n", c.Name, c.Type, c.Size, c.Scale, c.NotNull, c.Identity, c.Generated, literal, c.Values, c.Comment)
		}
		want := "id int 65 0 true default false - [] \nok bool 0 0 false  false 1 [] \ni int 33 0 true  false 7 [] \np decimal 8 3 false  false 1.500 [] \nt text 9 0 false  false it's \\ [] c\nn text 0 0 false  false - [] \n" +
			"e enum 0 0 false  false a [\"a\" \"b'c\"] \nj json 0 0 false  false - [] \nu uuid 0 0 false  false - [] \nat timestamp 0 0 false  false - [] \nts timestamptz 0 0 false  false - [] \ny int 16 0 false  false - [] \n" +
			"b int 4 0 false  false 5 [] \nraw bytes 0 0 false  false \\x78 [] \ng int 32 0 false  true - [] \n"
		if diff := cmp.Diff(without(want, "u uuid 0 0 false  false - [] \n"), b.String()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([][]string{{"t"}}, got.Unique); diff != "" || len(got.Indexes) != 3 || got.Indexes[0].Columns != nil || len(got.Indexes[2].Columns) != 2 {
			t.Errorf("%s %+v", diff, got.Indexes)
		}
	})
	t.Run("trusts_no_bounds", func(t *testing.T) {
		for _, bounds := range []string{"x", `{"from":["1 OR 1=1"]}`, `{"to":["1","2","3"]}`} {
			table := &rows.Table{Name: "x", PrimaryKey: []string{"id"}, Columns: []rows.Column{{Name: "id", Native: "int(11)"}}}
			if where, err := condition(rows.Part{Table: table, Bounds: bounds}); err == nil {
				t.Errorf("%s gives %s", bounds, where)
			}
		}
	})
}

// A view that draws from a sequence can't be shown in a transaction that only reads, and names its own database there.
func TestViewOverSequence(t *testing.T) {
	m := servers.MariaDB(t)
	from, into := m.CreateDatabase(t), m.CreateDatabase(t)
	m.SQL(t, from, "CREATE SEQUENCE s; CREATE VIEW v AS SELECT nextval(s) AS n; CREATE VIEW w AS SELECT n + 1 AS n FROM v")
	restore(t, open(t, from, Options{}), into, TargetOptions{})
	name, _, err := DatabaseName(into)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.SQL(t, into, "SELECT view_definition FROM information_schema.views WHERE table_schema = database() AND table_name = 'v'"), "select nextval(`"+name+"`.`s`) AS `n`"; got != want {
		t.Errorf("the view is %s, want %s", got, want)
	}
}
