package daemon_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/wire"
)

const password fail.Secret = "correct horse"

// receiver remembers what arrives over HTTP: "METHOD PATH BODY".
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
	bad bool // answers 500
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		w.Header().Set("Connection", "close") // in a bubble time stands still while a connection is open
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, req.Method+" "+req.URL.Path+" "+string(body))
		if r.bad {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// world is a repository, an SQLite database and a configuration.
type world struct {
	dir, db, repo string
	hook, beat    *receiver
	log           *lockedLog
}

func newWorld(t *testing.T) *world {
	w := &world{dir: t.TempDir(), hook: newReceiver(t), beat: newReceiver(t), log: &lockedLog{}}
	w.repo, w.db = filepath.Join(w.dir, "repo"), filepath.Join(w.dir, "app.sqlite3")
	if err := backup.Init(t.Context(), w.repo, password, backup.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	w.exec(t, "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users (name) VALUES ('ann'), ('bob')")
	return w
}

func (w *world) exec(t *testing.T, sql string) {
	t.Helper()
	if err := wire.ExecSQLite(t.Context(), w.db, sql); err != nil {
		t.Fatal(err)
	}
}

// config parses a configuration with one database «app» and more settings of it.
func (w *world) config(t *testing.T, more string) *config.Config {
	t.Helper()
	text := fmt.Sprintf("repository: %s\ntime_zone: UTC\nnotify: {ops: \"generic+%s/ops?template=json\"}\ndatabases:\n  app:\n    url: sqlite:%s\n    heartbeat: %s/ping\n    keep: {last: 2}\n%s",
		w.repo, w.hook.URL, w.db, w.beat.URL, more)
	c, problems := config.Parse([]byte(text), os.LookupEnv, func(string) (string, error) { return "", os.ErrNotExist })
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, text)
	}
	return c
}

func (w *world) daemon(t *testing.T, c *config.Config) *daemon.Daemon {
	d := daemon.New(c, daemon.Options{Engines: wire.Engines("test"), Version: "test", Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Open: func(ctx context.Context, c *config.Config) (*backup.Store, error) {
			return backup.Open(ctx, c.Repository, password, func(string) {})
		}})
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", w.log)
		}
	})
	return d
}

// lockedLog is what all daemons of a world say.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestRun(t *testing.T) {
	w := newWorld(t)
	marks := filepath.Join(w.dir, "marks")
	d := w.daemon(t, w.config(t, `
    hooks:
      before: "echo before $HOLDFAST_DATABASE >> `+marks+`"
      after: "echo after $${#HOLDFAST_BACKUP} >> `+marks+`"
      on_failure: "echo failure >> `+marks+`"
    drill: {expect: ["select count(*) = 2 from users"]}
`))
	a, err := d.Run(t.Context(), "app", backup.WorkBackup)
	if err != nil || !a.OK || a.Backup == "" {
		t.Fatalf("%+v, %v", a, err)
	}
	if got, _ := os.ReadFile(marks); string(got) != "before app\nafter 32\n" {
		t.Errorf("hooks wrote %q", got)
	}
	if got := w.beat.take(); len(got) != 2 || !strings.HasPrefix(got[0], "POST /ping/start") || !strings.HasPrefix(got[1], "POST /ping backup ") {
		t.Errorf("heartbeats %q", got)
	}
	for _, work := range []string{backup.WorkVerify, backup.WorkDrill} {
		if a, err := d.Run(t.Context(), "app", work); err != nil || !a.OK {
			t.Errorf("%s: %+v, %v", work, a, err)
		}
	}
	health, err := d.Check(t.Context())
	if err != nil || len(health.Databases) != 1 || health.Databases[0].Level != backup.OK || health.Databases[0].Drilled.IsZero() || health.Databases[0].Newest.State != backup.Drilled {
		t.Errorf("health %+v, %v", health, err)
	}
	for range 3 {
		if _, err := d.Run(t.Context(), "app", backup.WorkBackup); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Run(t.Context(), "", backup.WorkPrune); err != nil {
		t.Fatal(err)
	}
	if health, err = d.Check(t.Context(), "app"); err != nil || health.Databases[0].Copies != 3 { // the newest two, and the drilled one
		t.Errorf("after prune: %+v, %v", health, err)
	}
	if _, err := d.Run(t.Context(), "nope", backup.WorkBackup); fail.KindOf(err) != fail.NotFound {
		t.Errorf("unknown database: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-scratch-%d-*", os.Getpid()))); len(left) > 0 {
		t.Errorf("the drill left %q", left)
	}
}

