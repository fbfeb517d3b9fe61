package servers

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

//go:embed watch-mysql.sh
var watchMySQL string

// MySQLOptions says how a MariaDB or MySQL server differs from the usual one for tests.
type MySQLOptions struct {
	// Settings are lines of the [mysqld] section of my.cnf; they win over ours.
	Settings []string
	// Files are copied into the server's folder, which settings may call $FOLDER.
	Files []string
	// Durable leaves out what makes tests fast and data unsafe.
	Durable bool
}

// MySQLServer is a running server: MariaDB or MySQL.
type MySQLServer struct {
	Flavour string // "mariadb" or "mysql"

	programs mysqlPrograms
	folder   string // of data, socket and log, as seen by us
	inside   string // the same as seen by the server
	as       *syscall.Credential
	port     int
	password string
	watched
}

const mysqlRoot = "root"

// emptyData is the data of a fresh MySQL in the system that scripts/test-deps.sh makes.
const emptyData = "/var/lib/mysql-empty"

// StartMySQL starts a server of a flavour. It lives until Close, or until this process ends.
func StartMySQL(flavour string, opt MySQLOptions) (*MySQLServer, error) {
	programs, err := findMySQL(flavour)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", flavour, err)
	}
	m := &MySQLServer{Flavour: flavour, programs: programs}
	if err = m.makeFolder(); err == nil {
		err = m.install()
	}
	// A free port may be taken by somebody else before the server gets to it.
	for try := 0; err == nil; try++ {
		if err = m.configure(opt); err != nil {
			break
		}
		if err = m.run(); err == nil {
			return m, nil
		}
		if try < 5 && strings.Contains(strings.ToLower(err.Error()), "bind on tcp/ip port") {
			err = nil
		}
	}
	return nil, errors.Join(fmt.Errorf("start %s: %w", flavour, err), os.RemoveAll(m.folder))
}

// makeFolder makes the folder of the server, owned by the user it runs as.
func (m *MySQLServer) makeFolder() (err error) {
	if m.as, err = mysqlAccount(); err != nil {
		return err
	}
	base := filepath.Join("/", m.programs.root, "tmp") // another user can't always pass through $TMPDIR
	if m.programs.root == "" && m.as == nil {
		base = os.TempDir()
	}
	if m.folder, err = os.MkdirTemp(base, "holdfast-"+m.Flavour+"-"); err != nil {
		return err
	}
	m.inside = "/" + strings.TrimPrefix(strings.TrimPrefix(m.folder, m.programs.root), "/")
	if m.as != nil {
		return os.Chown(m.folder, int(m.as.Uid), int(m.as.Gid))
	}
	return nil
}

// command prepares a program to run where and as the server runs.
func (m *MySQLServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "HOME=" + m.inside, "TZ=UTC"}
	cmd.Dir = m.inside // after the chroot
	// A session of its own: Ctrl-C in the terminal is for the test, whose end ends the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: m.programs.root, Credential: m.as, Setsid: true}
	return cmd
}

// install makes the data folder.
func (m *MySQLServer) install() error {
	// A password that has to be quoted wherever one can be forgotten.
	m.password = `p@s:s/w%41 "$#` + rand.Text()
	// The option file it gets without --no-defaults is the machine's.
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(m.inside, "data"), "--innodb-flush-method=nosync"}
	program := m.programs.installDB
	if m.Flavour == "mariadb" {
		args = append(args, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M", "--tmpdir="+m.inside)
	} else {
		program = m.programs.server
		args = append(args, "--initialize-insecure", "--innodb-redo-log-capacity=64M", "--innodb-doublewrite=0", "--skip-log-bin", "--performance-schema=off")
	}
	if _, err := os.Stat(filepath.Join(m.programs.root, emptyData)); err == nil && m.programs.root != "" {
		program, args = "/usr/bin/cp", []string{"-r", "--sparse=always", emptyData, filepath.Join(m.inside, "data")}
	}
	if out, err := m.command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// configure picks a port and writes the settings of server and clients.
func (m *MySQLServer) configure(opt MySQLOptions) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(m.inside, name) }
	lines := []string{
		"[mysqld]", "datadir=" + in("data"), "socket=" + in("sock"), "pid-file=" + in("pid"), "init-file=" + in("init.sql"),
		"bind-address=127.0.0.1", "port=" + strconv.Itoa(m.port), "skip-name-resolve", "tmpdir=" + m.inside,
		"log-bin=binlog", "server-id=1", "performance-schema=off", "max-connections=200", "innodb-buffer-pool-size=64M",
	}
	if m.Flavour == "mariadb" {
		lines = append(lines, "character-set-server=utf8mb4", "collation-server=utf8mb4_general_ci", "innodb-log-file-size=64M") // as Debian has it
	} else {
		lines = append(lines, "mysqlx=off", "local-infile=1", "cte-max-recursion-depth=1000000", "innodb-redo-log-capacity=128M", "secure-file-priv="+m.inside)
	}
	if !opt.Durable {
		lines = append(lines, "innodb-flush-log-at-trx-commit=0", "innodb-flush-method=nosync", "innodb-doublewrite=0", "sync-binlog=0")
	}
	for _, s := range opt.Settings {
		lines = append(lines, strings.ReplaceAll(s, "$FOLDER", m.inside))
	}
	for _, path := range opt.Files {
		data, err := os.ReadFile(path)
		if err == nil {
			err = writeFor(m.as, filepath.Join(m.folder, filepath.Base(path)), string(data))
		}
		if err != nil {
			return err
		}
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m.password) + `"`
	client := []string{"[client]", "protocol=tcp", "host=127.0.0.1", "port=" + strconv.Itoa(m.port), "user=" + mysqlRoot,
		"password=" + quoted, "[mysql]", "default-character-set=utf8mb4"}
	secret := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(m.password) + "'"
	first := []string{"SET SESSION sql_log_bin=0;",
		"ALTER USER root@localhost IDENTIFIED BY " + secret + ";",
		"CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY " + secret + ";",
		"GRANT ALL PRIVILEGES ON *.* TO root@'%' WITH GRANT OPTION;"}
	if m.Flavour == "mariadb" { // others without passwords
		first = append(first, "DELETE FROM mysql.global_priv WHERE user IN ('', 'root') AND host NOT IN ('localhost', '%');", "FLUSH PRIVILEGES;")
	}
	for name, text := range map[string][]string{"my.cnf": lines, "client.cnf": client, "init.sql": first} {
		if err := writeFor(m.as, filepath.Join(m.folder, name), strings.Join(text, "\n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// run starts the server under its watch and returns once it takes connections.
func (m *MySQLServer) run() error {
	return m.begin(m.command("/bin/sh", "-c", watchMySQL, "watch-mysql.sh", m.inside, m.programs.server, m.programs.admin))
}
