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

// A ScratchServer is a MariaDB server of our own, for a while: started from the programs on this machine, in a folder that goes
// with it, reachable through a socket in that folder alone, and without the care for durability that data needs. Events don't run. It ends with
// this process, however that ends.
type ScratchServer struct {
	folder   string
	password string // root's: the user's own option file may have another
	server   *scratch.Server
}

const longestSocket = 107 // bytes, as the kernel has it

// StartScratch starts a server for a backup of the given origin: MariaDB of the same version or a newer one. The folder is made in dir; "" is the
// usual place for temporary files. Kind: Unsupported, when the programs are missing or the backup is one of MySQL.
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
type programs struct{ server, install string }

const hintScratch = "install mariadb-server on this machine, set HOLDFAST_MARIADB_BIN to the folder of its programs, or drill on a server: --to-scratch mysql://…"

// serverPrograms finds the programs of a server that is at least of a version.
func serverPrograms(ctx context.Context, version string) (p programs, err error) {
	want := parseVersion(version)
	if !want.maria {
		return p, fail.New(fail.Unsupported, "drill on a server: --to-scratch mysql://…", "start a scratch server for a backup of MySQL %s: only MariaDB is started here", version)
	}
	if p.server = findProgram("mariadbd", "mysqld"); p.server == "" {
		return p, fail.New(fail.Unsupported, hintScratch, "find a MariaDB server to start: there is no mariadbd on $PATH, nor in /usr/sbin")
	}
	if p.install = findProgram("mariadb-install-db", "mysql_install_db"); p.install == "" {
		return p, fail.New(fail.Unsupported, hintScratch, "find a MariaDB server to start: there is no mariadb-install-db on $PATH")
	}
	out, err := exec.CommandContext(ctx, p.server, "--no-defaults", "--version").Output()
	if err != nil {
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		return p, fail.Wrap(fail.Unsupported, err, hintScratch, "ask %s for its version", p.server)
	}
	_, text, _ := strings.Cut(string(out), "Ver ")
	if have := parseVersion(text); !have.maria || have.number/100 < want.number/100 {
		return p, fail.New(fail.Unsupported, hintScratch, "find a MariaDB server of version %s or newer to start: %s is %s", version, p.server, strings.TrimSpace(text))
	}
	return p, nil
}

// findProgram returns the path of the first of the programs that is there.
func findProgram(names ...string) string {
	folders := append([]string{os.Getenv("HOLDFAST_MARIADB_BIN")}, filepath.SplitList(os.Getenv("PATH"))...)
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
	install := exec.CommandContext(ctx, p.install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db",
		"--skip-name-resolve", "--innodb-log-file-size=8M", "--innodb-flush-method=nosync")
	install.Env, install.Dir = env, s.folder
	install.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	install.Cancel = func() error { return syscall.Kill(-install.Process.Pid, syscall.SIGKILL) } // it is a script that starts a server
	install.WaitDelay = closeWait
	if out, err := install.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fail.Wrap(fail.Unavailable, fmt.Errorf("%w: %s", err, lastError(out)), "", "run mariadb-install-db")
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.server, "--no-defaults", "--datadir="+data, "--socket="+s.socket(), "--pid-file="+filepath.Join(s.folder, "pid"), "--init-file="+first, "--tmpdir="+s.folder,
		"--skip-networking", "--skip-name-resolve", "--skip-log-bin", "--event-scheduler=OFF", "--performance-schema=off", "--secure-file-priv="+s.folder,
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--local-infile=1", "--max-allowed-packet=1G", "--lower-case-table-names="+lowerCaseNames(lowerCase),
		"--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=0", "--innodb-log-file-size=64M", "--innodb-buffer-pool-size=128M")
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, s.folder, out, out
	if s.server, err = scratch.Start(cmd, as, syscall.SIGKILL); err != nil {
		return err
	}
	return s.server.Ready(ctx, s.answers, func() string {
		said, _ := os.ReadFile(log)
		return lastError(said)
	})
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
