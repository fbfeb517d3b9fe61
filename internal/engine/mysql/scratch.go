package mysql

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/scratch"
)

// A ScratchServer is a MariaDB or MySQL server of our own, for a while: started from the programs on this machine, in a folder that goes
// with it, reachable through a socket in that folder alone, and without the care for durability that data needs. Events don't run. It ends with
// this process, however that ends.
type ScratchServer struct {
	folder   string
	password string // root's: the user's own option file may have another
	server   *scratch.Server
}

const longestSocket = 107 // bytes, as the kernel has it

// StartScratch starts a server for a backup of the given origin: MariaDB or MySQL as it was, of the same version or a newer one. The folder is made
// in dir; "" is the usual place for temporary files. Kind: Unsupported, when the programs are missing.
func StartScratch(ctx context.Context, origin rows.Origin, dir string) (*ScratchServer, error) {
	p, err := serverPrograms(ctx, origin.Version)
	if err != nil {
		return nil, err
	}
	as, err := scratch.User("mysql", "nobody")
	if err != nil {
		return nil, err
	}
	s := &ScratchServer{password: rand.Text()}
	if s.folder, err = scratch.Folder(dir); err != nil {
		return nil, err
	}
	if err := s.start(ctx, p, as, origin.Attribute("lower_case_table_names")); err != nil {
		return nil, errors.Join(fail.Op(err, "start a scratch server in %s", s.folder), os.RemoveAll(s.folder))
	}
	return s, nil
}

// programs are what a server needs.
type programs struct {
	maria           bool
	server, install string // MySQL's server makes its data itself
}

// flavour is what is to be found and how, and the hint when it is not.
type flavour struct{ name, variable, servers, hint string }

func flavourOf(maria bool) flavour {
	if maria {
		return flavour{"MariaDB", "HOLDFAST_MARIADB_BIN", "mariadbd mysqld",
			"install mariadb-server on this machine, set HOLDFAST_MARIADB_BIN to the folder of its programs, or drill on a server: --to-scratch mysql://…"}
	}
	return flavour{"MySQL", "HOLDFAST_MYSQL_BIN", "mysqld",
		"install MySQL's server on this machine, set HOLDFAST_MYSQL_BIN to the folder of mysqld, or drill on a server: --to-scratch mysql://…"}
}

// serverPrograms finds the programs of a server that is at least of a version.
func serverPrograms(ctx context.Context, version string) (p programs, err error) {
	want := parseVersion(version)
	f := flavourOf(want.maria)
	p.maria = want.maria
	folder, other := os.Getenv(f.variable), ""
	for _, name := range strings.Fields(f.servers) {
		path := findProgram(folder, name)
		if path == "" {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "--no-defaults", "--version").Output()
		if err != nil {
			if ctx.Err() != nil {
				return p, ctx.Err()
			}
			return p, fail.Wrap(fail.Unsupported, err, f.hint, "ask %s for its version", path)
		}
		_, text, _ := strings.Cut(string(out), "Ver ")
		if have := parseVersion(text); have.maria == want.maria && have.number/100 >= want.number/100 {
			p.server = path
			break
		}
		other = fmt.Sprintf("%s is %s", path, strings.TrimSpace(text))
	}
	switch {
	case p.server == "" && other != "":
		return p, fail.New(fail.Unsupported, f.hint, "find a %s server of version %s or newer to start: %s", f.name, version, other)
	case p.server == "":
		return p, fail.New(fail.Unsupported, f.hint, "find a %s server to start: there is no %s on $PATH, nor in /usr/sbin", f.name, strings.Fields(f.servers)[0])
	case !p.maria:
		return p, nil
	}
	if p.install = findProgram(folder, "mariadb-install-db", "mysql_install_db"); p.install == "" {
		return p, fail.New(fail.Unsupported, f.hint, "find a MariaDB server to start: there is no mariadb-install-db on $PATH")
	}
	return p, nil
}

// findProgram returns the path of the first of the programs that is there: in the folder, on $PATH or where servers are.
func findProgram(folder string, names ...string) string {
	folders := append([]string{folder}, filepath.SplitList(os.Getenv("PATH"))...)
	for _, name := range names {
		for _, dir := range append(folders, "/usr/sbin", "/usr/libexec") { // Debian's users have no /usr/sbin on their path
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path
			}
		}
	}
	return ""
}

func (s *ScratchServer) socket() string { return filepath.Join(s.folder, "sock") }

