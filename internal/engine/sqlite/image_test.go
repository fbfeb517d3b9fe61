package sqlite

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/image"
)

// TestImageUnderWriters copies a bank again and again while other processes write and checkpoint.
func TestImageUnderWriters(t *testing.T) {
	for _, tc := range []struct {
		journal    string
		checkpoint bool
		copies     int
	}{
		{"WAL", true, 60}, {"WAL", false, 20}, {"DELETE", false, 12}, {"TRUNCATE", false, 6}, {"PERSIST", false, 6},
	} {
		name := tc.journal
		if tc.checkpoint {
			name += "_and_checkpoints"
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "bank.db")
			bank(t, path, tc.journal, 4<<20)
			writers := []*process{start(t, "transfer", path), start(t, "transfer", path, "think")}
			var checkpointer *process
			if tc.checkpoint {
				checkpointer = start(t, "checkpoint", path)
			}
			last, held := -1, 0
			for i := range tc.copies {
				c := copyInBatches(t, path)
				if strings.Contains(c.info.Consistency, "under one read lock") {
					held++
				}
				out := filepath.Join(dir, "copy.db")
				c.write(t, out)
				n := checkBank(t, out)
				if n < last {
					t.Fatalf("copy %d holds %d transactions, the one before %d", i, n, last)
				}
				last = n
				for _, table := range c.info.Tables {
					if table.Name == "done" && table.Rows != int64(min(n, accounts)) {
						t.Fatalf("the image counts %d rows of done after %d transactions", table.Rows, n)
					}
				}
				if i%5 == 0 {
					t.Log(n, len(c.data)>>20, "MiB", c.bytes>>20, "MiB put:", c.info.Consistency, c.info.Position)
				}
			}
			if tc.journal != "WAL" && held == 0 {
				t.Error("no copy was disturbed often enough to end under one lock")
			}
			if checkpointer != nil {
				n, _ := checkpointer.stop()
				t.Logf("%d checkpoints", n)
			}
			if total := stopWriters(t, writers); last <= 0 || total <= 0 {
				t.Fatalf("nothing was written during %d copies", tc.copies)
			}
		})
	}
}

// stopWriters stops the writers, and looks how long they had to wait.
func stopWriters(t *testing.T, writers []*process) (total int) {
	t.Helper()
	for _, w := range writers {
		n, longest := w.stop()
		total += n
		t.Logf("writer: %d transactions, the longest took %v", n, longest)
		if longest > 10*time.Second {
			t.Errorf("a writer waited %v", longest)
		}
	}
	return total
}

// copyInBatches copies with locks as short as can be, so that writers come in between.
func copyInBatches(t *testing.T, path string) copied {
	t.Helper()
	im, err := OpenImage(t.Context(), path, ImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	im.batch = unit
	c, err := drain(t.Context(), im, unit)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestImageChangesMode has the database change its journal mode while it is copied.
func TestImageChangesMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	bank(t, path, "DELETE", 1<<20)
	im, err := OpenImage(t.Context(), path, ImageOptions{})
	must(t, err)
	defer im.Close()
	im.batch = unit
	var c copied
	files, err := im.Copy(t.Context(), unit, func(e image.Extent) error {
		if c.puts++; c.puts == 3 {
			build(t, path, "PRAGMA journal_mode=WAL", "UPDATE account SET pad=hex(randomblob(60))", "INSERT INTO bulk SELECT id+1000, data FROM bulk")
		}
		c.data = append(c.data, make([]byte, max(0, int(e.Offset)+len(e.Data)-len(c.data)))...)
		copy(c.data[e.Offset:], e.Data)
		return nil
	})
	must(t, err)
	c.data = c.data[:files[0].Size]
	if got := im.Info().Consistency; !strings.Contains(got, "WAL mode") {
		t.Errorf("consistency: %s", got)
	}
	out := filepath.Join(t.TempDir(), "copy.db")
	c.write(t, out)
	checkBank(t, out)
	if a, b := query(t, out, "SELECT count(*), max(id) FROM bulk"), query(t, path, "SELECT count(*), max(id) FROM bulk"); a != b {
		t.Errorf("the copy has %s rows, the database %s", a, b)
	}
}

// TestImageWithTheCLibrary copies while SQLite's own shell writes, whose locks are of another make than the driver's.
func TestImageWithTheCLibrary(t *testing.T) {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		if strings.Contains(os.Getenv("HOLDFAST_REQUIRE"), "sqlite3") {
			t.Fatal(err)
		}
		t.Skip("needs the sqlite3 shell")
	}
	for _, journal := range []string{"WAL", "DELETE"} {
		t.Run(journal, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "bank.db")
			bank(t, path, journal, 2<<20)
			cmd := exec.Command(shell, "-bail", path)
			stdin, err := cmd.StdinPipe()
			must(t, err)
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = &said, &said
			must(t, cmd.Start())
			ctx, stop := context.WithCancel(t.Context())
			fed := make(chan struct{})
			go func() {
				defer close(fed)
				defer stdin.Close()
				_, _ = io.WriteString(stdin, ".timeout 20000\nPRAGMA synchronous=OFF;\nPRAGMA wal_autocheckpoint=50;\n")
				for ctx.Err() == nil {
					a, b := 1+rand.IntN(accounts), 1+rand.IntN(accounts)
					_, _ = fmt.Fprintf(stdin, `BEGIN IMMEDIATE; UPDATE account SET balance=balance-7 WHERE id=%d; UPDATE account SET balance=balance+7 WHERE id=%d; UPDATE counter SET n=n+1;
						INSERT OR REPLACE INTO done SELECT n%%%d, n, 7, randomblob(abs(random())%%2000) FROM counter; COMMIT;
						`, a, b, accounts)
				}
			}()
			n := 0
			for i := 0; i < 10 || n == 0; i++ {
				c := copyInBatches(t, path)
				out := filepath.Join(dir, "copy.db")
				c.write(t, out)
				n = checkBank(t, out)
			}
			stop()
			<-fed
			if err := cmd.Wait(); err != nil || strings.Contains(said.String(), "rror") {
				t.Errorf("the shell: %v: %s", err, said.String())
			}
			if got := query(t, path, "PRAGMA integrity_check"); got != "ok" {
				t.Error(got)
			}
			t.Logf("%d transactions", n)
		})
	}
}
