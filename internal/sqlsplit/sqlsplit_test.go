package sqlsplit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// read returns a script's pieces as «kind line text», rows as «rows n text», reading size bytes at once.
func read(src string, d Dialect, size int) (list []string, whole string, err error) {
	r := NewReader(strings.NewReader(src), d)
	r.size = size
	for {
		p, err := r.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return list, whole, err
		}
		whole += p.Text
		if p.Kind != Blank {
			kind := [...]string{Remark: "remark", Meta: "meta", Statement: "sql", Copy: "copy"}[p.Kind]
			list = append(list, fmt.Sprintf("%s %d %s", kind, p.Line, p.SQL()))
		}
		if p.Kind == Copy {
			data, err := io.ReadAll(r.Data())
			whole += string(data)
			if err != nil {
				return list, whole, err
			}
			list = append(list, fmt.Sprintf("rows %d-%d %s", r.Data().Line(), r.Data().Rows(), data))
		}
	}
}

func TestReader(t *testing.T) {
	tests := map[string]struct {
		d    Dialect
		src  string
		want []string
	}{
		"postgres_rows": {PostgreSQL, "\\restrict k1\nCOPY public.t (a) FROM stdin;\n1\n\\\\.\n\\.x\n;'\n\\.\n\n-- end\n\\unrestrict k1\nSELECT\n1;", []string{
			`meta 1 \restrict k1`, "copy 2 COPY public.t (a) FROM stdin", "rows 3-4 1\n\\\\.\n\\.x\n;'\n", "meta 7 \\.\n", "remark 9 -- end", `meta 10 \unrestrict k1`, "sql 11 SELECT\n1"}},
		"postgres_no_rows":              {PostgreSQL, "COPY t FROM STDIN WITH (FORMAT csv) ;  \r\n\\.\r\nSELECT 1;", []string{"copy 1 COPY t FROM STDIN WITH (FORMAT csv) ", "rows 2-0 ", "meta 2 \\.\r\n", "sql 3 SELECT 1"}},
		"postgres_mark_at_the_very_end": {PostgreSQL, "copy t from stdin;\na\n\\.", []string{"copy 1 copy t from stdin", "rows 2-1 a\n", "meta 3 \\."}},
		"postgres_copy_from_a_function": {PostgreSQL, "COPY (SELECT 1 FROM stdin) TO 'x';", []string{"sql 1 COPY (SELECT 1 FROM stdin) TO 'x'"}},
		"postgres_byte_order_mark":      {PostgreSQL, "\xef\xbb\xbfSELECT 1;", []string{"sql 1 SELECT 1"}},
		"postgres_colons_stay":          {PostgreSQL, "SELECT :x, :'y', a[1:2];", []string{"sql 1 SELECT :x, :'y', a[1:2]"}},
		"sqlite_trigger":                {SQLite, "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM b; END;\nSELECT 1;", []string{"sql 1 CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM b; END", "sql 2 SELECT 1"}},
		"sqlite_names":                  {SQLite, "SELECT [a;'], `b;`, \"c;\", $d, 'e\\';", []string{"sql 1 SELECT [a;'], `b;`, \"c;\", $d, 'e\\'"}},
		"sqlite_comments_do_not_nest":   {SQLite, "SELECT /* /* */ 1; /* no end", []string{"sql 1 SELECT /* /* */ 1", "remark 1 /* no end"}},
		"mysql_delimiter": {MySQL, "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT 'a;;'; END ;;\ndelimiter $$\nSELECT 1 END$$\nDELIMITER ;\nSELECT 2;", []string{
			"meta 1 DELIMITER ;;", "sql 2 CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 'a;;'; END ", "meta 3 delimiter $$", "sql 4 SELECT 1 END", "meta 5 DELIMITER ;", "sql 6 SELECT 2"}},
		"mysql_comments":  {MySQL, "# it's\n-- it's\nSELECT 1--1; /* it's */\n/*!40101 SET x = 'a;*/' */;\n/*M!999999\\- sandbox */\n;", []string{"remark 1 # it's", "remark 2 -- it's", "sql 3 SELECT 1--1", "remark 3 /* it's */", "sql 4 /*!40101 SET x = 'a;*/' */", "remark 5 /*M!999999\\- sandbox */", "sql 6 "}},
		"mysql_strings":   {MySQL, `SELECT 'a\';''', "b\";'", ` + "`c;\\`;", []string{`sql 1 SELECT 'a\';''', "b\";'", ` + "`c;\\`"}},
		"empty":           {PostgreSQL, "", nil},
		"blanks_and_talk": {PostgreSQL, "\n-- a\n", []string{"remark 2 -- a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, whole, err := read(tt.src, tt.d, readSize)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("pieces (-want +got):\n%s", diff)
			}
			if whole != tt.src {
				t.Errorf("joined: %q", whole)
			}
		})
	}
}

