package mysql

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestParts(t *testing.T) { eachFlavour(t, testParts) }

func testParts(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	for name, sql := range map[string]string{
		"ints":     "(id int PRIMARY KEY, x char(100)) AS SELECT seq AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"negative": "(id bigint PRIMARY KEY, x char(100)) AS SELECT (cast(seq AS signed) - 10000) * 900000000000000 AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"unsign":   "(id bigint unsigned PRIMARY KEY, x char(100)) AS SELECT 18446744073709551615 - cast(seq * seq AS unsigned) AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"skewed":   "(id int PRIMARY KEY, x char(100)) AS SELECT if(seq < 19000, seq, seq * 100000) AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"tenants":  "(a int, b int, x char(100), PRIMARY KEY (a, b)) AS SELECT if(seq < 15000, 7, seq % 3) AS a, seq AS b, repeat('x', 100) AS x FROM seq_1_to_20000",
		"hashes":   "(id char(32) PRIMARY KEY, x char(100)) AS SELECT left(sha2(seq, 224), 32) AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"names":    "(id varchar(60) COLLATE utf8mb4_unicode_ci PRIMARY KEY, x char(100)) AS SELECT concat('order-', lpad(seq, 8, '0')) AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"binary_":  "(id binary(16) PRIMARY KEY, x char(100)) AS SELECT unhex(left(sha2(seq, 224), 32)) AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"uuids":    "(id uuid PRIMARY KEY, x char(100)) AS SELECT concat_ws('-', left(left(sha2(seq, 224), 32), 8), left(sha2(seq + 1, 224), 4), concat('4', left(sha2(seq + 2, 224), 3)), concat('a', left(sha2(seq + 3, 224), 3)), left(sha2(seq + 4, 224), 12)) AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"sevens":   "(id uuid PRIMARY KEY, x char(100)) AS SELECT concat_ws('-', lpad(hex(26000000 + seq DIV 10), 8, '0'), lpad(hex(seq % 10 * 1000), 4, '0'), '7abc', concat('a', left(sha2(seq + 3, 224), 3)), left(sha2(seq + 4, 224), 12)) AS id, repeat('x', 100) AS x FROM seq_1_to_20000",
		"mixed":    "(a varchar(20), b date, x char(100), PRIMARY KEY (a, b)) AS SELECT concat('k', seq % 50) AS a, date '2000-01-01' + INTERVAL seq DAY AS b, repeat('x', 100) AS x FROM seq_1_to_20000",
	} {
		if strings.Contains(sql, " uuid ") && !isMaria(m) {
			continue
		}
		m.SQL(t, db, fit(m, "CREATE TABLE "+name+" "+sql+"; ANALYZE TABLE "+name))
	}
	whole := open(t, db, Options{})
	v := open(t, db, Options{PartBytes: 256 << 10})
	one, err := rows.Measure(t.Context(), whole, rows.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	many, err := rows.Measure(t.Context(), v, rows.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one.Tables(), many.Tables()); diff != "" {
		t.Errorf("all rows are there once: %s", diff)
	}
	sizes := map[string][]int64{}
	for _, p := range many.Parts {
		sizes[p.Part.Table.Name] = append(sizes[p.Part.Table.Name], p.Rows)
	}
	for _, table := range v.Schema().Tables {
		t.Run(strings.ToLower(table.Name)+"_has_parts_of_about_one_size", func(t *testing.T) {
			n := sizes[table.Name]
			if len(n) < 5 || len(n) > 40 {
				t.Errorf("%d parts: %v", len(n), n)
			}
			for _, k := range n {
				if k > 8000 {
					t.Errorf("a part has %d rows: %v", k, n)
				}
			}
			t.Log(fmt.Sprint(n))
		})
	}
}
