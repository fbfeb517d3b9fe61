package backup_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/retain"
	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// childEnv makes this test binary do one piece of work in a process of its own, to be killed.
const childEnv = "HOLDFAST_TEST_CHILD"

func TestMain(m *testing.M) {
	if work := os.Getenv(childEnv); work != "" {
		if err := childWork(strings.Split(work, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childWork does «WHAT LOCATION DATABASE».
func childWork(args []string) error {
	ctx := context.Background()
	s, err := backup.Open(ctx, args[1], password, nil)
	if err != nil {
		return err
	}
	switch args[0] {
	case "backup":
		_, err = tryBackup(ctx, s, wire.SourceOptions{}, args[2])
	case "restore":
		var b backup.Backup
		if b, err = s.Find(ctx, "latest"); err == nil {
			_, err = tryRestore(ctx, s, b, args[2], wire.TargetOptions{})
		}
	case "prune":
		_, err = s.Prune(ctx, backup.OnePolicy(retain.Policy{Last: 1}), backup.PruneOptions{Now: true})
	}
	return err
}

func child(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(args, "\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that a kill takes its pg_dump along
	return cmd
}

// killSteps is over how many moments of the work the kills are spread.
const killSteps = 9

// killSweep runs work in a child until it ends by itself, then again and again, killed (SIGKILL) at one moment after the
// other of that time. check runs after each; before prepares for each.
func killSweep(t *testing.T, before func(), check func(step int, killed bool), args func() []string) {
	t.Helper()
	before()
	start := time.Now()
	if out, err := child(t, args()...).CombinedOutput(); err != nil {
		t.Fatalf("%s without a kill: %v\n%s", args()[0], err, out)
	}
	took := time.Since(start)
	check(0, false)
	kills := 0
	for step := 1; step <= killSteps; step++ {
		before()
		cmd := child(t, args()...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(took*time.Duration(step)/(killSteps+1), func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		killed := cmd.Wait() != nil
		timer.Stop()
		if killed {
			kills++
		}
		check(step, killed)
	}
	if kills == 0 {
		t.Error("nothing was ever killed: the test did nothing")
	}
}

const bigTable = `create table t (id integer primary key, x text); with recursive n(i) as (select 1 union all select i+1 from n where i<60000) insert into t select i, hex(randomblob(200)) from n;`

// A backup killed at any moment leaves the old ones whole, and is itself whole or absent.
func TestKilledBackup(t *testing.T) {
	t.Parallel()
	db := sqliteDB(t, "a.sqlite3", bigTable)
	loc := newRepo(t)
	first := backUp(t, openStore(t, loc), db)
	want := 1
	killSweep(t, func() { sqliteExec(t, db, "update t set x = hex(randomblob(200)) where id % 3 = 0;") }, func(step int, killed bool) {
		s := openStore(t, loc)
		list, err := s.List(t.Context())
		if err != nil {
			t.Fatalf("step %d: list: %v", step, err)
		}
		if !killed && len(list) != want+1 || killed && len(list) != want && len(list) != want+1 {
			t.Errorf("step %d, killed %v: %d backups are listed, there were %d before", step, killed, len(list), want)
		}
		want = len(list)
		if v := verifyAll(t, s); len(v.Damage) > 0 {
			t.Errorf("step %d: damage: %+v", step, v.Damage)
		}
		restore(t, s, first, filepath.Join(t.TempDir(), "r.sqlite3"), wire.TargetOptions{})
		_ = s.Close(t.Context())
	}, func() []string { return []string{"backup", loc, db} })
}

// A restore killed at any moment leaves no file that could be taken for a restored one.
func TestKilledRestore(t *testing.T) {
	t.Parallel()
	db := sqliteDB(t, "a.sqlite3", bigTable)
	loc := newRepo(t)
	backUp(t, openStore(t, loc), db)
	var target string
	killSweep(t, func() { target = filepath.Join(t.TempDir(), "r.sqlite3") }, func(step int, killed bool) {
		if _, err := os.Stat(target); err == nil {
			if out := sqliteExec(t, target, "pragma integrity_check; select count(*) from t;"); out != "ok\n60000\n" {
				t.Errorf("step %d: the restored file says %q", step, out)
			}
		} else if !killed {
			t.Errorf("step %d: no restored file: %v", step, err)
		} else {
			s := openStore(t, loc) // and the next try works
			b, err := s.Find(t.Context(), "latest")
			if err != nil {
				t.Fatal(err)
			}
			restore(t, s, b, target, wire.TargetOptions{})
			_ = s.Close(t.Context())
		}
	}, func() []string { return []string{"restore", loc, target} })
}

// A prune killed at any moment leaves every backup that is still listed whole, and the next one finishes the work.
func TestKilledPrune(t *testing.T) {
	t.Parallel()
	db := sqliteDB(t, "a.sqlite3", bigTable)
	loc := newRepo(t)
	killSweep(t, func() {
		s := openStore(t, loc)
		for range 3 {
			sqliteExec(t, db, "update t set x = hex(randomblob(200)) where id % 3 = 0;")
			backUp(t, s, db)
		}
		_ = s.Close(t.Context())
	}, func(step int, killed bool) {
		s := openStore(t, loc)
		list, err := s.List(t.Context())
		if err != nil || len(list) == 0 {
			t.Fatalf("step %d: %d backups, %v", step, len(list), err)
		}
		if v := verifyAll(t, s); v.Err() != nil {
			t.Errorf("step %d: %v: %+v, %+v", step, v.Err(), v.Damage, v.Structure)
		}
		if _, err := s.Prune(t.Context(), backup.OnePolicy(retain.Policy{Last: 1}), backup.PruneOptions{Now: true}); err != nil {
			t.Errorf("step %d: the next prune: %v", step, err)
		}
		if list, err = s.List(t.Context()); err != nil || len(list) != 1 {
			t.Errorf("step %d: %d backups after the next prune, want 1 (%v)", step, len(list), err)
		}
		restore(t, s, list[0], filepath.Join(t.TempDir(), "r.sqlite3"), wire.TargetOptions{})
		_ = s.Close(t.Context())
	}, func() []string { return []string{"prune", loc} })
}

// Backups and prunes at the same time, in processes of their own, spoil nothing.
func TestConcurrentRuns(t *testing.T) {
	t.Parallel()
	var dbs []string
	for i := range 3 {
		dbs = append(dbs, sqliteDB(t, fmt.Sprintf("db%d.sqlite3", i), bigTable))
	}
	loc := newRepo(t)
	s := openStore(t, loc)
	for _, db := range dbs {
		backUp(t, s, db)
	}
	_ = s.Close(t.Context())
	var wg sync.WaitGroup
	results := make(chan string, 100)
	work := func(times int, args ...string) {
		wg.Go(func() {
			for range times {
				out, err := child(t, args...).CombinedOutput()
				results <- fmt.Sprintf("%s %v %s", args[0], err, out)
			}
		})
	}
	for _, db := range dbs {
		work(3, "backup", loc, db)
	}
	work(4, "prune", loc)
	work(4, "prune", loc)
	wg.Wait()
	close(results)
	for r := range results {
		// A prune that wants its space at once may be refused, and a backup may have to wait for it; neither may break.
		if !strings.Contains(r, "<nil>") && !strings.Contains(r, "in use") && !strings.Contains(r, "locked") && !strings.Contains(r, "is at work") {
			t.Errorf("a run broke: %s", r)
		}
	}
	s = openStore(t, loc)
	if v := verifyAll(t, s); v.Err() != nil || v.Backups < 3 {
		t.Errorf("%d backups: %v: %+v, %+v", v.Backups, v.Err(), v.Damage, v.Structure)
	}
	for _, db := range dbs {
		restore(t, s, backUp(t, s, db), filepath.Join(t.TempDir(), "r.sqlite3"), wire.TargetOptions{})
	}
}

// When the server goes away in the middle, there is no new backup, the message says so, and the old ones restore.
func TestServerGone(t *testing.T) {
	major := servers.PostgresVersions()[0]
	pg := servers.OwnPostgres(t, major, servers.Options{})
	t.Setenv("HOLDFAST_PG_BIN", pg.BinDir())
	src := pg.CreateDatabase(t)
	psql(t, pg, src, "create table big as select i, repeat(md5(i::text), 20) x from generate_series(1, 300000) i")
	loc := newRepo(t)
	s := openStore(t, loc)
	old := backUp(t, s, src)
	ctx := t.Context()
	source, err := wire.Source(ctx, src, wire.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pg.Crash(t)
	run := s.NewRun(backup.RunOptions{})
	_, err = run.Backup(ctx, source)
	_ = source.Close()
	if fail.KindOf(err) != fail.Unavailable {
		t.Errorf("got %v of kind %v, want unavailable", err, fail.KindOf(err))
	}
	if err := run.Commit(ctx); err != nil || len(run.Done()) != 0 {
		t.Errorf("commit: %d backups, %v", len(run.Done()), err)
	}
	list, err := s.List(ctx)
	if err != nil || len(list) != 1 || list[0].ID != old.ID {
		t.Errorf("listed: %+v, %v", list, err)
	}
	if v := verifyAll(t, s); v.Err() != nil {
		t.Error(v.Err())
	}
}

// smallDisk mounts a file system of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	mounted := os.Geteuid() == 0 && syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=700") == nil
	servers.Require(t, "tmpfs", mounted, "only root can make a small file system")
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// A full disk ends a backup with a message that says so; the old ones restore, and there is room again after a prune.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "48m")
	loc := filepath.Join(dir, "repo")
	if err := backup.Init(t.Context(), loc, password, backup.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, loc)
	db := sqliteDB(t, "a.sqlite3", bigTable) // 26 MB of hexadecimal digits: 13 MB stored
	old := backUp(t, s, db)
	var err error
	for range 6 {
		sqliteExec(t, db, "update t set x = hex(randomblob(200));")
		if _, err = tryBackup(t.Context(), s, wire.SourceOptions{}, db); err != nil {
			break
		}
	}
	if fail.KindOf(err) != fail.NoSpace || fail.HintOf(err) == "" {
		t.Fatalf("got %v (%v), hint %q; want no space", err, fail.KindOf(err), fail.HintOf(err))
	}
	restore(t, s, old, filepath.Join(t.TempDir(), "r.sqlite3"), wire.TargetOptions{})
	if v := verifyAll(t, s); len(v.Damage) > 0 {
		t.Errorf("damage: %+v", v.Damage)
	}
	_ = s.Close(t.Context())
	s = openStore(t, loc)
	if _, err := s.Prune(t.Context(), backup.OnePolicy(retain.Policy{Last: 1}), backup.PruneOptions{Now: true}); err != nil {
		t.Fatalf("prune on a full disk: %v", err)
	}
	restore(t, s, backUp(t, s, db), filepath.Join(t.TempDir(), "r2.sqlite3"), wire.TargetOptions{})
}

// Several databases in one run, one of which does not fit: the others are kept, and what is said to be done is listed.
func TestDiskFullBetweenOthers(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "64m")
	loc := filepath.Join(dir, "repo")
	if err := backup.Init(t.Context(), loc, password, backup.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, loc)
	small := "create table t (x); insert into t values (randomblob(500000));"
	huge := "create table t (x); with recursive n(i) as (select 1 union all select i+1 from n where i<100) insert into t select randomblob(1000000) from n;"
	run := s.NewRun(backup.RunOptions{})
	errs := map[string]error{}
	for name, statements := range map[string]string{"a.sqlite3": small, "huge.sqlite3": huge, "z.sqlite3": small} {
		src, err := wire.Source(t.Context(), sqliteDB(t, name, statements), wire.SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, errs[name] = run.Backup(t.Context(), src)
		_ = src.Close()
	}
	if err := run.Commit(t.Context()); err != nil {
		t.Errorf("commit: %v", err)
	}
	if errs["a.sqlite3"] != nil || errs["z.sqlite3"] != nil || fail.KindOf(errs["huge.sqlite3"]) != fail.NoSpace {
		t.Errorf("got %v", errs)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 || len(run.Done()) != 2 {
		t.Errorf("%d backups are listed and %d said to be done, want 2: %v", len(list), len(run.Done()), err)
	}
	if v := verifyAll(t, s); v.Err() != nil {
		t.Error(v.Err())
	}
}

// Whatever blob is damaged or missing: verify says so and names the backup and the tables, or opening says what to do.
func TestDamagedBlobs(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	t.Setenv("HOLDFAST_PG_BIN", pg.BinDir())
	src := pg.CreateDatabase(t)
	psql(t, pg, src, "create table small as select 1 a; create table big as select i, md5(i::text) x from generate_series(1, 200000) i")
	for _, harm := range []string{"flip", "remove", "truncate"} {
		for _, prefix := range []string{"p", "q", "x"} {
			t.Run(harm+" "+prefix, func(t *testing.T) {
				loc := newRepo(t)
				s := openStore(t, loc)
				b := backUp(t, s, src)
				_ = s.Close(t.Context())
				damageBlob(t, loc, prefix, harm)
				s, err := backup.Open(t.Context(), loc, password, nil)
				if err != nil {
					if fail.KindOf(err) != fail.Damaged || fail.HintOf(err) == "" {
						t.Errorf("open: %v (%v), hint %q", err, fail.KindOf(err), fail.HintOf(err))
					}
					return
				}
				defer s.Close(t.Context())
				list, err := s.List(t.Context())
				if err != nil {
					if fail.KindOf(err) != fail.Damaged {
						t.Errorf("list: %v (%v)", err, fail.KindOf(err))
					}
					return
				}
				v, err := s.Verify(t.Context(), list, backup.VerifyOptions{})
				if err != nil {
					t.Fatalf("verify: %v", err)
				}
				if v.Err() == nil {
					t.Fatal("verify finds nothing wrong")
				}
				if prefix == "p" {
					named := fmt.Sprint(v.Damage)
					if !strings.Contains(named, "public.big") || v.Damage[0].Backup != b.ID {
						t.Errorf("the damage names neither backup nor table: %s", named)
					}
					if list, err = s.List(t.Context()); err != nil || list[0].State != backup.Damaged {
						t.Errorf("listed as %+v, %v", list, err)
					}
					// The same data backed up again heals both.
					again := backUp(t, s, src)
					if v := verifyAll(t, s); len(v.Damage) > 0 {
						t.Errorf("after another backup: %+v", v.Damage)
					}
					restore(t, s, again, pg.CreateDatabase(t), wire.TargetOptions{})
					restore(t, s, b, pg.CreateDatabase(t), wire.TargetOptions{})
				}
			})
		}
	}
}

// damageBlob harms the largest blob whose name begins with prefix.
func damageBlob(t *testing.T, loc, prefix, harm string) {
	t.Helper()
	var name string
	var size int64
	err := filepath.WalkDir(loc, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(loc, p)
		info, err := d.Info()
		if flat := strings.ReplaceAll(rel, "/", ""); err == nil && strings.HasPrefix(flat, prefix) && info.Size() > size {
			name, size = p, info.Size()
		}
		return err
	})
	if err != nil || name == "" {
		t.Fatalf("no blob %s*: %v", prefix, err)
	}
	switch harm {
	case "remove":
		err = os.Remove(name)
	case "truncate":
		err = os.Truncate(name, size/2)
	case "flip":
		var data []byte
		if data, err = os.ReadFile(name); err == nil {
			data[size/2] ^= 1
			err = os.WriteFile(name, data, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
