package wire

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

func TestForm_Canonical(t *testing.T) {
	for _, tc := range []struct {
		form form
		want string
		from []string // different spellings of one value
	}{
		{formBool, "1", []string{"t", "1", "true"}},
		{formBool, "0", []string{"f", "0", "false"}},
		{formBool, "2", []string{"2"}},
		{formNumber, "12.5", []string{"12.5", "12.50000", "+012.5", "1.25e1", "125e-1", "0.000125e5"}},
		{formNumber, "0", []string{"0", "-0", "0.00", "-0e5", ".0", "000"}},
		{formNumber, "-0.0001", []string{"-1e-4", "-0.00010"}},
		{formNumber, "18446744073709551615", []string{"18446744073709551615", "18446744073709551615.0"}},
		{formNumber, "NaN", []string{"NaN"}},
		{formNumber, "1e99999", []string{"1e99999"}},
		{formDouble, "0", []string{"0", "-0", "0.0", "-0.0"}},
		{formDouble, "1e+16", []string{"10000000000000000", "1e16", "1e+16", "10000000000000000.0"}},
		{formDouble, "+Inf", []string{"Infinity", "inf", "1e999"}},
		{formDouble, "0.1", []string{"0.1", "0.10000000000000000555"}},
		{formSingle, "0.1", []string{"0.1", "0.10000000149011612"}},
		{formBytes, `\x00ff`, []string{`\x00ff`, "\x00\xff"}},
		{formTime, "2024-01-02 03:04:05.5", []string{"2024-01-02 03:04:05.5", "2024-01-02T03:04:05.500000", "2024-01-02 03:04:05.500+00", "2024-01-02 04:04:05.5+01:00", "2024-01-02T03:04:05.5Z", "2024-01-01 22:04:05.5-05"}},
		{formTime, "2024-01-02 00:00:00", []string{"2024-01-02", "2024-01-02 00:00:00", "2024-01-02 00:00", "2024-01-02 00:00:00.000000"}},
		{formTime, "03:04:00", []string{"03:04", "03:04:00", "03:04:00.000000"}},
		{formTime, "10000-01-01 00:00:00", []string{"10000-01-01 00:00:00+00"}},
		{formTime, "infinity", []string{"infinity"}},
		{formInterval, "-86394999993", []string{"-86394999993", "-1 days +00:00:05.000007"}},
		{formInterval, "108000000000", []string{"1 day 06:00:00", "30:00:00", "108000000000"}},
		{formInterval, "34214400000000", []string{"1 year 1 mon 1 day"}},
		{formInterval, "P1D", []string{"P1D"}},
		{formUUID, "12345678123456781234567812345678", []string{"12345678-1234-5678-1234-567812345678", "12345678123456781234567812345678"}},
		{formJSON, `{"a":[1,10000000000000000,null],"b":"é<"}`, []string{`{"b": "é<", "a": [1.0, 1e16, null]}`, `{"a":[1,10000000000000000,null],"b":"\u00e9<"}`}},
		{formJSON, "{", []string{"{"}},
		{formAddress, "2001:db8::1", []string{"2001:db8::1", "2001:0db8:0::1"}},
		{formText, "1.0", []string{"1.0"}},
	} {
		for _, text := range tc.from {
			if got := string(tc.form.canonical([]byte(text))); got != tc.want && !(tc.form == formJSON && sameJSON(got, tc.want)) {
				t.Errorf("form %d of %q is %q, want %q", tc.form, text, got, tc.want)
			}
		}
	}
}

// sameJSON forgives the escapes of HTML.
func sameJSON(a, b string) bool {
	plain := strings.NewReplacer(`\u003c`, "<", `\u00e9`, "é", "1e+16", "10000000000000000")
	return plain.Replace(a) == plain.Replace(b)
}

func TestAsInterval(t *testing.T) {
	for from, want := range map[string]string{
		"0": "0 days 0.000000 secs", "-86394999993": "0 days -86394.999993 secs", "86400000001": "1 days 0.000001 secs", "-9223372036854775808": "-106751991 days -14454.775808 secs",
	} {
		if got, err := asInterval([]byte(from)); string(got) != want || err != nil {
			t.Errorf("asInterval(%s) is %q, %v, want %q", from, got, err, want)
		}
	}
	if _, err := asInterval([]byte("x")); fail.KindOf(err) != fail.Incomplete {
		t.Errorf("asInterval(x): %v, want Incomplete", err)
	}
}

