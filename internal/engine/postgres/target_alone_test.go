package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// One restore must not empty the database for another one, nor load into its tables.
func TestTargetAlone(t *testing.T) {
	pg := servers.Postgres(t, "15")
	v, first, into := halfRestored(t, pg)
	for _, opt := range []TargetOptions{{}, {Clean: true}} {
		if _, _, err := copyView(t, v, into, opt); fail.KindOf(err) != fail.Locked {
			t.Errorf("a restore with %+v beside another: %v, want Locked", opt, err)
		}
	}
	loadAll(t, v, first)
	if err := first.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := pg.SQL(t, into, "SELECT count(*) FROM t"); got != "2" {
		t.Errorf("%s rows are there, want 2", got)
	}
	if _, _, err := copyView(t, v, into, TargetOptions{Clean: true}); err != nil {
		t.Error(err)
	}
}

// A session that the server is still at work for when a restore fails does not keep its clean-up waiting.
func TestAbortEndsSessions(t *testing.T) {
	pg := servers.Postgres(t, "15")
	_, target, into := halfRestored(t, pg)
	long, err := (&pgproto3.Query{String: "LOCK public.t; SELECT pg_sleep(600)"}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.main.conn.PgConn().Conn().Write(long); err != nil { // not waiting for the answer
		t.Fatal(err)
	}
	for tries := 0; pg.SQL(t, into, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK%' AND wait_event = 'PgSleep'") != "1"; tries++ {
		if tries > 1000 {
			t.Fatal("the server is not at work")
		}
	}
	if err := target.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := pg.SQL(t, into, "SELECT count(*) FROM pg_class WHERE relname = 't'"); got != "0" {
		t.Errorf("%s tables are left", got)
	}
}

// halfRestored begins a restore of a table with two rows into a new database.
func halfRestored(t *testing.T, pg *servers.PG) (*View, *Target, string) {
	t.Helper()
	from, into := pg.CreateDatabase(t), pg.CreateDatabase(t)
	pg.SQL(t, from, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
	v, err := Open(t.Context(), from, Options{BinDir: pg.BinDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	target, err := NewTarget(into, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Prepare(t.Context(), v.Schema(), v.Native()); err != nil {
		t.Fatal(err)
	}
	return v, target, into
}

func loadAll(t *testing.T, v rows.View, into rows.Target) {
	t.Helper()
	for _, p := range v.Parts(v.Schema().Tables[0]) {
		r, err := v.Read(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := into.Load(t.Context(), p, r); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}
