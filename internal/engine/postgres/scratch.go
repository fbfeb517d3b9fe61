package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/scratch"
)

// A ScratchServer is a PostgreSQL server of our own, for a while: started from the programs on this machine, in a folder
// that goes with it, reachable through a socket in that folder alone, and without the care for durability that data
// needs. It ends with this process, however that ends.
type ScratchServer struct {
	folder string
	server *scratch.Server
}

const scratchPort = 5432 // names the socket; nothing listens on the network

// StartScratch starts a server for a database of the major version: the same if it is there, else a newer one. The folder is made in dir; "" is the
// usual place for temporary files. Kind: Unsupported, when the programs are missing.
func StartScratch(ctx context.Context, major int, dir string) (*ScratchServer, error) {
	bin, err := serverPrograms(ctx, major)
	if err != nil {
		return nil, err
	}
	as, err := scratch.User("postgres", "nobody")
	if err != nil {
		return nil, err
	}
	s := &ScratchServer{}
	if s.folder, err = scratch.Folder(dir); err != nil {
		return nil, err
	}
	if err := s.start(ctx, bin, as); err != nil {
		return nil, errors.Join(fail.Op(err, "start a scratch server in %s", s.folder), os.RemoveAll(s.folder))
	}
	return s, nil
}

// serverPrograms finds the folder of initdb and postgres.
func serverPrograms(ctx context.Context, major int) (string, error) {
	d, older, err := findServer(ctx, major)
	if err != nil {
		return "", err
	}
	if d == "" {
		why := "there is none in the usual folders"
		if len(older) > 0 {
			slices.Sort(older)
			why = strings.Join(slices.Compact(older), ", ")
		}
		return "", fail.New(fail.Unsupported, fmt.Sprintf("install postgresql-%d on this machine, set HOLDFAST_PG_BIN to its folder, or drill on a server: --to-scratch postgres://…", major),
			"find a PostgreSQL server of version %d or newer to start: %s", major, why)
	}
	return d, nil
}

