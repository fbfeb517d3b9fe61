package backup_test

import (
	"testing"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/rows/rowstest"
	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// Live databases and stored backups keep the contract of a View.
func TestViews(t *testing.T) {
	check := func(t *testing.T, s *backup.Store, db string) {
		t.Helper()
		live, err := wire.View(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("live", func(t *testing.T) { rowstest.View(t, live) })
		_ = live.Close()
		stored, err := wire.Stored(t.Context(), s, backUp(t, s, db))
		if err != nil {
			t.Fatal(err)
		}
		t.Run("stored", func(t *testing.T) { rowstest.View(t, stored) })
		if err := stored.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		db := sqliteDB(t, "a.sqlite3", "pragma journal_mode=wal; create table a (id integer primary key, b text, c blob, d real); insert into a values (1, 'x', x'00ff', 1.5), (2, null, null, 1e300), (3, 'a\tb\\', x'', -0.0); create table e (x); create view v as select * from a;")
		check(t, openStore(t, newRepo(t)), db)
	})
	eachPostgres(t, func(t *testing.T, pg *servers.PG) {
		db := pg.CreateDatabase(t)
		loadEverything(t, pg, db)
		check(t, openStore(t, newRepo(t)), db)
	})
}
