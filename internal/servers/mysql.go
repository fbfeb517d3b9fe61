package servers

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sharedMySQL holds the servers that the tests of this process use together, by flavour.
var sharedMySQL struct {
	sync.Mutex
	servers map[string]*MySQLServer
	errs    map[string]error
}

// MySQL returns the server of a flavour ("mariadb", "mysql") that all tests of this process share; the first call starts it. What a
// test leaves there others see: use [MySQLServer.CreateDatabase] and [MySQLServer.User], and [OwnMySQL] for a server
// to be stopped or set up differently. It writes a binary log. Without such a server on the machine the
// test is skipped, or fails: see [Require].
func MySQL(t testing.TB, flavour string) *MySQLServer {
	t.Helper()
	requireMySQL(t, flavour)
	sharedMySQL.Lock()
	defer sharedMySQL.Unlock()
	if sharedMySQL.servers == nil {
		sharedMySQL.servers, sharedMySQL.errs = map[string]*MySQLServer{}, map[string]error{}
	}
	if sharedMySQL.servers[flavour] == nil && sharedMySQL.errs[flavour] == nil {
		sharedMySQL.servers[flavour], sharedMySQL.errs[flavour] = StartMySQL(flavour, MySQLOptions{})
	}
	if err := sharedMySQL.errs[flavour]; err != nil {
		t.Fatal(err)
	}
	return sharedMySQL.servers[flavour]
}

// MariaDB is [MySQL] for the flavour that every Debian has.
func MariaDB(t testing.TB) *MySQLServer {
	t.Helper()
	return MySQL(t, "mariadb")
}

// OwnMySQL starts a server for this test alone.
func OwnMySQL(t testing.TB, flavour string, opt MySQLOptions) *MySQLServer {
	t.Helper()
	requireMySQL(t, flavour)
	m, err := StartMySQL(flavour, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("stop %s: %v", flavour, err)
		}
	})
	return m
}

func requireMySQL(t testing.TB, flavour string) {
	t.Helper()
	_, err := findMySQL(flavour)
	why := ""
	if err != nil {
		why = err.Error()
	}
	Require(t, flavour, err == nil, why)
}

// Addr returns the server's host:port.
func (m *MySQLServer) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.port)) }

// Socket returns the path of the server's Unix socket. Only the server's user and root can reach it.
func (m *MySQLServer) Socket() string { return filepath.Join(m.folder, "sock") }

// Password returns root's password.
func (m *MySQLServer) Password() string { return m.password }

// URL returns the URL of a database for root, over TCP. It takes a name or a URL.
func (m *MySQLServer) URL(db string) string {
	return m.url(url.UserPassword(mysqlRoot, m.password), db)
}

func (m *MySQLServer) url(who *url.Userinfo, db string) string {
	u := url.URL{Scheme: "mysql", User: who, Host: m.Addr(), Path: "/" + databaseName(db)}
	return u.String()
}

// SocketURL returns the URL of a database for root, over the Unix socket.
func (m *MySQLServer) SocketURL(db string) string {
	u := url.URL{Scheme: "mysql", User: url.UserPassword(mysqlRoot, m.password), Path: "/" + databaseName(db),
		RawQuery: "socket=" + url.QueryEscape(m.Socket())}
	return u.String()
}

// Command prepares a client program, by its name in MySQL (mysql, mysqldump, …), to act on the server as root: connection and
// password are in an option file.
func (m *MySQLServer) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(m.programs.client(name), append([]string{"--defaults-file=" + filepath.Join(m.folder, "client.cnf")}, args...)...)
	cmd.Env = slices.DeleteFunc(cleanEnv(), func(kv string) bool { return strings.HasPrefix(kv, "MYSQL") || strings.HasPrefix(kv, "MARIADB") })
	return cmd
}

// Query runs SQL in a database (none when db is empty) as root and returns what the client prints: rows as lines,
// columns separated by tabs, nothing else. The client knows DELIMITER.
func (m *MySQLServer) Query(db, sql string) (string, error) {
	args := []string{"--batch", "--skip-column-names", "--raw"}
	if db != "" {
		args = append(args, "--database="+db)
	}
	return feed(m.Command("mysql", args...), sql, "mysql on "+db)
}

// SQL is [MySQLServer.Query] for tests. It takes a database's name or its URL.
func (m *MySQLServer) SQL(t testing.TB, db, sql string) string {
	t.Helper()
	out, err := m.Query(databaseName(db), sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// CreateDatabase makes an empty database with a name of its own, to be dropped when the test ends, and returns its
// URL for root. Options are those of SQL's CREATE DATABASE: "CHARACTER SET latin1".
func (m *MySQLServer) CreateDatabase(t testing.TB, options ...string) string {
	t.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:12])
	m.SQL(t, "", "CREATE DATABASE "+name+" "+strings.Join(options, " "))
	t.Cleanup(func() { m.drop(t, "DROP DATABASE IF EXISTS "+name) })
	return m.URL(name)
}

// drop tidies up, unless the test has stopped the server itself.
func (m *MySQLServer) drop(t testing.TB, sql string) {
	if !m.Running() {
		return
	}
	if _, err := m.Query("", "SET lock_wait_timeout = 20; "+sql); err != nil { // else a forgotten session would hold up the tests
		t.Errorf("tidy up: %v", err)
	}
}

// A MySQLUser is an account of a server.
type MySQLUser struct {
	Name     string
	password string
	m        *MySQLServer
}

// URL returns the URL of a database for the user. It takes a name or a URL.
func (u MySQLUser) URL(db string) string {
	return u.m.url(url.UserPassword(u.Name, u.password), db)
}

// User makes an account with a password and the given rights ("SELECT, LOCK TABLES ON shop.*"); it goes when the test ends.
func (m *MySQLServer) User(t testing.TB, rights ...string) MySQLUser {
	t.Helper()
	u := MySQLUser{Name: "u_" + strings.ToLower(rand.Text()[:12]), password: rand.Text(), m: m}
	sql := fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s';\n", u.Name, u.password)
	for _, r := range rights {
		sql += fmt.Sprintf("GRANT %s TO '%s'@'%%';\n", r, u.Name)
	}
	m.SQL(t, "", sql)
	t.Cleanup(func() { m.drop(t, fmt.Sprintf("DROP USER IF EXISTS '%s'@'%%'", u.Name)) })
	return u
}

// Running reports whether the server is there: neither closed nor crashed.
func (m *MySQLServer) Running() bool { return m.hold != nil && alive(m.server) }

// Crash kills the server with SIGKILL and returns when it is gone. Only for a server of the test's own.
func (m *MySQLServer) Crash(t testing.TB) {
	t.Helper()
	fd, err := unix.PidfdOpen(m.server, 0)
	if err != nil {
		t.Fatalf("crash the server: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Kill(m.server, syscall.SIGKILL); err != nil {
		t.Fatalf("crash the server: %v", err)
	}
	if err := waitGone(fd); err != nil {
		t.Fatalf("crash the server: %v", err)
	}
}

// Log returns what the server has logged.
func (m *MySQLServer) Log() string {
	data, err := os.ReadFile(filepath.Join(m.folder, "log"))
	if err != nil {
		return err.Error()
	}
	return string(data)
}
