package servers

import (
	"crypto/rand"
	"errors"
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

// shared holds the one server of each version that the tests of this process use together.
// It is the package's only global: nothing else outlives a test.
var shared struct {
	mu      sync.Mutex
	started map[string]func() (*PG, error) // guarded by mu
}

// Postgres returns the server of the major version that all tests of this process share; the
// first call starts it. What a test leaves there others see: use [PG.CreateDatabase] and
// [PG.User], and [OwnPostgres] for a server to be stopped or set up differently.
// Without such a PostgreSQL on the machine the test is skipped, or fails: see [Require].
func Postgres(t testing.TB, major string) *PG {
	t.Helper()
	in := install(t, major)
	shared.mu.Lock()
	if shared.started == nil {
		shared.started = map[string]func() (*PG, error){}
	}
	begin := shared.started[major]
	if begin == nil {
		begin = sync.OnceValues(func() (*PG, error) { return start(in, Options{}) })
		shared.started[major] = begin
	}
	shared.mu.Unlock()
	pg, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	return pg
}

// OwnPostgres starts a server for this test alone.
func OwnPostgres(t testing.TB, major string, opt Options) *PG {
	t.Helper()
	pg, err := start(install(t, major), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Close(); err != nil {
			t.Errorf("stop PostgreSQL %s: %v", major, err)
		}
	})
	return pg
}

func install(t testing.TB, major string) installation {
	t.Helper()
	in, err := find(major)
	why := ""
	if err != nil {
		why = err.Error()
		if slices.Contains(testPG(), major) {
			t.Fatalf("$HOLDFAST_TEST_PG names %s, which holds no PostgreSQL server", major)
		}
	}
	Require(t, "postgres"+major, err == nil, why)
	return in
}

// BinDir returns a folder with the client programs of the server's version: pg_dump,
// pg_dumpall, pg_restore, psql, pg_basebackup and others.
func (pg *PG) BinDir() string { return pg.in.tools }

// Addr returns the server's host:port.
func (pg *PG) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(pg.port)) }

// URL returns the URL of a database for the superuser, over TCP.
func (pg *PG) URL(db string) string { return pg.url(url.UserPassword(superuser, pg.password), db) }

func (pg *PG) url(who *url.Userinfo, db string) string {
	u := url.URL{Scheme: "postgres", User: who, Host: pg.Addr(), Path: "/" + db}
	return u.String()
}

// SocketURL returns the URL of a database for the superuser, over the Unix socket.
func (pg *PG) SocketURL(db string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d", url.UserPassword(superuser, pg.password),
		url.PathEscape(db), url.QueryEscape(pg.folder), pg.port)
}

// env leads libpq's programs to the server as superuser.
func (pg *PG) env() []string {
	return []string{"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(pg.port), "PGUSER=" + superuser, "PGPASSWORD=" + pg.password}
}

// Command prepares one of the client programs in BinDir to act on the server as superuser:
// connection and password are in its environment.
func (pg *PG) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(pg.in.tools, name), args...)
	cmd.Env = cleanEnv(pg.env()...)
	return cmd
}

// Query runs SQL in a database as superuser and returns what psql prints: rows as lines,
// columns separated by «|», nothing else.
func (pg *PG) Query(db, sql string) (string, error) {
	return feed(pg.Command("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", db, "-f", "-"), sql, "psql on "+db)
}

