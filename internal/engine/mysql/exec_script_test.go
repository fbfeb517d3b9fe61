package mysql

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestExecScript_Dumps(t *testing.T) { eachFlavour(t, testExecScript_Dumps) }

func testExecScript_Dumps(t *testing.T, m *servers.MySQLServer) {
	db := everything(t, m)
	if isMaria(m) {
		m.SQL(t, db, "ALTER TABLE numeric_types DROP COLUMN seq") // mariadb-dump names the database in its default
	}
	name, _, err := DatabaseName(db)
	if err != nil {
		t.Fatal(err)
	}
	want := dump(t, m, db)
	for _, args := range []string{"", "--hex-blob --skip-extended-insert --skip-opt --create-options", "--single-transaction --no-autocommit --skip-comments --skip-add-locks --skip-disable-keys"} {
		t.Run("mysqldump"+args, func(t *testing.T) {
			cmd := m.Command("mysqldump", append(append([]string{"--routines", "--events", "--triggers"}, strings.Fields(args)...), name)...)
			file, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			to := m.CreateDatabase(t)
			res, err := ExecScript(t.Context(), to, strings.NewReader(string(file)), ScriptOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(dump(t, m, to), "\n")); diff != "" {
				t.Errorf("%.3000s", diff)
			}
			var total int64
			for _, c := range res.Tables {
				total += c.Rows
			}
			v := open(t, db, Options{DataOnly: true})
			report, err := rows.Measure(t.Context(), v, rows.CopyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var want int64
			for _, c := range report.Tables() {
				want += c.Rows
			}
			if total != want || !strings.Contains(strings.Join(res.Notes, "; "), "commits at each definition") || !isMaria(m) && !strings.Contains(res.Notes[0], "GTID_PURGED") {
				t.Errorf("%d rows, %d loaded: %+v", want, total, res)
			}
		})
	}
	t.Run("rows_alone_are_one_transaction", func(t *testing.T) {
		db := m.CreateDatabase(t)
		m.SQL(t, db, "CREATE TABLE a (id int PRIMARY KEY, t text); INSERT INTO a VALUES (1, 'x'), (2, 'y'); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1)")
		file, err := m.Command("mysqldump", "--no-create-info", "--skip-triggers", db[strings.LastIndex(db, "/")+1:]).Output()
		if err != nil {
			t.Fatal(err)
		}
		m.SQL(t, db, "DELETE FROM a")
		_, err = ExecScript(t.Context(), db, strings.NewReader(string(file)), ScriptOptions{}) // b's row is there
		if fail.KindOf(err) != fail.Exists || m.SQL(t, db, "SELECT count(*) FROM a") != "0" {
			t.Errorf("%v, and %s rows stay", err, m.SQL(t, db, "SELECT count(*) FROM a"))
		}
		m.SQL(t, db, "DELETE FROM b")
		for _, dry := range []bool{true, false} {
			res, err := ExecScript(t.Context(), db, strings.NewReader(string(file)), ScriptOptions{DryRun: dry})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]rows.TableRows{{Name: "a", Rows: 2}, {Name: "b", Rows: 1}}, res.Tables); diff != "" || res.DryRun != dry || !strings.Contains(res.Notes[len(res.Notes)-1], "all of it is one transaction") {
				t.Errorf("%s %+v", diff, res)
			}
			if got := m.SQL(t, db, "SELECT count(*) FROM a"); (got == "0") != dry {
				t.Errorf("%s rows after a load with dry run %t", got, dry)
			}
		}
	})
}

func TestExecScript_Refuses(t *testing.T) { eachFlavour(t, testExecScript_Refuses) }

