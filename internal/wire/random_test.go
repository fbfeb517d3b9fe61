package wire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A randomColumn has a type that all engines know, and makes literals of it.
type randomColumn struct {
	name, typ string
	value     func(r *rand.Rand, engine string) string
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

func quoted(engine, name string) string {
	if engine == MySQL {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

// Random tables go through all engines, and every row is found at the end.
func TestCopy_Random(t *testing.T) {
	for n := range 4 {
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
			for i := range 1 + r.IntN(4) {
				table := []string{"t%d", "Odd Täble %d"}[r.IntN(2)]
				table = fmt.Sprintf(table, i)
				columns := randomColumns(r)
				fmt.Fprintf(&create, "CREATE TABLE %s (pk bigint NOT NULL PRIMARY KEY", quoted(first, table))
				for _, c := range columns {
					fmt.Fprintf(&create, ", %s %s", quoted(first, c.name), words[first].Replace(c.typ))
				}
				create.WriteString(");\n")
				for pk := range r.IntN(20) {
					fmt.Fprintf(&insert, "INSERT INTO %s VALUES (%d", quoted(first, table), pk)
					fmt.Fprintf(&find, "SELECT CASE WHEN count(*) = 1 THEN 'found' ELSE '%s %d' END FROM %s WHERE pk = %d", strings.ToUpper(table), pk, quoted(last, table), pk)
					for _, c := range columns {
						if r.IntN(5) == 0 {
							insert.WriteString(", NULL")
							fmt.Fprintf(&find, " AND %s IS NULL", quoted(last, c.name))
							continue
						}
						state := r.Uint64()
						insert.WriteString(", " + c.value(rand.New(rand.NewPCG(state, 1)), first))
						fmt.Fprintf(&find, " AND %s = %s", quoted(last, c.name), c.value(rand.New(rand.NewPCG(state, 1)), last))
					}
					insert.WriteString(");\n")
					find.WriteString(";\n")
				}
			}
			head := ""
			if first == MySQL {
				head = "SET NAMES utf8mb4;"
			}
			places[0].sql(t, head+create.String()+insert.String())
			mustCopy(t, places[0], places[1], CopyOptions{})
			mustCopy(t, places[1], places[2], CopyOptions{})
			if last == MySQL {
				head = "SET NAMES utf8mb4;"
			} else {
				head = ""
			}
			for _, line := range strings.Fields(places[2].sql(t, head+find.String())) {
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
			_, err = rows.Copy(t.Context(), view, c, rows.CopyOptions{})
			if want := name != "nothing"; (fail.KindOf(err) == fail.Mismatch) != want || !want && err != nil {
				t.Errorf("after %q: %v", sql, err)
			}
		})
	}
}
