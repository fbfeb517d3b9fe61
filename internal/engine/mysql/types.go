package mysql

import (
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// integerBits are the bits of the integer types.
var integerBits = map[string]int{"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64}

// A rawColumn is a column as the server's catalog describes it.
type rawColumn struct {
	name, data, native          string // data is the type's bare name, native the whole
	length, precision, scale    int
	charset, collation          string
	nullable                    bool
	def                         cell // the default as the catalog has it
	extra, expression, comments string
	isJSON                      bool // MariaDB's JSON: longtext with a check
}

// portable describes a column in words that every engine knows.
func (r *rawColumn) portable(maria bool) rows.Column {
	c := rows.Column{Name: r.name, Native: r.native, NotNull: !r.nullable, Comment: r.comments}
	unsigned := strings.Contains(r.native, "unsigned")
	switch r.data {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint":
		c.Type, c.Size = rows.Int, integerBits[r.data]
		if strings.HasPrefix(r.native, "tinyint(1)") && !unsigned {
			c.Type, c.Size = rows.Bool, 0
		} else if unsigned {
			c.Size++ // as bits of a number that may be negative
		}
	case "bit":
		c.Type, c.Size = rows.Int, r.precision+1
	case "year":
		c.Type, c.Size = rows.Int, 16
	case "decimal":
		c.Type, c.Size, c.Scale = rows.Decimal, r.precision, r.scale
	case "float":
		c.Type, c.Size = rows.Float, 32
	case "double":
		c.Type, c.Size = rows.Float, 64
	case "char", "varchar":
		c.Type, c.Size = rows.Text, r.length
	case "tinytext", "text", "mediumtext", "longtext":
		if c.Type = rows.Text; r.isJSON {
			c.Type = rows.JSON
		}
	case "set":
		c.Type = rows.Text
	case "enum":
		c.Type, c.Values = rows.Enum, members(r.native)
	case "json":
		c.Type = rows.JSON
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		c.Type = rows.Bytes
	case "date":
		c.Type = rows.Date
	case "time":
		c.Type = rows.Time
	case "datetime":
		c.Type = rows.Timestamp
	case "timestamp":
		c.Type = rows.Instant
	case "uuid":
		c.Type = rows.UUID
	default: // geometry, inet4, inet6, vector
		c.Type = rows.Other
	}
	extra := strings.ToLower(r.extra)
	c.Generated = r.generated()
	if strings.Contains(extra, "auto_increment") {
		c.Identity = "default"
	}
	r.defaults(&c, maria)
	return c
}

func (r *rawColumn) generated() bool {
	extra := strings.ToUpper(r.extra)
	return strings.Contains(extra, "VIRTUAL GENERATED") || strings.Contains(extra, "STORED GENERATED") || strings.Contains(extra, "PERSISTENT") ||
		r.expression == "ROW START" || r.expression == "ROW END"
}

var (
	plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$`)
	bitLiteral  = regexp.MustCompile(`^b'([01]+)'$`)
)

// defaults sets the default: MariaDB's catalog has an expression, MySQL's has a constant's bare text.
func (r *rawColumn) defaults(c *rows.Column, maria bool) {
	if r.def.null || c.Generated || maria && r.def.s == "NULL" {
		return
	}
	c.Default = r.def.s
	constant := !strings.Contains(strings.ToUpper(r.extra), "DEFAULT_GENERATED")
	if !maria && constant && !bitLiteral.MatchString(r.def.s) && !strings.HasPrefix(strings.ToUpper(r.def.s), "CURRENT_TIMESTAMP") {
		literal := r.def.s
		if digits, ok := strings.CutPrefix(literal, "0x"); ok && c.Type == rows.Bytes {
			if raw, err := hex.DecodeString(digits); err == nil {
				literal = string(raw)
			}
		}
		c.Literal, c.Default = &literal, quoteLiteral(literal)
	}
	switch text := c.Default; {
	case c.Literal != nil || !constant:
	case bitLiteral.MatchString(text):
		if n, err := strconv.ParseUint(bitLiteral.FindStringSubmatch(text)[1], 2, 64); err == nil {
			literal := strconv.FormatUint(n, 10)
			c.Literal = &literal
		}
	case plainNumber.MatchString(text):
		c.Literal = &text
	case maria && strings.HasPrefix(text, "'"):
		if s, rest := unquote(text); rest == "" {
			c.Literal = &s
		}
	}
	if c.Literal != nil && c.Type == rows.Bytes {
		literal := string(rows.AppendBytes(nil, []byte(*c.Literal))[1:]) // \x…: one backslash, since it is without escapes
		c.Literal = &literal
	}
}

// unquote reads an SQL string at the start of text; rest is what follows.
func unquote(text string) (s, rest string) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			if at := strings.IndexByte("0bnrtZ", text[i]); at >= 0 {
				b.WriteByte("\x00\b\n\r\t\x1a"[at])
			} else {
				b.WriteByte(text[i])
			}
		case c == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
			b.WriteByte(c)
		case c == '\'':
			return b.String(), text[i+1:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "?"
}

// members reads the values of enum('a','b').
func members(native string) (list []string) {
	_, rest, _ := strings.Cut(native, "(")
	for strings.HasPrefix(rest, "'") {
		var s string
		s, rest = unquote(rest)
		list = append(list, s)
		rest = strings.TrimPrefix(rest, ",")
	}
	return list
}

// reading returns the expression that reads a column, and how its text becomes row text.
func reading(c *rows.Column) (sql string, kind textKind) {
	sql = quoteIdent(c.Name)
	base, _, _ := strings.Cut(c.Native, "(")
	base, _, _ = strings.Cut(base, " ")
	switch base {
	case "bit":
		return sql + "+0", asIs // else eight bits a byte
	case "float":
		return sql + "*1e0", single // else six digits; a sum would lose the sign of -0
	case "double":
		if strings.Contains(c.Native, "zerofill") {
			sql += "*1e0"
		}
		return sql, double
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "decimal":
		if strings.Contains(c.Native, "zerofill") {
			sql += "+0"
		}
		return sql, asIs
	case "year":
		return "CAST(" + sql + " AS char)", asIs // as a number 0000 would be 0, which is 2000
	case "date", "time", "datetime", "timestamp", "uuid", "inet4", "inet6":
		return sql, asIs
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json":
		return sql, escaped
	}
	return sql, hexed
}
