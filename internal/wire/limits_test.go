package wire

import (
	"slices"
	"strings"
	"testing"
)

// A limit is a value that another engine has no equal for.
type limit struct {
	name, from, to string
	typ, value     string // of the column v, in the source's SQL
	wants          string // part of the error; "" when the copy succeeds
	notes, omits   string // part of a note, and of what is omitted
	fact           string // a condition on v in the copy
}

func limits() []limit {
	return []limit{
		{name: "zero_byte_in_text", from: SQLite, to: Postgres, typ: "text", value: "cast(x'610062' as text)", wants: "0x00"},
		{name: "zero_byte_in_text", from: MySQL, to: Postgres, typ: "text", value: "x'610062'", wants: "0x00"},
		{name: "zero_byte_in_text", from: MySQL, to: SQLite, typ: "text", value: "x'610062'", fact: "cast(v as blob) = x'610062'"},
		{name: "zero_byte_in_json", from: SQLite, to: Postgres, typ: "json", value: `'"\u0000"'`, wants: "u0000"},
		{name: "nan", from: Postgres, to: MySQL, typ: "double precision", value: "'NaN'", wants: "v"},
		{name: "infinity", from: Postgres, to: MySQL, typ: "double precision", value: "'Infinity'", wants: "v"},
		{name: "infinity", from: Postgres, to: SQLite, typ: "double precision", value: "'-Infinity'", fact: "v < -1e308"},
		{name: "nan", from: Postgres, to: SQLite, typ: "double precision", value: "'NaN'", notes: "no numbers", fact: "v = 'NaN'"},
		{name: "minus_zero", from: Postgres, to: SQLite, typ: "double precision", value: "'-0'", fact: "v = 0"},
		{name: "endless_date", from: Postgres, to: MySQL, typ: "timestamp", value: "'infinity'", wants: "infinity"},
		{name: "late_date", from: Postgres, to: MySQL, typ: "date", value: "'12024-01-01'", wants: "12024"},
		{name: "late_date", from: Postgres, to: SQLite, typ: "date", value: "'12024-01-01'", fact: "v = '12024-01-01'"},
		{name: "months", from: Postgres, to: MySQL, typ: "interval", value: "'1 mon'", wants: "months"},
		{name: "months", from: Postgres, to: SQLite, typ: "interval", value: "'1 mon 1 day'", notes: "30 days", fact: "v = 31 * 86400000000"},
		{name: "interval", from: Postgres, to: MySQL, typ: "interval", value: "'-1 day +00:00:01.000002'", fact: "v = -86398999998"},
		{name: "long_decimal", from: Postgres, to: SQLite, typ: "numeric(30,10)", value: "12345678901234567890.0123456789", notes: "rounded", fact: "v > 12345678901234560000"},
		{name: "long_decimal", from: Postgres, to: MySQL, typ: "numeric(30,10)", value: "12345678901234567890.0123456789", fact: "v = 12345678901234567890.0123456789"},
		{name: "free_decimal", from: Postgres, to: MySQL, typ: "numeric", value: "1e-20", fact: "v = 1e-20"},
		{name: "too_fine_decimal", from: Postgres, to: MySQL, typ: "numeric", value: "1e-40", wants: "values of t differ"},
		{name: "unsigned", from: MySQL, to: SQLite, typ: "bigint unsigned", value: "18446744073709551615", notes: "rounded", fact: "v > 1.8e19"},
		{name: "long_time", from: MySQL, to: Postgres, typ: "time", value: "'838:59:59'", wants: "838:59:59"},
		{name: "zero_date", from: MySQL, to: Postgres, typ: "date", value: "'0000-00-00'", wants: "0000-00-00"},
		{name: "bits", from: MySQL, to: Postgres, typ: "bit(10)", value: "b'1000000001'", fact: "v = 513"},
		{name: "set", from: MySQL, to: Postgres, typ: "set('a','b','c')", value: "'a,c'", fact: "v = 'a,c'"},
		{name: "year", from: MySQL, to: SQLite, typ: "year", value: "1999", fact: "v = 1999"},
		{name: "geometry", from: MySQL, to: Postgres, typ: "point", value: "ST_GeomFromText('POINT(1 2)')", omits: "", fact: `v LIKE '\\x%'`},
		{name: "inet", from: MySQL, to: Postgres, typ: "inet6", value: "'2001:db8::1'", fact: "v = '2001:db8::1'::inet"},
		{name: "array", from: Postgres, to: SQLite, typ: "text[]", value: `'{a,"b c",NULL}'`, omits: "text[]", fact: `v = '{a,"b c",NULL}'`},
		{name: "array", from: Postgres, to: MySQL, typ: "int[]", value: `'{1,2}'`, omits: "integer[]", fact: `v = '{1,2}'`},
		{name: "zone", from: SQLite, to: Postgres, typ: "datetime", value: "'2024-01-02T03:04:05+02:00'", fact: "v = '2024-01-02 01:04:05'"},
		{name: "zone", from: SQLite, to: MySQL, typ: "datetime", value: "'2024-01-02T03:04:05.5Z'", fact: "v = '2024-01-02 03:04:05.5'"},
		{name: "text_in_a_number", from: SQLite, to: Postgres, typ: "integer", value: "'five'", wants: "five"},
		{name: "text_in_a_number", from: SQLite, to: MySQL, typ: "integer", value: "'five'", wants: "five"},
		{name: "text_in_a_blob", from: SQLite, to: Postgres, typ: "blob", value: "'abc'", fact: `v = '\x616263'`},
		{name: "long_text", from: SQLite, to: Postgres, typ: "varchar(3)", value: "'four'", wants: "too long"},
		{name: "default", from: SQLite, to: Postgres, typ: "text DEFAULT (lower('X'))", value: "NULL", omits: "default of v", fact: "v IS NULL"},
		{name: "generated", from: Postgres, to: SQLite, typ: "int, w int GENERATED ALWAYS AS (v * 2) STORED", value: "2", omits: "generated column", fact: "v = 2"},
	}
}