// findServer returns the folder with the fittest postgres: of the same version, else of the next newer one; and those that are too old, in words.
func findServer(ctx context.Context, major int) (best string, older []string, err error) {
	bestMajor := 0
	for _, dir := range append([]string{os.Getenv("HOLDFAST_PG_BIN")}, binDirs()...) {
		if dir == "" || !isProgram(filepath.Join(dir, "initdb")) {
			continue
		}
		d, err := probe(ctx, dir, "postgres")
		switch {
		case err != nil:
			return "", nil, err
		case d == nil:
		case d.major < major:
			older = append(older, fmt.Sprintf("the one in %s is version %d", dir, d.major))
		case bestMajor == 0 || d.major < bestMajor:
			best, bestMajor = dir, d.major
		}
	}
	return best, older, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (s *ScratchServer) start(ctx context.Context, bin string, as *syscall.Credential) error {
	if err := scratch.Give(as, s.folder); err != nil {
		return err
	}
	env := []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + s.folder}
	data := filepath.Join(s.folder, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.Env, initdb.Dir = env, s.folder
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	if out, err := initdb.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fail.Wrap(fail.Unavailable, fmt.Errorf("%w: %s", err, lastLine(out)), "", "run initdb")
	}
	logName := filepath.Join(s.folder, "log")
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", data, "-k", s.folder, "-p", strconv.Itoa(scratchPort)}
	for _, set := range []string{"listen_addresses=", "unix_socket_permissions=0700", "fsync=off", "full_page_writes=off", "synchronous_commit=off", "wal_level=minimal", "max_wal_senders=0",
		"archive_mode=off", "autovacuum=off", "max_wal_size=4GB", "checkpoint_timeout=1h", "maintenance_work_mem=256MB", "shared_buffers=128MB", "logging_collector=off", "cluster_name=holdfast-scratch"} {
		args = append(args, "-c", set)
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, s.folder, log, log
	if s.server, err = scratch.Start(cmd, as, syscall.SIGQUIT); err != nil {
		return err
	}
	return s.server.Ready(ctx, s.answers, func() string {
		out, _ := os.ReadFile(logName)
		return lastLine(out)
	})
}

// answers tries a connection.
func (s *ScratchServer) answers(ctx context.Context) error {
	cfg, err := parseURL(s.URL("postgres"))
	if err != nil {
		return err
	}
	conn, err := connect(ctx, cfg, appName)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// URL names a database of the server.
func (s *ScratchServer) URL(db string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/" + db,
		RawQuery: url.Values{"host": {s.folder}, "port": {strconv.Itoa(scratchPort)}, "sslmode": {"disable"}}.Encode()}
	return u.String()
}

// Stop ends the server at once and removes its folder. It may be called twice.
func (s *ScratchServer) Stop() error {
	s.server.Stop()
	return scratch.Remove(s.folder)
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// CreateScratch creates a database for a while on a server, named after ours, and returns its URL and what drops it.
func CreateScratch(ctx context.Context, server, name string) (db string, drop func(context.Context) error, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", nil, fail.New(fail.Usage, "write postgres://user@host/postgres", "the server for scratch databases is no URL")
	}
	cfg, err := parseURL(server)
	if err != nil {
		return "", nil, err
	}
	conn, err := connect(ctx, cfg, appName)
	if err != nil {
		return "", nil, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+quoteIdent(name)+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		return "", nil, fail.Op(explainIn(ctx, err), "create the scratch database %s", name)
	}
	u.Path = "/" + name
	return u.String(), func(ctx context.Context) error {
		conn, err := connect(ctx, cfg, appName)
		if err != nil {
			return fail.Op(err, "drop the scratch database %s", name)
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quoteIdent(name)+" WITH (FORCE)")
		return fail.Op(explainIn(ctx, err), "drop the scratch database %s", name)
	}, nil
}

// CheckDatabase looks for what a restore may have left undone: constraints that are not valid, indexes that are not. Each finding is one text.
func CheckDatabase(ctx context.Context, db string) (findings []string, err error) {
	cfg, err := parseURL(db)
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, cfg, appName)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rs, err := conn.Query(ctx, `
SELECT 'index ' || indexrelid::regclass || ' of ' || indrelid::regclass || ' is not valid' FROM pg_index WHERE NOT indisvalid OR NOT indisready
UNION ALL SELECT 'foreign key ' || conname || ' of ' || conrelid::regclass || ' is not checked' FROM pg_constraint k
	WHERE contype = 'f' AND NOT convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) ORDER BY 1`)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	defer rs.Close()
	for rs.Next() {
		var text string
		if err := rs.Scan(&text); err != nil {
			return nil, explainIn(ctx, err)
		}
		findings = append(findings, text)
	}
	return findings, explainIn(ctx, rs.Err())
}

// QueryValue runs one query that only reads and returns the first value of its first row as text; null is «null».
func QueryValue(ctx context.Context, db, sql string) (string, error) {
	cfg, err := parseURL(db)
	if err != nil {
		return "", err
	}
	conn, err := connect(ctx, cfg, appName)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SET default_transaction_read_only = on; SET search_path = public"); err != nil {
		return "", explainIn(ctx, err)
	}
	r := conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read()
	switch {
	case r.Err != nil:
		return "", explainIn(ctx, r.Err)
	case len(r.Rows) == 0 || len(r.Rows[0]) == 0:
		return "no row", nil
	case r.Rows[0][0] == nil:
		return "null", nil
	}
	return string(r.Rows[0][0]), nil
}

// MajorOf returns the major version in a server's version text, "15.4 (Debian …)" or "PostgreSQL 15.4"; 0 when there is none.
func MajorOf(version string) int {
	for _, word := range strings.Fields(version) {
		first, _, _ := strings.Cut(word, ".")
		if n, err := strconv.Atoi(first); err == nil {
			return n
		}
	}
	return 0
}
