package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// onNewest has what came with PostgreSQL 18: NOT NULL that is not valid, keys of periods, keys that are not enforced.
const onNewest = `
	CREATE EXTENSION btree_gist;
	CREATE TABLE required (a integer CONSTRAINT there NOT NULL, b integer);
	INSERT INTO required VALUES (1, NULL);
	ALTER TABLE required ADD CONSTRAINT later NOT NULL b NOT VALID;
	CREATE TABLE room (id integer, during daterange, rate integer, PRIMARY KEY (id, during WITHOUT OVERLAPS));
	CREATE TABLE booking (id integer PRIMARY KEY, room integer, during daterange, CONSTRAINT booked FOREIGN KEY (room, PERIOD during) REFERENCES room (id, PERIOD during));
	INSERT INTO room VALUES (1, '[2024-01-01,2024-06-01)', 10), (1, '[2024-06-01,2025-01-01)', 12);
	INSERT INTO booking VALUES (1, 1, '[2024-05-01,2024-07-01)');
	CREATE TABLE lax (id integer PRIMARY KEY, up integer REFERENCES lax ON DELETE CASCADE NOT ENFORCED, double integer GENERATED ALWAYS AS (id * 2));
	INSERT INTO lax VALUES (1, 77), (2, 1);`

func TestNewest(t *testing.T) {
	pg := servers.Postgres(t, "18")
	t.Run("describes_only_what_holds", func(t *testing.T) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, onNewest)
		s := schemaOf(t, pg, url)
		for _, table := range s.Tables {
			if len(table.ForeignKeys) > 0 {
				t.Errorf("%s has foreign keys %v, which its rows break", table, table.ForeignKeys)
			}
		}
		if c := s.Table("public.required").Columns; !c[0].NotNull || c[1].NotNull {
			t.Errorf("columns are %+v: b has a null", c)
		}
		if c := s.Table("public.lax").Stored(); len(c) != 2 {
			t.Errorf("stored columns are %+v", c)
		}
	})
	t.Run("replaces_tables_with_such_keys", func(t *testing.T) {
		url, want := pg.CreateDatabase(t), pg.CreateDatabase(t)
		pg.SQL(t, url, onNewest)
		pg.SQL(t, want, onNewest)
		pg.SQL(t, url, `UPDATE booking SET id = 7; UPDATE room SET rate = 1; DELETE FROM lax`)
		if _, _, err := transfer(t, pg, want, url, replace(), "public.room", "public.booking", "public.lax"); err != nil {
			t.Fatal(err)
		}
		sameDump(t, pg, want, url)
	})
	t.Run("merges_into_tables_with_such_keys", func(t *testing.T) { mergesPeriods(t, pg) })
	t.Run("checks_what_is_enforced", func(t *testing.T) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, onNewest)
		if got, err := CheckDatabase(t.Context(), url); err != nil || len(got) > 0 {
			t.Errorf("got %q, %v", got, err)
		}
		pg.SQL(t, url, `ALTER TABLE lax ADD CONSTRAINT broken FOREIGN KEY (up) REFERENCES lax NOT VALID`)
		if got, err := CheckDatabase(t.Context(), url); err != nil || len(got) != 1 || !strings.Contains(got[0], "broken of") {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func mergesPeriods(t *testing.T, pg *servers.PG) {
	url := pg.CreateDatabase(t)
	pg.SQL(t, url, onNewest)
	schema := schemaOf(t, pg, url)
	room := loading{table: "public.room", columns: "id during rate", key: "id during"}
	booking := loading{table: "public.booking", columns: "id room during", key: "id"}
	lax := loading{table: "public.lax", columns: "id up", key: "id"}
	_, err := merge(t.Context(), schema, url, false,
		booking.with("2 1 [2024-02-01,2024-12-01)", "3 2 [2024-02-01,2024-03-01)"),
		room.with("1 [2024-01-01,2024-06-01) 11", "2 [2024-01-01,2024-04-01) 5"), lax.with("3 99"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1\t[2024-01-01,2024-06-01)\t11", "1\t[2024-06-01,2025-01-01)\t12", "2\t[2024-01-01,2024-04-01)\t5"}
	if diff := cmp.Diff(want, query(t, pg, url, `SELECT * FROM public.room ORDER BY 1, 2`)); diff != "" {
		t.Errorf("rooms differ (-want +got):\n%s", diff)
	}
	_, err = merge(t.Context(), schema, url, false, booking.with("4 2 [2024-02-01,2024-05-01)"))
	wantFail(t, err, fail.Incomplete, "public.booking", "not in public.room")
	if _, err := merge(t.Context(), schema, url, false, lax.replacing().with("5 6")); err != nil {
		t.Fatal(err)
	}
	got := query(t, pg, url, `SELECT (SELECT count(*) FROM public.booking), (SELECT string_agg(id || ' ' || up, ',') FROM public.lax),
		(SELECT string_agg(pg_catalog.pg_get_constraintdef(oid), ',' ORDER BY conname) FROM pg_catalog.pg_constraint WHERE contype = 'f')`)
	const left = "3\t5 6\tFOREIGN KEY (room, PERIOD during) REFERENCES public.room(id, PERIOD during),FOREIGN KEY (up) REFERENCES public.lax(id) ON DELETE CASCADE NOT ENFORCED"
	if diff := cmp.Diff([]string{left}, got); diff != "" {
		t.Errorf("in the end (-want +got):\n%s", diff)
	}
}

// TestView_Publications leaves out tables that publications have: pg_dump 18 names them all the same.
func TestView_Publications(t *testing.T) {
	for _, major := range servers.EveryPostgres() {
		t.Run("postgres"+major, func(t *testing.T) {
			pg := servers.Postgres(t, major)
			url := pg.CreateDatabase(t)
			pg.SQL(t, url, `SET client_min_messages = error; CREATE SCHEMA "a; b"; CREATE TABLE "a; b"."odd
name" (id int PRIMARY KEY); CREATE TABLE kept (id int PRIMARY KEY);
				CREATE PUBLICATION "two
lines" FOR TABLE "a; b"."odd
name", kept;`)
			v := openView(t, pg, url, Options{Tables: rows.Selection{Exclude: []string{`"a; b".*`}}})
			other := pg.CreateDatabase(t)
			runScript(t, pg, saveView(t, v), other)
			if got := pg.SQL(t, other, `SELECT string_agg(tablename, ',') FROM pg_publication_tables`); got != "kept" {
				t.Errorf("the publication has %q", got)
			}
		})
	}
}

// TestTarget_older restores into a server older than the backup's. What it does not know must not cost what is there.
func TestTarget_older(t *testing.T) {
	from, to := servers.Postgres(t, "18"), servers.Postgres(t, "15")
	newer, common := from.CreateDatabase(t), from.CreateDatabase(t)
	from.SQL(t, newer, `CREATE TABLE t (id integer PRIMARY KEY, double integer GENERATED ALWAYS AS (id * 2) VIRTUAL); INSERT INTO t VALUES (1)`)
	from.SQL(t, common, `CREATE TABLE t (id integer PRIMARY KEY, n integer CONSTRAINT named NOT NULL); INSERT INTO t VALUES (1, 2)`)
	databases := func() string {
		return to.SQL(t, "postgres", `SELECT count(*) FROM pg_database WHERE datname ~ 'rehearsal'`)
	}
	unharmed := func(t *testing.T, db string) {
		t.Helper()
		if got := to.SQL(t, db, `SELECT sum(n) FROM mine`); got != "3" || databases() != "0" {
			t.Errorf("mine holds %s, %s databases were left", got, databases())
		}
	}
	fill := func(t *testing.T) string {
		db := to.CreateDatabase(t)
		to.SQL(t, db, `CREATE TABLE mine (n integer); INSERT INTO mine VALUES (3)`)
		return db
	}
	for name, opt := range map[string]TargetOptions{"clean": {Clean: true}, "clean_and_create": {Clean: true, Create: true}} {
		t.Run(name+"_removes_nothing_when_definitions_are_unknown", func(t *testing.T) {
			db := fill(t)
			_, _, err := transfer(t, from, newer, db, opt)
			wantFail(t, err, fail.Unsupported, "nothing was removed", "public.t")
			if hint := fail.HintOf(err); !strings.Contains(hint, "PostgreSQL 18") || !strings.Contains(hint, "version 15") {
				t.Errorf("the hint is %q", hint)
			}
			unharmed(t, db)
		})
	}
	t.Run("an_empty_database_is_empty_again", func(t *testing.T) {
		db := to.CreateDatabase(t)
		_, _, err := transfer(t, from, newer, db, TargetOptions{})
		wantFail(t, err, fail.Unsupported, "public.t")
		isEmpty(t, to, db)
	})
	t.Run("what_both_know_is_restored", func(t *testing.T) {
		db := fill(t)
		if _, _, err := transfer(t, from, common, db, TargetOptions{Clean: true}); err != nil {
			t.Fatal(err)
		}
		if got := to.SQL(t, db, `SELECT sum(n), to_regclass('mine') IS NULL FROM t`); got != "2|t" || databases() != "0" {
			t.Errorf("got %s, and %s databases more", got, databases())
		}
	})
	t.Run("a_role_that_may_not_create_databases_goes_without", func(t *testing.T) {
		db := fill(t)
		role := to.User(t, "")
		to.SQL(t, db, fmt.Sprintf(`ALTER TABLE mine OWNER TO %[1]s; ALTER DATABASE %[2]s OWNER TO %[1]s`, role.Name, nameOf(t, db)))
		target, _, err := transfer(t, from, common, role.URL(db), TargetOptions{Clean: true, NoOwner: true})
		if err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(target.Notes(), "\n"); !strings.Contains(notes, "could not be tried") {
			t.Errorf("notes are %s", notes)
		}
		to.SQL(t, db, fmt.Sprintf("ALTER DATABASE %s OWNER TO postgres", nameOf(t, db)))
	})
}

// TestServerPrograms picks a server of the same version, else the next newer one, and says what else there is.
func TestServerPrograms(t *testing.T) {
	fake := func(major string) string {
		dir := t.TempDir()
		for _, name := range []string{"postgres", "initdb"} {
			text := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s.1'\n", name, major)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	// Higher than what may be installed on this machine.
	v80, v82, v84 := fake("80"), fake("82"), fake("84")
	t.Setenv("PATH", strings.Join([]string{v84, v80, v82}, string(os.PathListSeparator)))
	for major, want := range map[int]string{80: v80, 81: v82, 82: v82, 83: v84, 84: v84} {
		if got, err := serverPrograms(t.Context(), major); err != nil || got != want {
			t.Errorf("for %d: got %s, %v, want %s", major, got, err, want)
		}
	}
	t.Setenv("HOLDFAST_PG_BIN", v84)
	if got, err := serverPrograms(t.Context(), 80); err != nil || got != v80 {
		t.Errorf("with HOLDFAST_PG_BIN: got %s, %v: the same version is the better proof", got, err)
	}
	_, err := serverPrograms(t.Context(), 90)
	wantFail(t, err, fail.Unsupported, "version 90 or newer", v84+" is version 84")
}

// TestStartScratch starts a server of our own from each version's programs.
func TestStartScratch(t *testing.T) {
	for _, major := range servers.EveryPostgres() {
		t.Run("postgres"+major, func(t *testing.T) {
			t.Setenv("HOLDFAST_PG_BIN", servers.Postgres(t, major).ServerPrograms(t))
			dir, err := os.MkdirTemp("/tmp", "holdfast-test-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if err := os.Chmod(dir, 0o711); err != nil {
				t.Fatal(err)
			}
			s, err := StartScratch(t.Context(), MajorOf(major), dir)
			if err != nil {
				t.Fatal(err)
			}
			got, err := QueryValue(t.Context(), s.URL("postgres"), "SELECT current_setting('server_version_num')::int / 10000")
			if err != nil || got != major {
				t.Errorf("a server of version %s, %v", got, err)
			}
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
