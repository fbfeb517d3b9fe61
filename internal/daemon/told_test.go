package daemon_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// Each planned run that fails has its retries, also on the second day without a server.
func TestRetriesOfEachRun(t *testing.T) {
	c := newWorld(t).config(t, "    schedule: {at: \"0 2 * * *\", jitter: 0s}\n    retries: 3\n    verify: {schedule: never}\n")
	begin := time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC)
	for failures, again := range []bool{1: true, true, true, false, true, true, true, false, true} {
		if failures == 0 {
			continue
		}
		f := backup.Facts{Attempts: []backup.Attempt{{Database: "app", Work: backup.WorkBackup, Started: begin, Kind: fail.Unavailable.String(), Failures: 5 + failures, Passing: failures}}}
		if due, _ := daemon.Due(c, f, begin.Add(time.Hour)); (len(due) > 0) != again {
			t.Errorf("after failure %d: due %v, want %v", failures, due, again)
		}
	}
}

// files counts the files of a repository.
func files(t *testing.T, root string) (n int) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A place that stays down makes the repository no larger each time that it is tried, and a memory that can't be read is
// no reason to stop everything.
func TestMemoryOfAlarms(t *testing.T) {
	w := newWorld(t)
	c := w.config(t, "    verify: {schedule: never}\n")
	d := w.daemon(t, c)
	w.hook.bad = true
	for n, before := 0, 0; n < 4; n++ {
		if unsent, err := d.Tell(t.Context()); unsent != 1 || err != nil {
			t.Fatalf("%d unsent, %v", unsent, err)
		}
		if now := files(t, w.repo); n > 1 && now != before {
			t.Errorf("look %d: %d files, there were %d", n, now, before)
		} else {
			before = now
		}
	}
	s, err := backup.Open(t.Context(), w.repo, password, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remember(t.Context(), "alarms", "no list of alarms"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.hook.mu.Lock()
	w.hook.bad = false
	w.hook.mu.Unlock()
	w.hook.take()
	for _, want := range []int{1, 0} {
		next := w.daemon(t, c)
		if _, err := next.Tell(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.hook.take(); len(got) != want {
			t.Errorf("told %q, want %d", got, want)
		}
	}
}

// A backup does not wait for the monitor that is told of its beginning.
func TestBackupBeforeHeartbeat(t *testing.T) {
	w := newWorld(t)
	mark := filepath.Join(w.dir, "mark")
	seen := make(chan bool, 1)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if filepath.Base(r.URL.Path) != "start" {
			return
		}
		for range 1200 { // a minute
			if _, err := os.Stat(mark); err == nil {
				seen <- true
				return
			}
			time.Sleep(50 * time.Millisecond) // a file of another process: there is nothing else to wait on
		}
		seen <- false
	}))
	defer slow.Close()
	c := w.config(t, "    hooks: {after: \"touch "+mark+"\"}\n")
	c.Databases[0].Heartbeat = config.Heartbeat{URL: fail.Secret(slow.URL + "/ping")}
	if _, err := w.daemon(t, c).Run(t.Context(), "app", backup.WorkBackup); err != nil {
		t.Fatal(err)
	}
	if !<-seen {
		t.Error("the backup began when the monitor had answered")
	}
}

// A backup that fails is told of also where that can't be recorded, and so is that it is right again.
func TestFailedWithoutRecord(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) { failedWithoutRecord(t, w) }) // it waits long for each file
}

