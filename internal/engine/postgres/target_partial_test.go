package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// family is a database of tables that depend on each other, for restores of some of them.
const family = `
	CREATE SCHEMA app;
	CREATE TYPE app.mood AS ENUM ('sad', 'ok');
	CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
	CREATE FUNCTION app.code(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 2';
	CREATE FUNCTION app.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trigger fired'; END $$;
	CREATE SEQUENCE app.free_seq;
	CREATE TABLE app.parent (id serial PRIMARY KEY, name text NOT NULL UNIQUE, m app.mood);
	CREATE TABLE app.child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent int REFERENCES app.parent, p app.positive,
		n bigint DEFAULT nextval('app.free_seq'), up int GENERATED ALWAYS AS (parent + 1) STORED);
	CREATE INDEX child_code ON app.child (app.code(parent));
	COMMENT ON INDEX app.child_code IS 'by code';
	COMMENT ON TABLE app.child IS 'a child';
	CREATE TRIGGER no_delete BEFORE DELETE ON app.child FOR EACH ROW EXECUTE FUNCTION app.refuse();
	ALTER TABLE app.child ENABLE ROW LEVEL SECURITY;
	CREATE POLICY mine ON app.child USING (true);
	CREATE STATISTICS app.child_st ON parent, p FROM app.child;
	GRANT SELECT ON app.child TO PUBLIC;
	CREATE TABLE app.other (id int REFERENCES app.parent);
	CREATE MATERIALIZED VIEW app.names AS SELECT name FROM app.parent;
	CREATE TABLE app.ev (id int, at date NOT NULL) PARTITION BY RANGE (at);
	CREATE TABLE app.ev1 PARTITION OF app.ev FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
	CREATE TABLE app.ev2 PARTITION OF app.ev FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
	ALTER TABLE app.ev ADD PRIMARY KEY (id, at);
	CREATE INDEX ev_at ON app.ev (at);
	INSERT INTO app.parent (name, m) SELECT 'p' || i, 'ok' FROM generate_series(1, 10) i;
	INSERT INTO app.child (parent, p) SELECT 1 + i % 10, i FROM generate_series(1, 100) i;
	INSERT INTO app.other SELECT i FROM generate_series(1, 10) i;
	INSERT INTO app.ev SELECT i, date '2024-06-01' + i FROM generate_series(1, 400) i;
	REFRESH MATERIALIZED VIEW app.names;`

func partial() TargetOptions { return TargetOptions{Partial: true} }
func replace() TargetOptions { return TargetOptions{Partial: true, Clean: true} }

// onFamily runs a test with a database made by family, and a function that makes another one and changes it.
func onFamily(t *testing.T, test func(t *testing.T, pg *servers.PG, source string, copyOf func(*testing.T, string) string)) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		source := pg.CreateDatabase(t)
		pg.SQL(t, source, family)
		test(t, pg, source, func(t *testing.T, then string) string {
			t.Helper()
			db := pg.CreateDatabase(t)
			pg.SQL(t, db, family+then)
			return db
		})
	})
}

// TestTarget_partial_creates makes tables that do not exist, in databases that hold other things.
func TestTarget_partial_creates(t *testing.T) {
	onFamily(t, func(t *testing.T, pg *servers.PG, source string, copyOf func(*testing.T, string) string) {
		t.Run("creates_a_table_with_all_it_needs", func(t *testing.T) {
			db := pg.CreateDatabase(t)
			pg.SQL(t, db, `CREATE TABLE unrelated (a int); INSERT INTO unrelated VALUES (1)`)
			target, _, err := transfer(t, pg, source, db, partial(), "app.parent", "app.child")
			if err != nil {
				t.Fatal(err)
			}
			if len(target.Notes()) > 0 {
				t.Errorf("notes: %q", target.Notes())
			}
			args := []string{"--table=app.parent", "--table=app.child", "--table=app.free_seq"}
			sameDump(t, pg, source, db, args...)
			if got := pg.SQL(t, db, `SELECT (SELECT count(*) FROM unrelated), (SELECT count(*) FROM pg_statistic_ext)`); got != "1|1" {
				t.Errorf("got %s", got)
			}
		})
		t.Run("puts_a_table_back_that_was_dropped", func(t *testing.T) {
			db := copyOf(t, `DROP TABLE app.child`)
			if _, _, err := transfer(t, pg, source, db, partial(), "app.child"); err != nil {
				t.Fatal(err)
			}
			sameDump(t, pg, source, db)
		})
		t.Run("attaches_a_partition_to_the_table_it_belongs_to", func(t *testing.T) {
			db := copyOf(t, `DROP TABLE app.ev1`)
			if _, _, err := transfer(t, pg, source, db, partial(), "app.ev1"); err != nil {
				t.Fatal(err)
			}
			sameDump(t, pg, source, db)
		})
		t.Run("makes_a_whole_tree_of_partitions", func(t *testing.T) {
			db := copyOf(t, `DROP TABLE app.ev`)
			if _, _, err := transfer(t, pg, source, db, partial(), "app.ev", "app.ev1", "app.ev2"); err != nil {
				t.Fatal(err)
			}
			sameDump(t, pg, source, db)
		})
		t.Run("makes_a_materialized_view", func(t *testing.T) {
			db := copyOf(t, `DROP MATERIALIZED VIEW app.names`)
			if _, _, err := transfer(t, pg, source, db, partial(), "app.names"); err != nil {
				t.Fatal(err)
			}
			sameDump(t, pg, source, db)
		})
		t.Run("leaves_out_a_key_to_a_table_that_is_not_there", func(t *testing.T) {
			db := pg.CreateDatabase(t)
			target, _, err := transfer(t, pg, source, db, partial(), "app.child")
			if err != nil {
				t.Fatal(err)
			}
			if notes := strings.Join(target.Notes(), "\n"); !strings.Contains(notes, "child_parent_fkey") || !strings.Contains(notes, "parent") {
				t.Errorf("notes: %q", notes)
			}
			if got := pg.SQL(t, db, `SELECT count(*) FROM app.child`); got != "100" {
				t.Errorf("got %s rows", got)
			}
		})
	})
}

