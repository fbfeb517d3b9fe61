package postgres

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestExecScript(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, "CREATE TABLE there (id integer PRIMARY KEY, v text); CREATE SEQUENCE s; CREATE TABLE child (id integer REFERENCES there DEFERRABLE INITIALLY DEFERRED)")
		exec := func(script string, opt ScriptOptions) (*rows.ScriptResult, error) {
			return ExecScript(t.Context(), url, strings.NewReader(script), opt)
		}
		t.Run("counts_what_it_loads", func(t *testing.T) {
			res, err := exec("BEGIN;\n\\restrict x\nSET transaction_timeout = 0;\nINSERT INTO public.there VALUES (1, 'a'), (2, 'b');\nCOPY public.there (id, v) FROM stdin;\n3\tc\n\\.\n\nSELECT * FROM there;\n\\unrestrict x\nCOMMIT;\n", ScriptOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Tables) != 1 || res.Tables[0].Name != "public.there" || res.Tables[0].Rows != 3 || len(res.Notes) != 1 {
				t.Errorf("got %+v", res)
			}
			if got := pg.SQL(t, url, "SELECT count(*) FROM there"); got != "3" {
				t.Errorf("%s rows are there", got)
			}
			pg.SQL(t, url, "DELETE FROM there")
		})
		t.Run("a_dry_run_leaves_nothing", func(t *testing.T) {
			res, err := exec("INSERT INTO there VALUES (1);\nSELECT pg_catalog.setval('public.s', 42);\n", ScriptOptions{DryRun: true})
			if err != nil || !res.DryRun || res.Tables[0].Rows != 1 || len(res.Notes) != 1 {
				t.Fatalf("got %+v, %v", res, err)
			}
			if got := pg.SQL(t, url, "SELECT (SELECT count(*) FROM there), last_value FROM s"); got != "0|1" {
				t.Errorf("left %s", got)
			}
			if _, err := exec("INSERT INTO child VALUES (1);", ScriptOptions{DryRun: true}); fail.KindOf(err) != fail.Incomplete {
				t.Errorf("a broken reference: %v", err)
			}
		})
		t.Run("without_a_transaction", func(t *testing.T) {
			if _, err := exec("VACUUM there;\nCREATE INDEX CONCURRENTLY ON there (v);\n", ScriptOptions{NoTransaction: true}); err != nil {
				t.Error(err)
			}
		})
		testScriptErrors(t, pg, url)
	})
}

func testScriptErrors(t *testing.T, pg *servers.PG, url string) {
	for name, tt := range map[string]struct {
		script string
		kind   fail.Kind
		text   string // of the error
	}{
		"in_a_statement":             {"INSERT INTO there VALUES (1, 'secret');\n\nSELECT\n  nonsense;\n", fail.NotFound, "line 4: SELECT nonsense"},
		"in_a_row":                   {"INSERT INTO there VALUES (1);\nCOPY public.there FROM stdin;\n7\ta\n8\tb\nx\tsecret\n\\.\n", fail.Incomplete, "line 5: COPY public.there FROM stdin column id: invalid input"},
		"twice_the_same_key":         {"COPY there FROM stdin;\n1\ta\n1\tb\n\\.\n", fail.Exists, "line 3: COPY there"},
		"rows_cut_off":               {"COPY there FROM stdin;\n1\ta\n2", fail.Damaged, "line 3: the rows of a COPY have no end"},
		"statement_cut_off":          {"INSERT INTO there VALUES (1);\nSELECT 1", fail.Damaged, "line 2: the last statement has no semicolon"},
		"not_in_a_transaction":       {"INSERT INTO there VALUES (1);\nVACUUM;\n", fail.Unsupported, "line 2: VACUUM"},
		"concurrently":               {"CREATE INDEX CONCURRENTLY ON there (v);\n", fail.Unsupported, "line 1: CREATE INDEX CONCURRENTLY"},
		"rollback":                   {"INSERT INTO there VALUES (1);\nROLLBACK;\n", fail.Unsupported, "line 2: ROLLBACK"},
		"deferred":                   {"INSERT INTO child VALUES (1);\n", fail.Incomplete, "check and commit"},
		"connects_elsewhere":         {"INSERT INTO there VALUES (1);\n\\connect postgres\n", fail.Unsupported, "line 2: client command"},
		"runs_a_program":             {"INSERT INTO there VALUES (1);\n\\! touch /tmp/holdfast-owned\n", fail.Unsupported, "line 2: client command"},
		"another_database":           {"INSERT INTO there VALUES (1, 'secret');\nDROP DATABASE IF EXISTS other;\n", fail.Unsupported, "line 2: DROP DATABASE"},
		"program_of_the_server":      {"COPY there FROM PROGRAM 'id';\n", fail.Unsupported, "line 1: COPY with a file or program"},
		"smuggled_into_rows":         {"COPY there FROM stdin;\n1\ta\n\\.\n\\! id\n", fail.Unsupported, "line 4: client command"},
		"smuggled_past_the_splitter": {"SET standard_conforming_strings = off;\nSELECT 'a\\'; COMMIT; --';\nINSERT INTO there VALUES (1);", fail.Incomplete, "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ExecScript(t.Context(), url, strings.NewReader(tt.script), ScriptOptions{})
			wantFail(t, err, tt.kind, tt.text)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has a value: %v", err)
			}
			if got := pg.SQL(t, url, "SELECT count(*) FROM there"); got != "0" {
				t.Errorf("%s rows are left", got)
			}
		})
	}
	t.Run("what_reading_met", func(t *testing.T) {
		r := io.MultiReader(bytes.NewReader([]byte("COPY there FROM stdin;\n1\ta\n")), iotest.ErrReader(errors.New("the disk is gone")))
		_, err := ExecScript(t.Context(), url, r, ScriptOptions{})
		wantFail(t, err, fail.Internal, "the disk is gone")
	})
}