// What one engine has and the next one has not is an error that leaves nothing, or is said and comes as near as can be.
func TestCopy_Limits(t *testing.T) {
	for _, tc := range limits() {
		t.Run(tc.name+"_from_"+tc.from+"_to_"+tc.to, func(t *testing.T) {
			source, target := newPlace(t, tc.from), newPlace(t, tc.to)
			head := map[string]string{MySQL: "SET sql_mode = '';"}[tc.from]
			source.sql(t, head+"CREATE TABLE t (id integer NOT NULL PRIMARY KEY, v "+tc.typ+"); INSERT INTO t (id, v) VALUES (1, "+tc.value+");")
			done, err := Copy(t.Context(), source.url, target.url, CopyOptions{})
			if tc.wants != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wants) {
					t.Errorf("error %v, want one with %q", err, tc.wants)
				}
				// A difference that is only seen when everything is in place stays, to be looked at.
				if out, err := target.try("SELECT count(*) FROM t"); err == nil && !strings.Contains(tc.wants, "differ") {
					t.Errorf("the failed copy left a table with %s rows", out)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			has := func(list []string, part string) bool {
				return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
			}
			if tc.notes != "" && !has(done.Notes, tc.notes) {
				t.Errorf("notes %q, want one with %q", done.Notes, tc.notes)
			}
			if tc.omits != "" && !has(done.Omitted, tc.omits) {
				t.Errorf("omitted %q, want %q among it", done.Omitted, tc.omits)
			}
			if got := target.sql(t, "SELECT count(*) FROM t WHERE "+tc.fact); got != "1" {
				t.Errorf("%s is not so: %s", tc.fact, target.sql(t, "SELECT v FROM t"))
			}
		})
	}
}
