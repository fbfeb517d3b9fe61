package wire

import (
	"fmt"
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
		{name: "too_fine_decimal", from: Postgres, to: MySQL, typ: "numeric", value: "1e-40", wants: "more than 30 digits"},
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
		{name: "whole_number_as_a_date", from: SQLite, to: Postgres, typ: "date", value: "20240101", wants: "is no date"},
		{name: "today", from: SQLite, to: Postgres, typ: "date", value: "'today'", wants: "column v of the row with id = 1"},
		{name: "now", from: SQLite, to: MySQL, typ: "time", value: "'now'", wants: "is no time of a day"},
		{name: "unix_time", from: SQLite, to: Postgres, typ: "datetime", value: "1700000000", wants: "stored as an integer, is no date and time"},
		{name: "julian_day", from: SQLite, to: MySQL, typ: "datetime", value: "2460000.5", wants: "stored as a real"},
		{name: "nanoseconds", from: SQLite, to: MySQL, typ: "datetime", value: "'2024-01-02 03:04:05.123456789'", notes: "t.v holds times that are finer", fact: "v = '2024-01-02 03:04:05.123456'"},
		{name: "nanoseconds", from: SQLite, to: Postgres, typ: "datetime", value: "'2024-01-02T23:59:59.999999999+01:00'", notes: "t.v holds times that are finer", fact: "v = '2024-01-02 22:59:59.999999'"},
		{name: "nanoseconds", from: SQLite, to: Postgres, typ: "time", value: "'23:59:59.999999999'", notes: "t.v holds times that are finer", fact: "v = '23:59:59.999999'"},
		{name: "nanoseconds_of_a_default", from: SQLite, to: MySQL, typ: "datetime DEFAULT '2024-01-02 03:04:05.123456789'", value: "NULL", omits: "default of column v", fact: "v IS NULL"},
		{name: "short_time", from: SQLite, to: Postgres, typ: "datetime", value: "'2024-01-02 03:04'", fact: "v = '2024-01-02 03:04:00'"},
		{name: "time_in_a_date", from: SQLite, to: MySQL, typ: "date", value: "'2024-01-02 03:04:05'", wants: "is no date"},
		{name: "yes", from: SQLite, to: Postgres, typ: "boolean", value: "'yes'", wants: "is no boolean"},
		{name: "two", from: SQLite, to: MySQL, typ: "boolean", value: "2", wants: "is no boolean"},
		{name: "two", from: MySQL, to: Postgres, typ: "tinyint(1)", value: "2", wants: "column v of the row with id = 1"},
		{name: "fraction_in_an_integer", from: SQLite, to: MySQL, typ: "integer", value: "1.5", wants: "is no whole number"},
		{name: "too_fine_decimal", from: SQLite, to: MySQL, typ: "decimal(5,2)", value: "123.456", wants: "more than 2 digits"},
		{name: "nan", from: SQLite, to: Postgres, typ: "real", value: "'NaN'", fact: "v = 'NaN'"},
		{name: "blob_in_a_text", from: SQLite, to: Postgres, typ: "text", value: "x'00ff'", notes: "t.v holds blobs", fact: `v = '\x00ff'`},
		{name: "digits_of_a_blob", from: SQLite, to: MySQL, typ: "text", value: `'\x00ff'`, fact: `v = '\\x00ff'`},
		{name: "digits_of_a_blob", from: SQLite, to: Postgres, typ: "blob", value: `'\x61'`, notes: "no blobs", fact: `v = '\x5c783631'`},
		{name: "backslash_in_a_blob", from: SQLite, to: Postgres, typ: "blob", value: `'a\b'`, notes: "no blobs", fact: `v = '\x615c62'`},
		{name: "no_utf8", from: SQLite, to: MySQL, typ: "text", value: "cast(x'61ff62' as text)", notes: "not UTF-8", fact: `v = '\\x61ff62'`},
		{name: "no_type", from: SQLite, to: Postgres, typ: "", value: "'1'", omits: "type of column v of t: it becomes text", fact: "v = '1'"},
		{name: "md5", from: SQLite, to: Postgres, typ: "char(32)", value: "'D41D8CD98F00B204E9800998ECF8427E'", fact: "v = 'D41D8CD98F00B204E9800998ECF8427E'"},
		{name: "default_of_another_type", from: SQLite, to: MySQL, typ: "integer DEFAULT 'x'", value: "1", omits: "default of column v", fact: "v = 1"},
		{name: "nocase", from: SQLite, to: Postgres, typ: "text COLLATE nocase UNIQUE", value: "'A'", omits: "collation of column v (nocase) of t", fact: "v = 'A'"},
		{name: "nocase", from: MySQL, to: Postgres, typ: "varchar(9), CHECK (id > 0)) COLLATE utf8mb4_general_ci; CREATE TABLE s (k int", value: "'A'", omits: "collation utf8mb4_general_ci", fact: "v = 'A'"},
		{name: "generated_and_indexed", from: Postgres, to: MySQL, typ: "int, w int GENERATED ALWAYS AS (v * 2) STORED UNIQUE", value: "2", omits: "unique key (w) of t", fact: "v = 2"},
		{name: "generated_and_indexed", from: SQLite, to: MySQL, typ: "int, w int AS (v * 2) UNIQUE", value: "2", omits: "unique key (w) of t", fact: "v = 2"},
		{name: "key_of_another_type", from: SQLite, to: MySQL, typ: "int REFERENCES s(k)); CREATE TABLE s (k text UNIQUE", value: "NULL", omits: "foreign key (v) of t to s: the types differ", fact: "v IS NULL"},
		{name: "key_in_another_order", from: Postgres, to: MySQL, typ: "int, w int, UNIQUE (w, v), x int, y int, FOREIGN KEY (x, y) REFERENCES t (v, w)", value: "2", fact: "v = 2"},
		{name: "wide_row", from: Postgres, to: MySQL, typ: "varchar(16000), w varchar(16000)", value: "'a'", omits: "the limit of 16000 characters of column", fact: "v = 'a'"},
		{name: "wide_row_with_keys", from: SQLite, to: MySQL, typ: "text UNIQUE, a text UNIQUE, b text UNIQUE, c text UNIQUE, d varchar(3600), e varchar(3600), f varchar(3600), g varchar(3600)", value: "'a'",
			omits: "the limit of 3600 characters of column", fact: "v = 'a'"},
		{name: "many_keys", from: SQLite, to: MySQL, typ: "text UNIQUE, w varchar(2000)" + manyKeys(), value: "replace(hex(zeroblob(145)), '0', 'x')", fact: "length(v) = 290"},
		{name: "key_with_a_sized_one", from: SQLite, to: MySQL, typ: "text, w varchar(500) DEFAULT 'w', UNIQUE (v, w)", value: "replace(hex(zeroblob(134)), '0', 'x')", fact: "length(v) = 268"},
		{name: "exclusion", from: Postgres, to: SQLite, typ: "int, EXCLUDE (v WITH =)", value: "1", omits: "exclusion constraint t t_v_excl", fact: "v = 1"},
		{name: "row_security", from: Postgres, to: SQLite, typ: "int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE TABLE s (a int", value: "1", omits: "row security of t", fact: "v = 1"},
		{name: "check_of_a_column", from: MySQL, to: SQLite, typ: "int COMMENT 'CHECK (x' CHECK (v > 0)", value: "1", omits: "check constraint of column v of t", fact: "v = 1"},
		{name: "orphan", from: SQLite, to: MySQL, typ: "int REFERENCES t(id)", value: "7", wants: "there are rows that name none of t"},
		{name: "orphan", from: SQLite, to: Postgres, typ: "int REFERENCES t(id)", value: "7", wants: "foreign key"},
		{name: "orphan_not_valid", from: Postgres, to: MySQL, typ: "int); INSERT INTO t VALUES (2, 7); ALTER TABLE t ADD CONSTRAINT lax FOREIGN KEY (v) REFERENCES t NOT VALID; CREATE TABLE s (k int", value: "1",
			notes: "foreign key lax of t was left out: there are rows that name none of t", fact: "v = 1"},
		{name: "deferrable", from: Postgres, to: MySQL, typ: "int REFERENCES t(id) DEFERRABLE", value: "1", omits: "that 1 foreign keys can wait", fact: "v = 1"},
		{name: "long_key", from: SQLite, to: MySQL, typ: "text UNIQUE", value: "replace(hex(zeroblob(384)), '0', 'x')", fact: "length(v) = 768"},
		{name: "longer_key", from: SQLite, to: MySQL, typ: "text UNIQUE", value: "replace(hex(zeroblob(385)), '0', 'x')", wants: "Data truncated for column 'v'"},
		{name: "key_of_two", from: SQLite, to: MySQL, typ: "text, w text DEFAULT 'w', UNIQUE (v, w)", value: "replace(hex(zeroblob(192)), '0', 'x')", fact: "length(v) = 384"},
		{name: "partitions", from: MySQL, to: Postgres, typ: "int) PARTITION BY HASH (id", value: "1", omits: "partitions of t", fact: "v = 1"},
		{name: "on_update", from: MySQL, to: Postgres, typ: "timestamp ON UPDATE current_timestamp", value: "'2024-01-02 03:04:05'", omits: "on update of column v of t", fact: "id = 1"},
		{name: "too_great_a_key", from: MySQL, to: SQLite, typ: "int); CREATE TABLE s (k bigint unsigned PRIMARY KEY); INSERT INTO s VALUES (18446744073709551615", value: "1", wants: "s.k"},
		{name: "long_number", from: Postgres, to: SQLite, typ: "numeric(1000,450)", value: "123456789012345678", notes: "rounded", fact: "v > 1e17"},
		{name: "long_text", from: SQLite, to: Postgres, typ: "varchar(3)", value: "'four'", wants: "too long"},
		{name: "default", from: SQLite, to: Postgres, typ: "text DEFAULT (lower('X'))", value: "NULL", omits: "default of v", fact: "v IS NULL"},
		{name: "generated", from: Postgres, to: SQLite, typ: "int, w int GENERATED ALWAYS AS (v * 2) STORED", value: "2", omits: "generated column", fact: "v = 2"},
	}
}

// manyKeys are more keys of texts than a row has bytes for.
func manyKeys() (list string) {
	for i := range 40 {
		list += fmt.Sprintf(", x%d text UNIQUE", i)
	}
	return list
}

// What one engine has and the next one has not is an error that leaves nothing, or is said and comes as near as can be.
func TestCopy_Limits(t *testing.T) {
	for _, tc := range limits() {
		t.Run(tc.name+"_from_"+tc.from+"_to_"+tc.to, func(t *testing.T) {
			source, target := newPlace(t, tc.from), newPlace(t, tc.to)
			head := map[string]string{MySQL: "SET sql_mode = '';", SQLite: "PRAGMA foreign_keys = OFF;"}[tc.from]
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