func (s *ScratchServer) start(ctx context.Context, p programs, as *syscall.Credential, lowerCase string) error {
	if len(s.socket()) > longestSocket {
		return fail.New(fail.Unsupported, "set TMPDIR to a folder with a shorter name", "the path of its socket is longer than %d bytes", longestSocket)
	}
	data, first, log := filepath.Join(s.folder, "data"), filepath.Join(s.folder, "init.sql"), filepath.Join(s.folder, "log")
	if err := os.WriteFile(first, []byte("ALTER USER root@localhost IDENTIFIED BY '"+s.password+"';\n"), 0o600); err != nil {
		return fail.Wrap(fail.NoSpace, err, "", "write its settings")
	}
	if err := scratch.Give(as, s.folder, first); err != nil {
		return err
	}
	env := []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "HOME=" + s.folder, "TZ=UTC"}
	install := p.prepare(ctx, s.folder, data, lowerCase)
	install.Env, install.Dir = env, s.folder
	install.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	install.Cancel = func() error { return syscall.Kill(-install.Process.Pid, syscall.SIGKILL) } // it may be a script that starts a server
	install.WaitDelay = closeWait
	if out, err := install.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fail.Wrap(fail.Unavailable, fmt.Errorf("%w: %s", err, lastError(out)), "", "run %s", filepath.Base(install.Path))
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.server, append([]string{"--no-defaults", "--datadir=" + data, "--socket=" + s.socket(), "--pid-file=" + filepath.Join(s.folder, "pid"),
		"--init-file=" + first, "--tmpdir=" + s.folder, "--secure-file-priv=" + s.folder}, p.settings(lowerCase)...)...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, s.folder, out, out
	if s.server, err = scratch.Start(cmd, as, syscall.SIGKILL); err != nil {
		return err
	}
	return s.server.Ready(ctx, s.answers, func() string {
		said, _ := os.ReadFile(log)
		return lastError(said)
	})
}

// prepare is the command that makes the data of an empty server.
func (p programs) prepare(ctx context.Context, folder, data, lowerCase string) *exec.Cmd {
	args := []string{"--no-defaults", "--datadir=" + data, "--tmpdir=" + folder, "--innodb-flush-method=nosync"}
	if p.maria {
		return exec.CommandContext(ctx, p.install, append(args, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M")...)
	}
	return exec.CommandContext(ctx, p.server, append(args, "--initialize-insecure", "--skip-log-bin", "--performance-schema=OFF", "--innodb-doublewrite=0",
		"--lower-case-table-names="+lowerCaseNames(lowerCase))...)
}

// settings are for a server that nobody else reaches and whose data nobody needs.
func (p programs) settings(lowerCase string) []string {
	list := []string{"--skip-networking", "--skip-name-resolve", "--skip-log-bin", "--event-scheduler=OFF", "--performance-schema=OFF",
		"--character-set-server=utf8mb4", "--local-infile=1", "--max-allowed-packet=1G", "--lower-case-table-names=" + lowerCaseNames(lowerCase),
		"--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=128M"}
	if p.maria {
		return append(list, "--collation-server=utf8mb4_general_ci", "--innodb-log-file-size=64M")
	}
	return append(list, "--mysqlx=OFF", "--loose-innodb-redo-log-capacity=128M") // the capacity is of 8.0.30
}

// answers tries a connection.
func (s *ScratchServer) answers(ctx context.Context) error {
	cfg, err := parseURL(s.URL("mysql"))
	if err != nil {
		return err
	}
	conn, err := connect(ctx, cfg, false)
	if err == nil {
		conn.close()
	}
	return err
}

func lowerCaseNames(of string) string {
	if of == "" || of == "0" {
		return "0"
	}
	return "1" // 2 is for disks that fold names themselves
}

// lastError returns the last line with an error, or the last line.
func lastError(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], "[ERROR]") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}

// URL names a database of the server.
func (s *ScratchServer) URL(db string) string {
	u := url.URL{Scheme: "mysql", User: url.UserPassword("root", s.password), Path: "/" + db,
		RawQuery: url.Values{"socket": {s.socket()}, "protocol": {"socket"}, "ssl-mode": {"disabled"}}.Encode()}
	return u.String()
}

// Stop ends the server at once and removes its folder. It may be called twice.
func (s *ScratchServer) Stop() error {
	s.server.Stop()
	return scratch.Remove(s.folder)
}
