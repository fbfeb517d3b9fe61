package main

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// soon is how long a daemon may take to end that was told to.
const soon = 15 * time.Second

// A station is a household with a database and a configuration that holdfast serve works by.
type station struct {
	*household
	dir, db, config, addr string
	told                  *listener
}

// listener remembers what it was told over HTTP.
type listener struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func newListener(t *testing.T) *listener {
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.got = append(l.got, string(body))
	}))
	t.Cleanup(l.Close)
	return l
}

// heard counts the messages with a text.
func (l *listener) heard(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.got {
		if strings.Contains(g, text) {
			n++
		}
	}
	return n
}

func newStation(t *testing.T, megabytes int) *station {
	t.Helper()
	s := &station{household: newHousehold(t, "WATCHDOG_USEC=600000"), dir: t.TempDir(), told: newListener(t)} // so that it looks every second
	s.db, s.config = filepath.Join(s.dir, "app.sqlite3"), filepath.Join(s.dir, "holdfast.yaml")
	sql := fmt.Sprintf("CREATE TABLE users (id INTEGER PRIMARY KEY, noise BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d) INSERT INTO users SELECT i, randomblob(10000) FROM n", 100*megabytes+2)
	if err := wire.ExecSQLite(t.Context(), s.db, sql); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	_ = l.Close()
	return s
}

// configure writes the configuration: what is set for all, and for the one database.
func (s *station) configure(t *testing.T, all, app string) {
	t.Helper()
	text := fmt.Sprintf("repository: %s\nlisten: %s\nprune: {schedule: never}\n%s\ndatabases:\n  app:\n    url: sqlite:%s\n    objectives: {max_age: 100h}\n%s\n", s.repo, s.addr, all, s.db, app)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *station) serve(t *testing.T) *process {
	t.Helper()
	p := &process{ended: make(chan struct{})}
	log := filepath.Join(s.dir, "log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p.Cmd = exec.Command("holdfast", "serve", "--config", s.config)
	p.Env, p.Stderr, p.SysProcAttr = s.env, out, &syscall.SysProcAttr{Setpgid: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	go func() {
		_ = p.Cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Log(s.log())
		}
	})
	return p
}

func (s *station) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

func (s *station) logged(text string) func() bool {
	return func() bool { pause(); return strings.Contains(s.log(), text) }
}

// pause keeps a poll from eating the processor that what it waits for needs.
func pause() { <-time.After(20 * time.Millisecond) }

func exists(path string) func() bool {
	return func() bool { pause(); _, err := os.Stat(path); return err == nil }
}

// sizeOf adds up the files below a folder.
func sizeOf(folder string) (bytes int64) {
	_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil // files come and go
	})
	return bytes
}

// health is the code that /healthz answers with; 0 without an answer.
func (s *station) health() int {
	pause()
	r, err := http.Get("http://" + s.addr + "/healthz")
	if err != nil {
		return 0
	}
	_ = r.Body.Close()
	return r.StatusCode
}

// stop tells the daemon to end, as systemd does, and checks what it leaves behind.
func (s *station) stop(t *testing.T, p *process, backups int) {
	t.Helper()
	begin := time.Now()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d (%v), want 0", code, p.ProcessState)
	}
	if took := time.Since(begin); took > soon {
		t.Errorf("it took %s to end", took)
	}
	if left, err := os.ReadDir(s.tmp); err != nil || len(left) > 0 {
		t.Errorf("left in $TMPDIR: %v, %v", left, err)
	}
	if left := s.leases(t); len(left) > 0 {
		t.Errorf("leases are left: %q", left)
	}
	if got := strings.Count(s.must(t, "list", "--json"), "\n"); got != backups {
		t.Errorf("%d backups are listed, want %d", got, backups)
	}
	for _, bad := range []string{"panic", "goroutine ", "level=ERROR"} {
		if strings.Contains(s.log(), bad) {
			t.Errorf("the log has %q", bad)
		}
	}
	// An end that was asked for says nothing against the database.
	check := s.start(t, "check", "--config", s.config, "--format", "nagios")
	check.wait(t)
	if strings.Contains(check.stdout.String(), "failed") {
		t.Errorf("check says %q", check.stdout.String())
	}
}

