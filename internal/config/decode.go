package config

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Problem is one thing that is wrong with a file.
type Problem struct {
	Line, Column int
	Key          string // path of the setting, "databases.shop.keep.daily"
	Text         string
}

// String returns «line:column: key: text».
func (p Problem) String() string {
	if p.Key == "" {
		return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Text)
	}
	return fmt.Sprintf("%d:%d: %s: %s", p.Line, p.Column, p.Key, p.Text)
}

// decoder fills structs from a syntax tree and goes on after problems. Our own, since yaml's stops at the first.
type decoder struct {
	problems []Problem
	getenv   func(string) (string, bool)
	readFile func(string) (string, error)
	at       map[string]ast.Node // where each setting is, for problems found later
	resolved map[string]string   // references by what they stood for
}

func (d *decoder) problem(n ast.Node, key, format string, args ...any) {
	p := position(n)
	p.Key, p.Text = key, fmt.Sprintf(format, args...)
	d.problems = append(d.problems, p)
}

// position is where a node stands: the beginning of the file, when nobody knows.
func position(n ast.Node) Problem {
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			return Problem{Line: t.Position.Line, Column: t.Position.Column}
		}
	}
	return Problem{Line: 1, Column: 1}
}

// pairs returns a mapping's entries; nil with a problem when it is none.
func (d *decoder) pairs(n ast.Node, key string) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil
	}
	d.problem(n, key, "settings are wanted here, as «name: value»")
	return nil
}

func under(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// decode stores n in v, which may hold defaults: what the file does not mention stays.
func (d *decoder) decode(n ast.Node, key string, v reflect.Value) {
	n = plainNode(n)
	d.at[key] = n
	if _, null := n.(*ast.NullNode); null {
		return
	}
	if _, ok := n.(*ast.AliasNode); ok {
		d.problem(n, key, noAnchors)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if text, ok := d.scalar(n, key); ok {
			if err := u.UnmarshalText([]byte(text)); err != nil {
				d.problem(n, key, "%s", explain(err))
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, key, v.Elem())
	case reflect.Struct:
		d.structure(n, key, v)
	case reflect.Slice:
		d.list(n, key, v)
	case reflect.Map:
		d.mapping(n, key, v)
	default:
		d.simple(n, key, v)
	}
}

const noAnchors = "YAML's anchors and aliases are not understood here; use «defaults:»"

func explain(err error) string {
	if hint := fail.HintOf(err); hint != "" {
		return err.Error() + " (" + hint + ")"
	}
	return err.Error()
}

// plainNode takes tags and anchors off.
func plainNode(n ast.Node) ast.Node {
	for {
		switch x := n.(type) {
		case *ast.TagNode:
			n = x.Value
		case *ast.AnchorNode:
			n = x.Value
		default:
			return n
		}
	}
}

func (d *decoder) structure(n ast.Node, key string, v reflect.Value) {
	if _, mapping := n.(ast.MapNode); !mapping {
		if first := shorthand(v); first.IsValid() {
			d.decode(n, key, first)
			return
		}
	}
	fields := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if name := f.Tag.Get("yaml"); name != "-" {
			fields[name] = v.Field(i)
			names = append(names, name)
		}
	}
	seen := map[string]bool{}
	for _, p := range d.pairs(n, key) {
		name := keyText(p)
		f, ok := fields[name]
		switch {
		case name == "<<":
			d.problem(p.Key, under(key, name), noAnchors)
		case !ok:
			d.problem(p.Key, under(key, name), "unknown setting%s", nearest(name, names))
		case seen[name]:
			d.problem(p.Key, under(key, name), "set twice")
		default:
			if replaces(v.Type(), name) {
				f.SetZero()
			}
			d.decode(p.Value, under(key, name), f)
		}
		seen[name] = true
	}
}

// shorthand returns the field that a plain value instead of a mapping sets: the first one, where that is allowed.
func shorthand(v reflect.Value) reflect.Value {
	switch v.Interface().(type) {
	case Schedule, Hook, Notify, Heartbeat, Task:
		return v.Field(0)
	}
	return reflect.Value{}
}

func replaces(t reflect.Type, name string) bool {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("yaml") == name {
			return f.Tag.Get("replace") == "true"
		}
	}
	return false
}

func keyText(p *ast.MappingValueNode) string {
	if s, ok := p.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return p.Key.GetToken().Value
}

func (d *decoder) list(n ast.Node, key string, v reflect.Value) {
	elem := v.Type().Elem()
	if elem == reflect.TypeFor[*Database]() {
		d.databases(n, key, v)
		return
	}
	items := []ast.Node{n} // one value stands for a list of it
	if seq, ok := n.(*ast.SequenceNode); ok {
		items = seq.Values
	}
	list := reflect.MakeSlice(v.Type(), 0, len(items))
	for i, item := range items {
		e := reflect.New(elem).Elem()
		d.decode(item, key+"["+strconv.Itoa(i)+"]", e)
		list = reflect.Append(list, e)
	}
	v.Set(list)
}

