package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// everything is a schema that has one of each.
var everything = []string{
	`CREATE TABLE "Odd ""Name"(rowid TEXT, oid INT, x)`,
	`CREATE TABLE parent(a INT, b TEXT COLLATE NOCASE, PRIMARY KEY(b DESC, a)) WITHOUT ROWID`,
	`CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, pa INT, pb TEXT, up REFERENCES child, price DECIMAL(10,2) DEFAULT 1.5 NOT NULL,
		when_ DATETIME, ok BOOLEAN, r REAL, raw BLOB, any_, doubled INT AS (pa*2) STORED, low TEXT AS (lower(pb)),
		UNIQUE(pa, pb), FOREIGN KEY(pb, pa) REFERENCES parent(b, a) ON DELETE CASCADE) -- a comment`,
	`CREATE TABLE tight(i INTEGER, a ANY, t TEXT) STRICT`,
	`CREATE INDEX by_price ON child(price) WHERE price>1`,
	`CREATE UNIQUE INDEX by_low ON child(lower(pb))`,
	`CREATE VIEW v AS SELECT * FROM child`,
	`CREATE TRIGGER tr AFTER INSERT ON child BEGIN DELETE FROM tight WHERE i=new.id; END`,
	`INSERT INTO parent VALUES(2,'b'),(1,'B2'),(3,'a')`,
	`INSERT INTO child(id,pa,pb,up,price,when_,ok,r,raw,any_) VALUES
		(5,1,'B2',NULL,2,'2024-01-01',1,1,x'00ff','1'), (9,NULL,'tab	nl
back\ cr',5,1e100,0,0,0.1,x'',2.0)`,
	`INSERT INTO "Odd ""Name" VALUES('r',1,CAST(x'41ff42' AS TEXT)),('s',2,9e999),('t',3,-9e999)`,
}

// readAll reads all parts of a view's table.
func readAll(t testing.TB, v *View, table *rows.Table) string {
	t.Helper()
	var all bytes.Buffer
	for _, p := range v.Parts(table) {
		r, err := v.Read(t.Context(), p)
		must(t, err)
		_, err = io.Copy(&all, r)
		must(t, err)
		must(t, r.Close())
	}
	return all.String()
}

