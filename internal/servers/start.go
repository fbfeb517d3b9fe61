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

//go:embed watch.sh
var watchScript string

// Options says how a server differs from the usual one for tests.
type Options struct {
	// Settings are lines of postgresql.conf; they win over ours.
	Settings []string
	// Durable leaves out what makes tests fast and data unsafe (fsync=off and the like).
	Durable bool
	// StandbyOf makes the server a streaming replica of a running one.
	StandbyOf *PG
}

// PG is a running PostgreSQL server.
type PG struct {
	Major string // major version: "15"

	in       installation
	folder   string // of data, sockets and log, as seen by us
	inside   string // the same as seen by the server
	as       *syscall.Credential
	port     int
	password string
	watched
}

const superuser = "postgres"

// Start starts a server of the major version. It lives until Close, or until this process
// ends.
func Start(major string, opt Options) (*PG, error) {
	in, err := find(major)
	if err != nil {
		return nil, fmt.Errorf("find PostgreSQL %s: %w", major, err)
	}
	return start(in, opt)
}

func start(in installation, opt Options) (*PG, error) {
	pg := &PG{Major: in.major, in: in}
	err := pg.makeFolder()
	if err == nil && opt.StandbyOf != nil {
		err = pg.clone(opt.StandbyOf)
	} else if err == nil {
		err = pg.initdb()
	}
	// A free port may be taken by somebody else before the server gets to it.
	for try := 0; err == nil; try++ {
		if err = pg.configure(opt); err != nil {
			break
		}
		if err = pg.run(); err == nil {
			return pg, nil
		}
		if try < 5 && strings.Contains(err.Error(), "could not bind") {
			err = nil
		}
	}
	return nil, errors.Join(fmt.Errorf("start PostgreSQL %s: %w", in.major, err), os.RemoveAll(pg.folder))
}

// makeFolder makes the folder of the server, owned by the user it runs as.
func (pg *PG) makeFolder() error {
	as, err := pg.in.account()
	if err != nil {
		return err
	}
	pg.as = as
	base := filepath.Join("/", pg.in.root, "tmp")
	if pg.in.root == "" && as == nil {
		// Otherwise /tmp itself: another user can't always pass through $TMPDIR.
		base = os.TempDir()
	}
	pg.folder, err = os.MkdirTemp(base, "holdfast-pg"+pg.in.major+"-")
	if err != nil {
		return err
	}
	pg.inside = "/" + strings.TrimPrefix(strings.TrimPrefix(pg.folder, pg.in.root), "/")
	if as != nil {
		return os.Chown(pg.folder, int(as.Uid), int(as.Gid))
	}
	return nil
}

// command prepares a program to run where and as the server runs.
func (pg *PG) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + pg.inside}
	cmd.Dir = pg.inside // after the chroot
	// A session of its own: Ctrl-C in the terminal is for the test, whose end ends the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: pg.in.root, Credential: pg.as, Setsid: true}
	return cmd
}

func (pg *PG) initdb() error {
	// A password that has to be quoted wherever one can be forgotten: URLs, connection
	// strings, ~/.pgpass, shells.
	pg.password = `p@s:s/w%41 '\"$#` + rand.Text()
	cmd := pg.command(filepath.Join(pg.in.bin, "initdb"), "-D", filepath.Join(pg.inside, "data"),
		"-U", superuser, "-A", "scram-sha-256", "--pwfile="+filepath.Join(pg.inside, "password"), "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	if err := writeFor(pg.as, filepath.Join(pg.folder, "password"), pg.password+"\n"); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// clone copies the primary with pg_basebackup, ready to follow it.
func (pg *PG) clone(primary *PG) error {
	pg.password = primary.password
	cmd := pg.command(filepath.Join(pg.in.bin, "pg_basebackup"), "-R", "-X", "stream", "-c", "fast", "--no-sync",
		"-D", filepath.Join(pg.inside, "data"))
	cmd.Env = append(cmd.Env, primary.env()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	return nil
}

// configure picks a port and writes the settings.
func (pg *PG) configure(opt Options) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	pg.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	lines := []string{
		"listen_addresses = '127.0.0.1'",
		"port = " + strconv.Itoa(pg.port),
		"unix_socket_directories = '" + pg.inside + "'",
		"logging_collector = off",
	}
	if pg.in.root != "" {
		// The chroot has no tmpfs at /dev/shm.
		lines = append(lines, "dynamic_shared_memory_type = mmap")
	}
	if !opt.Durable {
		lines = append(lines, "fsync = off", "synchronous_commit = off", "full_page_writes = off",
			"shared_buffers = 32MB", "max_connections = 200", "jit = off")
	}
	lines = append(lines, opt.Settings...)
	// A file of its own, read after postgresql.conf; a clone has its primary's already.
	conf := filepath.Join(pg.folder, "data", "postgresql.conf")
	old, err := os.ReadFile(conf)
	if err != nil {
		return err
	}
	const include = "\ninclude 'holdfast.conf'\n"
	if !strings.HasSuffix(string(old), include) {
		if err := os.WriteFile(conf, append(old, include...), 0o600); err != nil {
			return err
		}
	}
	return writeFor(pg.as, filepath.Join(pg.folder, "data/holdfast.conf"), strings.Join(lines, "\n")+"\n")
}

// run starts the server under its watch and returns once it takes connections.
func (pg *PG) run() error {
	return pg.begin(pg.command("/bin/sh", "-c", watchScript, "watch.sh", pg.in.bin, pg.inside))
}
