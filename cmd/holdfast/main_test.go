package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"holdfast": func() { os.Exit(run(os.Args[1:])) }})
}

// TestScripts runs the command line as people type it: what it prints, what it exits with, and that a failed
// run leaves nothing behind. Scripts with postgres in their names run once against each server.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d scripts (%v): a test that did nothing", len(files), err)
	}
	_, lookErr := exec.LookPath("sqlite3")
	servers.Require(t, "sqlite3", lookErr == nil, "the sqlite3 command is missing")
	var plain, postgres []string
	for _, f := range files {
		if strings.Contains(filepath.Base(f), "postgres") {
			postgres = append(postgres, f)
		} else {
			plain = append(plain, f)
		}
	}
	t.Run("plain", func(t *testing.T) { testscript.Run(t, scriptParams(plain, nil)) })
	for _, major := range servers.EveryPostgres() {
		t.Run("postgres"+major, func(t *testing.T) {
			pg := servers.Postgres(t, major)
			programs := pg.ServerPrograms(t) // for drills
			testscript.Run(t, scriptParams(postgres, func(env *testscript.Env) {
				// Each script gets databases of its own, by name: $PGURL/NAME.
				env.Vars = append(env.Vars, "PGSRC="+pg.CreateDatabase(t), "PGDST="+pg.CreateDatabase(t), "PGNEW="+pg.URL("new_"+strconv.Itoa(os.Getpid())+"_"+filepath.Base(env.WorkDir)),
					"HOLDFAST_PG_BIN="+pg.BinDir(), "PSQL="+filepath.Join(pg.BinDir(), "psql"),
					"PATH="+env.Getenv("PATH")+string(os.PathListSeparator)+programs)
			}))
		})
	}
}

func scriptParams(files []string, setup func(*testscript.Env)) testscript.Params {
	return testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Vars = append(env.Vars, "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, ".config"), "HOLDFAST_REPO="+filepath.Join(env.WorkDir, "repo"))
			if setup != nil {
				setup(env)
			}
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "soon": soonPrints, "mode": mode, "flipbit": flipbit},
	}
}

// exits runs a command and checks its exit code: exits 12 holdfast list.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("run %s: %v", args[1], err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s\n%s%s", code, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// soonPrints runs a command until it prints what is wanted, alone on a line: soon 0 psql …. Other scripts work on the same server, and what they
// have there for a moment is none of this script's leavings.
func soonPrints(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: soon TEXT COMMAND ...")
	}
	deadline, tick := time.After(time.Minute), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for {
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		if strings.TrimSpace(ts.ReadFile("stdout")) == args[0] {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("for a minute: %s", ts.ReadFile("stdout"))
		}
	}
}

// mode checks a file's permissions: mode 600 FILE.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode OCTAL FILE")
	}
	names, err := filepath.Glob(ts.MkAbs(args[1]))
	if err != nil || len(names) == 0 {
		ts.Fatalf("no file %s (%v)", args[1], err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		ts.Check(err)
		if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", name, got, args[0])
		}
	}
}

// flipbit damages the largest file below a folder whose name begins with a prefix: flipbit FOLDER PREFIX.
func flipbit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flipbit FOLDER PREFIX")
	}
	var name string
	var size int64
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(ts.MkAbs(args[0]), p)
		if err == nil && strings.HasPrefix(strings.ReplaceAll(rel, "/", ""), args[1]) && info.Size() > size {
			name, size = p, info.Size()
		}
		return err
	}))
	if name == "" {
		ts.Fatalf("no file %s* below %s", args[1], args[0])
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, size/2)
	ts.Check(err)
	b[0] ^= 4
	_, err = f.WriteAt(b, size/2)
	ts.Check(err)
}

// TestExitCodes keeps the documented table true.
func TestExitCodes(t *testing.T) {
	doc, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range fail.Kinds() {
		if line := fmt.Sprintf("| %d | %s |", k.ExitCode(), k); !strings.Contains(string(doc), line) {
			t.Errorf("docs/exit-codes.md has no line %q", line)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{bytesText(0), "0 B"}, {bytesText(999), "999 B"}, {bytesText(1000), "1.0 kB"}, {bytesText(999_999), "1.0 MB"}, {bytesText(1_449_000_000), "1.4 GB"},
		{countText(0), "0"}, {countText(999), "999"}, {countText(1000), "1,000"}, {countText(-1234567), "-1,234,567"},
		{plain("Grüße"), "Grüße"}, {plain("a\x1b[31m\nb\u0085"), `a\x1b[31m\x0ab\x85`},
		{plural(1, "row"), "1 row"}, {plural(2000, "row"), "2,000 rows"},
		{secondsText(0.25), "0.2s"}, {secondsText(12.3), "12s"}, {secondsText(200), "3m20s"}, {secondsText(7500), "2h05m"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

// A password in a database's URL must not come out in messages.
func TestReportHidesNothingButPasswords(t *testing.T) {
	if got := shortName("postgres://app:hunter2@db1/shop"); strings.Contains(got, "hunter2") || got != "shop" {
		t.Errorf("got %q", got)
	}
	var out strings.Builder
	a := &app{stdout: io.Discard, stderr: &out}
	a.report(fail.New(fail.Damaged, "do this", "read %s", "x"))
	if out.String() != "holdfast: error: read x\nholdfast: hint: do this\n" {
		t.Errorf("got %q", out.String())
	}
}
