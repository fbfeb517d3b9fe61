package mysql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestTarget_Warnings(t *testing.T) { eachFlavour(t, testTarget_Warnings) }

// Rows that the server changes are an error, however many warnings it keeps, and whether it loads files or rows come as INSERTs.
func testTarget_Warnings(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, "CREATE TABLE t (id int PRIMARY KEY, v varchar(2), e enum('a','0'), l enum('ä','') CHARACTER SET latin1, o enum('ö') CHARACTER SET latin1)")
	schema := open(t, db, Options{DataOnly: true}).Schema()
	table := schema.Table("t")
	empty := ""
	for id := range 100 {
		empty += fmt.Sprintf("%d\tx\t\t\tö\n", id)
	}
	for _, tt := range []struct {
		name, text string
		keep       string // of max_error_count; "" is what sessions set
		row        int64  // that the error names
		wants      string // "" when all is well
	}{
		{"cut", "1\tabcde\ta\tä\tö\n", "", 1, "at row 1"},
		{"cut_and_no_warning_kept", "1\tabcde\ta\tä\tö\n", "0", 0, "1 warnings, of which the server shows only 0"},
		{"empty_values_of_enums", empty, "0", 0, ""},
		{"cut_behind_empty_values_of_enums", empty + "200\tabcde\ta\tä\tö\n", "", 101, "at row 101 (101 warnings in all)"},
		{"cut_behind_more_empty_values_than_are_kept", empty + "200\tabcde\ta\tä\tö\n", "64", 0, "101 warnings, of which the server shows only 64"},
		{"no_member_behind_empty_values", empty + "200\tx\tz\tä\tö\n", "", 0, "101 warnings where 100"},
		{"no_member_of_an_enum", "1\tx\ta\tä\tö\n2\tx\tz\tä\tö\n", "", 2, "at row 2"},
	} {
		for _, local := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s_local_infile_%t", tt.name, local), func(t *testing.T) {
				target, err := NewTarget(db, TargetOptions{DataOnly: true, Clean: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := target.Prepare(t.Context(), schema, nil); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := target.Abort(t.Context()); err != nil {
						t.Error(err)
					}
				}()
				target.local = local
				if tt.keep != "" {
					if err := target.main.exec(t.Context(), "SET SESSION max_error_count = "+tt.keep); err != nil {
						t.Fatal(err)
					}
				}
				_, err = target.Load(t.Context(), rows.Part{Table: table, Number: 1}, strings.NewReader(tt.text))
				switch {
				case tt.wants == "" && err == nil:
					got, err := target.main.one(t.Context(), "SELECT count(*) FROM t WHERE e + 0 = 0 AND l = ''")
					if err != nil || got[0].s != "100" {
						t.Errorf("%v rows have the empty value, %v", got, err)
					}
				case tt.wants == "" || fail.KindOf(err) != fail.Mismatch || !strings.Contains(err.Error(), tt.wants):
					t.Errorf("got %v", err)
				}
				var bad *rows.RowError
				if errors.As(err, &bad) != (tt.row > 0) || bad != nil && bad.Row != tt.row {
					t.Errorf("row %+v, want %d", bad, tt.row)
				}
			})
		}
	}
}

func TestTarget_SetsMaxErrorCount(t *testing.T) { eachFlavour(t, testTarget_SetsMaxErrorCount) }

// A server that keeps no warnings keeps those of sessions that load.
func testTarget_SetsMaxErrorCount(t *testing.T, m *servers.MySQLServer) {
	own := servers.OwnMySQL(t, m.Flavour, servers.MySQLOptions{Settings: []string{"local-infile=1"}})
	from, to := own.CreateDatabase(t), own.CreateDatabase(t)
	own.SQL(t, from, "CREATE TABLE t (id int PRIMARY KEY, v varchar(5)); INSERT INTO t VALUES (1, 'abcde')")
	own.SQL(t, to, "CREATE TABLE t (id int PRIMARY KEY, v varchar(2))")
	own.SQL(t, "", "SET GLOBAL max_error_count = 0")
	v := open(t, from, Options{DataOnly: true})
	u := own.User(t, "ALL PRIVILEGES ON "+name(t, to)+".*")
	for _, url := range []string{to, u.URL(to)} {
		if err := copyInto(t, v, url, TargetOptions{DataOnly: true}); fail.KindOf(err) != fail.Mismatch || !strings.Contains(err.Error(), "warnings") {
			t.Errorf("got %v", err)
		}
		if got := own.SQL(t, to, "SELECT count(*) FROM t"); got != "0" {
			t.Errorf("%s rows stay", got)
		}
	}
}

func TestInserter_Rows(t *testing.T) { eachFlavour(t, testInserter_Rows) }

// The row of an error is counted from the first one, not from that of the statement.
func testInserter_Rows(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, "CREATE TABLE t (id int PRIMARY KEY, n smallint, v varchar(2000))")
	schema := open(t, db, Options{DataOnly: true}).Schema()
	long := ""
	for id := range 1000 { // several statements
		long += fmt.Sprintf("%d\t1\t%s\n", id, strings.Repeat("x", 1500))
	}
	for _, tt := range []struct{ name, row string }{
		{"too_great", "5000\t99999\tx\n"}, {"no_number", "5000\tnone\tx\n"}, {"too_long", "5000\t1\t" + strings.Repeat("x", 2001) + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			merger, err := NewMerger(db, MergerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			plan := []*rows.Merge{{Table: schema.Table("t"), Columns: []string{"id", "n", "v"}, Key: []string{"id"}}}
			if err := merger.Begin(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := merger.Abort(t.Context()); err != nil {
					t.Error(err)
				}
			}()
			merger.local = false
			_, err = merger.Load(t.Context(), plan[0], strings.NewReader(long+tt.row))
			var bad *rows.RowError
			if !errors.As(err, &bad) || bad.Row != 1001 || !strings.Contains(err.Error(), "at row 1001") || fail.KindOf(err) != fail.Incomplete {
				t.Errorf("got %v of kind %v, row %+v", err, fail.KindOf(err), bad)
			}
		})
	}
}
