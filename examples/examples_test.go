// Package examples has scripts that people copy, and a test that runs them as they stand.
package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// machine is a folder that stands for somebody's machine: holdfast on its PATH, a home, a
// repository and an SQLite database.
type machine struct {
	dir, db string
	env     []string
}

func newMachine(t *testing.T) machine {
	t.Helper()
	sqlite3 := servers.Program(t, "sqlite3")
	m := machine{dir: t.TempDir()}
	m.db = filepath.Join(m.dir, "app.sqlite3")
	m.env = []string{"PATH=" + m.dir + ":" + os.Getenv("PATH"), "HOME=" + m.dir, "HOLDFAST_REPO=" + filepath.Join(m.dir, "backups"),
		"HOLDFAST_PASSWORD_FILE=" + filepath.Join(m.dir, "key")}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(m.dir, "holdfast"), "../cmd/holdfast").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if out, err := exec.Command(sqlite3, m.db, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);").CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	m.write(t, "key", "correct horse battery staple\n")
	m.must(t, "holdfast", "init")
	return m
}

func (m machine) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m machine) run(name string, args ...string) (string, error) {
	// sh finds the program on the machine's PATH, not on ours.
	cmd := exec.Command("sh", append([]string{"-c", `exec "$0" "$@"`, name}, args...)...)
	cmd.Env, cmd.Dir = m.env, m.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (m machine) must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := m.run(name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// backups counts the backups in the repository.
func (m machine) backups(t *testing.T) int {
	t.Helper()
	return strings.Count(m.must(t, "holdfast", "list", "--json"), "\n")
}

func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// nightlyEnv is the settings file we ship with the paths of a machine in it.
func nightlyEnv(t *testing.T, m machine, databases string) string {
	t.Helper()
	shipped, err := os.ReadFile("nightly/holdfast.env")
	if err != nil {
		t.Fatal(err)
	}
	text := string(shipped)
	for _, r := range [][2]string{
		{"HOLDFAST_REPO=/srv/backups", "HOLDFAST_REPO=" + filepath.Join(m.dir, "backups")},
		{"HOLDFAST_PASSWORD_FILE=/etc/holdfast.key", "HOLDFAST_PASSWORD_FILE=" + filepath.Join(m.dir, "key")},
		{`"postgres://backup@db1/shop /srv/app/app.sqlite3"`, `"` + databases + `"`},
		{"LOG=/var/log/holdfast.log", "LOG=" + filepath.Join(m.dir, "log")},
		{"KEEP=14", "KEEP=2"},
	} {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("holdfast.env has no %s any more", r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return text
}

func TestNightly(t *testing.T) {
	m := newMachine(t)
	m.write(t, "holdfast.env", nightlyEnv(t, m, m.db))
	m.env = append(m.env, "HOLDFAST_ENV="+filepath.Join(m.dir, "holdfast.env"))
	nightly := script(t, "nightly/holdfast-nightly.sh")
	t.Run("backs_up_quietly_and_keeps_some", func(t *testing.T) {
		for range 3 {
			if out := m.must(t, nightly); out != "" {
				t.Errorf("cron would mail this: %s", out)
			}
		}
		if got := m.backups(t); got != 2 {
			t.Errorf("got %d backups, want 2", got)
		}
	})
	t.Run("complains_and_does_not_prune_when_a_database_is_missing", func(t *testing.T) {
		m.write(t, "holdfast.env", nightlyEnv(t, m, m.db+" "+filepath.Join(m.dir, "gone.sqlite3")))
		out, err := m.run(nightly)
		if err == nil || !strings.Contains(out, "gone") {
			t.Errorf("got %v: %s", err, out)
		}
		if got := m.backups(t); got != 3 {
			t.Errorf("got %d backups, want the new one of the other database and nothing pruned: 3", got)
		}
	})
}

func TestDjango(t *testing.T) {
	backup := script(t, "django/backup.sh")
	t.Run("takes_DATABASE_URL_from_the_environment", func(t *testing.T) {
		m := newMachine(t)
		m.env = append(m.env, "DATABASE_URL=sqlite:///app.sqlite3")
		m.must(t, backup)
		if got := m.backups(t); got != 1 {
			t.Errorf("got %d backups, want 1", got)
		}
	})
	t.Run("takes_DATABASE_URL_from_a_file", func(t *testing.T) {
		m := newMachine(t)
		for n, line := range []string{"DATABASE_URL=sqlite:///app.sqlite3", `DATABASE_URL="sqlite:///app.sqlite3"`, "export DATABASE_URL='sqlite:///" + m.db + "'"} {
			m.write(t, ".env", "DEBUG=on\n"+line+"\n")
			m.must(t, backup)
			if got := m.backups(t); got != n+1 {
				t.Errorf("%s: got %d backups, want %d", line, got, n+1)
			}
		}
	})
	t.Run("asks_the_settings", func(t *testing.T) { asksTheSettings(t, backup) })
}

// asksTheSettings runs the script in a project made of two files: what manage.py shell -c does
// with a settings module is simple enough to do without Django.
func asksTheSettings(t *testing.T, backup string) {
	if _, err := exec.LookPath("python3"); err != nil {
		servers.Require(t, "python3", false, "no python3 on PATH")
	}
	m := newMachine(t)
	const manage = `import sys, types
conf = types.ModuleType("django.conf")
conf.settings = types.SimpleNamespace(DATABASES={"default": %s})
sys.modules["django"], sys.modules["django.conf"] = types.ModuleType("django"), conf
exec(sys.argv[3])
`
	m.write(t, "manage.py", fmt.Sprintf(manage, `{"ENGINE": "django.db.backends.sqlite3", "NAME": "`+m.db+`"}`))
	m.write(t, "python", "#!/bin/sh\nexec python3 \"$@\"\n")
	if err := os.Chmod(filepath.Join(m.dir, "python"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.must(t, backup)
	if got := m.backups(t); got != 1 {
		t.Errorf("got %d backups, want 1", got)
	}
	for settings, want := range map[string]string{
		`{"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "app", "PASSWORD": "p@ss/w", "HOST": "db1", "PORT": "5433"}`: "postgres://app:p%40ss%2Fw@/shop?host=db1&port=5433",
		`{"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}`:                                                                     "postgres:///shop",
		`{"ENGINE": "django.contrib.gis.db.backends.postgis", "NAME": "x", "OPTIONS": {"sslmode": "require", "pool": True}}`:              "postgres:///x?sslmode=require",
	} {
		m.write(t, "manage.py", fmt.Sprintf(manage, settings))
		code, err := os.ReadFile("django/database_url.py")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(m.must(t, "python", "manage.py", "shell", "-c", string(code))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
