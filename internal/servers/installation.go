package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// An installation is one PostgreSQL on this machine.
type installation struct {
	major string
	bin   string // folder of the server's programs, as seen by the server
	root  string // folder the server is to be chrooted into; empty: none
	tools string // folder of the client programs, as seen by us
}

// defaultVersions are the versions every change is tested with: what Debian stable and
// oldstable ship.
func defaultVersions() []string { return []string{"15", "17"} }

// releases are the Debian releases that scripts/test-deps.sh unpacks beside this machine's own.
func releases() []string { return []string{"trixie", "sid"} }

// newest is tested where a version can make a difference: see [EveryPostgres].
const newest = "18"

// EveryPostgres lists the versions of [PostgresVersions] and, unless $HOLDFAST_TEST_PG says which, the newest one:
// for the tests that show whether a version works at all, since to run all of them once more takes long.
func EveryPostgres() []string {
	if len(testPG()) > 0 {
		return PostgresVersions()
	}
	return append(defaultVersions(), newest)
}

// PostgresVersions lists the major versions to test with: "15" and "17", or those that
// $HOLDFAST_TEST_PG names. A version in the list may still be missing: [Postgres] tells.
func PostgresVersions() []string {
	dirs := testPG()
	if len(dirs) == 0 {
		return defaultVersions()
	}
	var majors []string
	for _, dir := range dirs {
		major, err := majorOf(dir)
		if err != nil {
			// A typo in the variable must not pass for an empty matrix: Postgres
			// fails on this name.
			major = dir
		}
		majors = append(majors, major)
	}
	return majors
}

// testPG returns what $HOLDFAST_TEST_PG names: bin folders, or major versions that are in the usual places.
func testPG() []string { return filepath.SplitList(os.Getenv("HOLDFAST_TEST_PG")) }

// find locates a PostgreSQL of the major version: in $HOLDFAST_TEST_PG, else where Debian
// packages put it on this machine, else in one of the Debian releases that scripts/test-deps.sh unpacks.
func find(major string) (installation, error) {
	if dirs := testPG(); len(dirs) > 0 {
		for _, dir := range dirs {
			if dir == major {
				return installed(major)
			}
			if got, err := majorOf(dir); err == nil && got == major {
				return installation{major: major, bin: dir, tools: dir}, nil
			}
		}
		return installation{}, fmt.Errorf("$HOLDFAST_TEST_PG has no PostgreSQL %s", major)
	}
	return installed(major)
}

// installed locates a PostgreSQL where packages and scripts/test-deps.sh put it.
func installed(major string) (installation, error) {
	bin := filepath.Join("/usr/lib/postgresql", major, "bin")
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err == nil {
		return installation{major: major, bin: bin, tools: bin}, nil
	}
	root := ""
	for _, release := range releases() {
		dir := filepath.Join(CacheDir(), release)
		if _, err := os.Stat(filepath.Join(dir, bin, "postgres")); err == nil {
			root = dir
			break
		}
	}
	if root == "" {
		return installation{}, fmt.Errorf("neither %s nor the Debian releases in %s have it: run scripts/test-deps.sh as root", bin, CacheDir())
	}
	if os.Getuid() != 0 {
		return installation{}, fmt.Errorf("the one in %s runs by chroot, which needs root", root)
	}
	tools := filepath.Join(CacheDir(), "bin-"+major)
	if err := writeTools(tools, root, bin, postgresTools...); err != nil {
		return installation{}, err
	}
	return installation{major: major, bin: bin, root: root, tools: tools}, nil
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(bin string) (string, error) {
	if n, err := strconv.Atoi(bin); err == nil && n > 0 {
		return bin, nil
	}
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return "", err
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s/postgres --version says %q", bin, out)
	}
	return string(m[1]), nil
}

var postgresTools = []string{
	"pg_dump", "pg_dumpall", "pg_restore", "psql", "pg_basebackup", "pg_isready",
	"pg_verifybackup", "pg_receivewal", "createdb", "dropdb", "vacuumdb", "pgbench",
}

// writeTools makes wrappers in dir for the client programs of the system in root. They run
// under that system's own loader and libraries, but not by chroot: a client must see the
// files it is told to read and write.
func writeTools(dir, root, bin string, names ...string) error {
	loader, err := onlyMatch(filepath.Join(root, "lib*", "ld-linux*.so.*"))
	if err != nil {
		return err
	}
	libs, err := onlyMatch(filepath.Join(root, "usr/lib", "*-linux-gnu"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		// $0 as argv[0]: pg_dumpall looks for pg_dump beside itself.
		script := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s --argv0 \"$0\" %s \"$@\"\n",
			quoteSh(loader), quoteSh(libs), quoteSh(filepath.Join(root, bin, name)))
		if err := writeAside(filepath.Join(dir, name), script); err != nil {
			return err
		}
	}
	return nil
}

// writeAside leaves an equal file alone and replaces another in one step: test processes of
// several packages come here at the same time, and a program that is being written can't run.
func writeAside(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o755), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func onlyMatch(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("nothing matches %s", pattern)
	}
	return found[0], nil
}

func quoteSh(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// account returns whom the server runs as: PostgreSQL refuses to run as root. Nil means
// ourselves.
func (in installation) account() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	if in.root != "" {
		return accountIn(filepath.Join(in.root, "etc/passwd"), "postgres")
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		return credential(u.Uid, u.Gid)
	}
	return nil, errors.New("neither user postgres nor nobody exists, and PostgreSQL does not run as root")
}

func accountIn(passwd, name string) (*syscall.Credential, error) {
	data, err := os.ReadFile(passwd)
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Split(line, ":")
		if len(f) > 3 && f[0] == name {
			return credential(f[2], f[3])
		}
	}
	return nil, fmt.Errorf("%s has no user %s", passwd, name)
}

func credential(uid, gid string) (*syscall.Credential, error) {
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return nil, err
	}
	g, err := strconv.ParseUint(gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}, nil
}