func testExecScript_Refuses(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, "CREATE TABLE a (id int PRIMARY KEY, t text)")
	for _, tt := range []struct {
		name, sql string
		opt       ScriptOptions
		kind      fail.Kind
		text      string
	}{
		{"load_data", "SET @x = 1;\nLOAD DATA INFILE '/etc/passwd' INTO TABLE a;", ScriptOptions{}, fail.Unsupported, "line 2: LOAD DATA"},
		{"load_data_local_in_a_comment", "/*!50000 LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE a */;", ScriptOptions{}, fail.Unsupported, "line 1: LOAD DATA"},
		{"outfile", "SELECT 'x' /*!50000 INTO OUTFILE '/tmp/x' */;", ScriptOptions{}, fail.Unsupported, "INTO OUTFILE"},
		{"dumpfile", "\n\nSELECT 'x' into dumpfile '/tmp/x';", ScriptOptions{}, fail.Unsupported, "line 3: INTO DUMPFILE"},
		{"source", "source /etc/passwd\nSELECT 1;", ScriptOptions{}, fail.Unsupported, `"source"`},
		{"source_by_backslash", "\\. /etc/passwd\n", ScriptOptions{}, fail.Unsupported, "client command"},
		{"shell", "SELECT 1;\n\\! id\n", ScriptOptions{}, fail.Unsupported, "line 2"},
		{"shell_within_a_statement", "SELECT 1 \\! id\n;", ScriptOptions{}, fail.Unsupported, "backslash"},
		{"system", "system id\n;", ScriptOptions{}, fail.Unsupported, `"system"`},
		{"another_database", "USE mysql;", ScriptOptions{}, fail.Unsupported, "USE"},
		{"create_database", "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `x`;", ScriptOptions{}, fail.Unsupported, "CREATE DATABASE"},
		{"dry_run_of_definitions", "INSERT INTO a VALUES (7, 'x');\nCREATE TABLE b (id int);", ScriptOptions{DryRun: true}, fail.Usage, "line 2: a dry run of CREATE TABLE b"},
		{"dry_run_of_calls", "CALL p();", ScriptOptions{DryRun: true}, fail.Usage, "a dry run of CALL"},
		{"dry_run_without_transaction", "", ScriptOptions{DryRun: true, NoTransaction: true}, fail.Usage, "needs a transaction"},
		{"rollback", "INSERT INTO a VALUES (8, 'x'); ROLLBACK;", ScriptOptions{}, fail.Unsupported, "ROLLBACK"},
		{"duplicate", "INSERT INTO a VALUES (1, 'x');\nINSERT INTO a VALUES (1, 'se''cret');", ScriptOptions{}, fail.Exists, "line 2: INSERT INTO a VALUES …: Error 1062 (23000): Duplicate entry … for key '"},
		{"value", "SET sql_mode = 'STRICT_ALL_TABLES';\nINSERT INTO a VALUES ('it''s secret', 'x');", ScriptOptions{}, fail.Incomplete, "line 2: INSERT INTO a VALUES …: Error 1366 ("},
		{"syntax", "INSERT INTO a (id, t) VALUES (1, 'x') 'secret';", ScriptOptions{}, fail.Incomplete, "line 1"},
		{"missing_table", "INSERT INTO nix VALUES ('secret');", ScriptOptions{}, fail.NotFound, "nix"},
		{"cut", "INSERT INTO a VALUES (9, 'x');\nINSERT INTO a VALUES (10, 'x", ScriptOptions{}, fail.Damaged, "line 2"},
		{"what_stays", "INSERT INTO a VALUES (100, 'x');\nCREATE TABLE c (id int);\nINSERT INTO nix VALUES (1);", ScriptOptions{}, fail.NotFound, "what came before the error was done and stays"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ExecScript(t.Context(), db, strings.NewReader(tt.sql), tt.opt)
			if fail.KindOf(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v: %v", fail.KindOf(err), err)
			}
			if got := m.SQL(t, db, "SELECT count(*) FROM a WHERE id < 100"); got != "0" {
				t.Errorf("%s rows stay", got)
			}
		})
	}
	t.Run("a_dry_run_where_nothing_can_be_undone", func(t *testing.T) {
		db := m.CreateDatabase(t)
		m.SQL(t, db, "CREATE TABLE my (id int) ENGINE = MyISAM")
		_, err := ExecScript(t.Context(), db, strings.NewReader("INSERT INTO my VALUES (1);"), ScriptOptions{DryRun: true})
		if fail.KindOf(err) != fail.Unsupported || m.SQL(t, db, "SELECT count(*) FROM my") != "0" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("statement_by_statement", func(t *testing.T) {
		db := m.CreateDatabase(t)
		m.SQL(t, db, "CREATE TABLE a (id int PRIMARY KEY)")
		_, err := ExecScript(t.Context(), db, strings.NewReader("INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (1);"), ScriptOptions{NoTransaction: true})
		if err == nil || !strings.Contains(err.Error(), "stays") || m.SQL(t, db, "SELECT count(*) FROM a") != "1" {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnyDefiner(t *testing.T) {
	for text, want := range map[string]string{
		"CREATE DEFINER=`a`@`%` PROCEDURE p() SELECT 1":                              "CREATE  PROCEDURE p() SELECT 1",
		"create or replace algorithm = merge definer = 'a'@'b' view v as select 1":   "create or replace algorithm = merge  view v as select 1",
		"CREATE DEFINER=CURRENT_USER() VIEW v AS SELECT 1":                           "CREATE  VIEW v AS SELECT 1",
		"/*!50003 CREATE*/ /*!50017 DEFINER=`r``t`@`h`*/ /*!50003 TRIGGER t":         "/*!50003 CREATE*/ /*!50017 */ /*!50003 TRIGGER t",
		"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`a`@`b` SQL S":     "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013  SQL S",
		"CREATE VIEW `v` AS SELECT 'DEFINER=`a`@`b`'":                                "CREATE VIEW `v` AS SELECT 'DEFINER=`a`@`b`'",
		"CREATE VIEW v AS SELECT id, definer = user() AS mine FROM t":                "CREATE VIEW v AS SELECT id, definer = user() AS mine FROM t",
		"CREATE OR REPLACE DEFINER=`a`@`b` AGGREGATE FUNCTION f()":                   "CREATE OR REPLACE  AGGREGATE FUNCTION f()",
		"CREATE OR REPLACE AGGREGATE FUNCTION definer = a":                           "CREATE OR REPLACE AGGREGATE FUNCTION definer = a",
		"CREATE TABLE t (definer int DEFAULT 1)":                                     "CREATE TABLE t (definer int DEFAULT 1)",
		"INSERT INTO t VALUES ('CREATE DEFINER=`a`@`b` VIEW')":                       "INSERT INTO t VALUES ('CREATE DEFINER=`a`@`b` VIEW')",
		"CREATE /*M!100101 DEFINER=`role` */ FUNCTION f() RETURNS int RETURN 1 -- x": "CREATE /*M!100101  */ FUNCTION f() RETURNS int RETURN 1 -- x",
	} {
		if got := anyDefiner.ReplaceAllString(text, "$1"); got != want {
			t.Errorf("%s\nbecame %s\n, want %s", text, got, want)
		}
	}
}
