package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// modelTypes are types and values of theirs, as row text.
var modelTypes = map[string][]string{
	"int": {`\N`, "1", "-2"}, "text": {`\N`, "", "a", `a\tb`, "ä'\""}, "numeric": {`\N`, "1", "1.0", "NaN"}, "json": {`\N`, "{}", "{ }"},
	"point": {`\N`, "(0,0)", "(-0,0)"}, "float8": {`\N`, "0", "-0", "0.1"}, "bytea": {`\N`, `\\x00`, `\\x`}, "xml": {`\N`, "<a/>"}, "int[]": {`\N`, "{}", "{1,NULL}"},
	"interval": {`\N`, "1 day", "24:00:00"}, "char(3)": {`\N`, "a  "}, "boolean": {`\N`, "t", "f"},
}

// modelTable is a table with columns id, ref and some others, and its rows by id.
type modelTable struct {
	name, to string // ref names a row of to
	types    []string
	unique   bool // of the first other column
	acts     bool // deleting a row does something to those that name it
	key      string
	rows     map[string][]string
}

func drawTable(t *rapid.T, name string) *modelTable {
	names := slices.Sorted(maps.Keys(modelTypes))
	m := &modelTable{name: name, to: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "to"), rows: map[string][]string{}}
	m.types = rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "types")
	m.unique = len(m.types) > 0 && m.types[0] == "text" && rapid.Bool().Draw(t, "unique")
	action := rapid.SampledFrom([]string{"", "", "ON DELETE CASCADE", "ON DELETE RESTRICT", "ON DELETE SET NULL"}).Draw(t, "action")
	m.acts = action != ""
	m.key = fmt.Sprintf("ALTER TABLE public.%s ADD FOREIGN KEY (ref) REFERENCES public.%s %s %s;", name, m.to, action,
		rapid.SampledFrom([]string{"", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"}).Draw(t, "deferrable"))
	return m
}

func (m *modelTable) ddl() string {
	s := "CREATE TABLE public." + m.name + " (id int PRIMARY KEY, ref int"
	for i, typ := range m.types {
		s += fmt.Sprintf(", c%d %s", i, typ)
	}
	if m.unique {
		s += ", UNIQUE (c0)"
	}
	return s + ");"
}

func (m *modelTable) columns() []string {
	names := []string{"id", "ref"}
	for i := range m.types {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	return names
}

func (m *modelTable) drawRows(t *rapid.T) (list [][]string) {
	id := rapid.SampledFrom([]string{"1", "2", "3", "4"})
	distinct := rapid.IntRange(0, 9).Draw(t, "distinct") > 0
	seen := map[string]bool{}
	for range rapid.IntRange(0, 5).Draw(t, "rows") {
		row := []string{id.Draw(t, "id"), rapid.SampledFrom([]string{`\N`, `\N`, "1", "2", "3"}).Draw(t, "ref")}
		for i, typ := range m.types {
			if i == 0 && m.unique {
				row = append(row, rapid.SampledFrom([]string{`\N`, "x", "y", "z"}).Draw(t, "unique"))
				continue
			}
			row = append(row, rapid.SampledFrom(modelTypes[typ]).Draw(t, typ))
		}
		if !distinct || !seen[row[0]] {
			list = append(list, row)
		}
		seen[row[0]] = true
	}
	return list
}

// apply is the naive merge. It reports false when two rows have one key.
func (m *modelTable) apply(loaded [][]string, replace bool) (done rows.Merged, ok bool) {
	if replace {
		done.Deleted = int64(len(m.rows))
		m.rows = map[string][]string{}
	}
	seen := map[string]bool{}
	for _, row := range loaded {
		old, there := m.rows[row[0]]
		switch {
		case seen[row[0]]:
			return done, false
		case !there:
			done.Inserted++
		case slices.Equal(old, row):
			done.Same++
		default:
			done.Changed++
		}
		seen[row[0]] = true
		m.rows[row[0]] = row
	}
	return done, true
}

func sound(tables map[string]*modelTable) bool {
	for _, m := range tables {
		taken := map[string]bool{}
		for _, row := range m.rows {
			if row[1] != `\N` && tables[m.to].rows[row[1]] == nil {
				return false
			}
			if m.unique && row[2] != `\N` {
				if taken[row[2]] {
					return false
				}
				taken[row[2]] = true
			}
		}
	}
	return true
}

func (m *modelTable) lines() (list []string) {
	for _, row := range m.rows {
		list = append(list, strings.Join(row, "\t"))
	}
	slices.Sort(list)
	return list
}

// TestMerger_Model compares with a naive model: tables of random types that reference each other in any way.
func TestMerger_Model(t *testing.T) {
	urls := map[string]string{}
	conns := map[string]*pgx.Conn{}
	for _, major := range servers.PostgresVersions() {
		pg := servers.Postgres(t, major)
		urls[major] = pg.CreateDatabase(t)
		cfg, err := parseURL(urls[major])
		if err != nil {
			t.Fatal(err)
		}
		if conns[major], err = connect(t.Context(), cfg, "test"); err != nil {
			t.Fatal(err)
		}
		defer conns[major].Close(context.Background())
	}
	good, bad := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		major := rapid.SampledFrom(servers.PostgresVersions()).Draw(rt, "server")
		if modelRun(rt, conns[major], urls[major]) {
			good++
		} else {
			bad++
		}
	})
	if good < 10 || bad < 10 {
		t.Errorf("%d merges went well and %d did not: the test shows too little", good, bad)
	}
}

func modelRun(t *rapid.T, conn *pgx.Conn, url string) bool {
	ctx := context.Background()
	tables := map[string]*modelTable{"p": drawTable(t, "p"), "q": drawTable(t, "q")}
	p, q := tables["p"], tables["q"]
	if p.acts || q.acts { // then rows that trade unique values can't leave the table for a while
		p.unique, q.unique = false, false
	}
	exec := func(sql string) {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec("DROP TABLE IF EXISTS public.p, public.q CASCADE;" + p.ddl() + q.ddl())
	for _, m := range []*modelTable{p, q} {
		before := m.drawRows(t)
		if _, ok := m.apply(before, false); !ok || !sound(tables) {
			m.rows = map[string][]string{}
		}
	}
	for _, m := range []*modelTable{p, q} {
		if _, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(textOf(slices.Collect(maps.Values(m.rows)))), "COPY public."+m.name+" FROM STDIN"); err != nil {
			t.Fatal(err)
		}
	}
	exec(p.key + q.key)
	old := map[string][]string{"p": p.lines(), "q": q.lines()}

	schema := &rows.Schema{}
	var loads []loading
	var want []rows.Merged
	ok := true
	for _, name := range rapid.SampledFrom([][]string{{"p"}, {"q"}, {"p", "q"}, {"q", "p"}}).Draw(t, "plan") {
		m := tables[name]
		schema.Tables = append(schema.Tables, &rows.Table{Schema: "public", Name: name})
		l := loading{table: "public." + name, columns: strings.Join(m.columns(), " "), key: "id", replace: rapid.Bool().Draw(t, "replace")}
		list := m.drawRows(t)
		l.text = textOf(list)
		done, fine := m.apply(list, l.replace)
		want, loads, ok = append(want, done), append(loads, l), ok && fine
	}
	ok = ok && sound(tables)
	got, err := merge(ctx, schema, url, false, loads...)
	if (err == nil) != ok {
		t.Fatalf("got error %v, want that it works: %t", err, ok)
	}
	for name, m := range tables {
		end := old[name]
		if ok {
			end = m.lines()
		}
		var b strings.Builder
		if _, cerr := conn.PgConn().CopyTo(ctx, &b, "COPY public."+name+" TO STDOUT"); cerr != nil {
			t.Fatal(cerr)
		}
		rest := lines([]byte(b.String()))
		slices.Sort(rest)
		if diff := cmp.Diff(end, rest); diff != "" {
			t.Fatalf("rows of %s differ (-want +got), after %v:\n%s", name, err, diff)
		}
	}
	if diff := cmp.Diff(want, got, ignoreMerge); ok && diff != "" {
		t.Fatalf("counts differ (-want +got):\n%s", diff)
	}
	return ok
}

func textOf(list [][]string) (text string) {
	for _, row := range list {
		text += strings.Join(row, "\t") + "\n"
	}
	return text
}
