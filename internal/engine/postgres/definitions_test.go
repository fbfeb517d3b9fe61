package postgres

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

func statementsOf(t *testing.T, src string) []string {
	t.Helper()
	list, err := parseScript("test.sql", src)
	if err != nil {
		t.Fatalf("parse %q: %v", src, err)
	}
	var texts []string
	for _, s := range list {
		texts = append(texts, s.text)
	}
	return texts
}

func TestParseScript_statements(t *testing.T) {
	tests := map[string][]string{
		"one_statement_a_semicolon":     {"SELECT 1;", "SELECT 2;"},
		"semicolon_in_string":           {"SELECT 'a;b''c;';", "SELECT 2;"},
		"backslash_ends_no_string":      {`SELECT 'a\';`, `SELECT 'b';`},
		"backslash_in_escape_string":    {`SELECT E'a\';b';`, `SELECT e'\\';`},
		"continued_escape_string":       {"SELECT E'a'\n'b\\';c';", "SELECT 2;"},
		"name_that_ends_in_e":           {`SELECT somee'a\';`, "SELECT 2;"},
		"quoted_name":                   {`CREATE TABLE "a;""b;" ();`, `CREATE TABLE "'" ();`},
		"dollar_quotes":                 {"CREATE FUNCTION f() AS $_$ $$ ; $x$ $_$;", "SELECT $$;$$;"},
		"dollar_in_a_name":              {"SELECT a$b$c;", "SELECT b$c$;"},
		"parameters":                    {"SELECT $1;", "SELECT $12;"},
		"nested_comments":               {"SELECT /* ; /* ' ; */ ; */ 1;", "SELECT 2 -- ; '\n;"},
		"rule_with_a_list":              {"CREATE RULE r AS ON INSERT TO t DO INSTEAD (DELETE FROM a; DELETE FROM b;);", "SELECT 1;"},
		"atomic_body":                   {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 ELSE 2 END; END;", "SELECT 1;"},
		"atomic_body_of_a_procedure":    {"CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END;", "SELECT 1;"},
		"begin_as_a_name":               {"CREATE FUNCTION public.begin() RETURNS int LANGUAGE sql AS $$SELECT 1;$$;", "SELECT 1;"},
		"end_outside_of_a_body":         {"SELECT CASE WHEN true THEN 1 END;", "SELECT 1;"},
		"multiplication_is_no_comment":  {"SELECT 2*/**/3;", "SELECT 1 - -1;"},
		"names_with_foreign_letters":    {"SELECT 1 AS ünï;", "SELECT 2;"},
		"carriage_return_ends_a_remark": {"SELECT 1 -- it's\r;", "SELECT 2;"},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			got := statementsOf(t, "\n-- before\n"+strings.Join(want, "\n\n")+"\n")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("statements (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseScript_Err(t *testing.T) {
	tests := map[string]struct {
		src  string
		want fail.Kind
	}{
		"string_without_end":           {"SELECT 'a;", fail.Damaged},
		"escape_string_without_end":    {`SELECT E'a\`, fail.Damaged},
		"escape_string_after_its_end":  {"SELECT E'a'\n'", fail.Damaged},
		"name_without_end":             {`SELECT "a;`, fail.Damaged},
		"dollar_quote_without_end":     {"SELECT $a$ ; $b$;", fail.Damaged},
		"comment_without_end":          {"SELECT 1; /* /* */ ", fail.Damaged},
		"statement_without_end":        {"SELECT 1; SELECT 2", fail.Damaged},
		"body_without_end":             {"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", fail.Damaged},
		"parenthesis_without_end":      {"SELECT (1;", fail.Damaged},
		"zero_byte":                    {"SELECT 1\x00;", fail.Damaged},
		"connects_to_another_database": {"\\connect postgres\nSELECT 1;", fail.Unsupported},
		"runs_a_program":               {"SELECT 1;\n\\! id\n", fail.Unsupported},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := parseScript("test.sql", tt.src)
			if fail.KindOf(err) != tt.want || err == nil {
				t.Errorf("got %v, %v; want kind %v", list, err, tt.want)
			}
		})
	}
}

func TestParseScript(t *testing.T) {
	const src = `--
-- PostgreSQL database dump
--

\restrict abcDEF123

SET statement_timeout = 0;

--
-- Name: odd; Type: x; Schema: y; Type: TABLE; Schema: public; Owner: app; Tablespace: fast
--

CREATE TABLE public."odd; Type: x; Schema: y" ();


ALTER TABLE public."odd; Type: x; Schema: y" OWNER TO app;

--
-- Name: EXTENSION hstore; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION hstore IS '-- Name: no; Type: TABLE; Schema: s; Owner: o';

\unrestrict abcDEF123
`
	list, err := parseScript("test.sql", src)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		first, _, _ := strings.Cut(s.text, " ")
		got = append(got, first+" | "+s.heading.String())
	}
	want := []string{
		"SET | settings",
		"CREATE | TABLE public.odd; Type: x; Schema: y",
		"ALTER | TABLE public.odd; Type: x; Schema: y",
		"COMMENT | COMMENT EXTENSION hstore",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statements (-want +got):\n%s", diff)
	}
	if list[1].Owner != "app" || list[3].Owner != "" || list[1].line != 13 {
		t.Errorf("got owners %q and %q, line %d; want app, none, 13", list[1].Owner, list[3].Owner, list[1].line)
	}
}

func TestTokens(t *testing.T) {
	list := tokens(`ALTER TABLE ONLY "My ""Schema".Users -- rest` + "\n ADD x")
	var got []string
	for _, tok := range list {
		got = append(got, tok.Text)
	}
	want := []string{"ALTER", "TABLE", "ONLY", `"My ""Schema"`, ".", "Users", "ADD", "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("tokens (-want +got):\n%s", diff)
	}
	if q, ok := qualifiedAt(list, 3); !ok || q != (qualified{`My "Schema`, "users"}) {
		t.Errorf("got %v, %v", q, ok)
	}
}

func FuzzDefinitions(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1;", "SELECT E'\\'';", "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN 1 THEN 2 END; END;",
		"$a$ ; $a$;", "\\restrict x\n", "/* /* */ */", "-- Name: a; Type: b; Schema: c; Owner: d\n;", "GRANT a TO \"b\" WITH GRANT OPTION;",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, src string) {
		list, _ := parseScript("fuzz.sql", src)
		target := &Target{schema: &rows.Schema{}, version: 15}
		target.planPost(list)
		for _, s := range list {
			act := classify(s)
			target.wanted(&act)
		}
		sel := &selector{s: &single{t: target}, pre: groups(list), wanted: map[qualified]bool{}}
		for _, g := range sel.pre {
			sel.belongs(g)
		}
	})
}