// A failed run is told of once, to people and monitors, and so is its end; the next process knows what was told.
func TestAlarms(t *testing.T) {
	w := newWorld(t)
	c := w.config(t, "    verify: {schedule: never}\n    drill: {schedule: never}\n")
	d := w.daemon(t, c)
	if _, err := d.Run(t.Context(), "app", backup.WorkBackup); err != nil {
		t.Fatal(err)
	}
	tell := func(d *daemon.Daemon) []string {
		t.Helper()
		if _, err := d.Tell(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.hook.take()
	}
	if got := tell(d); len(got) != 0 {
		t.Errorf("all is well, and yet: %q", got)
	}
	w.beat.take()
	if err := os.Rename(w.db, w.db+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := d.Run(t.Context(), "app", backup.WorkBackup); fail.KindOf(err) != fail.NotFound {
			t.Fatalf("the database is gone: %v", err)
		}
	}
	if got := w.beat.take(); len(got) != 4 || !strings.HasPrefix(got[1], "POST /ping/3 ") {
		t.Errorf("heartbeats %q, want failures with exit code 3", got)
	}
	got := tell(d)
	if len(got) != 1 || !strings.Contains(got[0], "the last backup failed") || !strings.Contains(got[0], "the 2. time") {
		t.Errorf("alarm %q", got)
	}
	health, err := d.Check(t.Context())
	if err != nil || health.Databases[0].Level != backup.Critical {
		t.Errorf("check: %+v, %v", health, err)
	}
	if got := tell(d); len(got) != 0 {
		t.Errorf("told twice: %q", got)
	}
	next := w.daemon(t, c)
	if got := tell(next); len(got) != 0 {
		t.Errorf("told again by the next process: %q", got)
	}
	if err := os.Rename(w.db+".away", w.db); err != nil {
		t.Fatal(err)
	}
	w.hook.mu.Lock()
	w.hook.bad = true
	w.hook.mu.Unlock()
	if _, err := next.Run(t.Context(), "app", backup.WorkBackup); err != nil {
		t.Fatal(err)
	}
	if unsent, err := next.Tell(t.Context()); unsent != 1 || err != nil {
		t.Errorf("%d unsent, %v: an alarm that could not be delivered is to be known", unsent, err)
	}
	w.hook.take()
	w.hook.mu.Lock()
	w.hook.bad = false
	w.hook.mu.Unlock()
	if got := tell(next); len(got) != 1 || !strings.Contains(got[0], "recovered: app") {
		t.Errorf("recovered: %q", got)
	}
	if got := tell(w.daemon(t, c)); len(got) != 0 {
		t.Errorf("after all: %q", got)
	}
}

func TestHooks(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, hooks string
		ok          bool
		text        string
	}{
		{"a_failing_one_before_aborts", `{before: "echo no disk >&2; exit 7"}`, false, "no disk"},
		{"or_warns", `{before: {run: "exit 7", if_fails: warn}}`, true, ""},
		{"after_it_warns", `{after: "exit 7"}`, true, ""},
		{"or_fails_the_run", `{after: {run: "exit 7", if_fails: abort}}`, false, "exit status 7"},
		{"too_slow", `{before: {run: "sleep 60 & sleep 60", timeout: 200ms}}`, false, "longer than 200ms"},
		{"no_password_in_its_environment", `{before: "test -z \"$HOLDFAST_PASSWORD\" && test -z \"$HOLDFAST_PASSWORD_FILE\""}`, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("HOLDFAST_PASSWORD", "hush")
			t.Setenv("HOLDFAST_PASSWORD_FILE", "/hush")
			d := w.daemon(t, w.config(t, "    hooks: "+c.hooks+"\n"))
			a, err := d.Run(t.Context(), "app", backup.WorkBackup)
			if (err == nil) != c.ok || a.OK != c.ok || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

// Two processes on one repository don't do the same work at the same time.
func TestClaimed(t *testing.T) {
	w := newWorld(t)
	block, entered := filepath.Join(w.dir, "block"), filepath.Join(w.dir, "entered")
	first := w.daemon(t, w.config(t, "    hooks: {before: \"touch "+entered+"; while ! test -e "+block+"; do sleep 0.05; done\"}\n"))
	done := make(chan error, 1)
	go func() {
		_, err := first.Run(t.Context(), "app", backup.WorkBackup)
		done <- err
	}()
	for i := 0; ; i++ {
		if _, err := os.Stat(entered); err == nil {
			break
		}
		if i > 1200 {
			t.Fatal("the first run did not begin")
		}
		time.Sleep(50 * time.Millisecond) // for another process: its file is all there is to see
	}
	second := w.daemon(t, w.config(t, ""))
	if a, err := second.Run(t.Context(), "app", backup.WorkBackup); fail.KindOf(err) != fail.Locked || a.Work != "" {
		t.Errorf("%+v, %v", a, err)
	}
	if err := os.WriteFile(block, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t)
	d := w.daemon(t, w.config(t, ""))
	if err := os.RemoveAll(w.repo); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Tell(t.Context()); err == nil {
		t.Error("a repository that is gone is no error")
	}
	if got := w.hook.take(); len(got) != 1 || !strings.Contains(got[0], "the repository can't be read") {
		t.Errorf("alarm %q", got)
	}
	rec := httptest.NewRecorder()
	d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/healthz", nil))
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("healthz: %d %s", rec.Code, rec.Body)
	}
	rec = httptest.NewRecorder()
	d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "holdfast_repository_up 0") {
		t.Errorf("metrics:\n%s", rec.Body)
	}
}

// Serve makes the first backup at once, stops when told to, and begins nothing twice.
func TestServe(t *testing.T) {
	w := newWorld(t)
	c := w.config(t, "    schedule: {at: \"@daily\", jitter: 0s}\n")
	c.MetricsFile = filepath.Join(w.dir, "holdfast.prom")
	d := w.daemon(t, c)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, nil) }()
	for i := 0; ; i++ {
		health, err := d.Check(ctx)
		if err == nil && health.Databases[0].Newest != nil {
			break
		}
		if i > 1200 {
			t.Fatalf("no backup after a minute: %v", err)
		}
		time.Sleep(50 * time.Millisecond) // until the loop has done its part
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(c.MetricsFile); err != nil || !strings.Contains(string(text), "holdfast_repository_up 1") {
		t.Errorf("metrics file: %v\n%s", err, text)
	}
	health, err := d.Check(t.Context())
	if err != nil || health.Databases[0].Copies != 1 {
		t.Errorf("%+v, %v", health, err)
	}
}

