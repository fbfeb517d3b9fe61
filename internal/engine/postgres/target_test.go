package postgres

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// transfer copies one database of pg into another.
func transfer(t *testing.T, pg *servers.PG, from, to string, opt TargetOptions, tables ...string) (*Target, rows.Report, error) {
	t.Helper()
	v, err := Open(t.Context(), from, Options{BinDir: pg.BinDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.Close(); err != nil {
			t.Errorf("close the view: %v", err)
		}
	}()
	return copyView(t, v, to, opt, tables...)
}

// copyView copies a view into a database; only some tables when they are named.
func copyView(t *testing.T, v rows.View, to string, opt TargetOptions, tables ...string) (*Target, rows.Report, error) {
	t.Helper()
	target, err := NewTarget(to, opt)
	if err != nil {
		t.Fatal(err)
	}
	copyOpt := rows.CopyOptions{}
	for _, name := range tables {
		table := v.Schema().Table(name)
		if table == nil {
			t.Fatalf("the view has no table %s", name)
		}
		copyOpt.Tables = append(copyOpt.Tables, table)
	}
	report, err := rows.Copy(t.Context(), v, target, copyOpt)
	return target, report, err
}

// dump is what pg_dump says of a database, with rows in an order of their own and without what changes
// from run to run. client's pg_dump is used.
func dump(t *testing.T, client *servers.PG, db string, args ...string) []string {
	t.Helper()
	cmd := client.Command("pg_dump", append([]string{"--no-sync", "-d", db}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, stderr.String())
	}
	lines := strings.Split(string(out), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, `\restrict`) || strings.HasPrefix(l, `\unrestrict`) || strings.HasPrefix(l, "-- Dumped ")
	})
	return sortRows(lines)
}

// sortRows sorts the rows of each COPY. Rows that go through a partitioned table (a hash of an enum's value is
// another one in each database) are taken together.
func sortRows(lines []string) []string {
	sorted := make([]string, 0, len(lines))
	data := map[string][]string{}
	for i := 0; i < len(lines); i++ {
		sorted = append(sorted, lines[i])
		if !strings.HasPrefix(lines[i], "COPY ") || !strings.HasSuffix(lines[i], " FROM stdin;") {
			continue
		}
		end := i + 1 + slices.Index(lines[i+1:], `\.`)
		data[lines[i]] = append(data[lines[i]], lines[i+1:end]...)
		i = end - 1
	}
	for copy, list := range data {
		slices.Sort(list)
		i := slices.Index(sorted, copy)
		sorted = slices.Insert(sorted, i+1, list...)
	}
	return sorted
}

// sameDump compares two databases by pg_dump.
func sameDump(t *testing.T, client *servers.PG, want, got string, args ...string) {
	t.Helper()
	if diff := cmp.Diff(dump(t, client, want, args...), dump(t, client, got, args...)); diff != "" {
		t.Errorf("pg_dump differs (-want +got):\n%s", diff)
	}
}

// isEmpty checks that a database is as it was created.
func isEmpty(t *testing.T, pg *servers.PG, db string) {
	t.Helper()
	sameDump(t, pg, pg.CreateDatabase(t), db)
}

// throughPsql copies a database as the server's own tools do, for comparison.
func throughPsql(t *testing.T, from, to *servers.PG, source string) string {
	t.Helper()
	cmd := from.Command("pg_dump", "--no-sync", "-d", source)
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	db := to.CreateDatabase(t)
	to.SQL(t, db, strings.Replace(string(text), "SET transaction_timeout = 0;", "", 1)) // which a newer pg_dump writes for any server
	return db
}

