package repo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// newFiles is what jobWrite backs up: more than two packs of it.
func newFiles() map[string][]byte {
	return map[string][]byte{"tables/t/1": noise(7, 30<<20), "tables/t/2": noise(8, 20<<20)}
}

// jobWrite makes a backup in steps. Before each it prints its name and waits for a line.
func jobWrite(ctx context.Context, folder, _ string) error {
	in := bufio.NewScanner(os.Stdin)
	step := func(name string) error {
		fmt.Println(name)
		if !in.Scan() {
			return errors.New("nobody is there")
		}
		return nil
	}
	r, err := Open(ctx, folder, testPassword, OpenOptions{})
	if err != nil {
		return err
	}
	s, err := r.Begin(ctx, "backup")
	if err != nil {
		return err
	}
	if err := step("begun"); err != nil {
		return err
	}
	tree := s.NewTree()
	for name, data := range newFiles() {
		if _, err := storeFile(ctx, tree, name, data); err != nil {
			return err
		}
		if err := step("file"); err != nil {
			return err
		}
	}
	if _, err := tree.Seal(ctx, entry("new")); err != nil {
		return err
	}
	if err := step("sealed"); err != nil {
		return err
	}
	if err := s.Commit(ctx); err != nil {
		return err
	}
	if err := step("committed"); err != nil {
		return err
	}
	return r.Close(ctx)
}

