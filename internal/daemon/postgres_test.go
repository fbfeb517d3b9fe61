package daemon_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/daemon"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// meddler changes what was restored before it is compared.
type meddler struct {
	backup.Scratch
	meddle func()
}

func (m meddler) View(ctx context.Context) (rows.View, error) {
	m.meddle()
	return m.Scratch.View(ctx)
}

// Drills of a PostgreSQL database with one of every thing: on a server of their own, on a given one, and with a row that is
// not as it was.
func TestPostgresDrill(t *testing.T) {
	pg := servers.Postgres(t, "15")
	t.Setenv("HOLDFAST_PG_BIN", pg.BinDir())
	tmp, err := os.MkdirTemp("", "holdfast-drill-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o711); err != nil { // a server for the drill does not run as root
		t.Fatal(err)
	}
	t.TempDir() // before $TMPDIR is another
	t.Setenv("TMPDIR", tmp)
	db := pg.CreateDatabase(t)
	script, err := os.ReadFile("../engine/postgres/testdata/everything.sql")
	if err != nil {
		t.Fatal(err)
	}
	pg.SQL(t, db, string(script))
	w := &world{dir: t.TempDir(), hook: newReceiver(t), beat: newReceiver(t), log: &lockedLog{}}
	w.repo = filepath.Join(w.dir, "repo")
	if err := backup.Init(t.Context(), w.repo, password, backup.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	settings := func(drill string) *config.Config {
		text := fmt.Sprintf("repository: %s\ndatabases:\n  app:\n    url: %q\n    verify: {schedule: never}\n    drill: {%s}\n", w.repo, db, drill)
		c, problems := config.Parse([]byte(text), os.LookupEnv, func(string) (string, error) { return "", fs.ErrNotExist })
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, text)
		}
		return c
	}
	own, given := settings(`expect: "select count(*) > 0 from users"`), settings(fmt.Sprintf("to: %q", pg.URL("postgres")))
	scratches := func() string {
		return pg.SQL(t, "postgres", "SELECT string_agg(datname, ' ') FROM pg_database WHERE datname LIKE 'holdfast_scratch%'")
	}
	d := w.daemon(t, own)
	run := func(d *daemon.Daemon, work string) backup.Attempt {
		t.Helper()
		a, err := d.Run(t.Context(), "app", work)
		if err != nil {
			t.Fatalf("%s: %v", work, err)
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("left in $TMPDIR: %v, %v", left, err)
		}
		if left := scratches(); left != "" {
			t.Errorf("scratch databases are left: %s", left)
		}
		return a
	}
	check := func() backup.Health {
		t.Helper()
		found, err := d.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found.Databases[0]
	}
	run(d, backup.WorkBackup)
	run(d, backup.WorkDrill)
	run(w.daemon(t, given), backup.WorkDrill)
	if h := check(); h.Level != backup.OK || h.Drilled.IsZero() || h.Recovery <= 0 {
		t.Fatalf("after two drills: %+v", h)
	}

	engines := wire.Engines("test")
	plain := engines.Scratch
	engines.Scratch = func(ctx context.Context, s *backup.Store, b backup.Detail, db *config.Database) (backup.Scratch, error) {
		scratch, err := plain(ctx, s, b, db)
		return meddler{scratch, func() {
			pg.SQL(t, scratches(), "UPDATE app.animal SET name = name || '!' WHERE id = (SELECT min(id) FROM app.animal)")
		}}, err
	}
	bad := daemon.New(given, daemon.Options{Engines: engines, Version: "test", Log: slog.New(slog.DiscardHandler), Open: func(ctx context.Context, c *config.Config) (*backup.Store, error) {
		return backup.Open(ctx, c.Repository, password, nil)
	}})
	t.Cleanup(func() { _ = bad.Close(context.Background()) })
	if _, err := bad.Run(t.Context(), "app", backup.WorkDrill); fail.KindOf(err) != fail.Mismatch || !strings.Contains(err.Error(), "rows of table app.animal differ") {
		t.Errorf("a changed row: %v", err)
	}
	if left := scratches(); left != "" {
		t.Errorf("scratch databases are left: %s", left)
	}
	h := check()
	if h.Level != backup.Critical || h.Findings[0].Event != "drill" || !strings.Contains(h.Findings[0].Text, "app.animal") || h.Copies != 0 {
		t.Errorf("after a changed row: %+v", h)
	}
	s := openStore(t, w)
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].State != backup.Damaged {
		t.Errorf("the backup is not marked: %+v, %v", list, err)
	}

	// The next backup that can be restored ends it.
	run(d, backup.WorkBackup)
	run(d, backup.WorkDrill)
	if h := check(); h.Level != backup.OK || h.Copies != 1 {
		t.Errorf("after a good drill: %+v", h)
	}
}

func openStore(t *testing.T, w *world) *backup.Store {
	t.Helper()
	s, err := backup.Open(t.Context(), w.repo, password, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}