// SQL is [PG.Query] for tests. It takes a database's name or its URL.
func (pg *PG) SQL(t testing.TB, db, sql string) string {
	t.Helper()
	out, err := pg.Query(databaseName(db), sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func databaseName(db string) string {
	if u, err := url.Parse(db); err == nil && u.Scheme != "" {
		return strings.TrimPrefix(u.Path, "/")
	}
	return db
}

// CreateDatabase makes an empty database with a name of its own, to be dropped when the test
// ends, and returns its URL for the superuser. Options are those of SQL's CREATE DATABASE:
// "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'". Every database comes from template0.
func (pg *PG) CreateDatabase(t testing.TB, options ...string) string {
	t.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:12])
	pg.SQL(t, superuser, "CREATE DATABASE "+name+" TEMPLATE template0 "+strings.Join(options, " "))
	t.Cleanup(func() { pg.drop(t, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return pg.URL(name)
}

// drop tidies up, unless the test has stopped the server itself.
func (pg *PG) drop(t testing.TB, sql string) {
	if !pg.Running() {
		return
	}
	if _, err := pg.Query(superuser, sql); err != nil {
		t.Errorf("tidy up: %v", err)
	}
}

// A Role is a user of a server.
type Role struct {
	Name     string
	password string
	pg       *PG
}

// URL returns the URL of a database for the role.
func (r Role) URL(db string) string {
	return r.pg.url(url.UserPassword(r.Name, r.password), databaseName(db))
}

// User makes a role that can log in, with a password, no rights and the given attributes
// ("BYPASSRLS", "CREATEDB", "IN ROLE pg_read_all_data"); it goes when the test ends, with all it owns.
func (pg *PG) User(t testing.TB, attributes string) Role {
	t.Helper()
	r := Role{Name: "u_" + strings.ToLower(rand.Text()[:12]), password: rand.Text(), pg: pg}
	pg.SQL(t, superuser, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' %s", r.Name, r.password, attributes))
	t.Cleanup(func() { pg.dropRole(t, r.Name) })
	return r
}

// dropRole drops a role and, in each database, what belongs to it or was granted to it.
func (pg *PG) dropRole(t testing.TB, name string) {
	if !pg.Running() {
		return
	}
	dbs, err := pg.Query(superuser, "SELECT datname FROM pg_database WHERE oid IN (SELECT dbid FROM pg_shdepend "+
		"WHERE refclassid = 'pg_authid'::regclass AND refobjid = '"+name+"'::regrole) AND datallowconn")
	for _, db := range strings.Fields(dbs) {
		_, dropErr := pg.Query(db, "DROP OWNED BY "+name+" CASCADE")
		err = errors.Join(err, dropErr)
	}
	if err != nil {
		t.Errorf("tidy up: %v", err)
	}
	// Databases it owns belong to nobody else, so they go too.
	owned, err := pg.Query(superuser, "SELECT format('DROP DATABASE %I WITH (FORCE);', datname) FROM pg_database WHERE datdba = '"+name+"'::regrole")
	if err != nil {
		t.Errorf("tidy up: %v", err)
	}
	pg.drop(t, owned+"\nDROP ROLE "+name)
}

// pid returns the postmaster's process id.
func (pg *PG) pid() (int, error) {
	data, err := os.ReadFile(filepath.Join(pg.folder, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(data), "\n")
	return strconv.Atoi(first)
}

// Running reports whether the server is there: neither closed nor crashed.
func (pg *PG) Running() bool {
	pid, err := pg.pid()
	return pg.hold != nil && err == nil && alive(pid)
}

// alive reports whether a process runs. One that has ended and that nobody has waited for, as
// happens to orphans in containers, doesn't: it has no command line any more.
func alive(pid int) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(cmdline) > 0
}

// Crash ends the server and all its connections at once, without a shutdown, and returns when
// it is gone. Only for a server of the test's own.
func (pg *PG) Crash(t testing.TB) {
	t.Helper()
	pid, err := pg.pid()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("crash PostgreSQL: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatalf("crash PostgreSQL: %v", err)
	}
	if err := waitGone(fd); err != nil {
		t.Fatalf("crash PostgreSQL: %v", err)
	}
}

// waitGone waits until the process behind a pidfd has ended.
func waitGone(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return errors.New("still there after 30 seconds")
		default:
			return nil
		}
	}
}

// Log returns what the server has logged.
func (pg *PG) Log() string {
	data, err := os.ReadFile(filepath.Join(pg.folder, "log"))
	if err != nil {
		return err.Error()
	}
	return string(data)
}
