package backup_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// A columnType is a type of PostgreSQL and how to make values of it, as SQL expressions.
type columnType struct {
	name  string // in SQL
	value func(t *rapid.T) string
	index []string // methods that can index it without an operator class
	whole bool     // whole numbers, fit for identity columns, serials and arithmetic
	text  bool
}

var (
	btree     = []string{"btree"}
	btreeHash = []string{"btree", "btree", "hash"}
	brinToo   = []string{"btree", "hash", "brin"}
	ranges    = []string{"btree", "hash", "gist", "spgist"}
)

// quoteName writes a name as SQL does.
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteText writes any text as an SQL literal.
func quoteText(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`).Replace(s) + "'"
}

// oneOf draws one of the literals, typed.
func oneOf(typ string, literals ...string) func(*rapid.T) string {
	gen := rapid.SampledFrom(literals)
	return func(t *rapid.T) string { return quoteText(gen.Draw(t, typ)) + "::" + typ }
}

// drawn makes literals of a type from what a generator draws.
func drawn[V any](typ, format string, gen *rapid.Generator[V]) func(*rapid.T) string {
	return func(t *rapid.T) string { return quoteText(fmt.Sprintf(format, gen.Draw(t, typ))) + "::" + typ }
}

// either draws by one of the functions.
func either(fns ...func(*rapid.T) string) func(*rapid.T) string {
	return func(t *rapid.T) string { return fns[rapid.IntRange(0, len(fns)-1).Draw(t, "which")](t) }
}

// awkwardTexts are those that row text, COPY or a reader of SQL may take for something else.
func awkwardTexts() []string {
	all := make([]byte, 0, 127)
	for c := byte(1); c < 128; c++ {
		all = append(all, c)
	}
	return []string{
		"", `\N`, `\.`, `\`, `\\`, `\\N`, "\\.\n", "\n\\.\n", "a\tb", "a\nb", "a\r\nb", "\r", "\n", " ", "\b\f\v\x01\x1f\x7f", string(all), "NULL", "null",
		"ünï", "日本\u2028語", "\U0001F600", "e\u0301", "\ufeff", "\u0080\u0085", `"`, "'", `{}`, `{"a":1}`, "$$", "--", "/*", ";", "%s", "COPY x FROM stdin;", `\x41`, `\restrict x`,
	}
}

func textGen() *rapid.Generator[string] {
	pieces := rapid.SampledFrom(awkwardTexts())
	any := rapid.Map(rapid.StringN(0, 40, 200), func(s string) string { return strings.ReplaceAll(s, "\x00", "\x01") })
	return rapid.OneOf(pieces, any, rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(pieces, any), 0, 5).Draw(t, "pieces"), "")
	}), rapid.Map(rapid.IntRange(0, 9000), func(n int) string { return strings.Repeat("x\\", n/2) }))
}

func bytesValue(t *rapid.T) string {
	b := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "bytes")
	if rapid.IntRange(0, 9).Draw(t, "all bytes") == 0 {
		for c := range 256 {
			b = append(b, byte(c))
		}
	}
	return `'\x` + hex.EncodeToString(b) + `'::bytea`
}

// jsonText draws JSON, with the odd spelling that type json keeps.
func jsonText(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 7).Draw(t, "json")
	if depth == 0 {
		kind %= 5
	}
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "word")
	case 1:
		return rapid.SampledFrom([]string{"0", "-0", "1e2", "1.10", "-3.5E-7", "123456789012345678901234567890.5"}).Draw(t, "number")
	case 2:
		return `"\u00e9\n\t\\\"\/ \ud83d\ude00 ☃"`
	case 3:
		return ` "` + strings.Repeat("ab ", rapid.IntRange(0, 50).Draw(t, "n")) + `" `
	case 4:
		return rapid.SampledFrom([]string{"[]", "{ }", "\t[ 1 ,\n2 ]", `{"a":1,"a":2,"":3}`}).Draw(t, "odd")
	}
	var parts []string
	for i := range rapid.IntRange(0, 3).Draw(t, "n") {
		part := jsonText(t, depth-1)
		if kind == 5 {
			part = fmt.Sprintf("%q: %s", fmt.Sprint("k ", i), part)
		}
		parts = append(parts, part)
	}
	if kind == 5 {
		return "{" + strings.Join(parts, ",") + "}"
	}
	return "[" + strings.Join(parts, " ,") + "]"
}