// TestTarget_partial_replaces puts rows into tables that exist.
func TestTarget_partial_replaces(t *testing.T) {
	onFamily(t, func(t *testing.T, pg *servers.PG, source string, copyOf func(*testing.T, string) string) {
		t.Run("replaces_rows_whatever_keys_and_triggers_say", func(t *testing.T) {
			db := copyOf(t, `
				COMMENT ON CONSTRAINT child_parent_fkey ON app.child IS 'kept';
				CREATE TRIGGER no_insert BEFORE INSERT ON app.child FOR EACH ROW EXECUTE FUNCTION app.refuse();
				ALTER TABLE app.child ENABLE ALWAYS TRIGGER no_delete;
				DROP TABLE app.other`)
			want := throughPsql(t, pg, pg, db)
			pg.SQL(t, db, `ALTER TABLE app.child DISABLE TRIGGER ALL; UPDATE app.child SET p = 7; DELETE FROM app.child WHERE id < 50; ALTER TABLE app.child ENABLE TRIGGER no_insert;
				ALTER TABLE app.child ENABLE TRIGGER ALL; ALTER TABLE app.child ENABLE ALWAYS TRIGGER no_delete; INSERT INTO app.parent (name) VALUES ('new')`)
			if _, _, err := transfer(t, pg, source, db, replace(), "app.child", "app.parent"); err != nil {
				t.Fatal(err)
			}
			sameDump(t, pg, want, db)
		})
		t.Run("keeps_the_old_rows_when_it_fails", func(t *testing.T) {
			db := copyOf(t, `ALTER TABLE app.child ADD CHECK (p < 100) NOT VALID`)
			before := dump(t, pg, db)
			_, _, err := transfer(t, pg, source, db, replace(), "app.child")
			if err == nil || !strings.Contains(err.Error(), "load rows of app.child") {
				t.Errorf("got %v", err)
			}
			unchanged(t, before, dump(t, pg, db))
		})
		t.Run("checks_keys_before_it_commits", func(t *testing.T) {
			db := copyOf(t, `DROP TABLE app.child; DELETE FROM app.other WHERE id > 5; DELETE FROM app.parent WHERE id > 5`)
			before := dump(t, pg, db)
			_, _, err := transfer(t, pg, source, db, partial(), "app.child")
			if err == nil || !strings.Contains(err.Error(), "child_parent_fkey") {
				t.Errorf("got %v", err)
			}
			unchanged(t, before, dump(t, pg, db))
		})
	})
}

// TestTarget_partial_refuses leaves a database alone.
func TestTarget_partial_refuses(t *testing.T) {
	onFamily(t, func(t *testing.T, pg *servers.PG, source string, copyOf func(*testing.T, string) string) {
		t.Run("refuses_tables_with_rows", func(t *testing.T) {
			db := copyOf(t, `DELETE FROM app.child WHERE false; UPDATE app.parent SET name = name || '!'`)
			before := dump(t, pg, db)
			_, _, err := transfer(t, pg, source, db, partial(), "app.parent", "app.child")
			if fail.KindOf(err) != fail.Exists || !strings.Contains(err.Error(), "app.parent, app.child") && !strings.Contains(err.Error(), "app.child, app.parent") {
				t.Errorf("got %v", err)
			}
			unchanged(t, before, dump(t, pg, db))
		})
		t.Run("names_who_references_what_would_be_emptied", func(t *testing.T) {
			db := copyOf(t, ``)
			before := dump(t, pg, db)
			_, _, err := transfer(t, pg, source, db, replace(), "app.parent", "app.child")
			if fail.KindOf(err) != fail.Exists || !strings.Contains(err.Error(), "app.other references app.parent") {
				t.Errorf("got %v", err)
			}
			unchanged(t, before, dump(t, pg, db))
		})
		t.Run("needs_the_columns", func(t *testing.T) {
			db := copyOf(t, `TRUNCATE app.child; ALTER TABLE app.child DROP COLUMN n`)
			_, _, err := transfer(t, pg, source, db, partial(), "app.child")
			if fail.KindOf(err) != fail.Mismatch || !strings.Contains(err.Error(), `app.child has no column "n"`) {
				t.Errorf("got %v", err)
			}
		})
		t.Run("does_not_wait_forever_for_a_lock", func(t *testing.T) { waitsForLock(t, pg, source, copyOf(t, ``)) })
	})
}

