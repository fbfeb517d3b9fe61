package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// commitOne commits a transaction.
func commitOne(c *sqlite3.Conn) error { return c.Exec("INSERT INTO t SELECT randomblob(3000)") }

// A freezeCase is what another connection does while a snapshot is taken, and what comes of it.
type freezeCase struct {
	name          string
	prepare       func(*sqlite3.Conn) error // before everything
	before, after func(*sqlite3.Conn) error // SQLite's transaction, the first time
	tries         int
	log           bool // the snapshot is file and log
}

// TestFreezeWAL has another connection do its worst at each moment of taking a snapshot.
func TestFreezeWAL(t *testing.T) {
	commit := commitOne
	checkpoint := func(mode sqlite3.CheckpointMode) func(*sqlite3.Conn) error {
		return func(c *sqlite3.Conn) error { _, _, err := c.WALCheckpoint("main", mode); return err }
	}
	restart := func(c *sqlite3.Conn) error {
		if err := checkpoint(sqlite3.CHECKPOINT_RESTART)(c); err != nil {
			return err
		}
		return commit(c)
	}
	for _, tc := range []freezeCase{
		{name: "nothing happens, the log is needed", prepare: commit, tries: 1, log: true},
		{name: "nothing happens, all is in the file", prepare: checkpoint(sqlite3.CHECKPOINT_PASSIVE), tries: 1},
		{name: "nothing happens, the log is empty", prepare: checkpoint(sqlite3.CHECKPOINT_TRUNCATE), tries: 1},
		{name: "a commit before", before: commit, tries: 2, log: true},
		{name: "a commit after", after: commit, tries: 2, log: true},
		{name: "a commit after, when all was in the file", prepare: checkpoint(sqlite3.CHECKPOINT_PASSIVE), after: commit, tries: 2, log: true},
		{name: "a checkpoint before", before: checkpoint(sqlite3.CHECKPOINT_PASSIVE), tries: 2},
		{name: "a checkpoint after", after: checkpoint(sqlite3.CHECKPOINT_PASSIVE), tries: 2},
		{name: "a restart of the log before", before: restart, tries: 2, log: true},
		{name: "a restart of the log after", prepare: checkpoint(sqlite3.CHECKPOINT_PASSIVE), after: restart, tries: 2, log: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.run(t)
		})
	}
}

// run takes a snapshot and checks that nothing moves it afterwards.
func (tc freezeCase) run(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	other, err := open(path)
	must(t, err)
	defer other.Close()
	must(t, commitOne(other))
	if tc.prepare != nil {
		must(t, tc.prepare(other))
	}
	src, err := openSource(t.Context(), path, defaultBusyWait)
	must(t, err)
	defer src.close()
	must(t, src.openWAL())
	tries := 0
	p, err := src.freezeWAL(t.Context(), func() error {
		tries++
		if tries == 1 && tc.before != nil {
			must(t, tc.before(other))
		}
		if err := begin(src.conn); err != nil {
			return err
		}
		if tries == 1 && tc.after != nil {
			must(t, tc.after(other))
		}
		return nil
	}, func() { end(src.conn) })
	must(t, err)
	if tries != tc.tries || (p.log != nil) != tc.log {
		t.Errorf("tries %d, log %v; want %d, %v", tries, p.log != nil, tc.tries, tc.log)
	}
	// Whatever others do from now on, the pages stay the same.
	frozen := func() string {
		b := make([]byte, p.bytes())
		must(t, p.readAt(b, 0))
		return string(b)
	}
	was := frozen()
	for range 3 {
		must(t, commitOne(other))
		_, _, _ = other.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	}
	if frozen() != was {
		t.Error("the snapshot changed")
	}
}

// TestWALState refuses an index that is being written.
func TestWALState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	src, err := openSource(t.Context(), path, defaultBusyWait)
	must(t, err)
	defer src.close()
	must(t, src.openWAL())
	b := make([]byte, indexFirst)
	_, err = src.shm.ReadAt(b, 0)
	must(t, err)
	if _, err := parseWALState(b); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * indexHeader {
		b[i] ^= 1
		if _, err := parseWALState(b); err == nil {
			t.Errorf("byte %d was changed and nobody noticed", i)
		}
		b[i] ^= 1
	}
}

// TestForeignLog refuses a log that is not the one that the index describes.
func TestForeignLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	build(t, path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	other := start(t, "exec", path, "INSERT INTO t SELECT randomblob(30000)")
	defer other.kill()
	src, err := openSource(t.Context(), path, defaultBusyWait)
	must(t, err)
	defer src.close()
	must(t, src.openWAL())
	p, err := src.freezeWAL(t.Context(), func() error { return begin(src.conn) }, func() { end(src.conn) })
	must(t, err)
	b := make([]byte, p.bytes())
	must(t, p.readAt(b, 0))
	p.state.salt[0] ^= 1
	wantKind(t, p.readAt(b, 0), fail.Damaged, "as its index says")
}
