package servers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestMySQL(t *testing.T) {
	for _, flavour := range MySQLFlavours() {
		t.Run(flavour, func(t *testing.T) { testMySQL(t, flavour) })
	}
}

func testMySQL(t *testing.T, flavour string) {
	m := MySQL(t, flavour)
	if MySQL(t, flavour) != m {
		t.Error("a second call started a second server")
	}
	t.Run("is_new_enough", func(t *testing.T) {
		least := map[string]int{"mariadb": 1006, "mysql": 800}[flavour]
		var major, minor int
		got := m.SQL(t, "", "SELECT version()")
		if _, err := fmt.Sscanf(got, "%d.%d", &major, &minor); err != nil || major*100+minor < least || strings.Contains(got, "MariaDB") != (flavour == "mariadb") {
			t.Errorf("got version %s: %v", got, err)
		}
	})
	t.Run("checks_passwords", func(t *testing.T) {
		for _, user := range []string{"", "root"} {
			out, err := exec.Command(m.programs.client("mysql"), "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user="+user, "--password=wrong",
				fmt.Sprintf("--port=%d", m.port), "-e", "SELECT 1").CombinedOutput()
			if err == nil {
				t.Errorf("a wrong password got user %q in: %s", user, out)
			}
		}
	})
	t.Run("makes_users_with_the_rights_named_alone", func(t *testing.T) {
		db, other := m.CreateDatabase(t), m.CreateDatabase(t)
		u := m.User(t, "SELECT ON "+databaseName(db)+".*")
		got := m.SQL(t, "", "SHOW GRANTS FOR '"+u.Name+"'@'%'")
		if !strings.Contains(got, databaseName(db)) || strings.Contains(got, databaseName(other)) || strings.Contains(got, "ALL PRIVILEGES") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("drops_databases_and_users", func(t *testing.T) {
		var db string
		var u MySQLUser
		t.Run("made", func(t *testing.T) { db, u = m.CreateDatabase(t), m.User(t) })
		if got := m.SQL(t, "", "SHOW DATABASES LIKE '"+databaseName(db)+"'"); got != "" {
			t.Errorf("database %s is still there", got)
		}
		if got := m.SQL(t, "", "SELECT user FROM mysql.user WHERE user = '"+u.Name+"'"); got != "" {
			t.Errorf("user %s is still there", got)
		}
	})
	t.Run("writes_a_binary_log", func(t *testing.T) {
		if got := m.SQL(t, "", "SELECT @@log_bin"); got != "1" {
			t.Errorf("log_bin: got %s", got)
		}
	})
}

func TestOwnMySQL(t *testing.T) {
	for _, flavour := range MySQLFlavours() {
		t.Run(flavour, func(t *testing.T) { testOwnMySQL(t, flavour) })
	}
}

func testOwnMySQL(t *testing.T, flavour string) {
	requireMySQL(t, flavour)
	m, err := StartMySQL(flavour, MySQLOptions{Durable: true, Settings: []string{"max-allowed-packet=2M"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("takes_settings", func(t *testing.T) {
		if got, want := m.SQL(t, "", "SELECT @@max_allowed_packet, @@innodb_flush_log_at_trx_commit"), "2097152\t1"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("crashes_when_told", func(t *testing.T) {
		m.CreateDatabase(t) // whose cleanup must cope
		m.Crash(t)
		if c, err := net.Dial("tcp", m.Addr()); err == nil {
			c.Close()
			t.Error("somebody still listens")
		}
		if m.Running() {
			t.Error("Running says true")
		}
	})
	t.Run("is_gone_after_Close", func(t *testing.T) {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(m.folder); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", m.folder, err)
		}
	})
}