func TestTarget_everything(t *testing.T) {
	var pairs [][2]string // each version to itself, and the oldest to the newer ones
	for i, major := range slices.Sorted(slices.Values(servers.EveryPostgres())) {
		pairs = append(pairs, [2]string{major, major})
		if i > 0 {
			pairs = append(pairs, [2]string{pairs[0][0], major})
		}
	}
	for _, pair := range pairs {
		t.Run(pair[0]+"_to_"+pair[1], func(t *testing.T) {
			from, to := servers.Postgres(t, pair[0]), servers.Postgres(t, pair[1])
			source := everything(t, from)
			copied := to.CreateDatabase(t)
			target, report, err := transfer(t, from, source, copied, TargetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if report.Total().Rows == 0 {
				t.Error("no rows were copied")
			}
			if notes := target.Notes(); len(notes) > 0 {
				t.Errorf("notes: %q", notes)
			}
			want := source
			if from != to {
				want = throughPsql(t, from, to, source)
			}
			sameDump(t, to, want, copied)
			objects := `SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid`
			if want, got := from.SQL(t, source, objects), to.SQL(t, copied, objects); want == "" || got != want {
				t.Errorf("large objects: got %s, want %s", got, want)
			}
			stats := `SELECT reltuples FROM pg_class WHERE oid IN ('public.users'::regclass, 'app.per_user'::regclass, 'app.events'::regclass) ORDER BY relname`
			if got := to.SQL(t, copied, stats); got != "4000\n4500\n5000" {
				t.Errorf("statistics of events, per_user and users say %q", got)
			}
		})
	}
}

// nameOf returns the database of a URL.
func nameOf(t *testing.T, db string) string {
	t.Helper()
	u, err := url.Parse(db)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// TestTarget_order restores definitions that depend on what only post-data creates.
func TestTarget_order(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		source := pg.CreateDatabase(t)
		pg.SQL(t, source, `
			CREATE TABLE t (id int PRIMARY KEY, n text NOT NULL, m int);
			CREATE UNIQUE INDEX t_n ON t (n);
			ALTER TABLE t REPLICA IDENTITY USING INDEX t_n;
			ALTER TABLE t CLUSTER ON t_pkey;
			CREATE VIEW v AS SELECT id, n, count(*) FROM t GROUP BY id;
			CREATE MATERIALIZED VIEW mv AS SELECT id, n, count(*) AS c FROM t GROUP BY id;
			CREATE UNIQUE INDEX mv_id ON mv (id);
			CREATE INDEX mv_c ON mv (c);
			COMMENT ON INDEX mv_c IS 'late';
			CREATE MATERIALIZED VIEW mv2 AS SELECT c FROM mv;
			CREATE STATISTICS mv_st ON id, n FROM mv;
			CREATE TABLE root (id int PRIMARY KEY, parent int REFERENCES root) PARTITION BY RANGE (id);
			CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (100);
			CREATE TABLE leaf2 PARTITION OF root FOR VALUES FROM (100) TO (1000) PARTITION BY LIST (id);
			CREATE TABLE leaf3 PARTITION OF leaf2 DEFAULT;
			CREATE TABLE refers (id int REFERENCES root, t int REFERENCES t ON DELETE SET NULL, n text REFERENCES t (n), CHECK (id > 0) NOT VALID);
			ALTER TABLE t ADD FOREIGN KEY (m) REFERENCES t NOT VALID;
			INSERT INTO t SELECT i, 'n' || i, i FROM generate_series(1, 500) i;
			INSERT INTO root SELECT i, i FROM generate_series(1, 500) i;
			INSERT INTO refers SELECT i, i, 'n' || i FROM generate_series(1, 500) i;
			REFRESH MATERIALIZED VIEW mv; REFRESH MATERIALIZED VIEW mv2;
			CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the event trigger fired'; END $$;
			CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION no();`)
		db := pg.CreateDatabase(t)
		if _, _, err := transfer(t, pg, source, db, TargetOptions{Jobs: 3}); err != nil {
			t.Fatal(err)
		}
		sameDump(t, pg, source, db)
		if got := pg.SQL(t, db, `SELECT (SELECT count(*) FROM mv2), bool_and(reltuples = 500) FROM pg_class WHERE relname IN ('mv', 'mv2', 't', 'root', 'refers')`); got != "500|t" {
			t.Errorf("got %s rows and statistics", got)
		}
	})
}
