package mysql

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// restore copies a view into a database.
func restore(t *testing.T, v rows.View, url string, opt TargetOptions) (*Target, rows.Report) {
	t.Helper()
	target, err := NewTarget(url, opt)
	if err != nil {
		t.Fatal(err)
	}
	report, err := rows.Copy(t.Context(), v, target, rows.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return target, report
}

var noise = regexp.MustCompile(`(?m)^-- (Host|Dump completed|MariaDB dump|MySQL dump).*\n`)

// counters are what a server does not take back.
var counters = regexp.MustCompile(` AUTO_INCREMENT=[0-9]+`)

// dump is what mariadb-dump says of a database, without what differs from run to run.
func dump(t *testing.T, m *servers.MySQLServer, url string) string {
	t.Helper()
	name, _, err := DatabaseName(url)
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.Command("mysqldump", "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary", "--skip-extended-insert", "--single-transaction", "--skip-dump-date")
	if !isMaria(m) {
		cmd.Args = append(cmd.Args, "--set-gtid-purged=OFF", "--no-tablespaces")
	}
	cmd.Args = append(cmd.Args, name)
	out, err := cmd.Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			t.Fatalf("mariadb-dump: %v\n%s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	return strings.ReplaceAll(noise.ReplaceAllString(string(out), ""), name, "DB")
}

func TestTarget(t *testing.T) { eachFlavour(t, testTarget) }

func testTarget(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, `CREATE TABLE a (id int PRIMARY KEY AUTO_INCREMENT, name varchar(30), price decimal(10,2), at timestamp(6) NULL, raw blob, f float, d double, b bit(10), ok tinyint(1), KEY (name));
		INSERT INTO a (name, price, at, raw, f, d, b, ok) VALUES ('x\ty\\z\n', 1.50, '2024-05-06 07:08:09.5', x'00ff5c', 0.1, 0.1, b'1000000001', 1), (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
		CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES a(id) ON DELETE CASCADE, CONSTRAINT fk FOREIGN KEY (a) REFERENCES a (id));
		INSERT INTO child VALUES (1, 1), (2, NULL);`)
	v := open(t, db, Options{})
	to := m.CreateDatabase(t)
	restore(t, v, to, TargetOptions{})
	if diff := cmp.Diff(dump(t, m, db), dump(t, m, to)); diff != "" {
		t.Error(diff)
	}
}

// everything returns a database with one of each.
func everything(t *testing.T, m *servers.MySQLServer) string {
	t.Helper()
	db := m.CreateDatabase(t)
	sql, err := os.ReadFile(map[bool]string{true: "testdata/everything.sql", false: "testdata/everything_mysql.sql"}[isMaria(m)])
	if err != nil {
		t.Fatal(err)
	}
	m.SQL(t, db, string(sql))
	return db
}

func TestEverything(t *testing.T) { eachFlavour(t, testEverything) }

func testEverything(t *testing.T, m *servers.MySQLServer) {
	db := everything(t, m)
	v := open(t, db, Options{})
	for _, n := range v.Schema().Origin.Notes {
		t.Log(n)
	}
	to := m.CreateDatabase(t)
	_, report := restore(t, v, to, TargetOptions{})
	t.Run("restored_equals_the_original_by_mysqldump", func(t *testing.T) {
		if diff := cmp.Diff(strings.Split(dump(t, m, db), "\n"), strings.Split(dump(t, m, to), "\n")); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("and_by_counts_and_hashes", func(t *testing.T) {
		again := open(t, to, Options{})
		got, err := rows.Measure(t.Context(), again, rows.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(report.Tables(), got.Tables()); diff != "" {
			t.Error(diff)
		}
	})
}