func TestObjects(t *testing.T) {
	sqlite := func(text string) []string {
		list, err := sqlite.Objects(text)
		if err != nil {
			t.Error(err)
		}
		return list
	}
	for _, tc := range []struct {
		name      string
		got, want []string
	}{
		{"postgres", postgresObjects("-- Name: v; Type: VIEW; Schema: public; Owner: x\n-- Name: f(integer); Type: FUNCTION; Schema: app; Owner: x\n" +
			"-- Name: t; Type: TABLE; Schema: public; Owner: x\nCREATE TABLE public.t (\n    CONSTRAINT \"pos itive\" CHECK ((a > 0))\n);\n-- Name: t t_pkey; Type: CONSTRAINT; Schema: public; Owner: x\n"),
			[]string{"view v", "function app.f(integer)", `check constraint "pos itive" of t`}},
		{"postgres clauses", postgresObjects("-- Name: t; Type: TABLE; Schema: public; Owner: x\nCREATE TABLE public.t (\n    id integer NOT NULL\n);\n" +
			"-- Name: t_id_seq; Type: SEQUENCE; Schema: public; Owner: x\nALTER TABLE public.t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (\n    START WITH 50\n    INCREMENT BY 5\n);\n" +
			"-- Name: s; Type: SEQUENCE; Schema: public; Owner: x\nCREATE SEQUENCE public.s\n    INCREMENT BY 1\n    NO MINVALUE;\n" +
			"-- Name: u uqd; Type: CONSTRAINT; Schema: public; Owner: x\nALTER TABLE ONLY public.u\n    ADD CONSTRAINT uqd UNIQUE (x) DEFERRABLE INITIALLY DEFERRED;\n" +
			"-- Name: v fk; Type: FK CONSTRAINT; Schema: a; Owner: x\nALTER TABLE ONLY a.v\n    ADD CONSTRAINT fk FOREIGN KEY (x, y) REFERENCES public.u(x, y) MATCH FULL ON DELETE SET NULL (y);\n" +
			"ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;\n"),
			[]string{"that column id of t takes no values but its own", "INCREMENT BY 5 of sequence t_id_seq", "that key u uqd can wait for the end of a transaction",
				"MATCH FULL of foreign key a.v fk", "that foreign key a.v fk empties y alone on delete", "row security of t"}},
		{"mysql", mysqlObjects("-- Definitions of database x\nDELIMITER $$\n-- {\"kind\":\"table\",\"name\":\"t\"}\nCREATE TABLE `t` (\n  CONSTRAINT `c` CHECK (`a` > 0)\n)\n$$\n-- {\"kind\":\"view\",\"name\":\"v\"}\nx\n$$\n-- {\"kind\":\"trigger\",\"name\":\"tr\",\"table\":\"t\"}\n"),
			[]string{"check constraint c of t", "view v", "trigger tr"}},
		{"mysql clauses", mysqlObjects("-- {\"kind\":\"table\",\"name\":\"t\"}\nCREATE TABLE `t` (\n  `j` longtext DEFAULT NULL CHECK (json_valid(`j`) and `j` <> '1'),\n" +
			"  `k` longtext DEFAULT NULL CHECK (json_valid(`k`)),\n  `s` set('a','b') DEFAULT 'a',\n  PERIOD FOR `p` (`v`, `w`),\n  UNIQUE KEY `u` (`k`,`p` WITHOUT OVERLAPS)\n" +
			") ENGINE=InnoDB COMMENT='x' WITH SYSTEM VERSIONING\n$$\n"),
			[]string{"check constraint of column j of t", "type set of column s of t: it becomes text, which may hold anything", "period of time `p` (`v`, `w`) of t",
				"that key `u` of t forbids overlaps: it only forbids equal periods there", "system versioning of t"}},
		{"sqlite", sqlite("CREATE TABLE \"a b\" (x UNIQUE ON CONFLICT replace CHECK (json_valid(x)));\nCREATE TABLE c (x CHECK(x>0), y CHECK (y));\nCREATE VIEW v AS SELECT 1;\nCREATE TRIGGER \"tr\" AFTER INSERT ON c BEGIN SELECT 1; END;\n"),
			[]string{"ON CONFLICT REPLACE of a b", "check constraints of c", "view v", "trigger tr"}},
		{"sqlite in pieces", sqlite("PRAGMA page_size=4096;\nCREATE TABLE a (x CHECK (json_valid(x) AND x > '1'));\nCREATE TABLE b (x UNIQUE ON\n CONFLICT\nREPLACE, y CHECK\n(y>0));\n" +
			"CREATE TABLE c (x CHECK ((JSON_VALID(\"x\") OR \"x\" IS NULL)), y DEFAULT 'CHECK (y)' -- CHECK (x)\n, UNIQUE (x) ON CONFLICT ABORT);\n"),
			[]string{"check constraints of a", "ON CONFLICT REPLACE of b", "check constraints of b"}},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestRowReader(t *testing.T) {
	table := &rows.Table{Columns: []rows.Column{{Name: "b", Type: rows.Bool}, {Name: "Twice", Generated: true}, {Name: "a", Type: rows.Text}}}
	other := &rows.Table{Columns: []rows.Column{{Name: "A", Type: rows.Text}, {Name: "b", Type: rows.Bool}}}
	forms := formsOf(table, Postgres, SQLite, false)
	read := func(of *rows.Table, text string) (rows.Hash, error) {
		s, missing := shapeOf(of, forms)
		if missing != "" {
			t.Fatalf("column %s is missing", missing)
		}
		r := newRowReader(strings.NewReader(text), s, nil)
		out, err := io.ReadAll(r)
		if err == nil && string(out) != text {
			t.Errorf("%q came out as %q", text, out)
		}
		return r.sum, err
	}
	one, err := read(table, "t\tx\\ty\nf\t\\N\n")
	if err != nil {
		t.Fatal(err)
	}
	for text, same := range map[string]bool{"\\N\t0\nx\\ty\t1\n": true, "\\N\t1\nx\\ty\t1\n": false, "\t0\nx\\ty\t1\n": false} {
		got, err := read(other, text)
		if err != nil || (got == one) != same {
			t.Errorf("%q: the same is %v (%v), want %v", text, got == one, err, same)
		}
	}
	for _, bad := range []string{"t\n", "t\ta\tb\n", "t\ta", "\\q\ta\n"} {
		if _, err := read(table, bad); err == nil {
			t.Errorf("%q was read without an error", bad)
		}
	}
}