// TestTarget_partial_modes restores rows or definitions only.
func TestTarget_partial_modes(t *testing.T) {
	onFamily(t, func(t *testing.T, pg *servers.PG, source string, copyOf func(*testing.T, string) string) {
		t.Run("rows_only", func(t *testing.T) { rowsOnly(t, pg, source, copyOf) })
		t.Run("definitions_only", func(t *testing.T) { definitionsOnly(t, pg, source) })
	})
}

func unchanged(t *testing.T, before, after []string) {
	t.Helper()
	if strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Error("the database was changed")
	}
}

func waitsForLock(t *testing.T, pg *servers.PG, source, db string) {
	cfg, err := parseURL(db)
	if err != nil {
		t.Fatal(err)
	}
	other, err := connect(t.Context(), cfg, "holder")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	if _, err := other.Exec(t.Context(), `BEGIN`); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), `LOCK TABLE app.child`); err != nil {
		t.Fatal(err)
	}
	v := openView(t, pg, source, Options{})
	target, err := NewTarget(db, TargetOptions{Partial: true, Clean: true})
	if err != nil {
		t.Fatal(err)
	}
	target.lockWait = "10ms"
	_, err = rows.Copy(t.Context(), v, target, rows.CopyOptions{Tables: []*rows.Table{tableOf(t, v, "app.child")}})
	if fail.KindOf(err) != fail.Locked || !strings.Contains(err.Error(), "app.child") {
		t.Errorf("got %v", err)
	}
}

func rowsOnly(t *testing.T, pg *servers.PG, source string, copyOf func(*testing.T, string) string) {
	only := TargetOptions{DataOnly: true}
	db := copyOf(t, `TRUNCATE app.parent, app.child, app.other, app.ev; REFRESH MATERIALIZED VIEW app.names;
		SELECT setval('app.free_seq', 1), setval('app.parent_id_seq', 1)`)
	if _, _, err := transfer(t, pg, source, db, only); err != nil {
		t.Fatal(err)
	}
	sameDump(t, pg, source, db)
	if got := pg.SQL(t, db, `SELECT count(*) FROM app.names`); got != "10" {
		t.Errorf("the materialized view has %s rows, want 10", got)
	}
	if _, _, err := transfer(t, pg, source, db, only); fail.KindOf(err) != fail.Exists {
		t.Errorf("into tables with rows: got %v, want Exists", err)
	}
	pg.SQL(t, db, `UPDATE app.parent SET name = name || '?'; DELETE FROM app.other`)
	only.Clean = true
	if _, _, err := transfer(t, pg, source, db, only); err != nil {
		t.Fatal(err)
	}
	sameDump(t, pg, source, db)
	_, _, err := transfer(t, pg, source, pg.CreateDatabase(t), only)
	if fail.KindOf(err) != fail.NotFound || !strings.Contains(err.Error(), "app.child") {
		t.Errorf("without tables: got %v, want NotFound", err)
	}
	// A view without definitions is enough.
	v, err := Open(t.Context(), source, Options{DataOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, _, err := copyView(t, v, db, only); err != nil {
		t.Error(err)
	}
	if _, _, err := copyView(t, v, pg.CreateDatabase(t), TargetOptions{}); fail.KindOf(err) != fail.Unsupported {
		t.Errorf("definitions wanted and none there: got %v, want Unsupported", err)
	}
}

func definitionsOnly(t *testing.T, pg *servers.PG, source string) {
	db := pg.CreateDatabase(t)
	if _, _, err := transfer(t, pg, source, db, TargetOptions{SchemaOnly: true}); err != nil {
		t.Fatal(err)
	}
	sameDump(t, pg, source, db, "--schema-only")
	for _, table := range []string{"parent", "child", "ev"} {
		if got := pg.SQL(t, db, fmt.Sprintf(`SELECT count(*) FROM app.%s`, table)); got != "0" {
			t.Errorf("%s has %s rows", table, got)
		}
	}
}