func jsonOf(typ string) func(*rapid.T) string {
	return func(t *rapid.T) string { return quoteText(jsonText(t, 2)) + "::" + typ }
}

// hstoreValue draws pairs; NULL is a value of theirs.
func hstoreValue(name string) func(*rapid.T) string {
	text := textGen()
	return func(t *rapid.T) string {
		keys := []string{"'k'"}
		values := []string{"NULL"}
		for range rapid.IntRange(0, 3).Draw(t, "pairs") {
			keys = append(keys, quoteText(text.Draw(t, "key")))
			values = append(values, quoteText(text.Draw(t, "value")))
		}
		fn := strings.Replace(name, "hstore", "hstore(ARRAY[%s]::text[], ARRAY[%s]::text[])", 1)
		return fmt.Sprintf(fn, strings.Join(keys, ","), strings.Join(values, ","))
	}
}

func numberTypes() []columnType {
	whole := func(typ string, low, high string, gen *rapid.Generator[int64]) columnType {
		return columnType{typ, either(oneOf(typ, "0", "1", "-1", low, high), drawn(typ, "%d", gen)), brinToo, true, false}
	}
	numeric := oneOf("numeric", "NaN", "Infinity", "-Infinity", "0", "-0.0", "0.000000000000000000000000000000000001", "1e1000", "-1.2300", "99999999999999999999999999999999999999.99")
	return []columnType{
		whole("smallint", "-32768", "32767", rapid.Map(rapid.Int16(), func(v int16) int64 { return int64(v) })),
		whole("integer", "-2147483648", "2147483647", rapid.Map(rapid.Int32(), func(v int32) int64 { return int64(v) })),
		whole("bigint", "-9223372036854775808", "9223372036854775807", rapid.Int64()),
		{name: "numeric", value: either(numeric, drawn("numeric", "%d.50", rapid.Int64())), index: brinToo},
		{name: "numeric(12,3)", value: either(oneOf("numeric", "NaN", "999999999.999", "0", "-0.001"), drawn("numeric", "%d.5", rapid.Int16())), index: btreeHash},
		{name: "real", value: either(oneOf("real", "NaN", "Infinity", "-Infinity", "-0", "0", "1e-45", "3.4028235e38", "0.1"), drawn("real", "%g", rapid.Float32())), index: brinToo},
		{name: "double precision", value: either(oneOf("double precision", "NaN", "Infinity", "-Infinity", "-0", "5e-324", "2.2250738585072011e-308", "1.7976931348623157e308", "0.1", "0.30000000000000004"),
			drawn("double precision", "%g", rapid.Float64())), index: brinToo},
		{name: "money", value: oneOf("money", "0", "-92233720368547758.08", "1234.56"), index: btree},
		{name: "oid", value: drawn("oid", "%d", rapid.Uint32()), index: btreeHash},
		{name: "boolean", value: oneOf("boolean", "t", "f"), index: btree},
	}
}

