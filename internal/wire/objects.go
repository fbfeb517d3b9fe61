package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// maxDefinitions limits a file of definitions.
const maxDefinitions = 64 << 20

// definitionFiles are the files of a view's definitions, by engine.
var definitionFiles = map[string][]string{
	Postgres: {"schema/pre-data.sql", "schema/post-data.sql"},
	MySQL:    {"schema/pre-data.sql", "schema/post-data.sql"},
	SQLite:   {"schema.sql"},
}

// objectsOf lists, by name, what is defined besides tables and what belongs to them: no other engine understands it.
func objectsOf(engine string, native fs.FS) (list []string, err error) {
	for _, name := range definitionFiles[engine] {
		text, err := readDefinitions(native, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fail.Op(err, "read the definitions")
		}
		switch engine {
		case Postgres:
			list = append(list, postgresObjects(text)...)
		case MySQL:
			list = append(list, mysqlObjects(text)...)
		default:
			objects, err := sqlite.Objects(text)
			if list = append(list, objects...); err != nil { // SQLite is content with what we can't read
				list = append(list, fmt.Sprintf("whatever views, triggers and checks there are: %v", err))
			}
		}
	}
	return list, nil
}

func readDefinitions(native fs.FS, name string) (string, error) {
	f, err := native.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDefinitions+1))
	if err == nil && len(text) > maxDefinitions {
		err = fail.New(fail.Unsupported, "", "%s is longer than %d bytes", name, maxDefinitions)
	}
	return string(text), err
}

var (
	postgresHeading = regexp.MustCompile(`^-- (?:Name|Data for Name): (.*); Type: ([A-Z ]+); Schema: (.*); Owner: `)
	namedCheck      = regexp.MustCompile("^ +CONSTRAINT (\"(?:[^\"]|\"\")+\"|`(?:[^`]|``)+`|[^ ]+) CHECK ")
	mysqlColumn     = regexp.MustCompile("^  (`(?:[^`]|``)+`) ")
	mysqlOverlaps   = regexp.MustCompile(`^  (?:UNIQUE|PRIMARY) KEY (.*?) ?\(.* WITHOUT OVERLAPS\)`)
	mysqlLiteral    = regexp.MustCompile(`'(?:[^'\\]|''|\\.)*'`)
	mysqlUnsigned   = regexp.MustCompile(`^(?:decimal|float|double)\b.* unsigned`)
)

// Kinds in headings of pg_dump that stay behind.
var postgresOnly = map[string]bool{
	"VIEW": true, "FUNCTION": true, "PROCEDURE": true, "AGGREGATE": true, "TRIGGER": true, "RULE": true, "POLICY": true, "DOMAIN": true,
	"EVENT TRIGGER": true, "STATISTICS": true, "PUBLICATION": true, "SUBSCRIPTION": true, "OPERATOR": true, "CAST": true, "CHECK CONSTRAINT": true,
	"OPERATOR CLASS": true, "OPERATOR FAMILY": true, "ACCESS METHOD": true, "EXTENSION": true, "COLLATION": true, "CONVERSION": true, "TRANSFORM": true,
	"SERVER": true, "FOREIGN DATA WRAPPER": true, "PROCEDURAL LANGUAGE": true, "TEXT SEARCH CONFIGURATION": true, "TEXT SEARCH DICTIONARY": true,
	"TEXT SEARCH PARSER": true, "TEXT SEARCH TEMPLATE": true,
}

// Lines of pg_dump with what stays behind, and what that is called: with the groups of the line, and NAME for that in the heading.
var postgresClauses = []struct {
	line *regexp.Regexp
	lost string
}{
	{regexp.MustCompile(`^    ADD CONSTRAINT .* EXCLUDE `), "exclusion constraint NAME"},
	{regexp.MustCompile(`^ALTER TABLE (?:ONLY )?(?:public\.)?(.*) ENABLE ROW LEVEL SECURITY;$`), "row security of $1"},
	{regexp.MustCompile(`^    ADD CONSTRAINT .* FOREIGN KEY (?:\(.*, PERIOD |.* NOT ENFORCED)`), "foreign key NAME"}, // since version 18
	{regexp.MustCompile(`^    ADD CONSTRAINT .* FOREIGN KEY .* MATCH FULL`), "MATCH FULL of foreign key NAME"},
	{regexp.MustCompile(`^    ADD CONSTRAINT .* FOREIGN KEY .* ON DELETE SET (?:NULL|DEFAULT) \((.*)\)`), "that foreign key NAME empties $1 alone on delete"},
	{regexp.MustCompile(`^    ADD CONSTRAINT .* (?:UNIQUE|PRIMARY KEY) .* DEFERRABLE`), "that key NAME can wait for the end of a transaction"},
	{regexp.MustCompile(`^ALTER TABLE (?:ONLY )?(?:public\.)?(.*) ALTER COLUMN (.*) ADD GENERATED ALWAYS AS IDENTITY`), "that column $2 of $1 takes no values but its own"},
	{regexp.MustCompile(`^    INCREMENT BY (-?(?:[02-9]|[0-9]{2,}))$`), "INCREMENT BY $1 of sequence NAME"},
}

