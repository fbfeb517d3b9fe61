package wire

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// A database is never emptied for its own copy, whatever way leads to it.
func TestCopy_OntoItself(t *testing.T) {
	for _, engine := range engines() {
		p := newPlace(t, engine)
		p.sql(t, "CREATE TABLE a (id integer PRIMARY KEY); INSERT INTO a VALUES (1), (2);")
		for _, create := range []bool{false, engine != SQLite} {
			for name, to := range waysTo(t, p) {
				_, err := Copy(t.Context(), p.url, to, CopyOptions{Target: TargetOptions{Clean: true, Create: create}})
				if kind := fail.KindOf(err); kind != fail.Usage && engine != SQLite || kind != fail.Locked && engine == SQLite {
					t.Errorf("%s, %s: %v of kind %v", engine, name, err, kind)
				}
			}
		}
		if got := p.sql(t, "SELECT count(*) FROM a"); got != "2" {
			t.Errorf("%s: %s rows are left", engine, got)
		}
	}
}

// waysTo returns other names of a database.
func waysTo(t *testing.T, p place) map[string]string {
	ways := map[string]string{"itself": p.url}
	if p.engine == SQLite {
		return ways
	}
	name := p.url[strings.LastIndex(p.url, "/")+1:]
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	ways["another_host"] = strings.Replace(p.url, "127.0.0.1", "localhost", 1)
	ways["another_port"] = strings.Replace(p.url, u.Host, tunnel(t, u.Host), 1)
	if p.engine == Postgres {
		ways["socket"] = servers.Postgres(t, servers.PostgresVersions()[0]).SocketURL(name)
		return ways
	}
	ways["socket"] = servers.MariaDB(t).SocketURL(name)
	ways["user_who_may_not_read"] = servers.MariaDB(t).User(t, "CREATE, DROP, INSERT, ALTER ON "+name+".*").URL(name)
	return ways
}

// tunnel leads a port of its own to a server.
func tunnel(t *testing.T, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	carry := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		to.Close()
	}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			all.Go(func() { carry(out, in) })
			all.Go(func() { carry(in, out) })
		}
	})
	return l.Addr().String()
}

// What only looks like the source may be emptied.
func TestCopy_OntoAnother(t *testing.T) {
	clean := CopyOptions{Target: TargetOptions{Clean: true}}
	check := func(t *testing.T, from place, to string, opt CopyOptions) {
		t.Helper()
		from.sql(t, "CREATE TABLE a (id integer PRIMARY KEY); INSERT INTO a VALUES (1), (2);")
		done, err := Copy(t.Context(), from.url, to, opt)
		if err != nil {
			t.Fatal(err)
		}
		if done.Rows != 2 || from.sql(t, "SELECT count(*) FROM a") != "2" {
			t.Errorf("copied %d rows", done.Rows)
		}
	}
	for _, engine := range []string{Postgres, MySQL} {
		t.Run("another_database_of_the_server_"+engine, func(t *testing.T) {
			from, to := newPlace(t, engine), newPlace(t, engine)
			to.sql(t, "CREATE TABLE other (id integer PRIMARY KEY)")
			check(t, from, to.url, clean)
		})
	}
	t.Run("the_same_name_on_another_server_by_socket", func(t *testing.T) {
		from, other := newPlace(t, MySQL), servers.MySQL(t, "mysql")
		name := from.url[strings.LastIndex(from.url, "/")+1:]
		other.SQL(t, "", "CREATE DATABASE "+name+"; CREATE TABLE "+name+".other (id integer)")
		t.Cleanup(func() { other.SQL(t, "", "DROP DATABASE "+name) })
		check(t, from, other.SocketURL(name), clean)
	})
	t.Run("another_case_of_the_name", func(t *testing.T) {
		from, m := newPlace(t, MySQL), servers.MariaDB(t)
		name := strings.ToUpper(from.url[strings.LastIndex(from.url, "/")+1:])
		m.SQL(t, "", "CREATE DATABASE "+name+"; CREATE TABLE "+name+".other (id integer)")
		t.Cleanup(func() { m.SQL(t, "", "DROP DATABASE "+name) })
		check(t, from, m.URL(name), clean)
	})
	t.Run("no_database_yet", func(t *testing.T) {
		m, both := servers.MariaDB(t), CopyOptions{Target: TargetOptions{Clean: true, Create: true}}
		from := newPlace(t, MySQL)
		to := from.url + "_new"
		t.Cleanup(func() { m.SQL(t, "", "DROP DATABASE IF EXISTS "+to[strings.LastIndex(to, "/")+1:]) })
		check(t, from, to, both)
	})
	t.Run("a_server_that_is_not_there", func(t *testing.T) {
		from := newPlace(t, MySQL)
		if _, err := Copy(t.Context(), from.url, "mysql://root@127.0.0.1:1/db", clean); fail.KindOf(err) != fail.Unavailable {
			t.Errorf("%v, want Unavailable", err)
		}
	})
}

// A server that takes capitals for small letters has one database of both names.
func TestCopy_OntoItselfInCapitals(t *testing.T) {
	m := servers.OwnMySQL(t, "mariadb", servers.MySQLOptions{Settings: []string{"lower_case_table_names=1"}})
	p := placeOn(t, m)
	p.sql(t, "CREATE TABLE a (id integer PRIMARY KEY); INSERT INTO a VALUES (1), (2);")
	name := p.url[strings.LastIndex(p.url, "/")+1:]
	_, err := Copy(t.Context(), p.url, m.URL(strings.ToUpper(name)), CopyOptions{Target: TargetOptions{Clean: true}})
	if fail.KindOf(err) != fail.Usage || p.sql(t, "SELECT count(*) FROM a") != "2" {
		t.Errorf("%v, %s rows are left", err, p.sql(t, "SELECT count(*) FROM a"))
	}
}
