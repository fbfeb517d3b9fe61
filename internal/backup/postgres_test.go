package backup_test

import (
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// A database that has one of everything comes back equal, definitions and rows.
func TestPostgresRoundTrip(t *testing.T) {
	eachPostgres(t, func(t *testing.T, pg *servers.PG) {
		src, dst := pg.CreateDatabase(t), pg.CreateDatabase(t)
		loadEverything(t, pg, src)
		s := openStore(t, newRepo(t))
		b := backUp(t, s, src)
		if b.Rows == 0 || b.Tables == 0 || b.NewBytes == 0 {
			t.Errorf("backup counts nothing: %+v", b)
		}
		done := restore(t, s, b, dst, wire.TargetOptions{})
		if done.Rows != b.Rows {
			t.Errorf("restored %d rows of %d", done.Rows, b.Rows)
		}
		sameDump(t, pgDump(t, pg, src), pgDump(t, pg, dst))
		if v := verifyAll(t, s); v.Err() != nil {
			t.Errorf("verify: %v, %+v", v.Err(), v.Damage)
		}

		again := backUp(t, s, src)
		if again.NewBytes > b.NewBytes/4 {
			t.Errorf("the second backup of the same data added %d bytes, the first %d", again.NewBytes, b.NewBytes)
		}
		// What was restored makes a backup with the same rows.
		copied := backUp(t, s, dst)
		if copied.Rows != b.Rows || copied.Tables != b.Tables {
			t.Errorf("the copy has %d rows in %d tables, the original %d in %d", copied.Rows, copied.Tables, b.Rows, b.Tables)
		}
	})
}