// TestKill kills a process at each step of a backup.
func TestKill(t *testing.T) {
	ctx := t.Context()
	for killed, name := range []string{"begun", "first file", "second file", "sealed", "committed"} {
		t.Run(name, func(t *testing.T) {
			old := sampleFiles()
			folder, id := closedRepo(t, old)
			cmd, out, in := startJob(t, "write", folder, "")
			for i := 0; ; i++ {
				if !out.Scan() || strings.HasPrefix(out.Text(), "error") {
					t.Fatalf("it ended: %s", out.Text())
				}
				if i == killed {
					break
				}
				fmt.Fprintln(in)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()

			r := openRepo(t, folder)
			list, err := r.List(ctx)
			want := 1
			if name == "committed" {
				want = 2
			}
			if err != nil || len(list) != want {
				t.Errorf("%d backups, want %d: %v", len(list), want, err)
			}
			checkFiles(t, r, id, old)
			if found, err := r.CheckStructure(ctx); err != nil || len(found) > 0 {
				t.Errorf("check: %+v, %v", found, err)
			}
			// Its lease does not stand in the way, what it left is cleared away, and the same backup works.
			rec, err := r.Reclaim(ctx, ReclaimOptions{Now: true})
			if err != nil {
				t.Fatal(err)
			}
			if name != "committed" && rec.BytesAfter > 20<<20 {
				t.Errorf("%d bytes are left", rec.BytesAfter)
			}
			second, _ := backUp(t, r, "again", newFiles())
			checkFiles(t, r, second, newFiles())
			checkFiles(t, r, id, old)
		})
	}
}

// jobBackups makes n backups, each in a session of its own, whose data is partly the same in all processes.
func jobBackups(ctx context.Context, folder string, n int) error {
	r, err := Open(ctx, folder, testPassword, OpenOptions{})
	if err != nil {
		return err
	}
	for i := range n {
		files := map[string][]byte{"common": noise(uint64(i), 300_000), "own": noise(uint64(1000+os.Getpid()+i), 1000)}
		id, _, err := tryBackUp(ctx, r, fmt.Sprintf("%d-%d", os.Getpid(), i), files)
		if err != nil {
			return err
		}
		if err := compareFiles(ctx, r, id, files); err != nil {
			return err
		}
	}
	return r.Close(ctx)
}

func TestConcurrentProcesses(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	const processes, backups = 3, 8
	var g errgroup.Group
	for range processes {
		cmd, out, _ := startJob(t, "backups", r.Location(), fmt.Sprint(backups))
		g.Go(func() error {
			out.Scan()
			if err := cmd.Wait(); err != nil || out.Text() != "" {
				return fmt.Errorf("%w: %s", err, out.Text())
			}
			return nil
		})
	}
	for range 3 { // maintenance beside them
		if _, err := r.Reclaim(ctx, ReclaimOptions{}); err != nil {
			t.Error(err)
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	list, err := r.List(ctx)
	if err != nil || len(list) != processes*backups {
		t.Errorf("%d backups, want %d: %v", len(list), processes*backups, err)
	}
	for _, e := range list {
		tree, err := r.Tree(ctx, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"common", "own"} {
			if _, err := tree.Open(name); err != nil {
				t.Errorf("backup %s: %v", e.Labels["name"], err)
			}
		}
	}
	if found, err := r.CheckStructure(ctx); err != nil || len(found) > 0 {
		t.Errorf("check: %+v, %v", found, err)
	}
}

func TestSessionAndReclaim(t *testing.T) {
	ctx := t.Context()
	folder, _ := closedRepo(t, sampleFiles())
	cmd, out, in := startJob(t, "write", folder, "")
	r := openRepo(t, folder)
	for i := 0; out.Scan(); i++ {
		switch out.Text() {
		case "begun", "file", "sealed":
			// While a session of another process is open, space can't be had back at once,
			_, err := r.Reclaim(ctx, ReclaimOptions{Now: true})
			if fail.KindOf(err) != fail.Locked || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
				t.Errorf("%s: reclaim now: got %v, want Locked naming the process", out.Text(), err)
			}
			// but the careful way goes on beside it.
			if _, err := r.Reclaim(ctx, ReclaimOptions{}); err != nil {
				t.Errorf("%s: reclaim: %v", out.Text(), err)
			}
		case "committed":
			if _, err := r.Reclaim(ctx, ReclaimOptions{Now: true}); err != nil {
				t.Errorf("after the session: %v", err)
			}
		default:
			t.Fatal(out.Text())
		}
		fmt.Fprintln(in)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	list, err := r.List(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d backups: %v", len(list), err)
	}
	checkFiles(t, r, list[1].ID, newFiles())
}

func TestLeases(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	try := func(kind leaseKind) error {
		l, err := takeLease(ctx, r.st, kind, "test", 0)
		if err != nil {
			return err
		}
		return l.release(ctx)
	}
	for held, refused := range map[leaseKind][]leaseKind{
		leaseWriter:      {leaseExclusive},
		leaseMaintenance: {leaseMaintenance, leaseExclusive},
		leaseExclusive:   {leaseWriter, leaseMaintenance, leaseExclusive},
	} {
		t.Run("while there is a "+string(held), func(t *testing.T) {
			l, err := takeLease(ctx, r.st, held, "test", 0)
			if err != nil {
				t.Fatal(err)
			}
			defer l.release(ctx)
			for _, kind := range []leaseKind{leaseWriter, leaseMaintenance, leaseExclusive} {
				want := fail.Internal // of nil
				for _, r := range refused {
					if r == kind {
						want = fail.Locked
					}
				}
				if err := try(kind); fail.KindOf(err) != want || (want == fail.Internal && err != nil) {
					t.Errorf("take a %s: %v", kind, err)
				}
			}
		})
	}
	foreign := func(edit func(*leaseInfo), age time.Duration) {
		t.Helper()
		l := &lease{st: r.st, name: leasePrefix + "exclusive.0123456789abcdef"}
		l.info = leaseInfo{Version: 1, Kind: leaseExclusive, Purpose: "test", process: whoAmI()}
		edit(&l.info)
		if _, err := l.renew(ctx); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(blobFiles(t, r.Location(), string(l.name))[0], when, when); err != nil {
			t.Fatal(err)
		}
	}
	other := func(i *leaseInfo) { i.Boot = "another" }
	dead := func(i *leaseInfo) { i.Starts = "1" }
	for name, tt := range map[string]struct {
		edit func(*leaseInfo)
		age  time.Duration
		want bool // it counts
	}{
		"of a process that runs":                         {func(*leaseInfo) {}, 0, true},
		"of a process that runs, when the clock jumped":  {func(*leaseInfo) {}, 1000 * time.Hour, true},
		"of a process that is gone":                      {dead, 0, false},
		"of another machine, renewed lately":             {other, leaseExpiry - time.Minute, true},
		"of another machine, not renewed for long":       {other, leaseExpiry + time.Minute, false},
		"of another machine, whose clock was set back":   {other, -time.Hour, true},
		"of another container with the same host's name": {func(i *leaseInfo) { i.Space, i.Starts = "pid:[1]", "1" }, 0, true},
	} {
		t.Run("a lease "+name, func(t *testing.T) {
			foreign(tt.edit, tt.age)
			if err := try(leaseWriter); (fail.KindOf(err) == fail.Locked) != tt.want {
				t.Errorf("got %v", err)
			}
			if left := len(blobFiles(t, r.Location(), leasePrefix)); (left == 1) != tt.want {
				t.Errorf("%d leases are left", left)
			}
			remove(t, blobFiles(t, r.Location(), leasePrefix))
		})
	}
	t.Run("of many at once at most one goes on", func(t *testing.T) {
		var g errgroup.Group
		var running, ran = make(chan struct{}, 1), make(chan struct{}, 100)
		for range 6 {
			g.Go(func() error {
				l, err := takeLease(ctx, r.st, leaseMaintenance, "test", 0)
				if err != nil {
					if fail.KindOf(err) == fail.Locked {
						return nil
					}
					return err
				}
				select {
				case running <- struct{}{}:
				default:
					t.Error("two at once")
				}
				ran <- struct{}{}
				<-running
				return l.release(ctx)
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		t.Logf("%d ran", len(ran))
	})
	t.Run("a session whose lease was taken away does not commit", func(t *testing.T) {
		s, err := r.Begin(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abort(ctx)
		tree := s.NewTree()
		if _, err := tree.Seal(ctx, entry("x")); err != nil {
			t.Fatal(err)
		}
		remove(t, blobFiles(t, r.Location(), leasePrefix))
		if err := s.Commit(ctx); fail.KindOf(err) != fail.Locked {
			t.Errorf("got %v, want Locked", err)
		}
		if list, err := r.List(ctx); err != nil || len(list) != 0 {
			t.Errorf("%d listed, %v", len(list), err)
		}
	})
}

// TestClock writes with a clock that is behind the one space was reclaimed by.
func TestClock(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	id, _ := backUp(t, r, "one", sampleFiles())
	mark := func(at time.Time) {
		t.Helper()
		if _, err := r.st.put(ctx, blob.ID(fmt.Sprint(watermarkPrefix, at.Unix())), []byte("deletion-watermark")); err != nil {
			t.Fatal(err)
		}
	}
	later := time.Now().Add(3 * time.Second)
	mark(later)
	backUp(t, r, "two", sampleFiles())
	if time.Now().Before(later) {
		t.Error("it did not wait for the clock")
	}
	mark(time.Now().Add(time.Hour))
	if _, _, err := tryBackUp(ctx, r, "three", sampleFiles()); fail.KindOf(err) != fail.Unavailable || fail.HintOf(err) == "" {
		t.Errorf("an hour behind: got %v, want Unavailable", err)
	}
	checkFiles(t, r, id, sampleFiles())
}

// TestForgetAndRepeat removes a backup at once and makes it again at once: the chunks that were
// deleted a moment ago must win over their deletion.
func TestForgetAndRepeat(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	files := map[string][]byte{"a": noise(2, 3*MaxChunk)}
	for range 2 {
		id, _ := backUp(t, r, "again", files)
		checkFiles(t, r, id, files)
		if err := r.Forget(ctx, id); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Reclaim(ctx, ReclaimOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReclaim(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	keep := map[string][]byte{"a": noise(1, 6<<20), "common": noise(9, 3<<20)}
	drop := map[string][]byte{"a": noise(2, 30<<20), "common": noise(9, 3<<20)}
	kept, _ := backUp(t, r, "keep", keep)
	dropped, _ := backUp(t, r, "drop", drop)
	for _, id := range []ID{kept, dropped} {
		if err := r.PutRecord(ctx, "check", map[string]string{BackupLabel: string(id)}, map[string]int{"percent": 100}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Forget(ctx, dropped); err != nil {
		t.Fatal(err)
	}
	if err := r.Forget(ctx, dropped); fail.KindOf(err) != fail.NotFound {
		t.Errorf("forget again: got %v, want NotFound", err)
	}
	records, err := r.Records(ctx, "check", nil)
	if err != nil || len(records) != 1 || records[0].Labels[BackupLabel] != string(kept) {
		t.Errorf("records: %+v, %v", records, err)
	}
	var check struct{ Percent int }
	if err := records[0].Decode(&check); err != nil || check.Percent != 100 {
		t.Errorf("decoded %+v, %v", check, err)
	}
	rec, err := r.Reclaim(ctx, ReclaimOptions{})
	if err != nil || rec.BytesAfter < 36<<20 {
		t.Errorf("the careful way: %+v, %v", rec, err)
	}
	rec, err = r.Reclaim(ctx, ReclaimOptions{Now: true})
	if err != nil || rec.BytesAfter > 11<<20 || rec.BytesBefore < 36<<20 {
		t.Errorf("at once: %+v, %v", rec, err)
	}
	checkFiles(t, r, kept, keep)
	if found, err := r.CheckStructure(ctx); err != nil || len(found) > 0 {
		t.Errorf("check: %+v, %v", found, err)
	}
	again, _ := backUp(t, r, "again", drop)
	checkFiles(t, r, again, drop)
	servers.ConnectKopia(t, r.Location(), testPassword.Reveal()).Run(t, "snapshot", "verify", "--verify-files-percent=100")
}
