package config

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// maxSize limits a file; ours have a few kilobytes.
const maxSize = 256 << 10

// Load reads a file. Its error, of kind Usage, lists every problem.
func Load(path string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fail.Wrap(fail.NotFound, err, "holdfast init --config "+path+" writes one", "read the configuration")
	}
	if info.Size() > maxSize || !info.Mode().IsRegular() {
		return nil, fail.New(fail.Usage, "", "read the configuration %s: it is no file of less than %d bytes", path, maxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fail.Wrap(fail.Denied, err, "", "read the configuration")
	}
	c, problems := Parse(data, os.LookupEnv, func(name string) (string, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		text, err := os.ReadFile(name)
		return string(text), err
	})
	if len(problems) > 0 {
		lines := make([]string, len(problems))
		for i, p := range problems {
			lines[i] = path + ":" + p.String()
		}
		return nil, fail.New(fail.Usage, "docs/config.md has every setting", "the configuration has %d problems:\n%s", len(problems), strings.Join(lines, "\n"))
	}
	c.Path = path
	return c, nil
}

// Parse reads the text of a file. It returns all problems in the order of lines; with any, the Config is not to be used.
func Parse(data []byte, getenv func(string) (string, bool), readFile func(string) (string, error)) (*Config, []Problem) {
	d := &decoder{getenv: getenv, readFile: readFile, at: map[string]ast.Node{}}
	c := &Config{}
	if line := tooDeep(data); line > 0 {
		return c, []Problem{{Line: line, Column: 1, Text: "settings are nested too deeply here"}}
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey()) // duplicates are told like all else
	if err != nil {
		return c, []Problem{syntaxProblem(err)}
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return c, []Problem{{Line: 1, Column: 1, Text: "the file is empty"}}
	}
	if len(file.Docs) > 1 {
		d.problem(file.Docs[1].Body, "", "a second document begins here; one file is one configuration")
	}
	d.decode(file.Docs[0].Body, "", reflect.ValueOf(c).Elem())
	d.inherit(c)
	d.check(c)
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return c, d.problems
}

// tooDeep returns the line on which brackets or dashes are nested deeper than any configuration's, or 0: the parser takes
// much memory for each level. Brackets in texts count too; nobody writes so many.
func tooDeep(data []byte) int {
	const most = 100
	depth := 0
	for i, line := range bytes.Split(data, []byte("\n")) {
		if bytes.Count(line, []byte("- "))+bytes.Count(line, []byte("? ")) > most {
			return i + 1
		}
		for _, b := range line {
			switch b {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			}
			if depth > most {
				return i + 1
			}
		}
	}
	return 0
}

func syntaxProblem(err error) Problem {
	p := Problem{Line: 1, Column: 1, Text: err.Error()}
	if e, ok := err.(yaml.Error); ok {
		p.Text = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	return p
}

// inherit gives each database what its preset, the defaults and its own settings say, in this order.
func (d *decoder) inherit(c *Config) {
	for i, named := range c.Databases {
		key := under("databases", named.Name)
		node := d.at[key]
		db := &Database{Preset: c.Preset}
		// The preset of the database itself is wanted first.
		probe := &decoder{getenv: d.getenv, readFile: d.readFile, at: map[string]ast.Node{}}
		if text, ok := node.(ast.ScalarNode); !ok && text == nil {
			for _, p := range probe.pairs(plainNode(node), key) {
				if keyText(p) == "preset" {
					probe.decode(p.Value, key, reflect.ValueOf(&db.Preset).Elem())
				}
			}
		}
		*db = preset(db.Preset)
		db.Name = named.Name
		if n := d.at["defaults"]; n != nil {
			known := len(d.problems) // those of the defaults were told once
			d.decode(n, "defaults", reflect.ValueOf(db).Elem())
			d.problems = d.problems[:known]
		}
		if _, plain := node.(*ast.StringNode); plain { // name: url
			d.decode(node, under(key, "url"), reflect.ValueOf(&db.URL).Elem())
		} else {
			d.decode(node, key, reflect.ValueOf(db).Elem())
		}
		c.Databases[i] = db
	}
}

// check finds what is wrong with values that are right one by one.
func (d *decoder) check(c *Config) {
	if len(c.Databases) == 0 {
		d.problem(d.at["databases"], "databases", "no database is named")
	}
	given := 0
	for _, set := range []bool{c.Password != "", c.PasswordFile != "", c.PasswordCommand != ""} {
		if set {
			given++
		}
	}
	if given > 1 {
		d.problem(d.at[""], "password", "use one of password, password_file and password_command")
	}
	for name, n := range c.Notify {
		if n.URL == "" {
			d.problem(d.at[under("notify", name)], under("notify", name), "url is missing")
		}
	}
	for _, db := range c.Databases {
		d.checkDatabase(c, db)
	}
	if c.TimeZone.Location == nil {
		c.TimeZone.Location = time.Local
	}
	c.Jobs = cmp.Or(c.Jobs, 1)
	c.DiskFree = cmp.Or(c.DiskFree, 10)
	c.RemindEvery = Duration(c.RemindEvery.Or(24 * time.Hour))
	if _, set := d.at["prune"]; !set {
		_ = c.Prune.Schedule.At.UnmarshalText([]byte("30 4 * * *"))
	}
}

func (d *decoder) checkDatabase(c *Config, db *Database) {
	key := under("databases", db.Name)
	node := d.at[key]
	if strings.TrimFunc(db.Name, isNameRune) != "" || db.Name == "" {
		d.problem(node, key, "a name has letters, digits, dots, dashes and underscores")
	}
	if _, tried := d.at[under(key, "url")]; db.URL == "" && !tried {
		d.problem(node, key, "url is missing")
	}
	for _, name := range db.Notify {
		if _, ok := c.Notify[name]; !ok {
			known := make([]string, 0, len(c.Notify))
			for n := range c.Notify {
				known = append(known, n)
			}
			slices.Sort(known)
			d.problem(d.at[under(key, "notify")], under(key, "notify"), "no place %q%s", name, nearest(name, known))
		}
	}
	for i, h := range slices.Concat(db.Hooks.Before, db.Hooks.After, db.Hooks.OnFailure) {
		if h.Run == "" {
			d.problem(d.at[under(key, "hooks")], under(key, "hooks"), "hook %d has nothing to run", i+1)
		}
	}
	for i, e := range db.Exports {
		at := under(key, fmt.Sprintf("exports[%d]", i))
		if !slices.Contains([]string{"json", "jsonl", "sql"}, e.Format) {
			d.problem(d.at[at], at, "format is one of json, jsonl, sql")
		}
		if e.Folder == "" {
			d.problem(d.at[at], at, "folder is missing")
		}
	}
	if k := db.Heartbeat.Kind; k != "" && k != "healthchecks" && k != "kuma" {
		d.problem(d.at[under(key, "heartbeat")], under(key, "heartbeat"), "kind is healthchecks or kuma")
	}
	if err := db.Keep.Policy(time.UTC).Validate(); err != nil {
		d.problem(d.at[under(key, "keep")], under(key, "keep"), "%s", explain(err))
	}
	if a, w := db.Objectives.MaxAge, db.Objectives.WarnAge; a != 0 && w > a {
		d.problem(d.at[under(key, "objectives")], under(key, "objectives"), "warn_age is more than max_age")
	}
}

func isNameRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
