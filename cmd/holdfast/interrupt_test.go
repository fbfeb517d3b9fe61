package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// deadline limits every wait for a process or a server.
const deadline = time.Minute

// A household is a home, a repository and the environment of people who work with them.
type household struct {
	repo string
	tmp  string // $TMPDIR
	env  []string
}

func newHousehold(t *testing.T, env ...string) *household {
	t.Helper()
	home := t.TempDir()
	h := &household{repo: filepath.Join(home, "repo"), tmp: t.TempDir()}
	h.env = append(os.Environ(), "HOME="+home, "TMPDIR="+h.tmp, "XDG_CONFIG_HOME="+home, "HOLDFAST_REPO="+h.repo, "HOLDFAST_PASSWORD=correct horse")
	h.env = append(h.env, env...)
	h.must(t, "init")
	return h
}

// A process is a running holdfast, in a process group of its own.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{} // closed when it has ended
}

// start starts the command. The process is ended when the test is, at the latest.
func (h *household) start(t *testing.T, args ...string) *process {
	t.Helper()
	return h.startTo(t, nil, args...)
}

// startTo is start with another stdout.
func (h *household) startTo(t *testing.T, stdout *os.File, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("holdfast", args...), ended: make(chan struct{})}
	p.Env, p.Stderr, p.SysProcAttr = h.env, &p.stderr, &syscall.SysProcAttr{Setpgid: true}
	p.Stdout = &p.stdout
	if stdout != nil {
		p.Stdout = stdout
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Cmd.Wait() // its state says it all
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	return p
}

// must runs the command, which must succeed, and returns its stdout.
func (h *household) must(t *testing.T, args ...string) string {
	t.Helper()
	p := h.start(t, args...)
	if code := p.wait(t); code != 0 {
		t.Fatalf("holdfast %s: exit code %d\n%s", args[0], code, p.stderr.String())
	}
	return p.stdout.String()
}

// wait returns the exit code, or -1 for a process that a signal ended.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(deadline):
		_ = p.Process.Signal(syscall.SIGQUIT)
		<-p.ended
		t.Fatalf("holdfast %s does not end:\n%s", strings.Join(p.Args[1:], " "), p.stderr.String())
	}
	return p.ProcessState.ExitCode()
}

// signal sends a signal, to the whole process group as a terminal does for Ctrl-C.
func (p *process) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-p.Process.Pid, sig); err != nil {
		t.Fatalf("send %v: %v", sig, err)
	}
}

// until polls with what takes time itself, such as a query.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// freeze lets the process go on in short steps until ready says that it has come to a place, and leaves it stopped there.
func (p *process) freeze(t *testing.T, what string, ready func() bool) {
	t.Helper()
	until(t, what, func() bool {
		p.signal(t, syscall.SIGSTOP)
		if ready() {
			return true
		}
		p.signal(t, syscall.SIGCONT)
		select {
		case <-p.ended:
			t.Fatalf("the process ended before %s:\n%s", what, p.stderr.String())
		case <-time.After(5 * time.Millisecond):
		}
		return false
	})
}

