package wire

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"strings"

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
			list = append(list, sqliteObjects(text)...)
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
	sqliteObject    = regexp.MustCompile("(?i)^CREATE (VIEW|TRIGGER|TABLE) (\"(?:[^\"]|\"\")+\"|`[^`]+`|\\[[^\\]]+\\]|'[^']+'|[^ (]+)")
	anyCheck        = regexp.MustCompile(`(?i)\bCHECK *\(+ *([a-z_]*)`)
)

// Kinds in headings of pg_dump that stay behind.
var postgresOnly = map[string]bool{
	"VIEW": true, "FUNCTION": true, "PROCEDURE": true, "AGGREGATE": true, "TRIGGER": true, "RULE": true, "POLICY": true, "DOMAIN": true,
	"EVENT TRIGGER": true, "STATISTICS": true, "PUBLICATION": true, "SUBSCRIPTION": true, "OPERATOR": true, "CAST": true, "CHECK CONSTRAINT": true,
}

func postgresObjects(text string) (list []string) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := postgresHeading.FindStringSubmatch(line); m != nil {
			name := m[1]
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
		}
	}
	return list
}

func sqliteObjects(text string) (list []string) {
	table, told := "", false
	for line := range strings.Lines(text) {
		if m := sqliteObject.FindStringSubmatch(line); m != nil {
			name := strings.Trim(m[2], "\"`[]'")
			if table = ""; strings.EqualFold(m[1], "TABLE") {
				table, told = name, false
			} else {
				list = append(list, strings.ToLower(m[1])+" "+name)
			}
		}
		for _, m := range anyCheck.FindAllStringSubmatch(line, -1) {
			if table != "" && !told && !strings.EqualFold(m[1], "json_valid") {
				list, told = append(list, "check constraints of "+table), true
			}
		}
	}
	return list
}