// TestServeStops ends daemons that are at work.
func TestServeStops(t *testing.T) {
	t.Run("in_a_hook", func(t *testing.T) {
		s := newStation(t, 0)
		s.configure(t, "", fmt.Sprintf("    hooks: {before: \"touch %[1]s/in; sleep 600\", on_failure: \"touch %[1]s/failed\"}", s.dir))
		p := s.serve(t)
		until(t, "the hook runs", exists(s.dir+"/in"))
		s.stop(t, p, 0)
		if exists(s.dir + "/failed")() {
			t.Error("the hook for failures ran")
		}
	})
	t.Run("in_a_backup", func(t *testing.T) {
		s := newStation(t, 200)
		s.configure(t, "", fmt.Sprintf("    hooks: {before: \"touch %s/in\"}", s.dir))
		p := s.serve(t)
		until(t, "the backup begins", exists(s.dir+"/in"))
		until(t, "rows flow", func() bool { pause(); return sizeOf(s.repo) > 1<<20 })
		s.stop(t, p, 0)
		if !s.logged("stopped")() {
			t.Error("the backup was not under way")
		}
		s.must(t, "run", "app", "--config", s.config) // nothing is in the way of the next one
		s.must(t, "verify", "--all")
	})
	t.Run("in_a_drill", func(t *testing.T) {
		s := newStation(t, 100)
		s.backupAt(t, time.Now().Add(-26*time.Hour))
		s.configure(t, "", "    schedule: never\n    verify: {schedule: never}\n    drill: {schedule: \"@daily\"}")
		p := s.serve(t)
		until(t, "the drill restores", func() bool {
			pause()
			found, _ := filepath.Glob(s.tmp + "/holdfast-scratch-*/*")
			return len(found) > 0
		})
		s.stop(t, p, 1)
		if !s.logged("stopped")() {
			t.Error("the drill was not under way")
		}
		s.must(t, "drill", "app", "--config", s.config)
	})
}

// backupAt makes a backup of the database as if its time were another. It does so in a process of its own, which is this
// test binary: what libraries keep for later can't leave a bubble of another time.
func (s *station) backupAt(t *testing.T, at time.Time) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBackupAt$", "-test.v")
	cmd.Env = append(s.env, "HOLDFAST_TEST_AT="+at.Format(time.RFC3339), "HOLDFAST_TEST_DB="+s.db)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestBackupAt") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestBackupAt is the other process of backupAt.
