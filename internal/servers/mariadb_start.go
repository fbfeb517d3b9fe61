package servers

import (
	"bufio"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

//go:embed watch-mariadb.sh
var watchMariaDB string

// MariaOptions says how a MariaDB server differs from the usual one for tests.
type MariaOptions struct {
	// Settings are lines of the [mariadbd] section of my.cnf; they win over ours.
	Settings []string
	// Durable leaves out what makes tests fast and data unsafe.
	Durable bool
}

// Maria is a running MariaDB server.
type Maria struct {
	folder   string // of data, socket and log
	as       *syscall.Credential
	port     int
	password string
	server   int       // process id
	hold     io.Closer // the pipe that keeps the server running
	watch    *exec.Cmd
}

const mariaRoot = "root"

// mariaPrograms are what a server needs; Debian's mariadb-server-core and mariadb-client have them.
type mariaPrograms struct{ mariadbd, installDB, admin, client string }

func findMariaDB() (p mariaPrograms, err error) {
	for _, x := range []struct {
		name string
		dst  *string
	}{{"mariadbd", &p.mariadbd}, {"mariadb-install-db", &p.installDB}, {"mariadb-admin", &p.admin}, {"mariadb", &p.client}} {
		path, lookErr := exec.LookPath(x.name)
		if lookErr != nil { // Debian's users have no /usr/sbin on their path
			path, lookErr = exec.LookPath(filepath.Join("/usr/sbin", x.name))
		}
		if lookErr != nil {
			return p, fmt.Errorf("no %s on $PATH: run scripts/test-deps.sh as root", x.name)
		}
		*x.dst = path
	}
	return p, nil
}

// StartMariaDB starts a server. It lives until Close, or until this process ends.
func StartMariaDB(opt MariaOptions) (*Maria, error) {
	programs, err := findMariaDB()
	if err != nil {
		return nil, fmt.Errorf("find MariaDB: %w", err)
	}
	m := &Maria{}
	if err = m.makeFolder(); err == nil {
		err = m.install(programs)
	}
	// A free port may be taken by somebody else before the server gets to it.
	for try := 0; err == nil; try++ {
		if err = m.configure(opt); err != nil {
			break
		}
		if err = m.run(programs); err == nil {
			return m, nil
		}
		if try < 5 && strings.Contains(err.Error(), "Bind on TCP/IP port") {
			err = nil
		}
	}
	return nil, errors.Join(fmt.Errorf("start MariaDB: %w", err), os.RemoveAll(m.folder))
}

// makeFolder makes the folder of the server, owned by the user it runs as: it refuses to be root.
func (m *Maria) makeFolder() (err error) {
	base := os.TempDir()
	if os.Getuid() == 0 {
		base = "/tmp" // another user can't always pass through $TMPDIR
		if m.as, err = mariaAccount(); err != nil {
			return err
		}
	}
	if m.folder, err = os.MkdirTemp(base, "holdfast-mariadb-"); err != nil {
		return err
	}
	if m.as != nil {
		return os.Chown(m.folder, int(m.as.Uid), int(m.as.Gid))
	}
	return nil
}

func mariaAccount() (*syscall.Credential, error) {
	for _, name := range []string{"mysql", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return credential(u.Uid, u.Gid)
		}
	}
	return nil, errors.New("neither user mysql nor nobody exists, and MariaDB does not run as root")
}

// command prepares a program to run as the server runs.
func (m *Maria) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "HOME=" + m.folder, "TZ=UTC"}
	cmd.Dir = m.folder
	// A session of its own: Ctrl-C in the terminal is for the test, whose end ends the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.as, Setsid: true}
	return cmd
}

// install makes the data folder.
func (m *Maria) install(p mariaPrograms) error {
	// A password that has to be quoted wherever one can be forgotten.
	m.password = `p@s:s/w%41 "$#` + rand.Text()
	data := filepath.Join(m.folder, "data")
	// The option file it gets without --no-defaults is the machine's.
	cmd := m.command(p.installDB, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal",
		"--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M", "--innodb-flush-method=nosync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	return nil
}

// configure picks a port and writes the settings of server and clients.
func (m *Maria) configure(opt MariaOptions) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(m.folder, name) }
	lines := []string{
		"[mariadbd]", "datadir=" + in("data"), "socket=" + in("sock"), "pid-file=" + in("pid"), "init-file=" + in("init.sql"),
		"bind-address=127.0.0.1", "port=" + strconv.Itoa(m.port), "skip-name-resolve", "tmpdir=" + m.folder,
		"character-set-server=utf8mb4", "collation-server=utf8mb4_general_ci", // as Debian has it
		"log-bin=binlog", "server-id=1", "performance-schema=off", "max-connections=200",
		"innodb-log-file-size=64M", "innodb-buffer-pool-size=64M",
	}
	if !opt.Durable {
		lines = append(lines, "innodb-flush-log-at-trx-commit=0", "innodb-flush-method=nosync", "innodb-doublewrite=0", "sync-binlog=0")
	}
	lines = append(lines, opt.Settings...)
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m.password) + `"`
	client := []string{"[client]", "protocol=tcp", "host=127.0.0.1", "port=" + strconv.Itoa(m.port), "user=" + mariaRoot,
		"password=" + quoted, "[mariadb-client]", "default-character-set=utf8mb4"}
	secret := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(m.password) + "'"
	first := []string{"SET SESSION sql_log_bin=0;",
		"DELETE FROM mysql.global_priv WHERE user IN ('', 'root') AND host <> 'localhost';", // without passwords
		"FLUSH PRIVILEGES;",
		"ALTER USER root@localhost IDENTIFIED BY " + secret + ";",
		"CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY " + secret + ";",
		"GRANT ALL PRIVILEGES ON *.* TO root@'%' WITH GRANT OPTION;"}
	for name, text := range map[string][]string{"my.cnf": lines, "client.cnf": client, "init.sql": first} {
		if err := m.write(name, strings.Join(text, "\n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// write writes a file that only the server's user may read.
func (m *Maria) write(name, text string) error {
	path := filepath.Join(m.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	if m.as != nil {
		return os.Chown(path, int(m.as.Uid), int(m.as.Gid))
	}
	return nil
}

// run starts the server under its watch and returns once it takes connections.
func (m *Maria) run(p mariaPrograms) error {
	cmd := m.command("/bin/sh", "-c", watchMariaDB, "watch-mariadb.sh", m.folder, p.mariadbd, p.admin)
	hold, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	r := bufio.NewReader(out)
	first, err := r.ReadString('\n')
	if pid, perr := strconv.Atoi(strings.TrimSpace(first)); err == nil && perr == nil {
		m.server, m.hold, m.watch = pid, hold, cmd
		return nil
	}
	rest, _ := io.ReadAll(r)
	return errors.Join(fmt.Errorf("%s%s", first, rest), hold.Close(), cmd.Wait())
}

// Close stops the server and removes its data. A second Close does nothing.
func (m *Maria) Close() error {
	if m.hold == nil {
		return nil
	}
	err := m.hold.Close()
	m.hold = nil
	return errors.Join(err, m.watch.Wait())
}
