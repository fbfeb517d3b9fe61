package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
)

// accounts is how many rows the bank of the hammering tests has; their balances always add up to 0.
const accounts = 2000

// bank makes a database whose invariant a copy must keep: balances add up to 0, the log has the last
// transactions without a gap, up to the counter.
func bank(t testing.TB, path, journal string, bulk int) {
	t.Helper()
	build(t, path,
		"PRAGMA page_size=4096; PRAGMA journal_mode="+journal,
		`CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT NOT NULL, pad TEXT);
		 CREATE TABLE done(slot INTEGER PRIMARY KEY, n INT, amount INT, pad BLOB);
		 CREATE TABLE counter(n INT, sum INT); INSERT INTO counter VALUES(0, 0);
		 CREATE INDEX by_amount ON done(amount);
		 CREATE TABLE bulk(id INTEGER PRIMARY KEY, data BLOB)`,
		fmt.Sprintf(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%d)
		 INSERT INTO account SELECT x, 0, hex(randomblob(50)) FROM c`, accounts),
		fmt.Sprintf(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%d)
		 INSERT INTO bulk SELECT x, randomblob(8000) FROM c`, bulk/8000+1))
}

// checkBank fails the test unless the database at path keeps the invariant. It returns the counter.
func checkBank(t testing.TB, path string) int {
	t.Helper()
	if got := query(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Fatalf("integrity check: %s", got)
	}
	if got := query(t, path, "SELECT sum(balance) FROM account"); got != "0" {
		t.Fatalf("balances add up to %s, want 0", got)
	}
	if got := query(t, path, fmt.Sprintf(`SELECT d.rows=min(c.n,%[1]d) AND d.high=c.n AND d.low=max(c.n-%[1]d,0)+(c.n>0)
		FROM counter c, (SELECT count(*) AS rows, ifnull(max(n),0) AS high, ifnull(min(n),0) AS low FROM done) d`, accounts)); got != "1" {
		t.Fatal("the counter does not agree with the log")
	}
	n, err := strconv.Atoi(query(t, path, "SELECT n FROM counter"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// child is what this binary does as another process.
func child(work string, args []string) error {
	switch work {
	case "transfer":
		return childTransfer(args[0], args[1:])
	case "checkpoint":
		return childCheckpoint(args[0])
	case "exec":
		return childExec(args[0], args[1:])
	case "restore":
		return childRestore(args[0])
	case "merge":
		return childMerge(args[0], args[1])
	case "kind":
		return childKind(args[0])
	}
	return fmt.Errorf("unknown work %q", work)
}

// stopped reports whether the parent closed our standard input.
func stopped() func() bool {
	done := make(chan struct{})
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	return func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// childTransfer moves money until told to stop. Then it prints how many transactions it did and the longest time
// one took. With «think» it pauses a little between transactions.
func childTransfer(path string, mode []string) error {
	conn, err := open(path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Exec("PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=200"); err != nil {
		return err
	}
	var longest time.Duration
	n := 0
	stop := stopped()
	for fmt.Println("ready"); !stop(); n++ {
		a, b, amount := 1+rand.IntN(accounts), 1+rand.IntN(accounts), rand.IntN(1000)
		start := time.Now()
		err := conn.Exec(fmt.Sprintf(`BEGIN IMMEDIATE;
			UPDATE account SET balance=balance-%[3]d WHERE id=%[1]d; UPDATE account SET balance=balance+%[3]d WHERE id=%[2]d;
			UPDATE counter SET n=n+1, sum=sum+%[3]d;
			INSERT OR REPLACE INTO done SELECT n%%%[4]d, n, %[3]d, randomblob(abs(random())%%2000) FROM counter;
			COMMIT`, a, b, amount, accounts))
		if err != nil {
			return err
		}
		longest = max(longest, time.Since(start))
		if len(mode) > 0 {
			time.Sleep(5 * time.Millisecond) // load, not synchronisation
		}
	}
	fmt.Printf("%d %d\n", n, longest)
	return nil
}

// childCheckpoint checkpoints in all ways until told to stop, and prints how often.
func childCheckpoint(path string) error {
	conn, err := open(path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Exec("PRAGMA busy_timeout=20; SELECT count(*) FROM sqlite_schema"); err != nil {
		return err
	}
	n, stop := 0, stopped()
	for fmt.Println("ready"); !stop(); n++ {
		mode := []sqlite3.CheckpointMode{sqlite3.CHECKPOINT_PASSIVE, sqlite3.CHECKPOINT_FULL, sqlite3.CHECKPOINT_RESTART, sqlite3.CHECKPOINT_TRUNCATE}[n%4]
		_, _, _ = conn.WALCheckpoint("main", mode) // busy is fine
	}
	fmt.Printf("%d 0\n", n)
	return nil
}

// childExec runs SQL, and keeps the connection open until told to stop.
func childExec(path string, sql []string) error {
	conn, err := open(path)
	if err != nil {
		return err
	}
	for _, s := range sql {
		if err := conn.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return conn.Close()
}

// process is a child at work.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Scanner
	over  bool
}

// start starts a child and waits until it is at work.
func start(t testing.TB, work string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_SQLITE_CHILD="+work)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, stdin: stdin, out: bufio.NewScanner(stdout)}
	t.Cleanup(p.kill)
	if !p.out.Scan() || p.out.Text() != "ready" {
		t.Fatalf("child %s %v said %q", work, args, p.out.Text())
	}
	return p
}

// stop asks the child to stop and returns how much it did, and the longest time something took.
func (p *process) stop() (n int, longest time.Duration) {
	p.t.Helper()
	p.over = true
	_ = p.stdin.Close()
	var last string
	for p.out.Scan() {
		last = p.out.Text()
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("child: %v", err)
	}
	if count, wait, ok := strings.Cut(last, " "); ok {
		n, _ = strconv.Atoi(count)
		ns, _ := strconv.ParseInt(wait, 10, 64)
		longest = time.Duration(ns)
	}
	return n, longest
}

// kill kills the child with SIGKILL, if it is still there.
func (p *process) kill() {
	if !p.over {
		p.over = true
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// childRestore gets as far as before Finish, and waits to be killed.
func childRestore(path string) error {
	ctx := context.Background()
	tg, err := NewTarget(path, TargetOptions{Clean: true})
	if err != nil {
		return err
	}
	if err := tg.Prepare(ctx, image.Info{}, []image.File{{Name: "x", Size: 1 << 20}}); err != nil {
		return err
	}
	if err := tg.Write(ctx, "x", 0, make([]byte, 1<<19)); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// childKind copies a database and prints the kind of the error.
func childKind(path string) error {
	err := attempt(context.Background(), path)
	if err == nil {
		fmt.Println("ok")
		return nil
	}
	fmt.Println(fail.KindOf(err))
	if fail.HintOf(err) == "" {
		return fmt.Errorf("no hint with: %w", err)
	}
	return nil
}

// asUser runs a child's work as another user and returns what it prints.
func asUser(t testing.TB, exe string, uid uint32, work string, args ...string) string {
	t.Helper()
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_SQLITE_CHILD="+work)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s as user %d: %v", work, uid, err)
	}
	return strings.TrimSpace(string(out))
}