func TestBackupAt(t *testing.T) {
	text := os.Getenv("HOLDFAST_TEST_AT")
	if text == "" {
		t.Skip("not asked to")
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(at))
		s, err := backup.Open(t.Context(), os.Getenv("HOLDFAST_REPO"), "correct horse", nil)
		if err != nil {
			t.Fatal(err)
		}
		src, err := wire.Source(t.Context(), "sqlite:"+os.Getenv("HOLDFAST_TEST_DB"), wire.SourceOptions{Name: "app"})
		if err != nil {
			t.Fatal(err)
		}
		run := s.NewRun(backup.RunOptions{Version: "test"})
		if _, err := run.Backup(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		if err := run.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = src.Close()
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCheckTimes asks about backups of other times: each trouble is critical, and told by its text.
func TestCheckTimes(t *testing.T) {
	for _, c := range []struct {
		name string
		ago  time.Duration
		code int
		want string
	}{
		{"fine", 24 * time.Hour, 0, "BACKUP OK: app 24h"},
		{"last_one_26_hours_old", 26 * time.Hour, 2, "BACKUP CRITICAL: app the newest good backup is 26h"},
		{"clock_skewed", -2 * time.Hour, 2, "BACKUP CRITICAL: app backup "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t, 0)
			s.backupAt(t, time.Now().Add(-c.ago))
			s.configure(t, "", "    verify: {schedule: never}")
			text, _ := os.ReadFile(s.config)
			if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "100h", "25h", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			p := s.start(t, "check", "--config", s.config, "--format", "nagios")
			if code := p.wait(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			got := p.stdout.String()
			if !strings.HasPrefix(got, c.want) || strings.Contains(got, "from the future") != (c.name == "clock_skewed") {
				t.Errorf("%s%s", got, p.stderr.String())
			}
		})
	}
}

// TestServeTrouble lets a daemon meet what goes wrong around it.
func TestServeTrouble(t *testing.T) {
	t.Run("the_repository_goes_and_comes_back", func(t *testing.T) {
		t.Parallel()
		s := newStation(t, 0)
		s.configure(t, fmt.Sprintf("notify: {ops: \"generic+%s/?template=json\"}", s.told.URL), "")
		p := s.serve(t)
		until(t, "it has made a backup", s.logged("msg=done"))
		until(t, "it is well", func() bool { return s.health() == http.StatusOK })
		if err := os.Rename(s.repo, s.repo+".away"); err != nil {
			t.Fatal(err)
		}
		until(t, "it is unwell", func() bool { return s.health() == http.StatusServiceUnavailable })
		looks := strings.Count(s.log(), "level=ERROR")
		p.signal(t, syscall.SIGHUP) // it looks again, and tells nothing new
		until(t, "it looked again", func() bool { pause(); return strings.Count(s.log(), "level=ERROR") > looks })
		if n := s.told.heard("can't be read"); n != 1 {
			t.Errorf("told %d times: %q", n, s.told.got)
		}
		if _, err := os.Stat(s.repo); err == nil {
			t.Error("it made a folder where the repository was")
		}
		if err := os.Rename(s.repo+".away", s.repo); err != nil {
			t.Fatal(err)
		}
		until(t, "it is well again", func() bool { return s.health() == http.StatusOK })
		until(t, "the end is told", func() bool { pause(); return s.told.heard("can't be read") == 2 })
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s.must(t, "verify", "--all")
	})
	t.Run("a_broken_configuration_stays_outside", func(t *testing.T) {
		t.Parallel()
		s := newStation(t, 0)
		s.configure(t, "", "")
		p := s.serve(t)
		until(t, "it has made a backup", s.logged("msg=done"))
		good, err := os.ReadFile(s.config)
		if err != nil {
			t.Fatal(err)
		}
		s.configure(t, "", "    schedul: never")
		p.signal(t, syscall.SIGHUP)
		until(t, "it says what is wrong", s.logged("the old configuration stays: "))
		if !s.logged("schedul: unknown setting")() {
			t.Error("the log does not name the setting")
		}
		if code := s.health(); code != http.StatusOK {
			t.Errorf("/healthz: %d", code)
		}
		if err := os.WriteFile(s.config, good, 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
		until(t, "it takes the mended one", s.logged("configuration read again"))
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("its_port_is_taken", func(t *testing.T) {
		t.Parallel()
		s := newStation(t, 0)
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s.configure(t, "", "")
		p := s.serve(t)
		if code := p.wait(t); code != 6 {
			t.Errorf("exit code %d, want 6", code)
		}
		if text := s.log(); !strings.Contains(text, "listen on "+s.addr) || !strings.Contains(text, "is another holdfast serving there?") {
			t.Errorf("it says %q", text)
		}
	})
	t.Run("a_place_that_never_answers", func(t *testing.T) {
		t.Parallel()
		s := newStation(t, 0)
		deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, reads nothing, says nothing
		if err != nil {
			t.Fatal(err)
		}
		calls := make(chan net.Conn, 100)
		var taking sync.WaitGroup
		taking.Go(func() {
			for {
				c, err := deaf.Accept()
				if err != nil {
					return
				}
				calls <- c
			}
		})
		defer func() {
			_ = deaf.Close()
			taking.Wait()
			close(calls)
			for c := range calls {
				_ = c.Close()
			}
		}()
		s.configure(t, fmt.Sprintf("notify: {a-deaf: \"generic+http://%s/\", ops: \"generic+%s/?template=json\"}", deaf.Addr(), s.told.URL), "    hooks: {before: \"exit 9\"}")
		p := s.serve(t)
		until(t, "the other place is told", func() bool { pause(); return s.told.heard("failed") > 0 })
		(<-calls).Close()
		until(t, "the place is given up", s.logged("an alarm was not delivered"))
		p.signal(t, syscall.SIGHUP)
		until(t, "the loop goes on", s.logged("configuration read again"))
		defer (<-calls).Close() // it is tried again, as what was not delivered is owed; so it hangs again
		p.signal(t, syscall.SIGTERM)
		begin := time.Now()
		if code := p.wait(t); code != 0 || time.Since(begin) > soon {
			t.Errorf("exit code %d after %s", code, time.Since(begin))
		}
	})
}

// In systemd's journal lines have priorities and no times, elsewhere times.
func TestLogger(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at := info.Sys().(*syscall.Stat_t)
	for i, stream := range []string{fmt.Sprintf("%d:%d", at.Dev, at.Ino), "1:2"} {
		t.Setenv("JOURNAL_STREAM", stream)
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		log := (&app{stderr: f}).logger()
		log.Error("broken", "why", "two\nlines")
		log.Warn("odd")
		log.Info("fine")
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		const want = "<3>level=ERROR msg=broken why=\"two\\nlines\"\n<4>level=WARN msg=odd\n<6>level=INFO msg=fine\n"
		if i == 0 && string(text) != want {
			t.Errorf("in the journal: %q", text)
		}
		if i == 1 && !strings.HasPrefix(string(text), "time=") {
			t.Errorf("elsewhere: %q", text)
		}
	}
}