func TestReader_Err(t *testing.T) {
	tests := map[string]struct {
		d    Dialect
		src  string
		kind fail.Kind
		text string
	}{
		"program":               {PostgreSQL, "SELECT 1;\n\n\\! id\n", fail.Unsupported, "line 3: client command"},
		"program_when_guarded":  {PostgreSQL, "\\restrict a\n\\! id\n\\unrestrict a\n", fail.Unsupported, "line 2: client command"},
		"wrong_key":             {PostgreSQL, "\\restrict a\n\\unrestrict b\n", fail.Unsupported, "line 2: "},
		"second_key":            {PostgreSQL, "\\restrict a\n\\restrict b\n", fail.Unsupported, "line 2: "},
		"connect":               {PostgreSQL, "\\connect other\n", fail.Unsupported, "line 1: "},
		"command_in_statement":  {PostgreSQL, "SELECT 1\n\\gexec\n", fail.Unsupported, "backslash"},
		"mark_without_rows":     {PostgreSQL, "SELECT 1;\n\\.\n", fail.Unsupported, "line 2: "},
		"rows_cut_off":          {PostgreSQL, "COPY t FROM stdin;\n1\n2", fail.Damaged, "line 3: the rows of a COPY have no end"},
		"rows_missing":          {PostgreSQL, "COPY t FROM stdin;", fail.Damaged, "rows of a COPY are missing"},
		"text_behind_copy":      {PostgreSQL, "COPY t FROM stdin; SELECT 1;\n\\.\n", fail.Unsupported, "same line"},
		"statement_cut_off":     {PostgreSQL, "SELECT 1;\nSELECT", fail.Damaged, "line 2: the last statement"},
		"string_cut_off":        {PostgreSQL, "SELECT 1,\n2, 'secret", fail.Damaged, "line 2: a string that begins here has no end"},
		"archive":               {PostgreSQL, "PGDMP\x01\x0e", fail.Unsupported, "pg_restore"},
		"zero_byte":             {SQLite, "SELECT \x00;", fail.Damaged, "zero byte"},
		"sqlite_program":        {SQLite, "SELECT 1;\n.shell id\n", fail.Unsupported, "line 2: client command"},
		"mysql_program":         {MySQL, "\\! id\n", fail.Unsupported, "client command"},
		"mysql_endless_comment": {MySQL, "/*!40101 SET 'a */;", fail.Damaged, "string"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(tt.src, tt.d, readSize)
			if err == nil || fail.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v (%v), want %v with %q", err, fail.KindOf(err), tt.kind, tt.text)
			}
		})
	}
	t.Run("statement_too_long", func(t *testing.T) {
		r := NewReader(io.MultiReader(strings.NewReader("SELECT '"), &endless{}), PostgreSQL)
		r.MaxStatement = 1 << 20
		if _, err := r.Next(); fail.KindOf(err) != fail.Unsupported {
			t.Errorf("got %v", err)
		}
	})
	t.Run("passes_on_what_reading_met", func(t *testing.T) {
		r := NewReader(io.MultiReader(strings.NewReader("SELECT 1"), iotest.ErrReader(errors.New("disk gone"))), PostgreSQL)
		if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "disk gone") {
			t.Errorf("got %v", err)
		}
	})
}

type endless struct{}

