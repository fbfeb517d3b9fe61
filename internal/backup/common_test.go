package backup_test

import (
	"context"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

const password = "correct horse"

// newRepo makes a repository and returns its location.
func newRepo(t testing.TB) string {
	t.Helper()
	loc := filepath.Join(t.TempDir(), "repo")
	if err := backup.Init(t.Context(), loc, password, backup.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	return loc
}

func openStore(t testing.TB, loc string) *backup.Store {
	t.Helper()
	s, err := backup.Open(t.Context(), loc, password, func(w string) { t.Log("warning:", w) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// tryBackup backs databases up in one run.
func tryBackup(ctx context.Context, s *backup.Store, opt wire.SourceOptions, dbs ...string) ([]backup.Backup, error) {
	run := s.NewRun(backup.RunOptions{Version: "test", Jobs: opt.Jobs})
	defer func() { _ = run.Abort(context.WithoutCancel(ctx)) }()
	var done []backup.Backup
	for _, db := range dbs {
		src, err := wire.Source(ctx, db, opt)
		if err != nil {
			return nil, err
		}
		b, err := run.Backup(ctx, src)
		_ = src.Close()
		if err != nil {
			return nil, err
		}
		done = append(done, b)
	}
	return done, run.Commit(ctx)
}

func backUp(t testing.TB, s *backup.Store, db string) backup.Backup {
	t.Helper()
	done, err := tryBackup(t.Context(), s, wire.SourceOptions{}, db)
	if err != nil {
		t.Fatalf("back up: %v", err)
	}
	return done[0]
}

func tryRestore(ctx context.Context, s *backup.Store, b backup.Backup, db string, opt wire.TargetOptions, tables ...string) (backup.Restored, error) {
	opt.Partial = len(tables) > 0
	dest, err := wire.Destination(db, b.Engine, opt)
	if err != nil {
		return backup.Restored{}, err
	}
	return s.Restore(ctx, b, dest, backup.RestoreOptions{Jobs: opt.Jobs, SchemaOnly: opt.SchemaOnly, DataOnly: opt.DataOnly, Tables: rows.Selection{Include: tables}})
}

func restore(t testing.TB, s *backup.Store, b backup.Backup, db string, opt wire.TargetOptions) backup.Restored {
	t.Helper()
	done, err := tryRestore(t.Context(), s, b, db, opt)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return done
}

// verifyAll verifies every backup and returns the result.
func verifyAll(t testing.TB, s *backup.Store) backup.Verification {
	t.Helper()
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Verify(t.Context(), list, backup.VerifyOptions{Version: "test"})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return v
}

// sqliteDB makes an SQLite database with the statements and returns its path.
func sqliteDB(t testing.TB, name, statements string) string {
	t.Helper()
	db := filepath.Join(t.TempDir(), name)
	sqliteExec(t, db, statements)
	return db
}

func sqliteExec(t testing.TB, db, statements string) string {
	t.Helper()
	cmd := exec.Command(servers.Program(t, "sqlite3"), "-bail", db)
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	return string(out)
}

// dbName returns the name in a database's URL.
func dbName(t testing.TB, db string) string {
	t.Helper()
	u, err := url.Parse(db)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func psql(t testing.TB, pg *servers.PG, db, sql string) string {
	t.Helper()
	out, err := pg.Query(dbName(t, db), sql)
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	return out
}

// loadEverything fills a database with one of every thing that a backup must bring back.
func loadEverything(t testing.TB, pg *servers.PG, db string) {
	t.Helper()
	script, err := os.ReadFile("../engine/postgres/testdata/everything.sql")
	if err != nil {
		t.Fatal(err)
	}
	cmd := pg.Command("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", dbName(t, db))
	cmd.Stdin = strings.NewReader(string(script))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("load everything.sql: %v\n%s", err, out)
	}
}

// pgDump dumps a database by pg_dump, with the rows of each table sorted: their order is no property of a table. Nor is
// which hash partition a row is in, where pg_dump itself loads via the root: such rows are put together at the end.
func pgDump(t testing.TB, pg *servers.PG, db string) string {
	t.Helper()
	out, err := pg.Command("pg_dump", "-d", dbName(t, db)).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	lines := strings.Split(string(out), "\n")
	var kept []string
	roots := map[string][]string{}
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], `\restrict`) || strings.HasPrefix(lines[i], `\unrestrict`) {
			continue // a random word
		}
		kept = append(kept, lines[i])
		if strings.HasPrefix(lines[i], "COPY ") {
			end := i + 1 + slices.Index(lines[i+1:], `\.`)
			block := slices.Clone(lines[i+1 : end])
			if i >= 2 && strings.HasPrefix(lines[i-2], "-- load via partition root ") {
				roots[lines[i]] = append(roots[lines[i]], block...)
				block = nil
			}
			slices.Sort(block)
			kept = append(kept, block...)
			i = end - 1
		}
	}
	for _, root := range slices.Sorted(maps.Keys(roots)) {
		slices.Sort(roots[root])
		kept = append(append(kept, root), roots[root]...)
	}
	return strings.Join(kept, "\n")
}

// sameDump fails when two dumps differ, and shows where.
func sameDump(t testing.TB, want, got string) {
	t.Helper()
	if len(want) < 1000 {
		t.Fatalf("the dump to compare with has %d bytes only", len(want))
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("dumps differ (-want +got):\n%.20000s", diff)
	}
}

// eachPostgres runs a test against the usual server versions.
func eachPostgres(t *testing.T, test func(t *testing.T, pg *servers.PG)) {
	t.Helper()
	onPostgres(t, servers.PostgresVersions(), test)
}

// onPostgres runs a test against some server versions.
func onPostgres(t *testing.T, versions []string, test func(t *testing.T, pg *servers.PG)) {
	t.Helper()
	for _, major := range versions {
		t.Run("postgres"+major, func(t *testing.T) {
			pg := servers.Postgres(t, major)
			t.Setenv("HOLDFAST_PG_BIN", pg.BinDir())
			test(t, pg)
		})
	}
}