func failedWithoutRecord(t *testing.T, w *world) {
	d := w.daemon(t, w.config(t, "    verify: {schedule: never}\n"))
	if _, err := d.Run(t.Context(), "app", backup.WorkBackup); err != nil {
		t.Fatal(err)
	}
	w.exec(t, "INSERT INTO users (name) VALUES ('eve')")
	full := w.repo + "/h" // leases are in it: nothing is written any more, also for root, who may write everywhere
	if err := os.Rename(full, full+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := d.Run(t.Context(), "app", backup.WorkBackup); err == nil {
			t.Fatal("a backup was made where nothing can be written")
		}
		if _, err := d.Tell(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.hook.take(); len(got) != 1 || !strings.Contains(got[0], "the last backup failed") {
		t.Errorf("told %q", got)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(full+".away", full); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Run(t.Context(), "app", backup.WorkBackup); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.hook.take(); len(got) != 1 || !strings.Contains(got[0], "recovered: app: the last backup failed") {
		t.Errorf("told %q", got)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A bit that flipped is named by the alarm: which backup, and what of it.
func TestFlippedBit(t *testing.T) {
	w := newWorld(t)
	w.exec(t, "INSERT INTO users (name) SELECT hex(randomblob(50000)) FROM users")
	d := w.daemon(t, w.config(t, "    drill: {schedule: never}\n"))
	a, err := d.Run(t.Context(), "app", backup.WorkBackup)
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	most := int64(0)
	err = filepath.WalkDir(w.repo+"/p", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > most {
			largest, most = path, info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(largest, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(largest, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Run(t.Context(), "app", backup.WorkVerify); fail.KindOf(err) != fail.Damaged {
		t.Fatalf("verify: %v", err)
	}
	if _, err := d.Tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "backup " + a.Backup.Short() + " is damaged: image/app.sqlite3"
	if got := w.hook.take(); !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, want) }) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// The newest backup that was read back stays, whatever the policy says.
func TestPruneKeepsTheVerified(t *testing.T) {
	w := newWorld(t)
	d := w.daemon(t, w.config(t, "")) // keep: {last: 2}
	for _, work := range []string{backup.WorkBackup, backup.WorkVerify, backup.WorkBackup, backup.WorkBackup, backup.WorkBackup} {
		if _, err := d.Run(t.Context(), "app", work); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Run(t.Context(), "", backup.WorkPrune); err != nil {
		t.Fatal(err)
	}
	found, err := d.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h := found.Databases[0]; h.Copies != 3 || h.Verified.IsZero() {
		t.Errorf("%d copies, verified %s: want the newest two and the verified one", h.Copies, h.Verified)
	}
}

// The end of an alarm is told once, also where nobody can write down that it was.
func TestRecoveredOnceWithoutRecord(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		strict := w.config(t, "    verify: {schedule: never}\n    objectives: {max_age: 1s}\n")
		d := w.daemon(t, strict)
		tell := func(want int, text string) {
			t.Helper()
			if _, err := d.Tell(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := w.hook.take(); len(got) != want || want > 0 && !strings.Contains(got[0], text) {
				t.Errorf("told %q, want %d", got, want)
			}
		}
		if _, err := d.Run(t.Context(), "app", backup.WorkBackup); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		tell(1, "the newest good backup is")
		if err := d.Replace(t.Context(), w.config(t, "    verify: {schedule: never}\n")); err != nil {
			t.Fatal(err)
		}
		full := w.repo + "/h"
		if err := os.Rename(full, full+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		tell(1, "recovered: app")
		tell(0, "")
		tell(0, "")
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(full+".away", full); err != nil {
			t.Fatal(err)
		}
		tell(0, "")
		if err := d.Replace(t.Context(), strict); err != nil {
			t.Fatal(err)
		}
		tell(1, "the newest good backup is")
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A run whose hook fails after its backup stands has failed: it is told, and check and prune know it.
func TestFailedBehindTheBackup(t *testing.T) {
	w := newWorld(t)
	d := w.daemon(t, w.config(t, "    verify: {schedule: never}\n    hooks: {after: [{run: \"exit 7\", if_fails: abort}]}\n"))
	if _, err := d.Run(t.Context(), "app", backup.WorkBackup); err == nil {
		t.Fatal("a run whose hook fails went well")
	}
	if _, err := d.Tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.hook.take(); len(got) != 1 || !strings.Contains(got[0], "the last backup failed") {
		t.Errorf("told %q", got)
	}
	found, err := d.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h := found.Databases[0]; h.Level != backup.Critical || h.Newest == nil {
		t.Errorf("check says %+v", h)
	}
	again := w.daemon(t, w.config(t, "    verify: {schedule: never}\n"))
	if _, err := again.Run(t.Context(), "app", backup.WorkBackup); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.hook.take(); len(got) != 1 || !strings.Contains(got[0], "recovered") {
		t.Errorf("told %q", got)
	}
}

// What the file has by reference is a secret. A hook's text and what it printed go to logs, people, monitors and the repository.
func TestHooksTellNoSecrets(t *testing.T) {
	w := newWorld(t)
	t.Setenv("APP_TOKEN", "token-1234567")
	t.Setenv("REPO_WORD", string(password))
	seen := filepath.Join(w.dir, "seen")
	c := w.config(t, "    env: {GIVEN: \"${APP_TOKEN}\"}\n    hooks:\n      before: \"echo 'with ${APP_TOKEN}'; echo $GIVEN; echo $REPO_WORD > "+seen+"; exit 3\"\n")
	c.Password = password
	_, err := w.daemon(t, c).Run(t.Context(), "app", backup.WorkBackup)
	if err == nil || strings.Count(err.Error(), "${APP_TOKEN}") != 3 || strings.Contains(err.Error(), "token-1234567") {
		t.Errorf("got %v, want it with ${APP_TOKEN} three times", err)
	}
	if got, err := os.ReadFile(seen); err != nil || string(got) != "\n" {
		t.Errorf("%v: the hook was given the password of the repository: %q", err, got)
	}
}
