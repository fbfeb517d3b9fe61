package mysql

import (
	"fmt"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

const scriptHead = `-- Rebuilds the database %[1]s of %[2]s as it was at %[3]s, with the %[5]s client alone.
-- From inside this folder:
--
--     %[6]s < globals.sql                             # users and rights, where they are not there already
--     %[6]s -e 'CREATE DATABASE NEW%[4]s'
--     %[6]s --local-infile=1 --default-character-set=utf8mb4 NEW < restore.sql
--
-- The server must allow it (local_infile=1), and its max_allowed_packet be twice the longest blob.
SET NAMES utf8mb4;
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', SESSION time_zone = '+00:00', SESSION foreign_key_checks = 0;
`

// RecoveryScript returns restore.sql, with which the mariadb client rebuilds the database.
func (v *View) RecoveryScript(files []rows.PartFile) (name string, script []byte) {
	o := &v.schema.Origin
	options := ""
	if set := o.Attribute("character_set"); wordPattern.MatchString(set) && wordPattern.MatchString(o.Attribute("collation")) {
		options = " CHARACTER SET " + set + " COLLATE " + o.Attribute("collation")
	}
	var b strings.Builder
	client, command := "mariadb", "mariadb"
	if o.Attribute("flavour") == "mysql" {
		client, command = "mysql", "mysql --loose-commands" // newer ones know "source" only then
	}
	fmt.Fprintf(&b, scriptHead, commented(o.Database), commented(o.Host), o.TakenAt.Format("2006-01-02 15:04:05.000000 MST"), options, client, command)
	const reset = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', SESSION time_zone = '+00:00';\n"
	if v.opt.DataOnly {
		b.WriteString("-- Only rows were backed up: the tables must be there already, and be empty.\n")
	} else {
		b.WriteString("source " + preFile + "\n" + reset)
	}
	for _, f := range files {
		b.WriteString(scriptLoad(f))
	}
	b.WriteString("source " + sequencesFile + "\n")
	if !v.opt.DataOnly {
		b.WriteString("source " + postFile + "\n")
	}
	return "restore.sql", []byte(b.String())
}

// scriptLoad loads one file. LOAD DATA's own escapes are not those of row text (it knows no \f and \v), so it is told
// of none, and expressions undo them.
func scriptLoad(f rows.PartFile) string {
	stored := f.Part.Table.Stored()
	list, set := make([]string, len(stored)), make([]string, len(stored))
	for i := range stored {
		c := &stored[i]
		v := fmt.Sprintf("@c%d", i+1)
		value := v
		switch _, kind := reading(c); {
		case kind == hexed:
			value = "unhex(substr(" + v + ", 4))"
		case strings.HasPrefix(c.Native, "bit"):
			value = "CAST(" + v + " AS unsigned)"
		case kind == escaped:
			value = unescapeSQL(v)
		}
		list[i] = v
		set[i] = fmt.Sprintf("%s = IF(BINARY %s = '\\\\N', NULL, %s)", quoteIdent(c.Name), v, value)
	}
	return fmt.Sprintf("LOAD DATA LOCAL INFILE %s INTO TABLE %s CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t' ESCAPED BY '' LINES TERMINATED BY '\\n' (%s) SET %s;\n",
		quoteLiteral(f.Path), quoteTable(f.Part.Table), strings.Join(list, ", "), strings.Join(set, ", "))
}

// unescapeSQL undoes the escapes of row text. A doubled backslash first becomes \!, which nothing else is.
func unescapeSQL(v string) string {
	sql := `replace(` + v + `, '\\\\', '\\!')`
	for _, e := range []struct{ letter, char string }{{"t", `\t`}, {"n", `\n`}, {"r", `\r`}, {"b", `\b`}} {
		sql = fmt.Sprintf(`replace(%s, '\\%s', '%s')`, sql, e.letter, e.char)
	}
	sql = fmt.Sprintf(`replace(replace(%s, '\\f', _utf8mb4 X'0c'), '\\v', _utf8mb4 X'0b')`, sql)
	return fmt.Sprintf(`IF(instr(%s, '\\') = 0, %s, replace(%s, '\\!', '\\'))`, v, v, sql)
}