func TestViewRowText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, everything...)
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	for name, want := range map[string]string{
		"parent":       "1\tB2\n2\tb\n3\ta\n",
		"child":        "5\t1\tB2\t\\N\t2\t2024-01-01\t1\t1\t\\\\x00ff\t1\n9\t\\N\ttab\\tnl\\nback\\\\ cr\t5\t1e+100\t0\t0\t0.1\t\\\\x\t2.0\n",
		`"Odd ""Name"`: "r\t1\t\\\\x41ff42\ns\t2\tInfinity\nt\t3\t-Infinity\n",
		"tight":        "",
	} {
		table := v.Schema().Table(name)
		if table == nil {
			t.Fatalf("no table %s", name)
		}
		if diff := cmp.Diff(want, readAll(t, v, table)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if notes := v.Schema().Origin.Notes; len(notes) != 1 || !strings.Contains(notes[0], "not UTF-8") {
		t.Errorf("notes %q", notes)
	}
}

func TestAppendFloat(t *testing.T) {
	for _, tc := range []struct {
		f      float64
		real   string
		others string
	}{
		{1, "1", "1.0"}, {0.1, "0.1", "0.1"}, {1e15, "1e+15", "1e+15"}, {123456789012345, "123456789012345", "123456789012345.0"},
		{1e-5, "1e-05", "1e-05"}, {0.0001, "0.0001", "0.0001"}, {-2.5e300, "-2.5e+300", "-2.5e+300"}, {0, "0", "0.0"},
	} {
		if got := string(appendFloat([]byte("."), tc.f, true)[1:]); got != tc.real {
			t.Errorf("%v as a float: got %s, want %s", tc.f, got, tc.real)
		}
		if got := string(appendFloat([]byte("."), tc.f, false)[1:]); got != tc.others {
			t.Errorf("%v elsewhere: got %s, want %s", tc.f, got, tc.others)
		}
	}
}

func TestViewSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sqlite3")
	build(t, path, everything...)
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	s := v.Schema()
	if s.Origin.Engine != "sqlite" || s.Origin.Database != "shop" || s.Origin.Version == "" || s.Origin.Encoding != "UTF-8" {
		t.Errorf("origin %+v", s.Origin)
	}
	var names []string
	for _, table := range s.Tables {
		names = append(names, table.String())
	}
	if diff := cmp.Diff([]string{`"Odd ""Name"`, "parent", "child", "tight"}, names); diff != "" {
		t.Error(diff)
	}
	want := &rows.Table{
		Name: "child", Kind: rows.Ordinary, PrimaryKey: []string{"id"}, Unique: [][]string{{"pa", "pb"}},
		Columns: []rows.Column{
			{Name: "id", Type: rows.Int, Native: "INTEGER", Size: 64, NotNull: true, Identity: "default"},
			{Name: "pa", Type: rows.Int, Native: "INT", Size: 64},
			{Name: "pb", Type: rows.Text, Native: "TEXT"},
			{Name: "up", Type: rows.Any},
			{Name: "price", Type: rows.Decimal, Native: "DECIMAL(10,2)", Size: 10, Scale: 2, NotNull: true, Default: "1.5", Literal: ptr("1.5")},
			{Name: "when_", Type: rows.Timestamp, Native: "DATETIME"},
			{Name: "ok", Type: rows.Bool, Native: "BOOLEAN"},
			{Name: "r", Type: rows.Float, Native: "REAL", Size: 64},
			{Name: "raw", Type: rows.Bytes, Native: "BLOB"},
			{Name: "any_", Type: rows.Any},
			{Name: "doubled", Type: rows.Int, Native: "INT", Size: 64, Generated: true},
			{Name: "low", Type: rows.Text, Native: "TEXT", Generated: true},
		},
		Indexes: []rows.Index{
			{Name: "by_price", Definition: "CREATE INDEX by_price ON child(price) WHERE price>1"},
			{Name: "by_low", Unique: true, Definition: "CREATE UNIQUE INDEX by_low ON child(lower(pb))"},
		},
		ForeignKeys: []rows.ForeignKey{
			{Columns: []string{"up"}, Table: "child", References: []string{"id"}},
			{Columns: []string{"pb", "pa"}, Table: "parent", References: []string{"b", "a"}, OnDelete: "cascade"},
		},
		EstRows: 2, EstBytes: 4096,
	}
	if diff := cmp.Diff(want, s.Table("child")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]rows.Pair{{Name: "without_rowid", Value: "true"}, {Name: "collation", Value: "b (NOCASE)"}}, s.Table("parent").Native); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b", "a"}, s.Table("parent").PrimaryKey); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]rows.Pair{{Name: "strict", Value: "true"}}, s.Table("tight").Native); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]rows.Sequence{{Name: "child", Table: "child", Column: "id", Last: 9, Called: true}}, s.Sequences); diff != "" {
		t.Error(diff)
	}
}

