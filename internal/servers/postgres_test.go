package servers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPostgres(t *testing.T) {
	if len(PostgresVersions()) == 0 {
		t.Fatal("no versions to test with")
	}
	for _, major := range PostgresVersions() {
		t.Run(major, func(t *testing.T) {
			pg := Postgres(t, major)
			if Postgres(t, major) != pg {
				t.Error("a second call started a second server")
			}
			t.Run("is_of_that_version", func(t *testing.T) {
				if got := pg.SQL(t, "postgres", "SHOW server_version"); !strings.HasPrefix(got, major+".") {
					t.Errorf("got version %s, want %s", got, major)
				}
			})
			t.Run("has_contrib", func(t *testing.T) {
				db := pg.CreateDatabase(t)
				pg.SQL(t, db, `CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION pg_trgm;
					CREATE EXTENSION ltree; CREATE EXTENSION postgres_fdw; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION pgcrypto;`)
			})
			t.Run("checks_passwords", func(t *testing.T) { checksPasswords(t, pg) })
			t.Run("takes_both_URLs", func(t *testing.T) {
				for _, u := range []string{pg.URL("postgres"), pg.SocketURL("postgres")} {
					out, err := exec.Command(filepath.Join(pg.BinDir(), "psql"), "-XAtc", "SELECT 41+1", u).CombinedOutput()
					if string(out) != "42\n" {
						t.Errorf("%s: got %q, %v", u, out, err)
					}
				}
			})
			t.Run("tools_write_our_files", func(t *testing.T) { toolsWriteOurFiles(t, pg) })
			t.Run("makes_databases_in_any_encoding", func(t *testing.T) {
				db := pg.CreateDatabase(t, "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
				if got := pg.SQL(t, db, "SHOW server_encoding"); got != "LATIN1" {
					t.Errorf("got %s, want LATIN1", got)
				}
			})
			t.Run("drops_databases_and_roles", func(t *testing.T) { dropsDatabasesAndRoles(t, pg) })
		})
	}
}

func checksPasswords(t *testing.T, pg *PG) {
	cmd := pg.Command("psql", "-XAtc", "SELECT 1", "postgres")
	cmd.Env = append(cmd.Env, "PGPASSWORD=wrong")
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("a wrong password got in: %s", out)
	}
	role := pg.User(t, "")
	if u, err := url.Parse(pg.URL("x")); err != nil {
		t.Error(err)
	} else if got, _ := u.User.Password(); got != pg.password {
		t.Errorf("the URL carries password %q, want %q", got, pg.password)
	}
	out, err := exec.Command(filepath.Join(pg.BinDir(), "psql"), "-XAtc", "SELECT current_user", role.URL("postgres")).CombinedOutput()
	if strings.TrimSpace(string(out)) != role.Name {
		t.Errorf("got %q, %v, want %s", out, err, role.Name)
	}
}

func toolsWriteOurFiles(t *testing.T, pg *PG) {
	file := filepath.Join(t.TempDir(), "out.sql")
	for _, args := range [][]string{{"pg_dump", "-f", file, "postgres"}, {"pg_dumpall", "--globals-only", "-f", file}} {
		if out, err := pg.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
		if info, err := os.Stat(file); err != nil || info.Size() == 0 {
			t.Errorf("%s wrote no file that we see: %v", args[0], err)
		}
	}
}

func dropsDatabasesAndRoles(t *testing.T, pg *PG) {
	var db string
	var role Role
	t.Run("using", func(t *testing.T) {
		db = databaseName(pg.CreateDatabase(t))
		role = pg.User(t, "CREATEDB")
		pg.SQL(t, db, fmt.Sprintf("CREATE TABLE x (a int); ALTER TABLE x OWNER TO %s; GRANT CREATE ON DATABASE %s TO %[1]s", role.Name, db))
		pg.SQL(t, "postgres", fmt.Sprintf("CREATE DATABASE %s_db OWNER %[1]s", role.Name))
	})
	left := pg.SQL(t, "postgres", fmt.Sprintf("SELECT datname FROM pg_database WHERE datname IN ('%s','%s_db') UNION ALL "+
		"SELECT rolname FROM pg_roles WHERE rolname = '%[2]s'", db, role.Name))
	if left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestOwnPostgres(t *testing.T) {
	major := PostgresVersions()[0]
	t.Run("takes_settings", func(t *testing.T) {
		pg := OwnPostgres(t, major, Options{Durable: true, Settings: []string{"work_mem = '7MB'"}})
		if got, want := pg.SQL(t, "postgres", "SHOW work_mem; SHOW fsync"), "7MB\non"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("crashes_when_told", func(t *testing.T) {
		pg := OwnPostgres(t, major, Options{})
		pg.CreateDatabase(t) // whose cleanup must cope
		pg.Crash(t)
		if c, err := net.Dial("tcp", pg.Addr()); err == nil {
			c.Close()
			t.Error("somebody still listens")
		}
		if pg.Running() {
			t.Error("Running says true")
		}
	})
	t.Run("follows_a_primary", func(t *testing.T) {
		primary := OwnPostgres(t, major, Options{})
		standby := OwnPostgres(t, major, Options{StandbyOf: primary})
		if got := standby.SQL(t, "postgres", "SELECT pg_is_in_recovery()"); got != "t" {
			t.Errorf("pg_is_in_recovery: got %s", got)
		}
	})
	t.Run("is_gone_after_Close", func(t *testing.T) {
		pg, err := Start(major, Options{})
		if err != nil {
			t.Skip(err) // TestPostgres says whether that is all right
		}
		if err := pg.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(pg.folder); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", pg.folder, err)
		}
	})
}

// TestEndsWithUs kills a process that has started a server, as a developer or a CI machine
// out of time does, and waits for the server to go.
func TestEndsWithUs(t *testing.T) {
	const key = "HOLDFAST_TEST_CHILD_MAJOR"
	if major := os.Getenv(key); major != "" {
		pg := Postgres(t, major)
		pid, err := pg.pid()
		fmt.Printf("child: %d %d %s %v\n", pg.watch.Process.Pid, pid, pg.folder, err)
		io.Copy(io.Discard, os.Stdin) // until the parent is done with us
		return
	}
	for _, major := range PostgresVersions() {
		t.Run(major, func(t *testing.T) {
			install(t, major)
			cmd := exec.Command(os.Args[0], "-test.run=^TestEndsWithUs$")
			cmd.Env = append(os.Environ(), key+"="+major)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			line, err := bufio.NewReader(stdout).ReadString('\n')
			var watch, postmaster int // process ids
			var folder, status string
			if _, scanErr := fmt.Sscanf(line, "child: %d %d %s %s", &watch, &postmaster, &folder, &status); scanErr != nil || status != "<nil>" {
				t.Fatalf("the child said %q: %v", line, err)
			}
			fd, err := unix.PidfdOpen(watch, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if !alive(postmaster) {
				t.Fatal("the server is not even there")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := waitGone(fd); err != nil {
				t.Fatalf("the watch: %v", err)
			}
			if alive(postmaster) {
				t.Error("the server outlived the process that started it")
			}
			if _, err := os.Stat(folder); !os.IsNotExist(err) {
				t.Errorf("%s is still there: %v", folder, err)
			}
		})
	}
}