// databases keeps the nodes for later, when the defaults are known.
func (d *decoder) databases(n ast.Node, key string, v reflect.Value) {
	seen := map[string]bool{}
	for _, p := range d.pairs(n, key) {
		name := keyText(p)
		if seen[name] {
			d.problem(p.Key, under(key, name), "the name stands for two databases")
			continue
		}
		seen[name] = true
		d.at[under(key, name)] = p.Value
		v.Set(reflect.Append(v, reflect.ValueOf(&Database{Name: name})))
	}
}

func (d *decoder) mapping(n ast.Node, key string, v reflect.Value) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, p := range d.pairs(n, key) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(p.Value, under(key, keyText(p)), e)
		v.SetMapIndex(reflect.ValueOf(keyText(p)), e)
	}
}

// scalar returns a plain value's text with its references resolved.
func (d *decoder) scalar(n ast.Node, key string) (string, bool) {
	s, ok := n.(ast.ScalarNode)
	if !ok {
		d.problem(n, key, "a single value is wanted here")
		return "", false
	}
	var text string
	switch s := s.(type) {
	case *ast.StringNode:
		text = s.Value
	case *ast.LiteralNode:
		text = s.Value.Value
	default:
		text = n.GetToken().Value
	}
	text, err := d.expand(text)
	if err != nil {
		d.problem(n, key, "%v", err)
		return "", false
	}
	return text, true
}

func (d *decoder) simple(n ast.Node, key string, v reflect.Value) {
	text, ok := d.scalar(n, key)
	if !ok {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		i, err := strconv.Atoi(text)
		if err != nil || i < 0 {
			d.problem(n, key, "%q is no number of 0 or more", text)
			return
		}
		v.SetInt(int64(i))
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			d.problem(n, key, "%q is neither true nor false", text)
			return
		}
		v.SetBool(b)
	default:
		d.problem(n, key, "settings of type %s are not understood", v.Type())
	}
}

// expand resolves ${NAME}, ${NAME:-default} and ${file:PATH}; $$ is a dollar sign.
func (d *decoder) expand(s string) (string, error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			return b.String() + s, nil
		}
		b.WriteString(s[:i])
		s = s[i:]
		switch s[1] {
		case '$':
			b.WriteByte('$')
			s = s[2:]
			continue
		case '{':
		default:
			b.WriteByte('$')
			s = s[1:]
			continue
		}
		ref, rest, ok := strings.Cut(s[2:], "}")
		if !ok {
			return "", fmt.Errorf("a reference ${… is not closed")
		}
		s = rest
		value, err := d.reference(ref)
		if err != nil {
			return "", err
		}
		if len(value) >= hiddenFrom && d.resolved != nil {
			d.resolved[value] = "${" + ref + "}"
		}
		b.WriteString(value)
	}
}

// hiddenFrom is the length from which [Config.Hide] hides what a reference stands for: what is shorter is part of other words.
const hiddenFrom = 5

// Hide returns a text, such as what a hook printed, with the references of the file in the place of what they stand for: passwords.
func (c *Config) Hide(text string) string {
	if c.hide == nil {
		return text
	}
	return c.hide(text)
}

func (d *decoder) hider() func(string) string {
	values := slices.SortedFunc(maps.Keys(d.resolved), func(a, b string) int { // a part must not spoil a whole
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var pairs []string
	for _, v := range values {
		pairs = append(pairs, v, d.resolved[v])
	}
	return strings.NewReplacer(pairs...).Replace // which compares in this order
}

func (d *decoder) reference(ref string) (string, error) {
	if name, ok := strings.CutPrefix(ref, "file:"); ok {
		text, err := d.readFile(name)
		if err != nil {
			return "", fmt.Errorf("read ${file:%s}: %w", name, err)
		}
		return strings.TrimRight(text, "\r\n"), nil
	}
	name, def, hasDefault := strings.Cut(ref, ":-")
	if v, ok := d.getenv(name); ok && (v != "" || !hasDefault) {
		return v, nil
	}
	if !hasDefault {
		return "", fmt.Errorf("environment variable %s is not set", name)
	}
	return def, nil
}

// nearest suggests a name.
func nearest(name string, names []string) string {
	best, least := "", 3 // more changes than two are another word
	for _, n := range names {
		if d := distance(name, n); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return "; known here: " + strings.Join(names, ", ")
	}
	return "; did you mean " + best + "?"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost = 1 + min(prev, row[j], row[j+1])
			}
			prev, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