// TestViewScript makes the definitions again from schema.sql.
func TestViewScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, append(everything, "PRAGMA user_version=7")...)
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	sql, err := fs.ReadFile(v.Native(), "schema.sql")
	must(t, err)
	again := filepath.Join(t.TempDir(), "again.db")
	build(t, again, string(sql))
	const all = "SELECT type||name||ifnull(sql,'') FROM sqlite_schema ORDER BY type, name"
	if diff := cmp.Diff(query(t, path, all), query(t, again, all)); diff != "" {
		t.Error(diff)
	}
	if got := query(t, again, "PRAGMA user_version"); got != "7" {
		t.Errorf("user_version %s", got)
	}
	entries, err := fs.ReadDir(v.Native(), ".")
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "schema.sql" {
		t.Errorf("the folder holds %v", entries)
	}
	if _, err := v.Native().Open("other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestViewParts cuts tables into small parts and finds every row once, in order, live and stored.
func TestViewParts(t *testing.T) {
	for _, journal := range []string{"WAL", "DELETE"} {
		path := filepath.Join(t.TempDir(), "x.db")
		build(t, path, "PRAGMA journal_mode="+journal,
			"CREATE TABLE big(a, b)", "CREATE INDEX covering ON big(b, a)",
			"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<60000) INSERT INTO big(rowid,a,b) SELECT x*3-70000, x, hex(randomblob(20)) FROM c",
			"CREATE TABLE own(k PRIMARY KEY, v) WITHOUT ROWID", "INSERT INTO own SELECT b, a FROM big",
			"CREATE TABLE hidden(rowid, oid, _rowid_)", "INSERT INTO hidden SELECT a, a, b FROM big")
		want := query(t, path, "SELECT a||char(9)||b FROM big NOT INDEXED ORDER BY rowid") + "\n"
		live, err := openView(t.Context(), path, 256<<10)
		must(t, err)
		defer live.Close()
		c := copyImage(t, path, unit)
		stored, err := openStored(t.Context(), "x", io.NewSectionReader(bytes.NewReader(c.data), 0, int64(len(c.data))), 256<<10)
		must(t, err)
		defer stored.Close()
		for _, v := range []*View{live, stored} {
			big := v.Schema().Table("big")
			if n := len(v.Parts(big)); n < 5 {
				t.Errorf("%s: %d parts", journal, n)
			}
			if big.EstRows < 40000 || big.EstRows > 90000 {
				t.Errorf("%s: about %d rows, there are 60000", journal, big.EstRows)
			}
			if got := readAll(t, v, big); got != want {
				t.Errorf("%s: rows are missing, doubled or not in order", journal)
			}
			for _, name := range []string{"own", "hidden"} {
				if got := strings.Count(readAll(t, v, v.Schema().Table(name)), "\n"); got != 60000 || len(v.Parts(v.Schema().Table(name))) != 1 {
					t.Errorf("%s: %d rows of %s", journal, got, name)
				}
			}
		}
		if diff := cmp.Diff(bounded(live), bounded(stored)); diff != "" {
			t.Errorf("parts differ: %s", diff)
		}
	}
}

func bounded(v *View) (all []string) {
	for _, table := range v.Schema().Tables {
		for _, p := range v.Parts(table) {
			all = append(all, fmt.Sprint(table, p.Number, p.Bounds, p.Bytes))
		}
	}
	return all
}

// TestViewIsFrozen reads with several readers while others write.
func TestViewIsFrozen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bank.db")
	bank(t, path, "WAL", 1<<20)
	w := start(t, "transfer", path)
	ck := start(t, "checkpoint", path)
	most := 0
	for range 20 {
		v, err := openView(t.Context(), path, 64<<10)
		must(t, err)
		most = max(most, len(v.conns))
		for _, c := range v.conns[1:] {
			a, err := one(v.conns[0].conn, "SELECT n FROM counter")
			must(t, err)
			b, err := one(c.conn, "SELECT n FROM counter")
			must(t, err)
			if a != b {
				t.Fatalf("two connections of one view see %s and %s transactions", a, b)
			}
		}
		sum := 0
		for line := range strings.Lines(readAll(t, v, v.Schema().Table("account"))) {
			var id, balance int
			if _, err := fmt.Sscan(line, &id, &balance); err != nil {
				t.Fatal(err)
			}
			sum += balance
		}
		if sum != 0 {
			t.Fatalf("balances add up to %d", sum)
		}
		must(t, v.Close())
	}
	if most != viewConns {
		t.Errorf("at most %d connections, want %d", most, viewConns)
	}
	if n, _ := w.stop(); n == 0 {
		t.Error("nothing was written")
	}
	ck.stop()
}

