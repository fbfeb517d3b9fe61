package config

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
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
	c.Path = path
	if len(problems) > 0 {
		return nil, c.Refuse(problems)
	}
	return c, nil
}

// Refuse returns the error that lists problems of the file.
func (c *Config) Refuse(problems []Problem) error {
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = c.Path + ":" + p.String()
	}
	count := fmt.Sprintf("%d problems", len(lines))
	if len(lines) == 1 {
		count = "a problem"
	}
	return fail.New(fail.Usage, "docs/config.md has every setting", "the configuration has %s:\n%s", count, strings.Join(lines, "\n"))
}

// Problem is one with a setting, found by somebody else; the key is its path, as in «databases.shop.url».
func (c *Config) Problem(key string, err error) Problem {
	p := c.at[key]
	for above := key; p.Line == 0 && above != ""; p = c.at[above] {
		above = above[:max(0, strings.LastIndexByte(above, '.'))]
	}
	p.Line, p.Column, p.Key, p.Text = max(p.Line, 1), max(p.Column, 1), key, explain(err)
	return p
}

// Parse reads the text of a file. It returns all problems in the order of lines; with any, the Config is not to be used.
func Parse(data []byte, getenv func(string) (string, bool), readFile func(string) (string, error)) (*Config, []Problem) {
	d := &decoder{getenv: getenv, readFile: readFile, at: map[string]ast.Node{}, resolved: map[string]string{}}
	c := &Config{at: map[string]Problem{}}
	if line := tooDeep(data); line > 0 {
		return c, []Problem{{Line: line, Column: 1, Text: "settings are nested too deeply here"}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))                  // what Windows' editors begin a text with
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
	c.hide = d.hider()
	for key, n := range d.at {
		c.at[key] = position(n)
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	said := map[string]bool{} // what is wrong in the defaults is wrong once, not for each database
	return c, slices.DeleteFunc(d.problems, func(p Problem) bool {
		again := said[p.String()]
		said[p.String()] = true
		return again
	})
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
	if len(c.Databases) == 0 && !d.told("") && !d.told("databases") {
		d.problem(d.at["databases"], "databases", "no database is named")
	}
	if c.DiskFree > 100 {
		d.problem(d.at["disk_free"], "disk_free", "there is no more than 100%%")
	}
	given := 0
	for _, set := range []bool{c.Password != "", c.PasswordFile != "", c.PasswordCommand != ""} {
		if set {
			given++
		}
	}
	if _, port, err := net.SplitHostPort(c.Listen); c.Listen != "" && (err != nil || !isPort(port)) {
		d.problem(d.at["listen"], "listen", "%q is no address with a port: write 127.0.0.1:9854", c.Listen)
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

// told reports whether a setting has a problem already.
func (d *decoder) told(key string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == key })
}

// setting returns where a database's setting stands: with it, or in the defaults.
func (d *decoder) setting(db *Database, name string) (ast.Node, string) {
	own := under("databases", db.Name)
	for _, key := range []string{under(own, name), under("defaults", name)} {
		if n, ok := d.at[key]; ok {
			return n, key
		}
	}
	return d.at[own], under(own, name)
}

func (d *decoder) checkDatabase(c *Config, db *Database) {
	key := under("databases", db.Name)
	wrong := func(name, format string, args ...any) {
		n, key := d.setting(db, name)
		d.problem(n, key, format, args...)
	}
	if strings.TrimFunc(db.Name, isNameRune) != "" || db.Name == "" {
		d.problem(d.at[key], key, "a name has letters, digits, dots, dashes and underscores")
	}
	if db.URL == "" && !d.told(key) && !d.told(under(key, "url")) {
		d.problem(d.at[key], key, "url is missing")
	}
	for _, name := range db.Notify {
		if _, ok := c.Notify[name]; !ok {
			known := make([]string, 0, len(c.Notify))
			for n := range c.Notify {
				known = append(known, n)
			}
			slices.Sort(known)
			wrong("notify", "no place %q%s", name, nearest(name, known))
		}
	}
	for i, h := range slices.Concat(db.Hooks.Before, db.Hooks.After, db.Hooks.OnFailure) {
		if h.Run == "" {
			wrong("hooks", "hook %d has nothing to run", i+1)
		}
	}
	for i, e := range db.Exports {
		for _, text := range e.problems() {
			wrong(fmt.Sprintf("exports[%d]", i), "%s", text)
		}
	}
	if k := db.Heartbeat.Kind; k != "" && k != "healthchecks" && k != "kuma" {
		wrong("heartbeat", "kind is healthchecks or kuma")
	}
	if u, err := url.Parse(db.Heartbeat.URL.Reveal()); db.Heartbeat.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		wrong("heartbeat", "the URL is none of a monitor: copy its ping or push URL, which begins with https://")
	}
	for i, s := range []Schedule{db.Schedule, db.Verify.Schedule, db.Drill.Schedule} {
		if plan := s.Plan("", time.UTC); !plan.Empty() && plan.Shut() {
			wrong([]string{"schedule", "verify", "drill"}[i], "the blackouts leave no time in which anything could begin")
		}
	}
	if db.Verify.Sample > 100 {
		wrong("verify", "sample is more than 100%%")
	}
	if err := db.Keep.Policy(time.UTC).Validate(); err != nil {
		wrong("keep", "%s", explain(err))
	}
	if a, w := db.Objectives.MaxAge, db.Objectives.WarnAge; a != 0 && w > a {
		wrong("objectives", "warn_age is more than max_age")
	}
}

// problems are what is wrong with an export. What would be written in the clear though somebody thought of a secret is
// the worst of it.
func (e Export) problems() (list []string) {
	if !slices.Contains([]string{"json", "jsonl", "sql"}, e.Format) {
		list = append(list, "format is one of json, jsonl, sql")
	}
	if e.Folder == "" {
		list = append(list, "folder is missing")
	}
	if e.Compress != "" && !slices.Contains([]string{"gz", "xz", "zst"}, e.Compress) {
		list = append(list, "compress is one of gz, xz, zst")
	}
	if e.Format == "sql" && (len(e.Exclude) > 0 || e.Unmapped || e.Project != "" || e.ModelMap != "") {
		list = append(list, "exclude, allow_unmapped, django_project and model_map are for json and jsonl")
	}
	to, toAge := strings.CutPrefix(e.Encrypt, "age:")
	secret := e.Encrypt == "age" || e.Encrypt == "gpg"
	if e.Drill && toAge {
		list = append(list, "drill needs a file that can be read here: encrypt: age or gpg, with a passphrase")
	}
	switch {
	case e.Encrypt != "" && !secret && (!toAge || to == ""):
		list = append(list, "encrypt is one of age:RECIPIENT, age, gpg")
	case secret && e.Secret == "":
		list = append(list, "encrypt: "+e.Encrypt+" needs a passphrase")
	case !secret && e.Secret != "":
		list = append(list, "passphrase is for encrypt: age or gpg")
	}
	return list
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func isNameRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
