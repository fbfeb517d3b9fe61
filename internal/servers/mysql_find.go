package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
)

// MySQLFlavours lists the kinds of servers that speak MySQL's protocol and are tested with: the names that [MySQL] takes and [Require] knows.
func MySQLFlavours() []string { return []string{"mariadb", "mysql"} }

// mysqlPrograms are what a server needs.
type mysqlPrograms struct {
	flavour                  string
	root                     string // folder the server is to be chrooted into; empty: none
	server, installDB, admin string // as seen by the server
	tools                    string // folder of the client programs as seen by us; empty: they are on $PATH
}

// findMySQL finds the programs of a flavour. Debian's mariadb-server-core and mariadb-client have MariaDB's. MySQL's are on $PATH, or
// in the Debian sid that scripts/test-deps.sh makes.
func findMySQL(flavour string) (p mysqlPrograms, err error) {
	p.flavour = flavour
	if flavour == "mariadb" {
		for name, dst := range map[string]*string{"mariadbd": &p.server, "mariadb-install-db": &p.installDB, "mariadb-admin": &p.admin, "mariadb": new(string)} {
			if *dst = onPath(name); *dst == "" {
				return p, fmt.Errorf("no %s on $PATH: run scripts/test-deps.sh as root", name)
			}
		}
		return p, nil
	}
	if p.server, p.admin = onPath("mysqld"), onPath("mysqladmin"); p.server != "" && p.admin != "" && !isMariaDB(p.server) && !isMariaDB(p.admin) {
		return p, nil
	}
	p.root, p.server, p.admin = filepath.Join(CacheDir(), "sid"), "/usr/sbin/mysqld", "/usr/bin/mysqladmin"
	if _, err := os.Stat(filepath.Join(p.root, p.server)); err != nil {
		return p, fmt.Errorf("neither $PATH nor %s has a mysqld that is MySQL's: run scripts/test-deps.sh as root", p.root)
	}
	if os.Getuid() != 0 {
		return p, fmt.Errorf("the one in %s runs by chroot, which needs root", p.root)
	}
	p.tools = filepath.Join(CacheDir(), "bin-mysql")
	return p, writeTools(p.tools, p.root, "/usr/bin", "mysql", "mysqldump", "mysqladmin", "mysqlbinlog")
}

func onPath(name string) string {
	for _, name := range []string{name, filepath.Join("/usr/sbin", name)} { // Debian's users have no /usr/sbin on their path
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// isMariaDB reports whether a program of MySQL's is MariaDB's by another name.
func isMariaDB(program string) bool {
	out, err := exec.Command(program, "--no-defaults", "--version").Output()
	return err != nil || strings.Contains(string(out), "MariaDB")
}

// client returns the path of a client program by its name in MySQL: mysql, mysqldump.
func (p mysqlPrograms) client(name string) string {
	if p.flavour == "mariadb" {
		switch rest, ok := strings.CutPrefix(name, "mysql"); {
		case ok && rest == "":
			return "mariadb"
		case ok:
			return "mariadb-" + rest
		}
	}
	return filepath.Join(p.tools, name)
}

// mysqlAccount returns whom a server runs as: it refuses to be root. Nil means ourselves.
func mysqlAccount() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"mysql", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return credential(u.Uid, u.Gid)
		}
	}
	return nil, errors.New("neither user mysql nor nobody exists, and the server does not run as root")
}