// TestViewManyReaders opens more readers than there are connections, and reads them in turns.
func TestViewManyReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "CREATE TABLE t(a)", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<90000) INSERT INTO t SELECT x FROM c")
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	want := readAll(t, v, v.Schema().Tables[0])
	readers, texts := make([]io.ReadCloser, 9), make([]bytes.Buffer, 9)
	for i := range readers {
		readers[i], err = v.Read(t.Context(), v.Parts(v.Schema().Tables[0])[0])
		must(t, err)
	}
	for turns := true; turns; {
		turns = false
		for i, r := range readers {
			n, _ := io.CopyN(&texts[i], r, 100000)
			turns = turns || n > 0
		}
	}
	for i, r := range readers {
		must(t, r.Close())
		if texts[i].String() != want {
			t.Errorf("reader %d got something else", i)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := v.Read(ctx, v.Parts(v.Schema().Tables[0])[0])
	must(t, err)
	cancel()
	_, err = io.Copy(io.Discard, r)
	wantKind(t, err, fail.Interrupted, "read t")
	must(t, r.Close())
	must(t, r.Close())
}

// TestViewVirtualTables meets a database whose modules are not here.
func TestViewVirtualTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "CREATE TABLE notes(a)", "CREATE TABLE ft_content(id INTEGER PRIMARY KEY, c0)", "CREATE TABLE ft_other(x)", "INSERT INTO ft_content VALUES(1,'hello')",
		"PRAGMA writable_schema=ON", "INSERT INTO sqlite_schema VALUES('table','ft','ft',0,'CREATE VIRTUAL TABLE ft USING fts5(''a'')')")
	c := copyImage(t, path, unit)
	if len(c.info.Tables) != 3 {
		t.Errorf("tables of the image: %v", c.info.Tables)
	}
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	ft := v.Schema().Table("ft")
	if ft == nil || ft.Kind != rows.Foreign || v.Parts(ft) != nil {
		t.Errorf("virtual table %+v", ft)
	}
	content := v.Schema().Table("ft_content")
	if diff := cmp.Diff([]rows.Pair{{Name: "shadow_of", Value: "ft"}}, content.Native); diff != "" {
		t.Error(diff)
	}
	if got := readAll(t, v, content); got != "1\thello\n" {
		t.Errorf("got %q", got)
	}
	if v.Schema().Table("ft_other").Native != nil {
		t.Error("ft_other is no shadow table")
	}
	_, err = restore(t.Context(), filepath.Join(t.TempDir(), "y.db"), c.data, TargetOptions{})
	must(t, err)
	sql, err := fs.ReadFile(v.Native(), "schema.sql")
	must(t, err)
	again := filepath.Join(t.TempDir(), "again.db")
	build(t, again, string(sql))
	if got := query(t, again, "SELECT count(*) FROM sqlite_schema"); got != "4" {
		t.Errorf("%s definitions, want 4", got)
	}
}

// TestStoredFailures passes the reader's own error on, and doesn't trust what it reads.
func TestStoredFailures(t *testing.T) {
	data := sample(t)
	gone := fail.New(fail.Damaged, "", "pack 1234 is missing")
	for n := 0; ; n++ {
		r := &failingReader{r: bytes.NewReader(data), left: n, err: gone}
		err := readStored(t, r, int64(len(data)))
		if err == nil {
			if n == 0 {
				t.Fatal("nothing was read")
			}
			break
		}
		wantKind(t, err, fail.Damaged, "pack 1234")
	}
	wantKind(t, readStored(t, strings.NewReader("no database at all"), 18), fail.Unsupported, "not an SQLite database")
	wantKind(t, readStored(t, bytes.NewReader(data[:len(data)/2]), int64(len(data))), fail.Unavailable, "unexpected EOF")
}

// failingReader fails after left reads.
type failingReader struct {
	r    io.ReaderAt
	left int
	err  error
}

func (r *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if r.left--; r.left < 0 {
		return 0, r.err
	}
	return r.r.ReadAt(p, off)
}

func readStored(t *testing.T, r io.ReaderAt, size int64) error {
	v, err := OpenStored(t.Context(), "x", r, size)
	if err != nil {
		return err
	}
	defer v.Close()
	for _, table := range v.Schema().Tables {
		for _, p := range v.Parts(table) {
			r, err := v.Read(t.Context(), p)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			if cerr := r.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// FuzzOpenStored opens what may be anything.
func FuzzOpenStored(f *testing.F) {
	path := filepath.Join(f.TempDir(), "x.db")
	build(f, path, append([]string{"PRAGMA page_size=512"}, everything...)...)
	data, err := os.ReadFile(path)
	must(f, err)
	f.Add(data, 0, byte(0))
	f.Add(data, 1000, byte(5))
	f.Add([]byte{}, 0, byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at int, c byte) {
		if len(data) > 0 {
			data[uint(at)%uint(len(data))] = c
		}
		_ = readStored(t, bytes.NewReader(data), int64(len(data)))
	})
}

func TestNames(t *testing.T) {
	for path, want := range map[string]string{"/a/shop.db": "shop", "shop.sqlite": "shop", "x/a.b.sqlite3": "a.b", "data": "data", ".db": ".db", "a.txt": "a.txt"} {
		if got := DatabaseName(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	path := filepath.Join(t.TempDir(), "x.db")
	_, err := IsDatabase(path)
	wantKind(t, err, fail.NotFound, path)
	build(t, path, "CREATE TABLE t(a)")
	if ok, err := IsDatabase(path); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
}
