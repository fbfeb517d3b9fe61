package mysql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// randomTypes are types and values of theirs, as SQL.
var randomTypes = map[string][]string{
	"tinyint": {"-128", "0", "127"}, "int unsigned": {"0", "4294967295"}, "bigint": {"-9223372036854775808", "9223372036854775807"}, "bigint unsigned": {"18446744073709551615", "0"},
	"int(6) zerofill": {"0", "42"}, "decimal(30,10)": {"-1.5", "0", "12345678901234567890.0123456789"}, "float": {"0.1", "-1e-30", "3.4028234e38", "1e6"}, "double": {"0.1", "1e300", "-5e-324", "123456789.125"},
	"bit(5)": {"b'0'", "b'10101'"}, "bit(64)": {"18446744073709551615"}, "year": {"1901", "0", "2155"}, "date": {"'0000-00-00'", "'9999-12-31'", "'2024-02-30'"}, "time(3)": {"'-838:59:59'", "'00:00:00.001'"},
	"datetime(6)": {"'2024-01-01 00:00:00.000001'", "'0000-00-00 00:00:00'"}, "timestamp NULL": {"'2038-01-19 03:14:07'", "'2024-10-27 00:30:00'"}, "char(5)": {"''", "'a b'", "'é'"}, "varchar(30)": {"'a\\tb\\\\N'", "'\\\\'", "''", "'\\n\\r'"},
	"varchar(20) CHARACTER SET latin1": {"'Ä€'", "'\\\\x41'"}, "text CHARACTER SET utf16": {"'x😀'", "concat(char(12), char(11))"}, "longtext": {"repeat('ab\\t', 500)", "'NULL'"}, "binary(3)": {"x'00'", "x'5c4e0a'"}, "varbinary(20)": {"x''", "x'5c7830'"},
	"blob": {"x'00090a0d5c'", "repeat(x'ff', 3000)"}, "enum('a','b''c','')": {"'a'", "'b''c'", "''"}, "set('x','y')": {"''", "'x,y'"}, "json": {"'{\"a\": \"\\\\\\\\n\"}'", "'[]'"}, "uuid": {"'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'"},
	"inet6": {"'::1'"}, "point": {"point(1, -0.5)"},
}

// keyTypes can be part of a primary key.
var keyTypes = []string{"int unsigned", "bigint", "varchar(30)", "varbinary(20)", "date", "uuid", "decimal(30,10)", "enum('a','b''c','')"}

// drawDatabase writes SQL that makes a few tables with rows.
func drawDatabase(t *rapid.T, maria bool) string {
	var b strings.Builder
	b.WriteString("SET NAMES utf8mb4; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; SET time_zone = '-05:00';\n")
	names := slices.Sorted(maps.Keys(randomTypes))
	keyTypes, engines := keyTypes, []string{"InnoDB", "InnoDB", "InnoDB", "MyISAM", "Aria"}
	if !maria {
		foreign := func(typ string) bool { return typ == "uuid" || typ == "inet6" }
		names, keyTypes, engines = slices.DeleteFunc(names, foreign), slices.DeleteFunc(slices.Clone(keyTypes), foreign), engines[:4]
	}
	for n := range rapid.IntRange(1, 4).Draw(t, "tables") {
		var types, columns []string
		keys := rapid.IntRange(0, 2).Draw(t, "key")
		for range keys {
			types = append(types, rapid.SampledFrom(keyTypes).Draw(t, "key type"))
		}
		for range rapid.IntRange(1, 6).Draw(t, "columns") {
			types = append(types, rapid.SampledFrom(names).Draw(t, "type"))
		}
		for i, typ := range types {
			line := fmt.Sprintf("`c %d` %s", i, typ)
			if rapid.IntRange(0, 3).Draw(t, "comment") == 0 {
				line += " COMMENT 'it''s \\\\ (a), `b`'"
			}
			columns = append(columns, line)
		}
		if keys > 0 {
			columns = append(columns, "PRIMARY KEY ("+strings.Join([]string{"`c 0`", "`c 1`"}[:keys], ", ")+")")
		}
		if rapid.Bool().Draw(t, "index") && types[0] != "point" && !strings.Contains(types[0], "text") && types[0] != "json" && types[0] != "blob" {
			columns = append(columns, "KEY `an index` (`c 0`)")
		}
		engine := rapid.SampledFrom(engines).Draw(t, "engine")
		fmt.Fprintf(&b, "CREATE TABLE `t %d` (%s) ENGINE=%s;\n", n, strings.Join(columns, ", "), engine)
		for range rapid.IntRange(0, 8).Draw(t, "rows") {
			values := make([]string, len(types))
			for i, typ := range types {
				values[i] = "NULL"
				if i < keys || rapid.IntRange(0, 3).Draw(t, "null") > 0 {
					values[i] = rapid.SampledFrom(randomTypes[typ]).Draw(t, "value")
				}
			}
			fmt.Fprintf(&b, "INSERT IGNORE INTO `t %d` VALUES (%s);\n", n, strings.Join(values, ", "))
		}
	}
	return b.String()
}

// TestRandom backs random databases up and restores them, and compares by mysqldump and by hashes.
func TestRandom(t *testing.T) { eachFlavour(t, testRandom) }

func testRandom(t *testing.T, m *servers.MySQLServer) {
	total := int64(0)
	for seed := range 12 {
		sql := rapid.Custom(func(t *rapid.T) string { return drawDatabase(t, isMaria(m)) }).Example(seed)
		db, to := m.CreateDatabase(t), m.CreateDatabase(t)
		m.SQL(t, db, sql)
		v := open(t, db, Options{})
		_, report := restore(t, v, to, TargetOptions{})
		v.Close()
		total += report.Total().Rows
		if diff := cmp.Diff(strings.Split(dump(t, m, db), "\n"), strings.Split(dump(t, m, to), "\n")); diff != "" {
			t.Fatalf("%s\n%s", sql, diff)
		}
		v = open(t, to, Options{})
		again, err := rows.Measure(t.Context(), v, rows.CopyOptions{})
		v.Close()
		if diff := cmp.Diff(report.Tables(), again.Tables()); err != nil || diff != "" {
			t.Fatalf("%s\n%v %s", sql, err, diff)
		}
	}
	if total < 30 {
		t.Errorf("all databases together held %d rows: the test shows too little", total)
	}
}
