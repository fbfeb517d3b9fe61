package mysql

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/scratch"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// tempDir makes a folder that another user can pass through, and whose path is short enough for a socket.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hf-scratch-test-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// killedEnv makes TestStartScratch_Killed a process that starts a server in the folder and waits to be killed.
const killedEnv = "HOLDFAST_TEST_SCRATCH"

// scratchVersions are versions of backups for which each flavour here can be a scratch server.
var scratchVersions = map[string]string{"mariadb": "10.6.1-MariaDB", "mysql": "8.0.36"}

func TestStartScratch(t *testing.T) {
	for _, flavour := range servers.MySQLFlavours() {
		t.Run(flavour, func(t *testing.T) {
			t.Setenv("HOLDFAST_MYSQL_BIN", servers.MySQL(t, "mysql").ServerPrograms(t)) // MariaDB is on the usual paths
			testStartScratch(t, scratchVersions[flavour])
		})
	}
}

func testStartScratch(t *testing.T, version string) {
	dir := tempDir(t)
	stale := filepath.Join(dir, "holdfast-scratch-999999999-x")
	if err := os.MkdirAll(filepath.Join(stale, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MYSQL_PWD", "another")
	t.Setenv("HOME", t.TempDir())
	s, err := StartScratch(t.Context(), rows.Origin{Version: version}, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Error("a stale folder is still there")
	}
	db, drop, err := CreateScratch(t.Context(), s.URL("mysql"), "holdfast_scratch_x")
	if err != nil {
		t.Fatal(err)
	}
	in := dial(t, db)
	for _, sql := range []string{"CREATE TABLE p (id int PRIMARY KEY)", "CREATE TABLE c (id int PRIMARY KEY, p int, a int, b int, CONSTRAINT of_p FOREIGN KEY (p) REFERENCES p (id))", "INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1, 1, 0, 0), (2, NULL, 0, 0)"} {
		if err := in.exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("nothing_is_found_where_nothing_is_wrong", func(t *testing.T) {
		if got, err := CheckDatabase(t.Context(), db); err != nil || len(got) > 0 {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("rows_without_parents_are_found", func(t *testing.T) {
		if err := errors.Join(in.exec(t.Context(), "SET foreign_key_checks = 0"), in.exec(t.Context(), "INSERT INTO c VALUES (3, 7, 0, 0)")); err != nil {
			t.Fatal(err)
		}
		got, err := CheckDatabase(t.Context(), db)
		if diff := cmp.Diff([]string{"foreign key of_p of c: there are rows that name none of p"}, got); diff != "" || err != nil {
			t.Errorf("%s %v", diff, err)
		}
	})
	t.Run("queries_only_read", func(t *testing.T) {
		for sql, want := range map[string]string{"SELECT count(*) FROM p": "1", "SELECT NULL": "null", "SELECT 1 FROM p WHERE id = 2": "no row"} {
			if got, err := QueryValue(t.Context(), db, sql); got != want || err != nil {
				t.Errorf("%s: %q, %v", sql, got, err)
			}
		}
		if _, err := QueryValue(t.Context(), db, "DELETE FROM p"); err == nil {
			t.Error("a query deleted")
		}
	})
	t.Run("nothing_listens_on_the_network", func(t *testing.T) {
		if row, err := in.one(t.Context(), "SELECT @@skip_networking, @@event_scheduler"); err != nil || row[0].s != "1" || row[1].s != "OFF" {
			t.Errorf("got %v, %v", row, err)
		}
	})
	if err := drop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Stop(), s.Stop()); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
	t.Run("only_for_what_it_can_be", func(t *testing.T) {
		for _, version := range []string{"99.0.0", "99.1.0-MariaDB"} {
			if _, err := StartScratch(t.Context(), rows.Origin{Version: version}, dir); fail.KindOf(err) != fail.Unsupported {
				t.Errorf("%s: %v", version, err)
			}
		}
	})
}

func TestStartScratch_Killed(t *testing.T) {
	if dir := os.Getenv(killedEnv); dir != "" {
		if _, err := StartScratch(context.Background(), rows.Origin{Version: "10.6.1-MariaDB"}, dir); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("ready\n")
		select {}
	}
	servers.MariaDB(t)
	dir := tempDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestStartScratch_Killed$")
	cmd.Env = append(slices.Clone(os.Environ()), killedEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "holdfast-scratch-*", "pid"))
	if len(found) != 1 {
		t.Fatalf("found %s", found)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	deadline, tick := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		if gone := syscall.Kill(pid, 0); errors.Is(gone, syscall.ESRCH) || zombie(pid) {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("server %d outlives who started it", pid)
		}
	}
	scratch.RemoveStale(dir)
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
}

// zombie reports whether a process has ended, and nobody asked for its end yet.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, after, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(after, "Z")
}
