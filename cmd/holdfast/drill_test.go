package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// processesIn finds the processes that work in a folder or below it. Who is gone while it looks is not there.
func processesIn(folder string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range all {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, folder) {
			found = append(found, filepath.Dir(link))
		}
	}
	return found
}

// publicTemp makes a $TMPDIR that the user whom a server runs as can get to.
func publicTemp(t *testing.T) string {
	t.Helper()
	tmp, err := os.MkdirTemp("", "holdfast-drill-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o711); err != nil {
		t.Fatal(err)
	}
	return tmp
}

// TestDrillEnds ends drills at their work. Told to stop, one leaves nothing behind; killed, it leaves no process, and a folder
// that the next drill removes.
func TestDrillEnds(t *testing.T) {
	pg := servers.Postgres(t, "15")
	db := pg.CreateDatabase(t)
	pg.SQL(t, db, bigTable)
	file := filepath.Join(t.TempDir(), "app.sqlite3")
	if err := wire.ExecSQLite(t.Context(), file, "CREATE TABLE t (i INTEGER PRIMARY KEY, noise BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 10000) INSERT INTO t SELECT i, randomblob(10000) FROM n"); err != nil {
		t.Fatal(err)
	}
	all := newHousehold(t, "HOLDFAST_PG_BIN="+pg.BinDir())
	all.must(t, "backup", db, "--name", "server")
	all.must(t, "backup", "sqlite:"+file, "--name", "file")
	for _, c := range []struct{ name, sign string }{
		{"server", "/holdfast-scratch-*/data/postmaster.pid"},
		{"file", "/holdfast-scratch-*/*"},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(c.name+"_"+sig.String(), func(t *testing.T) {
				h := &household{repo: all.repo, tmp: publicTemp(t)}
				h.env = append(slices.Clone(all.env), "TMPDIR="+h.tmp)
				p := h.start(t, "drill", "latest:"+c.name)
				p.freeze(t, "something is restored", func() bool {
					found, _ := filepath.Glob(h.tmp + c.sign)
					return len(found) > 0
				})
				if c.name == "server" && len(processesIn(h.tmp)) == 0 {
					t.Error("no server runs: that none is left would say nothing")
				}
				if err := p.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				p.signal(t, syscall.SIGCONT)
				code := p.wait(t)
				until(t, "the server is gone", func() bool { pause(); return len(processesIn(h.tmp)) == 0 })
				left, err := os.ReadDir(h.tmp)
				switch {
				case err != nil:
					t.Fatal(err)
				case sig == syscall.SIGTERM && (code != 130 || len(left) > 0):
					t.Errorf("exit code %d, left in $TMPDIR: %v", code, left)
				case sig == syscall.SIGKILL && len(left) != 1:
					t.Errorf("a killed drill left %v: that the next one removes it would say nothing", left)
				}
				h.must(t, "drill", "latest:"+c.name)
				if left, err := os.ReadDir(h.tmp); err != nil || len(left) > 0 {
					t.Errorf("the next drill leaves %v, %v", left, err)
				}
			})
		}
	}
	if text := all.must(t, "list", "--json"); strings.Contains(text, "damaged") {
		t.Errorf("a drill that was ended says something of the backup: %s", text)
	}
}

// TestDrillFile drills SQL of a database with one of every thing.
func TestDrillFile(t *testing.T) {
	pg := servers.Postgres(t, "15")
	db := pg.CreateDatabase(t)
	script, err := os.ReadFile("../../internal/engine/postgres/testdata/everything.sql")
	if err != nil {
		t.Fatal(err)
	}
	pg.SQL(t, db, string(script))
	h := newHousehold(t, "HOLDFAST_PG_BIN="+pg.BinDir(), "TMPDIR="+publicTemp(t))
	file := filepath.Join(t.TempDir(), "all.sql.gz")
	h.must(t, "dump", db, "-o", file)
	if said := h.must(t, "drill", file); !strings.Contains(said, "all well") {
		t.Error(said)
	}
	if said := h.must(t, "drill", file, "--to-scratch", pg.URL("postgres")); !strings.Contains(said, "all well") {
		t.Error(said)
	}
}