func (*endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

var bits = []string{
	"'", `"`, "`", "[", "]", "$$", "$a$", "$", "E'", `\`, "--", "-- ", "#", "/*", "/*!50003 ", "*/", ";", ";;", "(", ")", "\n", "\r", " ", "\t", "a", "é", "1", ".", "\xff",
	"CREATE ", "OR REPLACE ", "FUNCTION ", "TRIGGER ", "BEGIN ", "ATOMIC ", "CASE ", "END ", "\\restrict k\n", "\\unrestrict k\n",
	"COPY t FROM stdin;\n", "\n\\.\n", "DELIMITER ;;\n", "DELIMITER $$\n", "DELIMITER ;\n", "-- Name: a; Type: b; Schema: c; Owner: d\n",
}

// joins checks that pieces leave nothing out, whatever the reader's portions, and that a statement is whole when split again.
func joins(t interface{ Fatalf(string, ...any) }, src string, d Dialect) {
	list, text, err := read(src, d, readSize)
	if err == nil && text != src {
		t.Fatalf("pieces of %q joined are %q", src, text)
	}
	if !strings.HasPrefix(src, text) {
		t.Fatalf("pieces of %q begin with %q", src, text)
	}
	small, _, smallErr := read(src, d, 1)
	if diff := cmp.Diff(list, small); diff != "" || fmt.Sprint(err) != fmt.Sprint(smallErr) {
		t.Fatalf("%q in small portions: %v, %v\n%s", src, err, smallErr, diff)
	}
	pieces, _ := Split(d, src)
	for _, p := range pieces {
		if p.Kind != Statement || p.end != 1 || !strings.HasSuffix(p.Text, ";") {
			continue
		}
		if again, err := Split(d, p.Text); err != nil || len(again) != 1 {
			t.Fatalf("statement %q splits into %d pieces, %v", p.Text, len(again), err)
		}
	}
}

func TestReader_joins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := strings.Join(rapid.SliceOf(rapid.SampledFrom(bits)).Draw(t, "bits"), "")
		joins(t, src, rapid.SampledFrom([]Dialect{PostgreSQL, SQLite, MySQL}).Draw(t, "dialect"))
	})
}

func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1;", "SELECT E'\\'';", "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN 1 THEN 2 END; END;", "$a$ ; $a$;", "\\restrict x\n", "/* /* */ */",
		"COPY t FROM stdin;\n1\n\\.\n", "DELIMITER ;;\nx;;", "/*!1 x */;", "CREATE TRIGGER a BEGIN x; END;", "[a]", "`a`",
	} {
		f.Add(seed, uint8(len(seed)))
	}
	f.Fuzz(func(t *testing.T, src string, d uint8) { joins(t, src, Dialect(d%3)) })
}

func TestTokens(t *testing.T) {
	list := Tokens(PostgreSQL, `ALTER TABLE ONLY "My ""Schema".Users -- rest`+"\n ADD x")
	var got []string
	for _, tok := range list {
		got = append(got, tok.Text)
	}
	want := []string{"ALTER", "TABLE", "ONLY", `"My ""Schema"`, ".", "Users", "ADD", "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("tokens (-want +got):\n%s", diff)
	}
	if list[3].Name() != `My "Schema` || list[5].Name() != "users" || list[5].Plain() != "Users" || list[4].Name() != "" || !list[1].Is("table") {
		t.Errorf("names: %q, %q, %q", list[3].Name(), list[5].Name(), list[4].Name())
	}
	if head := Head(PostgreSQL, "a b c", 2); len(head) != 2 || head[1].Text != "b" {
		t.Errorf("head: %v", head)
	}
}

// BenchmarkReader reads rows and statements.
func BenchmarkReader(b *testing.B) {
	for name, src := range map[string]string{
		"rows":    "COPY t FROM stdin;\n" + strings.Repeat("12345\tsome text of a row\t\\N\n", 400_000) + "\\.\n",
		"inserts": strings.Repeat("INSERT INTO public.t (a, b, c) VALUES (12345, 'some text of a row', NULL);\n", 100_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				for r := NewReader(bytes.NewReader([]byte(src)), PostgreSQL); ; {
					if _, err := r.Next(); err != nil {
						if err != io.EOF {
							b.Fatal(err)
						}
						break
					}
				}
			}
		})
	}
}

func TestReader_SetMode(t *testing.T) {
	for _, tt := range []struct{ mode, src, want string }{
		{"", `SELECT 'a\'; b';SELECT 1;`, `SELECT 'a\'; b';`},
		{"", `SELECT "a\"; b";SELECT 1;`, `SELECT "a\"; b";`},
		{"STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES", `SELECT 'a\';SELECT 'b';`, `SELECT 'a\';`},
		{"NO_BACKSLASH_ESCAPES", `SELECT "a\";SELECT "b";`, `SELECT "a\";`},
		{"ansi_quotes", `SELECT "a\";SELECT "b";`, `SELECT "a\";`},
		{"ansi_quotes", `SELECT 'a\'; b';SELECT 1;`, `SELECT 'a\'; b';`},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			r := NewReader(strings.NewReader("SET x;"+tt.src), MySQL)
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			r.SetMode(tt.mode)
			if p, err := r.Next(); err != nil || p.Text != tt.want {
				t.Errorf("got %q, %v", p.Text, err)
			}
		})
	}
}