// wantInterrupted checks how a process ends that was asked to stop.
func (p *process) wantInterrupted(t *testing.T) {
	t.Helper()
	if code := p.wait(t); code != 130 {
		t.Errorf("exit code %d (%v), want 130", code, p.ProcessState)
	}
	text := p.stderr.String()
	if p.stdout.Len() > 0 {
		t.Errorf("stdout says %q", p.stdout.String())
	}
	if !strings.Contains(text, "holdfast: error: ") || !strings.Contains(text, "interrupted") {
		t.Errorf("the message does not say that it was interrupted: %q", text)
	}
	for _, bad := range []string{"goroutine ", "panic", ".go:", "context canceled", "SQLSTATE"} {
		if strings.Contains(text, bad) {
			t.Errorf("the message has %q: %q", bad, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines > 4 {
		t.Errorf("%d lines of message:\n%s", lines, text)
	}
}

// wantTidy checks that nobody is left in the database, nothing in the folder for temporary files, and that the repository is free.
func (h *household) wantTidy(t *testing.T, pg *servers.PG, backups int, dbs ...string) {
	t.Helper()
	for _, db := range dbs {
		name := db[strings.LastIndex(db, "/")+1:]
		until(t, "no session is left in "+name, func() bool {
			return pg.SQL(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+name+"'") == "0"
		})
	}
	if left, err := os.ReadDir(h.tmp); err != nil || len(left) > 0 {
		t.Errorf("left in $TMPDIR: %v, %v", left, err)
	}
	if left := h.leases(t); len(left) > 0 {
		t.Errorf("leases are left: %q", left)
	}
	if got := strings.Count(h.must(t, "list", "--json"), "\n"); got != backups {
		t.Errorf("%d backups are listed, want %d", got, backups)
	}
	h.must(t, "prune", "--keep-last", "1", "--now")
}

// leases lists the leases in the repository. Long names are spread over folders.
func (h *household) leases(t *testing.T) []string {
	t.Helper()
	var found []string
	files := 0
	err := filepath.WalkDir(h.repo, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
			if strings.Contains(strings.ReplaceAll(strings.TrimPrefix(name, h.repo), "/", ""), "lease") {
				found = append(found, name)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("found %d files in the repository: %v", files, err)
	}
	return found
}

// hold runs SQL in a session that stays open until the function returned is called, or the test ends.
func hold(t *testing.T, pg *servers.PG, db, sql string) (release func()) {
	t.Helper()
	cmd := pg.Command("psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-d", db[strings.LastIndex(db, "/")+1:], "-f", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = func() {
		_ = in.Close()
		_ = cmd.Wait() // a second time it returns an error
	}
	t.Cleanup(release)
	if _, err := io.WriteString(in, sql+";\n\\echo held\n"); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for buf := make([]byte, 1); !strings.HasSuffix(said.String(), "held\n"); {
		if _, err := out.Read(buf); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		said.Write(buf)
	}
	return release
}

// active returns a function that tells whether the server is at work in db on a query that fits.
func active(t *testing.T, pg *servers.PG, db, condition string) func() bool {
	return func() bool {
		return pg.SQL(t, "postgres", fmt.Sprintf("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = '%s' AND state = 'active' AND %s)",
			db[strings.LastIndex(db, "/")+1:], condition)) == "t"
	}
}

// bigTable is about 40 MB of noise: more than fits into any buffer on the way.
const bigTable = `CREATE TABLE big AS SELECT i, sha512((i || 'a')::bytea) || sha512((i || 'b')::bytea) || sha512((i || 'c')::bytea) || sha512((i || 'd')::bytea) AS noise
	FROM generate_series(1, 160000) i; CREATE TABLE small (a int); INSERT INTO small VALUES (1);`

// waitingTable has rows that wait for an advisory lock when they are loaded, and another when they are indexed. So
// a restore stands still at a known place for as long as somebody holds such a lock in its database.
const waitingTable = `
CREATE FUNCTION pass(gate int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock_shared(gate), pg_advisory_unlock_shared(gate); RETURN true; END';
CREATE TABLE plain AS SELECT i FROM generate_series(1, 1000) i;
CREATE TABLE waiting (a int CHECK (public.pass(1)));
INSERT INTO waiting SELECT generate_series(1, 50);
CREATE INDEX ON waiting (a) WHERE public.pass(2);
CREATE SCHEMA more; CREATE SEQUENCE more.s; CREATE TYPE more.e AS ENUM ('x');`

const waitsForGate = "wait_event = 'advisory'"

// TestInterrupt stops real processes with real signals, each at a known place.
func TestInterrupt(t *testing.T) {
	for _, major := range servers.PostgresVersions() {
		t.Run("postgres"+major, func(t *testing.T) {
			pg := servers.Postgres(t, major)
			h := newHousehold(t, "HOLDFAST_PG_BIN="+pg.BinDir())
			big := pg.CreateDatabase(t)
			pg.SQL(t, big, bigTable)
			for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
				t.Run("backup_while_rows_flow_"+sig.String(), func(t *testing.T) { interruptRows(t, pg, h, big, sig) })
			}
			t.Run("backup_that_waits_for_a_lock", func(t *testing.T) { interruptLockWait(t, pg, h, big) })
			h.must(t, "backup", big)
			t.Run("verify", func(t *testing.T) { interruptVerify(t, pg, h, big) })
			h.must(t, "verify", "--all")

			waiting := pg.CreateDatabase(t)
			pg.SQL(t, waiting, waitingTable)
			h = newHousehold(t, "HOLDFAST_PG_BIN="+pg.BinDir())
			h.must(t, "backup", waiting)
			t.Run("restore_while_rows_load", func(t *testing.T) { interruptRestore(t, pg, h, 1, syscall.SIGINT) })
			t.Run("restore_while_indexes_build", func(t *testing.T) { interruptRestore(t, pg, h, 2, syscall.SIGTERM) })
			h.must(t, "verify", "--all")
			t.Run("two_signals", func(t *testing.T) { interruptTwice(t, pg, h) })
		})
	}
}

func interruptRows(t *testing.T, pg *servers.PG, h *household, db string, sig syscall.Signal) {
	p := h.start(t, "backup", db)
	p.freeze(t, "rows flow", active(t, pg, db, "query LIKE '%COPY %big%' AND wait_event = 'ClientWrite'"))
	if len(h.leases(t)) == 0 {
		t.Error("a backup at work has no lease: the check that none is left would pass whatever happens")
	}
	p.signal(t, sig)
	p.signal(t, syscall.SIGCONT)
	p.wantInterrupted(t)
	h.wantTidy(t, pg, 0, db)
}

func interruptLockWait(t *testing.T, pg *servers.PG, h *household, db string) {
	release := hold(t, pg, db, "BEGIN; LOCK TABLE small IN ACCESS EXCLUSIVE MODE")
	p := h.start(t, "backup", db)
	until(t, "the backup waits", active(t, pg, db, "wait_event_type = 'Lock'"))
	p.signal(t, syscall.SIGINT)
	p.wantInterrupted(t)
	release()
	h.wantTidy(t, pg, 0, db)
}

func interruptVerify(t *testing.T, pg *servers.PG, h *household, db string) {
	p := h.start(t, "verify", "--all", "--jobs", "1")
	p.freeze(t, "bytes are read", func() bool {
		n := readSoFar(t, p.Process.Pid)
		return n > 6<<20 && n < 25<<20 // of about 40
	})
	p.signal(t, syscall.SIGINT)
	p.signal(t, syscall.SIGCONT)
	p.wantInterrupted(t)
	if out := h.must(t, "list", "--json"); !strings.Contains(out, `"state":"stored"`) {
		t.Errorf("half a verification counts: %s", out)
	}
	h.wantTidy(t, pg, 1, db)
}

// readSoFar returns how much a process has read.
func readSoFar(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0 // it has ended
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	n, err := strconv.ParseInt(strings.TrimPrefix(line, "rchar: "), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func interruptRestore(t *testing.T, pg *servers.PG, h *household, gate int, sig syscall.Signal) {
	dst := pg.CreateDatabase(t)
	empty := objects(t, pg, dst)
	release := hold(t, pg, dst, fmt.Sprintf("SELECT pg_advisory_lock(%d)", gate))
	p := h.start(t, "restore", "latest", "--to", dst)
	until(t, "the restore waits", active(t, pg, dst, waitsForGate))
	if objects(t, pg, dst) == empty {
		t.Error("a restore at work has made nothing: the check that nothing is left would pass whatever happens")
	}
	p.signal(t, sig)
	p.wantInterrupted(t)
	release()
	if left := objects(t, pg, dst); left != empty {
		t.Errorf("left in the database:\n%s\nwant\n%s", left, empty)
	}
	h.wantTidy(t, pg, 1, dst)
	h.must(t, "restore", "latest", "--to", dst) // what is empty again takes a restore
}

// objects lists what is in a database.
func objects(t *testing.T, pg *servers.PG, db string) string {
	t.Helper()
	return pg.SQL(t, db, `SELECT 'relation ' || relname FROM pg_class WHERE oid >= 16384 UNION ALL SELECT 'type ' || typname FROM pg_type WHERE oid >= 16384
		UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE oid >= 16384 UNION ALL SELECT 'schema ' || nspname FROM pg_namespace UNION ALL
		SELECT 'extension ' || extname FROM pg_extension UNION ALL SELECT 'large object' FROM pg_largeobject_metadata ORDER BY 1`)
}

// The first signal waits for a clean end; the second one ends the process at once.
func interruptTwice(t *testing.T, pg *servers.PG, h *household) {
	dst := pg.CreateDatabase(t)
	gate := hold(t, pg, dst, "SELECT pg_advisory_lock(1)")
	p := h.start(t, "restore", "latest", "--to", dst)
	until(t, "the restore waits", active(t, pg, dst, waitsForGate))
	// What was restored so far can't be removed while somebody looks at it.
	reader := hold(t, pg, dst, "BEGIN; LOCK TABLE plain IN ACCESS SHARE MODE")
	p.signal(t, syscall.SIGINT)
	until(t, "the removal waits", active(t, pg, dst, "wait_event_type = 'Lock' AND wait_event <> 'advisory'"))
	p.signal(t, syscall.SIGINT)
	p.wait(t)
	if s, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGINT {
		t.Errorf("ended by %v, want the signal", p.ProcessState)
	}
	if strings.Contains(p.stderr.String(), "goroutine ") {
		t.Errorf("a stack trace: %s", p.stderr.String())
	}
	if left, err := os.ReadDir(h.tmp); err == nil {
		t.Logf("left in $TMPDIR: %v", left)
	}
	reader()
	gate()
	// The lease of a process that is gone stands in nobody's way.
	h.must(t, "prune", "--keep-last", "1", "--now")
	h.must(t, "restore", "latest", "--to", dst, "--clean")
}

// Whoever reads the output may go away: holdfast list | head -1.
func TestClosedStdout(t *testing.T) {
	h := newHousehold(t)
	db := filepath.Join(t.TempDir(), "shop.sqlite3")
	cmd := exec.Command(servers.Program(t, "sqlite3"), db, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.must(t, "backup", db)
	for _, args := range [][]string{
		{"list"}, {"list", "--json"}, {"show", "latest"}, {"backup", db}, {"verify", "--all"}, {"version"},
		{"restore", "latest", "--to", db + ".restored"}, {"prune", "--keep-last", "5"}, {"--help"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		p := h.startTo(t, w, args...)
		_ = w.Close()
		code := p.wait(t)
		if s, ok := p.ProcessState.Sys().(syscall.WaitStatus); code == 0 || ok && s.Signaled() && s.Signal() != syscall.SIGPIPE {
			t.Errorf("holdfast %s: ended by %v, want a broken pipe", args[0], p.ProcessState)
		}
		if text := p.stderr.String(); strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
			t.Errorf("holdfast %s: %s", args[0], text)
		}
	}
	if got := strings.Count(h.must(t, "list", "--json"), "\n"); got != 2 {
		t.Errorf("%d backups are listed, want 2: one was committed before it could be told", got)
	}
	h.must(t, "prune", "--keep-last", "1", "--now")
	h.must(t, "verify", "--all")
}