func TestDue(t *testing.T) {
	w := newWorld(t)
	c := w.config(t, `    schedule: "0 2 * * *"
    verify: {schedule: "0 4 * * *"}
    drill: {schedule: "0 5 * * 0"}
`)
	c.Databases[0].Schedule.Jitter = 0
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) // a Monday
	made := func(at time.Time) backup.Facts {
		return backup.Facts{Backups: []backup.Backup{{ID: "b", Name: "app", Started: at}}}
	}
	works := func(f backup.Facts, now time.Time) (names []string) {
		due, _ := daemon.Due(c, f, now)
		for _, x := range due {
			names = append(names, x.Work)
		}
		slices.Sort(names)
		return names
	}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	failed := func(kind fail.Kind, failures int, begun time.Time) backup.Facts {
		f := made(ago(9 * time.Hour))
		passing := 0
		if kind == fail.Unavailable || kind == fail.Locked {
			passing = failures
		}
		f.Attempts = []backup.Attempt{{Database: "app", Work: backup.WorkBackup, Started: begun, Kind: kind.String(), Failures: failures, Passing: passing}, {Database: "app", Work: backup.WorkVerify, Started: ago(time.Hour), OK: true},
			{Work: backup.WorkPrune, Started: ago(time.Hour), OK: true}}
		return f
	}
	for _, x := range []struct {
		name  string
		facts backup.Facts
		want  []string
	}{
		{"never_backed_up", backup.Facts{}, []string{"backup"}},
		{"backed_up_today", made(ago(9 * time.Hour)), []string{"prune", "verify"}},
		{"missed_for_a_week", made(ago(8 * 24 * time.Hour)), []string{"backup", "drill", "prune", "verify"}},
		{"a_failed_one_was_begun_too", failed(fail.Denied, 1, ago(9*time.Hour)), nil},
		{"what_was_unreachable_is_tried_again", failed(fail.Unavailable, 1, ago(2*time.Minute)), []string{"backup"}},
		{"but_not_at_once", failed(fail.Unavailable, 1, ago(30*time.Second)), nil},
		{"later_each_time", failed(fail.Unavailable, 3, ago(2*time.Minute)), nil},
		{"and_not_for_ever", failed(fail.Unavailable, 4, ago(5*time.Hour)), nil},
		{"nor_the_day_after", failed(fail.Unavailable, 8, ago(5*time.Hour)), nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got := works(x.facts, now); !slices.Equal(got, x.want) {
				t.Errorf("due: %q, want %q", got, x.want)
			}
		})
	}
}

