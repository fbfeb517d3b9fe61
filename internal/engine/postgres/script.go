package postgres

import (
	"fmt"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// RecoveryScript returns restore.sql, with which psql alone rebuilds the database.
func (v *View) RecoveryScript(files []rows.PartFile) (name string, script []byte) {
	return "restore.sql", recoveryScript(v.schema, v.opt.DataOnly, files)
}

const scriptHead = `-- Rebuilds the database %[1]s of %[2]s as it was at %[3]s, with psql alone.
-- From inside this folder:
--
--     psql -X -d postgres -f globals.sql        # roles; on the same server they are there already
--     createdb %[4]s NEW
--     psql -X -v ON_ERROR_STOP=1 -d NEW -f restore.sql
--
\set ON_ERROR_STOP on
`

// Sessions must read row text with the settings it was written with.
const scriptSettings = `
SET client_encoding = '%s';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET timezone = 'UTC';
SET lc_monetary = 'C';
SET xmloption = 'content';
SET row_security = off;
SET statement_timeout = 0;
SET client_min_messages = warning;
SET search_path = '';
`

func recoveryScript(schema *rows.Schema, dataOnly bool, files []rows.PartFile) []byte {
	o := &schema.Origin
	encoding := "UTF8"
	if o.Encoding == "SQL_ASCII" {
		encoding = "SQL_ASCII"
	}
	var b strings.Builder
	fmt.Fprintf(&b, scriptHead, commented(o.Database), commented(o.Host), o.TakenAt.Format("2006-01-02 15:04:05.000000 MST"), createOptions(o))
	if dataOnly {
		b.WriteString("-- Only rows were backed up: the tables must be there already, and be empty.\n")
	} else {
		b.WriteString("\\o /dev/null\n\\i schema/pre-data.sql\n\\o\n")
	}
	fmt.Fprintf(&b, scriptSettings, encoding)
	for _, f := range files {
		copyFrom(&b, f, encoding)
	}
	b.WriteString("\n\\o /dev/null\n\\i sequences.sql\n\\o\n")
	if !dataOnly {
		b.WriteString("\\o /dev/null\n\\i schema/post-data.sql\n\\o\n")
		for _, a := range o.Attributes {
			if role, ok := strings.CutPrefix(a.Name, "set for "); ok {
				alterDatabase(&b, "ALTER ROLE "+quoteIdent(role)+" IN DATABASE", a.Value)
			} else if a.Name == "set" {
				alterDatabase(&b, "ALTER DATABASE", a.Value)
			}
		}
	}
	b.WriteString("ANALYZE;\n")
	return []byte(b.String())
}

// alterDatabase writes a statement on the database that psql is connected to, whatever its name.
func alterDatabase(b *strings.Builder, verb, clause string) {
	escape := strings.NewReplacer("%", "%%")
	format := escape.Replace(verb) + " %I " + escape.Replace(clause)
	fmt.Fprintf(b, "SELECT pg_catalog.format(%s, pg_catalog.current_database()) \\gexec\n", quoteLiteral(format))
}

// copyFrom writes the commands that load one file.
func copyFrom(b *strings.Builder, f rows.PartFile, encoding string) {
	t := f.Part.Table
	from := fmt.Sprintf(" from '%s' with (format text, encoding '%s')\n", strings.ReplaceAll(f.Path, "'", "''"), encoding)
	if t.Kind == rows.LargeObjects {
		b.WriteString("CREATE TEMPORARY TABLE holdfast_objects (o oid, p bigint, d bytea);\n")
		b.WriteString("\\copy pg_temp.holdfast_objects" + from)
		b.WriteString("SELECT count(pg_catalog.lo_put(o, p, d)) AS pieces FROM pg_temp.holdfast_objects \\g /dev/null\n")
		b.WriteString("DROP TABLE pg_temp.holdfast_objects;\n")
		return
	}
	into := t.LoadInto
	if into == "" {
		into = quoteTable(t)
	}
	var names, plain []string
	for i, c := range t.Stored() {
		names = append(names, quoteIdent(c.Name))
		plain = append(plain, fmt.Sprintf("c%d", i+1))
	}
	list := strings.Join(names, ", ")
	columns := ""
	if list != "" {
		columns = " (" + list + ")"
	}
	if !strings.ContainsAny(into+columns, "\n\r") {
		b.WriteString("\\copy " + into + columns + from)
		return
	}
	// \copy ends at the end of the line, also within quotes: such names take a detour.
	renamed := ""
	if list != "" {
		renamed = " (" + strings.Join(plain, ", ") + ")"
	}
	fmt.Fprintf(b, "CREATE TEMPORARY TABLE holdfast_rows%s AS SELECT %s FROM ONLY %s WITH NO DATA;\n", renamed, list, into)
	b.WriteString("\\copy pg_temp.holdfast_rows" + from)
	fmt.Fprintf(b, "INSERT INTO %s%s OVERRIDING SYSTEM VALUE SELECT * FROM pg_temp.holdfast_rows;\n", into, columns)
	b.WriteString("DROP TABLE pg_temp.holdfast_rows;\n")
}

// createOptions are the options of createdb for a database like the one that o describes.
func createOptions(o *rows.Origin) string {
	args := "-T template0"
	add := func(option, value string) {
		if value != "" {
			args += " --" + option + "='" + strings.ReplaceAll(commented(value), "'", `'\''`) + "'"
		}
	}
	add("encoding", o.Encoding)
	add("lc-collate", o.Attribute("collate"))
	add("lc-ctype", o.Attribute("ctype"))
	switch o.Attribute("locale_provider") {
	case "icu":
		add("locale-provider", "icu")
		add("icu-locale", o.Attribute("locale"))
	case "builtin":
		add("locale-provider", "builtin")
		add("builtin-locale", o.Attribute("locale"))
	}
	return args
}

// commented makes text fit for a comment.
func commented(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
