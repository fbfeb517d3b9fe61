package sqltext_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/format/sqltext"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// stored is a View as a backup gives it back: only what can be written down is there.
type stored struct {
	schema *rows.Schema
	parts  map[string][]rows.Part
	data   map[string][]byte
	native fstest.MapFS
}

func (s *stored) Schema() *rows.Schema            { return s.schema }
func (s *stored) Parts(t *rows.Table) []rows.Part { return s.parts[t.String()] }
func (s *stored) Native() fs.FS                   { return s.native }
func (s *stored) Close() error                    { return nil }
func (s *stored) Read(_ context.Context, p rows.Part) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.data[fmt.Sprint(p.Table, p.Number)])), nil
}

func store(t *testing.T, v rows.View) *stored {
	t.Helper()
	s := &stored{schema: &rows.Schema{}, parts: map[string][]rows.Part{}, data: map[string][]byte{}, native: fstest.MapFS{}}
	text, err := json.Marshal(v.Schema())
	if err == nil {
		err = json.Unmarshal(text, s.schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, table := range v.Schema().Tables {
		for _, p := range v.Parts(table) {
			r, err := v.Read(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil || r.Close() != nil {
				t.Fatal(err)
			}
			s.data[fmt.Sprint(p.Table, p.Number)] = data
			s.parts[table.String()] = append(s.parts[table.String()], rows.Part{Table: s.schema.Tables[i], Number: p.Number})
		}
	}
	for _, name := range []string{"schema/pre-data.sql", "schema/post-data.sql", "sequences.sql"} {
		data, err := fs.ReadFile(v.Native(), name)
		if name == "sequences.sql" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s.native[name] = &fstest.MapFile{Data: data}
	}
	return s
}

func view(t *testing.T, pg *servers.PG, url string) *postgres.View {
	t.Helper()
	v, err := postgres.Open(t.Context(), url, postgres.Options{BinDir: pg.BinDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func write(t *testing.T, v rows.View, opt sqltext.WriteOptions) ([]byte, *sqltext.Summary) {
	t.Helper()
	var b bytes.Buffer
	sum, err := sqltext.Write(t.Context(), v, &b, opt)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Bytes != int64(b.Len()) {
		t.Errorf("the summary says %d bytes of %d", sum.Bytes, b.Len())
	}
	return b.Bytes(), sum
}

func run(t *testing.T, cmd *exec.Cmd, stdin []byte) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Args[0], err, errs.String())
	}
	return out.String()
}

func psql(t *testing.T, pg *servers.PG, url string, script []byte) {
	t.Helper()
	run(t, pg.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url), script)
}

var restrict = regexp.MustCompile(`(?m)^\\(un)?restrict .*\n`)

// pgDump is a database as pg_dump sees it. Into which hash partition an enum goes differs from database to database; so does
// the order in which such rows come.
func pgDump(t *testing.T, pg *servers.PG, url string, args ...string) string {
	t.Helper()
	text := restrict.ReplaceAllString(run(t, pg.Command("pg_dump", append(args, "--exclude-table-data=app.by_mood_*", "-d", url)...), nil), "")
	return text + pg.SQL(t, url, "SELECT m, v FROM app.by_mood ORDER BY m, v")
}

func onEach(t *testing.T, test func(t *testing.T, pg *servers.PG)) {
	for _, major := range servers.EveryPostgres() {
		t.Run("postgres"+major, func(t *testing.T) { test(t, servers.Postgres(t, major)) })
	}
}

func execScript(t *testing.T, url string, script []byte) *rows.ScriptResult {
	t.Helper()
	res, err := postgres.ExecScript(t.Context(), url, bytes.NewReader(script), postgres.ScriptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestWrite_postgres(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		text, err := os.ReadFile("../../engine/postgres/testdata/everything.sql")
		if err != nil {
			t.Fatal(err)
		}
		original := pg.CreateDatabase(t)
		pg.SQL(t, original, string(text))
		pg.SQL(t, original, circles)
		v := view(t, pg, original)
		// What pg_dump itself makes of a copy without rights: it groups large objects by their rights.
		reference := pg.CreateDatabase(t)
		psql(t, pg, reference, []byte(run(t, pg.Command("pg_dump", "--no-owner", "--no-privileges", "-d", original), nil)))
		bare, full := pgDump(t, pg, reference, "--no-owner", "--no-privileges"), pgDump(t, pg, original)
		same := func(t *testing.T, url, want string, args ...string) {
			t.Helper()
			if got := pgDump(t, pg, url, args...); got != want {
				t.Errorf("pg_dump differs (-original +restored):\n%.4000s", cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
			}
		}
		testRoundTrips(t, pg, original, v, same, bare, full)
	})
}

func testRoundTrips(t *testing.T, pg *servers.PG, original string, v rows.View, same func(t *testing.T, url, want string, args ...string), bare, full string) {
	copied := pg.CreateDatabase(t)
	t.Run("psql_restores_it_into_an_empty_database_and_over_a_copy", func(t *testing.T) {
		file, sum := write(t, v, sqltext.WriteOptions{Clean: true, IfExists: true})
		for range 2 {
			psql(t, pg, copied, file)
			same(t, copied, bare, "--no-owner", "--no-privileges")
		}
		checkSummary(t, file, sum)
	})
	t.Run("we_load_it_over_a_copy", func(t *testing.T) {
		file, sum := write(t, v, sqltext.WriteOptions{Clean: true, IfExists: true, Owner: true, Privileges: true})
		res := execScript(t, copied, file)
		same(t, copied, full)
		var got int64
		for _, n := range res.Tables {
			got += n.Rows
		}
		if got != sum.Rows || got == 0 {
			t.Errorf("%d rows were loaded, %d written", got, sum.Rows)
		}
	})
	t.Run("psql_restores_a_stored_view_with_owners_rights_and_inserts", func(t *testing.T) {
		file, sum := write(t, store(t, v), sqltext.WriteOptions{Owner: true, Privileges: true, Inserts: true, Jobs: 3})
		url := pg.CreateDatabase(t)
		psql(t, pg, url, file)
		same(t, url, full)
		checkSummary(t, file, sum)
	})
	t.Run("we_load_what_pg_dump_writes", func(t *testing.T) {
		url := pg.CreateDatabase(t)
		for _, args := range [][]string{nil, {"--clean", "--if-exists", "--inserts", "--table=odd.plain"}} {
			execScript(t, url, []byte(run(t, pg.Command("pg_dump", append(args, "-d", original)...), nil)))
		}
		same(t, url, full)
	})
}

// circles are definitions that depend on each other.
const circles = `
CREATE SCHEMA odd;
CREATE TABLE odd.base (id integer PRIMARY KEY, v text);
CREATE VIEW odd.first AS SELECT id, v FROM odd.base GROUP BY id;
CREATE FUNCTION odd.of_row(odd.base) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1.id';
CREATE INDEX of_row ON odd.base (odd.of_row(base.*));
CREATE TABLE odd.other (id integer PRIMARY KEY REFERENCES odd.base);
CREATE POLICY both_ways ON odd.base USING (EXISTS (SELECT FROM odd.other WHERE other.id = base.id));
CREATE RULE "on" AS ON UPDATE TO odd.other DO ALSO NOTHING;
CREATE TRIGGER "Trigger ""1""" BEFORE UPDATE OF id ON odd.other FOR EACH ROW EXECUTE FUNCTION app.stamp();
CREATE TABLE odd.parts (id integer, k integer, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE odd.part1 PARTITION OF odd.parts FOR VALUES IN (1);
CREATE INDEX ON odd.parts (k);
CREATE TABLE odd.points (id integer, k integer, FOREIGN KEY (id, k) REFERENCES odd.parts);
CREATE OPERATOR CLASS odd.ints FOR TYPE integer USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(integer, integer);
CREATE TYPE odd.base_type;
CREATE FUNCTION odd.base_in(cstring) RETURNS odd.base_type LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION odd.base_out(odd.base_type) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE odd.base_type (INPUT = odd.base_in, OUTPUT = odd.base_out, LIKE = integer);
CREATE TABLE odd.plain (id integer, v text);
INSERT INTO odd.plain VALUES (1, 'it''s \n'), (2, NULL);
CREATE USER MAPPING FOR PUBLIC SERVER files;
CREATE FUNCTION odd."Args (odd"(a character varying, VARIADIC b odd.base_type[]) RETURNS void LANGUAGE sql AS '';
`

// checkSummary compares what was written with what Check finds.
func checkSummary(t *testing.T, file []byte, sum *sqltext.Summary) {
	t.Helper()
	res, err := sqltext.Check(t.Context(), bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if res.State != sqltext.Complete || res.Engine != sum.Engine || res.Rows != sum.Rows {
		t.Errorf("checked: %s, %s, %d rows; want complete, %s, %d", res.State, res.Engine, res.Rows, sum.Engine, sum.Rows)
	}
	found := map[string]int64{}
	for _, n := range res.Tables {
		found[n.Name] = n.Rows
	}
	for _, n := range sum.Tables {
		if found[n.Name] != n.Rows {
			t.Errorf("%s: checked %d rows, written %d", n.Name, found[n.Name], n.Rows)
		}
	}
}