// What was begun by a clock that was a year ahead, and has been set right since, keeps nothing waiting for a year.
func TestDueAfterAClockWasAhead(t *testing.T) {
	w := newWorld(t)
	c := w.config(t, "    schedule: \"0 2 * * *\"\n    verify: {schedule: \"0 4 * * *\"}\n    drill: {schedule: \"0 5 * * 0\"}\n")
	c.Databases[0].Schedule.Jitter = 0
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	year, week := now.AddDate(1, 0, 0), now.AddDate(0, 0, -8)
	made := func(times ...time.Time) (f backup.Facts) {
		for _, at := range times {
			f.Backups = append(f.Backups, backup.Backup{ID: "b", Name: "app", Started: at})
		}
		return f
	}
	begun := func(f backup.Facts, ok bool) backup.Facts {
		for _, work := range []string{backup.WorkBackup, backup.WorkVerify, backup.WorkDrill} {
			f.Attempts = append(f.Attempts, backup.Attempt{Database: "app", Work: work, Started: year, OK: ok, Passing: 1})
		}
		f.Attempts = append(f.Attempts, backup.Attempt{Work: backup.WorkPrune, Started: year, OK: true})
		return f
	}
	for _, x := range []struct {
		name  string
		facts backup.Facts
		want  []string
	}{
		{"all_of_it", begun(made(year, week), true), []string{"backup", "drill", "prune", "verify"}},
		{"its_first_backup", made(year), []string{"backup"}},
		{"a_failure", begun(made(week), false), []string{"backup", "drill", "prune", "verify"}},
		{"minutes_are_nothing", made(now.Add(5 * time.Minute)), nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			due, _ := daemon.Due(c, x.facts, now)
			var got []string
			for _, task := range due {
				got = append(got, task.Work)
			}
			slices.Sort(got)
			if !slices.Equal(got, x.want) {
				t.Errorf("due: %q, want %q", got, x.want)
			}
		})
	}
}