func postgresObjects(text string) (list []string) {
	table, name := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := postgresHeading.FindStringSubmatch(line); m != nil {
			name = m[1]
			if m[3] != "-" && m[3] != "public" {
				name = m[3] + "." + name
			}
			if table = ""; m[2] == "TABLE" {
				table = name
			}
			if postgresOnly[m[2]] {
				list = append(list, strings.ToLower(m[2])+" "+name)
			}
		} else if m := namedCheck.FindStringSubmatch(line); m != nil && table != "" {
			list = append(list, "check constraint "+m[1]+" of "+table)
		} else if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "ALTER TABLE ") {
			for _, c := range postgresClauses {
				if m := c.line.FindStringSubmatchIndex(line); m != nil {
					lost := strings.ReplaceAll(c.lost, "NAME", strings.ReplaceAll(name, "$", "$$"))
					list = append(list, string(c.line.ExpandString(nil, lost, line, m)))
				}
			}
		}
	}
	return list
}

func mysqlObjects(text string) (list []string) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if head, ok := strings.CutPrefix(line, "-- {"); ok {
			var label struct{ Kind, Name, Table string }
			if json.Unmarshal([]byte("{"+head), &label) != nil {
				continue
			}
			table = ""
			switch label.Kind {
			case "table":
				table = label.Name
			case "view", "trigger", "procedure", "function", "package", "package body", "event":
				list = append(list, label.Kind+" "+label.Name)
			}
		} else if m := namedCheck.FindStringSubmatch(line); m != nil && table != "" {
			list = append(list, "check constraint "+strings.Trim(m[1], "`")+" of "+table)
		} else if table != "" {
			list = append(list, mysqlClauses(table, line)...)
		}
	}
	return list
}

// mysqlClauses lists what a line of a table's definition has that no other engine knows.
func mysqlClauses(table, line string) (list []string) {
	line = strings.TrimPrefix(line, "/*!50100")
	if strings.HasPrefix(line, " PARTITION BY ") {
		return []string{"partitions of " + table}
	}
	bare := mysqlLiteral.ReplaceAllString(line, "''")
	switch {
	case strings.HasPrefix(line, ") ") && strings.Contains(bare, " WITH SYSTEM VERSIONING"):
		return []string{"system versioning of " + table}
	case strings.HasPrefix(line, "  PERIOD FOR "):
		return []string{"period of time " + strings.TrimRight(strings.TrimPrefix(line, "  PERIOD FOR "), ",") + " of " + table}
	case mysqlOverlaps.MatchString(bare):
		return []string{"that key " + mysqlOverlaps.FindStringSubmatch(bare)[1] + " of " + table + " forbids overlaps: it only forbids equal periods there"}
	}
	m := mysqlColumn.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	column := strings.ReplaceAll(strings.Trim(m[1], "`"), "``", "`")
	rest := mysqlLiteral.ReplaceAllString(line[len(m[0]):], "''")
	if _, check, ok := strings.Cut(rest, " CHECK ("); ok && !strings.HasPrefix(check, "json_valid("+m[1]+"))") {
		list = append(list, "check constraint of column "+column+" of "+table)
	}
	if strings.HasPrefix(rest, "set(") {
		list = append(list, "type set of column "+column+" of "+table+": it becomes text, which may hold anything")
	}
	if mysqlUnsigned.MatchString(rest) {
		list = append(list, "unsigned of column "+column+" of "+table)
	}
	for _, clause := range []string{"ON UPDATE", "INVISIBLE"} {
		if strings.Contains(rest, " "+clause) {
			list = append(list, strings.ToLower(clause)+" of column "+column+" of "+table)
		}
	}
	return list
}