func textTypes() []columnType {
	text := textGen()
	short := func(n int) *rapid.Generator[string] {
		return rapid.Map(text, func(s string) string {
			for utf8.RuneCountInString(s) > n {
				_, size := utf8.DecodeLastRuneInString(s)
				s = s[:len(s)-size]
			}
			return s
		})
	}
	return []columnType{
		{name: "text", value: drawn("text", "%s", text), index: []string{"btree", "hash", "spgist"}, text: true},
		{name: `text COLLATE "C"`, value: drawn("text", "%s", text), index: btreeHash, text: true},
		{name: "varchar(20)", value: drawn("varchar(20)", "%s", short(20)), index: btreeHash, text: true},
		{name: "character(7)", value: drawn("character(7)", "%s", short(7)), index: btreeHash},
		{name: `"char"`, value: drawn(`"char"`, "%s", rapid.SampledFrom([]string{"", "a", `\`, "\t", "\n", "\x7f", `\200`, `\377`})), index: btreeHash},
		{name: "name", value: drawn("name", "%s", short(15)), index: btreeHash},
		{name: "bytea", value: bytesValue, index: btreeHash},
		{name: "json", value: jsonOf("json")},
		{name: "jsonb", value: jsonOf("jsonb"), index: []string{"gin", "gin", "btree", "hash"}},
		{name: "jsonpath", value: oneOf("jsonpath", "$", `$."a b"[*] ? (@.x > 1)`, `strict $.**{2}`)},
		{name: "xml", value: oneOf("xml", "<a/>", "<a b=\"c\">\n\t&amp;ü<![CDATA[x]]></a>", "text", `<?xml version="1.0" encoding="UTF-8"?><é/>`)},
		{name: "tsvector", value: oneOf("tsvector", "", "'a b':1A,2 'c''d':3B", `'\\':4`), index: []string{"gin", "gist", "btree"}},
		{name: "tsquery", value: oneOf("tsquery", "a & !'b c'", "x <-> y:*A"), index: []string{"gist", "btree"}},
		{name: "uuid", value: drawn("uuid", "%x", rapid.SliceOfN(rapid.Byte(), 16, 16)), index: brinToo},
	}
}

func timeTypes() []columnType {
	dates := []string{"infinity", "-infinity", "4713-01-01 BC", "0001-12-31 BC", "0001-01-01", "1969-12-31", "2000-02-29", "2024-03-31", "12345-06-07"}
	stamps := []string{"infinity", "-infinity", "4713-01-01 00:00:00 BC", "0044-03-15 12:00:00.000001 BC", "2024-03-31 02:30:00", "1999-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999", "2000-01-01", "1900-01-01 00:00:01"}
	zoned := slices.Clone(stamps)
	for _, s := range stamps[4:] {
		zoned = append(zoned, s+" Europe/Paris", s+" America/St_Johns", s+" +15:59:59")
	}
	return []columnType{
		{name: "date", value: oneOf("date", append(dates, "5874897-12-31")...), index: brinToo},
		{name: "timestamp", value: oneOf("timestamp", stamps...), index: brinToo},
		{name: "timestamp(3)", value: oneOf("timestamp(3)", stamps[:6]...), index: btree},
		{name: "timestamptz", value: oneOf("timestamptz", zoned...), index: brinToo},
		{name: "time", value: oneOf("time", "00:00", "24:00:00", "23:59:59.999999", "12:34:56.7"), index: btreeHash},
		{name: "timetz", value: oneOf("timetz", "00:00+15:59:59", "24:00:00-15:59", "12:34:56.7 -03:30"), index: btreeHash},
		{name: "interval", value: either(oneOf("interval", "0", "178000000 years", "-178000000 years", "-1 mons +2 days -03:04:05.678901", "1 year -1 day", "-00:00:00.000001", "P1Y2M3DT4H5M6S", "infinity"),
			drawn("interval", "%d microseconds", rapid.Int64())), index: btreeHash},
		{name: "interval day to second(2)", value: oneOf("interval", "1 day 02:03:04.56", "-5 days"), index: btree},
		{name: "daterange", value: oneOf("daterange", "empty", "(,)", "[2000-01-01,2000-02-01)", "[-infinity,infinity]", "[0044-03-15 BC,]"), index: ranges},
		{name: "tstzrange", value: oneOf("tstzrange", "empty", "[2000-01-01 00:00+02,2000-01-02 00:00-03)", "(,2024-03-31 02:30]"), index: ranges},
		{name: "tsrange", value: oneOf("tsrange", "empty", "[2000-01-01,infinity)", `["2000-01-01 00:00:00.5",)`), index: ranges},
	}
}

func otherTypes() []columnType {
	return []columnType{
		{name: "int4range", value: oneOf("int4range", "empty", "[1,5]", "(,)", "(-2147483648,7)", "[3,3]"), index: ranges},
		{name: "numrange", value: oneOf("numrange", "empty", "[1.10,2.200)", "(NaN,]", "(,0)"), index: ranges},
		{name: "int8multirange", value: oneOf("int8multirange", "{}", "{[1,3),[7,9]}", "{(,)}"), index: []string{"btree", "hash", "gist"}},
		{name: "inet", value: oneOf("inet", "0.0.0.0/0", "192.168.1.5/24", "10.1.2.3", "::1", "fe80::1/64", "::ffff:1.2.3.4"), index: []string{"btree", "hash", "spgist", "brin"}},
		{name: "cidr", value: oneOf("cidr", "0.0.0.0/0", "192.168.1.0/24", "2001:db8::/32"), index: btreeHash},
		{name: "macaddr", value: oneOf("macaddr", "08:00:2b:01:02:03", "ff-ff-ff-ff-ff-ff"), index: btreeHash},
		{name: "macaddr8", value: oneOf("macaddr8", "08:00:2b:01:02:03:04:05"), index: btreeHash},
		{name: "bit(11)", value: oneOf("bit(11)", "00000000000", "11111111111", "10110011101"), index: btree},
		{name: "bit varying", value: oneOf("varbit", "", "0", "1", "101010101010101010101"), index: btree},
		{name: "point", value: oneOf("point", "(0,-0)", "(NaN,Infinity)", "(1e-300,0.1)"), index: []string{"gist", "spgist"}},
		{name: "box", value: oneOf("box", "(1,1),(0,0)", "(-0,2),(3,4)"), index: []string{"gist", "spgist"}},
		{name: "lseg", value: oneOf("lseg", "[(0,0),(1,1)]")},
		{name: "line", value: oneOf("line", "{1,-1,0.5}")},
		{name: "path", value: oneOf("path", "[(0,0),(1,1),(2,0)]", "((0,0),(1,1))")},
		{name: "polygon", value: oneOf("polygon", "((0,0),(0,1),(1,0))"), index: []string{"gist", "spgist"}},
		{name: "circle", value: oneOf("circle", "<(0,0),0.1>"), index: []string{"gist"}},
		{name: "pg_lsn", value: oneOf("pg_lsn", "0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"), index: btreeHash},
		{name: "regtype", value: oneOf("regtype", "integer", "text[]"), index: btree},
	}
}

func baseTypes() []columnType {
	return slices.Concat(numberTypes(), textTypes(), timeTypes(), otherTypes())
}

// arrayOf is the type of arrays: empty, with NULLs, nested, with bounds of their own.
func arrayOf(elem columnType) columnType {
	bare, _, _ := strings.Cut(elem.name, " COLLATE")
	typ := bare + "[]"
	item := func(t *rapid.T) string {
		if rapid.IntRange(0, 3).Draw(t, "null element") == 0 {
			return "NULL"
		}
		return elem.value(t)
	}
	value := func(t *rapid.T) string {
		items := func(n int) string {
			var list []string
			for range n {
				list = append(list, item(t))
			}
			return "ARRAY[" + strings.Join(list, ",") + "]"
		}
		switch n := rapid.IntRange(0, 4).Draw(t, "elements"); rapid.IntRange(0, 4).Draw(t, "shape") {
		case 0:
			return "'{}'::" + typ
		case 1:
			return "array_fill(" + elem.value(t) + "::" + bare + ", ARRAY[2,1], ARRAY[-3,7])"
		case 2:
			return "ARRAY[" + items(n+1) + "::" + typ + "," + items(n+1) + "::" + typ + "]"
		default:
			return items(n) + "::" + typ
		}
	}
	a := columnType{name: typ, value: value}
	if slices.Contains(elem.index, "btree") {
		a.index = []string{"gin", "btree"}
	}
	return a
}
