package wire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A randomColumn has a type that all engines know, and makes literals of it.
type randomColumn struct {
	name, typ string
	value     func(r *rand.Rand, engine string) string
	equal     func(name, value, engine string) string // a condition; nil: =
}

func randomText(r *rand.Rand, most int) string {
	alphabet := []rune("abcXYZ019 \t\n\\'\"%_éß漢😀\u2028\x01")
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteRune(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func randomColumns(r *rand.Rand) (list []randomColumn) {
	kinds := []randomColumn{
		{typ: "smallint", value: func(r *rand.Rand, _ string) string { return fmt.Sprint(r.IntN(1<<16) - 1<<15) }},
		{typ: "integer", value: func(r *rand.Rand, _ string) string { return fmt.Sprint(int32(r.Uint32())) }},
		{typ: "bigint", value: func(r *rand.Rand, _ string) string { return fmt.Sprint(int64(r.Uint64()>>1) - 1<<62) }},
		{typ: "F64", value: func(r *rand.Rand, _ string) string { return fmt.Sprint(r.NormFloat64()) }},
		{typ: "DEC(15,4)", value: func(r *rand.Rand, _ string) string { return fmt.Sprintf("%d.%04d", r.IntN(2e9)-1e9, r.IntN(1e4)) }},
		{typ: "varchar(12)", value: func(r *rand.Rand, e string) string { return textSQL(e, randomText(r, 12)) }},
		{typ: "LONG", value: func(r *rand.Rand, e string) string { return textSQL(e, randomText(r, 300)) }},
		{typ: "BIN", value: func(r *rand.Rand, e string) string {
			b := make([]byte, r.IntN(50))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			return bytesSQL(e, b)
		}},
		{typ: "date", value: func(r *rand.Rand, _ string) string {
			return fmt.Sprintf("'%04d-%02d-%02d'", 1000+r.IntN(9000), 1+r.IntN(12), 1+r.IntN(28))
		}},
		{typ: "STAMP", value: func(r *rand.Rand, _ string) string {
			return fmt.Sprintf("'%04d-%02d-%02d %02d:%02d:%02d.%06d'", 1000+r.IntN(9000), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), 1+10*r.IntN(1e5))
		}},
		{typ: "BOOL", value: func(r *rand.Rand, _ string) string { return []string{"TRUE", "FALSE"}[r.IntN(2)] }},
		{typ: "TIME6", value: func(r *rand.Rand, _ string) string {
			return fmt.Sprintf("'%02d:%02d:%02d.%06d'", r.IntN(24), r.IntN(60), r.IntN(60), 1+10*r.IntN(1e5))
		}},
		{typ: "F32", value: func(r *rand.Rand, _ string) string { return fmt.Sprint(float64(r.IntN(1<<12)) / 16) }},
		{typ: "U64", value: func(r *rand.Rand, _ string) string { return fmt.Sprint(r.Uint64() >> 12) }},
		{typ: "UUID", equal: sameUUID, value: func(r *rand.Rand, _ string) string {
			return fmt.Sprintf("'%08x-%04x-4%03x-a%03x-%012x'", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16)
		}},
		{typ: "JSON", equal: sameDocument, value: func(r *rand.Rand, e string) string {
			return textSQL(e, fmt.Sprintf(`{"a": [%d, null, "é%d\\n"], "b": %v}`, r.IntN(1000), r.IntN(10), r.IntN(2) == 0))
		}},
		{typ: "DEC(30,10)", value: func(r *rand.Rand, _ string) string { return fmt.Sprintf("%d.%04d", r.IntN(2e9)-1e9, r.IntN(1e4)) }},
		{typ: "tiny", value: func(r *rand.Rand, _ string) string { return fmt.Sprint(r.IntN(256) - 128) }},
	}
	for i := range 1 + r.IntN(8) {
		c := kinds[r.IntN(len(kinds))]
		c.name = fmt.Sprintf("c%d", i)
		if r.IntN(4) == 0 {
			c.name = fmt.Sprintf("Odd é %d", i)
		}
		list = append(list, c)
	}
	return list
}

// sameUUID forgives the hyphens, which SQLite's texts lack.
func sameUUID(name, value, engine string) string {
	if engine == Postgres {
		name += "::text"
	}
	return "replace(" + name + ", '-', '') = replace(" + value + ", '-', '')"
}

// sameDocument looks into JSON, whose spaces are not kept everywhere.
func sameDocument(name, value, engine string) string {
	if engine == Postgres {
		return name + "::jsonb = " + value + "::jsonb"
	}
	space := func(s string) string { return "replace(" + s + ", ' ', '')" }
	return space(name) + " = " + space(value)
}

func quoted(engine, name string) string {
	if engine == MySQL {
		return "`" + strings.ReplaceAll(name, "`", "``") + "`"
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// A randomTable is a table of a random schema.
type randomTable struct {
	name    string
	key     int // see keyOf
	columns []randomColumn
	up      *randomTable // that it refers to; may be itself
	rows    int
}

// Keys of random tables.
const (
	numberKey = iota
	textKey
	pairKey // of number and text
	noKey
	keys
)

// keyOf returns the key column's value in row n, as SQL.
func (t *randomTable) keyOf(n int) string {
	if t.key == textKey {
		return fmt.Sprintf("'Key %d é'", n)
	}
	return fmt.Sprint(n)
}

func randomTables(r *rand.Rand) (list []*randomTable) {
	odd := []string{"t%d", "Odd Täble %d", "select%d", "Order %d", "a.b%d", "quote\"%d", "t-%d ö", strings.Repeat("long_", 11) + "%d"}
	for i := range 1 + r.IntN(5) {
		t := &randomTable{name: fmt.Sprintf(odd[r.IntN(len(odd))], i), key: r.IntN(keys), columns: randomColumns(r), rows: r.IntN(20)}
		list = append(list, t)
		for _, up := range list {
			if up.key <= textKey && up.rows > 0 && r.IntN(2) == 0 {
				t.up = up
			}
		}
	}
	return list
}

// create returns the definition of a table in an engine's SQL.
func (t *randomTable) create(engine string, n int) string {
	var b strings.Builder
	pk := words[engine].Replace("bigint")
	if t.key == textKey {
		pk = "varchar(20)"
	}
	fmt.Fprintf(&b, "CREATE TABLE %s (pk %s NOT NULL, no integer NOT NULL DEFAULT 7, said varchar(30) NOT NULL DEFAULT 'it''s é \"x\"', part varchar(10) NOT NULL", quoted(engine, t.name), pk)
	for _, c := range t.columns {
		fmt.Fprintf(&b, ", %s %s", quoted(engine, c.name), words[engine].Replace(c.typ))
	}
	if t.up != nil {
		up := "bigint"
		if t.up.key == textKey {
			up = "varchar(20)"
		}
		fmt.Fprintf(&b, ", up %s, FOREIGN KEY (up) REFERENCES %s (pk) ON DELETE CASCADE", up, quoted(engine, t.up.name))
	}
	fmt.Fprintf(&b, ", UNIQUE (no, pk)%s);\n", []string{", PRIMARY KEY (pk)", ", PRIMARY KEY (pk)", ", PRIMARY KEY (pk, part)", ""}[t.key])
	index := fmt.Sprintf("ix %d", n)
	if engine == MySQL {
		index = "ix" // which elsewhere only one table can have
	}
	fmt.Fprintf(&b, "CREATE INDEX %s ON %s (part, no);\n", quoted(engine, index), quoted(engine, t.name))
	return b.String()
}

// fill returns the rows in SQL of the first engine, and queries that find them in SQL of the last one.
func (t *randomTable) fill(r *rand.Rand, first, last string, insert, find *strings.Builder) {
	for n := range t.rows {
		part := fmt.Sprintf("'p%d'", n%3)
		fmt.Fprintf(insert, "INSERT INTO %s VALUES (%s, %d, 'x', %s", quoted(first, t.name), t.keyOf(n), n*7, part)
		fmt.Fprintf(find, "SELECT CASE WHEN count(*) = 1 THEN 'found' ELSE '%s_%d' END FROM %s WHERE pk = %s AND no = %d AND part = %s", strings.ReplaceAll(t.name, " ", "_"), n, quoted(last, t.name), t.keyOf(n), n*7, part)
		for _, c := range t.columns {
			if r.IntN(5) == 0 {
				insert.WriteString(", NULL")
				fmt.Fprintf(find, " AND %s IS NULL", quoted(last, c.name))
				continue
			}
			state := r.Uint64()
			insert.WriteString(", " + c.value(rand.New(rand.NewPCG(state, 1)), first))
			fmt.Fprintf(find, " AND %s", c.is(quoted(last, c.name), c.value(rand.New(rand.NewPCG(state, 1)), last), last))
		}
		if t.up != nil {
			up := t.up.keyOf(r.IntN(t.up.rows))
			if t.up == t {
				up = t.keyOf(r.IntN(n + 1))
			}
			insert.WriteString(", " + up)
			fmt.Fprintf(find, " AND up = %s", up)
		}
		insert.WriteString(");\n")
		find.WriteString(";\n")
	}
}

// is compares a column with a value.
func (c *randomColumn) is(name, value, engine string) string {
	if c.equal != nil {
		return c.equal(name, value, engine)
	}
	return name + " = " + value
}

// randomCopies is how many random schemas are copied.
func randomCopies() int {
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_RANDOM_COPIES")); err == nil {
		return n
	}
	return 4
}

// Random tables go through all engines, and every row is found at the end, with its keys.
func TestCopy_Random(t *testing.T) {
	for n := range randomCopies() {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		way := r.Perm(3)
		t.Run(fmt.Sprintf("%d", n), func(t *testing.T) {
			t.Logf("seed %d", seed)
			var places []place
			for _, i := range way {
				places = append(places, newPlace(t, engines()[i]))
			}
			first, last := places[0].engine, places[2].engine
			var create, insert, find strings.Builder
			for i, table := range randomTables(r) {
				create.WriteString(table.create(first, i))
				table.fill(r, first, last, &insert, &find)
			}
			head := map[string]string{MySQL: "SET NAMES utf8mb4;"}
			places[0].sql(t, head[first]+create.String()+insert.String())
			for i := range 2 {
				done := mustCopy(t, places[i], places[i+1], CopyOptions{})
				for _, what := range done.Omitted {
					if !strings.HasPrefix(what, "type ") {
						t.Errorf("from %s to %s is left behind: %s", places[i].engine, places[i+1].engine, what)
					}
				}
			}
			for _, line := range strings.Fields(places[2].sql(t, head[last]+find.String())) {
				if line != "found" {
					t.Errorf("from %s over %s to %s a row is lost or changed: %s", first, places[1].engine, last, line)
				}
			}
		})
	}
}

// What differs in the target is found, in number and in value.
func TestCopy_Compares(t *testing.T) {
	for name, sql := range map[string]string{
		"a_changed_value": "UPDATE a SET v = 'X' WHERE id = 2", "a_lost_row": "DELETE FROM a WHERE id = 2", "a_row_more": "INSERT INTO a VALUES (3, 'x')",
		"nothing": "SELECT 1",
	} {
		t.Run(name, func(t *testing.T) {
			source, target := newPlace(t, SQLite), newPlace(t, Postgres)
			source.sql(t, "CREATE TABLE a (id integer PRIMARY KEY, v text); INSERT INTO a VALUES (1, NULL), (2, 'x');")
			view, err := View(t.Context(), source.url)
			if err != nil {
				t.Fatal(err)
			}
			defer view.Close()
			c, err := newCrossing(target.url, SQLite, TargetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			open := c.open
			c.open = func(ctx context.Context) (rows.View, error) {
				target.sql(t, sql)
				return open(ctx)
			}
			_, err = rows.Copy(t.Context(), typed(view), c, rows.CopyOptions{})
			if want := name != "nothing"; (fail.KindOf(err) == fail.Mismatch) != want || !want && err != nil {
				t.Errorf("after %q: %v", sql, err)
			}
		})
	}
}
