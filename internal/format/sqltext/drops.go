package sqltext

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// drops collects, from pg_dump's definitions, the statements that remove what they define. What goes with its table anyway is dropped
// by itself only where something else may hold on to it or be held by it.
type drops struct {
	clean    bool
	ifExists bool

	list     []drop
	last     *sqlsplit.Heading // the entry that list's last was made of
	views    map[string]string // definitions of views that pg_dump completes later, by schema.name
	attached map[string]bool   // indexes of partitions that hang on their parents'
	objects  []string          // oids of large objects
}

// drop is one statement; index names the index that it is about.
type drop struct{ sql, index string }

// see takes a statement of an entry.
func (d *drops) see(h *sqlsplit.Heading, text string, list []sqlsplit.Token) {
	if !d.clean || len(list) < 4 {
		return
	}
	if h.Type == "INDEX ATTACH" { // ALTER INDEX s.parent ATTACH PARTITION s.child;
		d.attached[joined(list[len(list)-4:len(list)-1])] = true
		return
	}
	if h.Type == "BLOB" && list[0].Is("select") {
		d.objects = append(d.objects, literal(h.Name))
	}
	if h == d.last || !list[0].Is("create") && !list[0].Is("alter") {
		return
	}
	before := len(d.list)
	d.entry(&source{h: h, text: text, list: list})
	if len(d.list) > before {
		d.last = h
	}
}

// text returns the statements, last things first.
func (d *drops) text() []string {
	var out []string
	for _, s := range slices.Backward(d.list) {
		if s.index == "" || !d.attached[s.index] {
			out = append(out, s.sql, "\n")
		}
	}
	for batch := range slices.Chunk(d.objects, 1000) {
		out = append(out, "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid IN (", strings.Join(batch, ", "), ");\n")
	}
	if len(out) > 0 {
		out = append(out, "\n")
	}
	return out
}

func (d *drops) add(index, format string, args ...any) {
	d.list = append(d.list, drop{fmt.Sprintf(format, args...), index})
}

// exists is put where IF EXISTS belongs.
func (d *drops) exists() string {
	if d.ifExists {
		return "IF EXISTS "
	}
	return ""
}

// entry adds what removes one entry.
func (d *drops) entry(s *source) {
	ie := d.exists()
	switch h := s.h; h.Type {
	case "TABLE", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE", "DOMAIN", "COLLATION", "CONVERSION", "SCHEMA", "EXTENSION", "SERVER",
		"FOREIGN DATA WRAPPER", "PUBLICATION", "SUBSCRIPTION", "EVENT TRIGGER", "ACCESS METHOD", "STATISTICS", "PROCEDURAL LANGUAGE",
		"TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE":
		if name, _ := s.created(); name != "" {
			d.add("", "DROP %s %s%s;", h.Type, ie, name)
		}
	case "VIEW":
		if name, _ := s.created(); name != "" {
			d.views[h.Schema+"."+h.Name] = ""
			if strings.Contains(s.text, "\n    NULL::") {
				d.views[h.Schema+"."+h.Name] = s.text
			}
			d.add("", "DROP VIEW %s%s;", ie, name)
		}
	case "TYPE":
		if name, next := s.created(); name != "" {
			cascade := "" // its functions depend on a base type, and it on them
			if s.at(next, "(") {
				cascade = " CASCADE"
			}
			d.add("", "DROP TYPE %s%s%s;", ie, name, cascade)
		}
	case "FUNCTION", "PROCEDURE", "AGGREGATE":
		if name, next := s.created(); name != "" {
			// The heading has the name without quotes, and the types of the arguments.
			if plain := s.list[next-1].Name(); strings.HasPrefix(h.Name, oneLine(plain)+"(") {
				d.add("", "DROP %s %s%s%s;", h.Type, ie, name, h.Name[len(oneLine(plain)):])
			}
		}
	case "INDEX":
		if name, _ := s.created(); name != "" {
			full := ident(h.Schema) + "." + name
			d.add(bare(h.Schema)+"."+name, "DROP INDEX %s%s;", ie, full)
		}
	default:
		d.part(s)
	}
}

// part adds what removes an entry that is part of a table or has no plain name.
func (d *drops) part(s *source) {
	ie := d.exists()
	switch s.h.Type {
	case "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT":
		if table, next := s.after(0, "table"); table != "" {
			if name, _ := s.after(next, "constraint"); name != "" {
				d.add(bare(s.h.Schema)+"."+name, "ALTER TABLE %s%s DROP CONSTRAINT %s%s;", ie, table, ie, name)
			}
		}
	case "DEFAULT":
		if table, next := s.after(0, "table"); table != "" {
			if column, _ := s.after(next, "column"); column != "" {
				d.add("", "ALTER TABLE %s%s ALTER COLUMN %s DROP DEFAULT;", ie, table, column)
			}
		}
	case "TRIGGER", "POLICY":
		if name, next := s.created(); name != "" {
			if table, _ := s.after(next, "on"); table != "" {
				d.add("", "DROP %s %s%s ON %s;", s.h.Type, ie, name, table)
			}
		}
	case "RULE":
		d.rule(s)
	case "OPERATOR":
		d.operator(s)
	case "OPERATOR CLASS", "OPERATOR FAMILY":
		if name, next := s.created(); name != "" {
			if method, _ := s.after(next, "using"); method != "" {
				d.add("", "DROP %s %s%s USING %s;", s.h.Type, ie, name, method)
			}
		}
	case "CAST", "TRANSFORM", "USER MAPPING":
		words := map[string]int{"CAST": 2, "TRANSFORM": 2, "USER MAPPING": 3}[s.h.Type]
		end := s.find(words, map[string]string{"CAST": ")", "TRANSFORM": "(", "USER MAPPING": "options"}[s.h.Type])
		if s.h.Type == "CAST" {
			end++
		}
		if end <= len(s.list) {
			d.add("", "DROP %s %s%s;", s.h.Type, ie, strings.TrimSuffix(joined(s.list[words:end]), " ;"))
		}
	}
}

func (d *drops) rule(s *source) {
	ie := d.exists()
	if name, next := s.after(0, "rule"); name != "" {
		if table, _ := s.after(next, "to"); table != "" {
			d.add("", "DROP RULE %s%s ON %s;", ie, name, table)
		}
		return
	}
	// A view that takes part in a circle: pg_dump makes it with empty columns first, and completes it later. To break the
	// circle it is made empty again.
	name, _ := s.after(0, "view")
	dummy := d.views[s.h.Schema+"."+strings.TrimSuffix(s.h.Name, " _RETURN")]
	if rest, ok := strings.CutPrefix(dummy, "CREATE VIEW "); ok && name != "" {
		body := fmt.Sprintf("BEGIN IF pg_catalog.to_regclass(%s) IS NOT NULL THEN EXECUTE %s; END IF; END", literal(name), literal("CREATE OR REPLACE VIEW "+rest))
		d.add("", "DO %s;", literal(body))
	}
}

func (d *drops) operator(s *source) {
	at := s.find(2, "(")
	args := map[string]string{"leftarg": "NONE", "rightarg": "NONE"}
	for i := at; i+2 < len(s.list); i++ {
		side := s.list[i].Name()
		if args[side] == "" || s.list[i+1].Text != "=" {
			continue
		}
		end, depth := i+2, 0
		for ; end < len(s.list); end++ {
			t := s.list[end].Text
			if depth == 0 && (t == "," || t == ")") {
				break
			}
			depth += map[string]int{"(": 1, ")": -1}[t]
		}
		args[side] = joined(s.list[i+2 : end])
	}
	if at < len(s.list) {
		name := ""
		for _, t := range s.list[2:at] {
			name += t.Text
		}
		d.add("", "DROP OPERATOR %s%s (%s, %s);", d.exists(), name, args["leftarg"], args["rightarg"])
	}
}

// source is an entry's first statement.
type source struct {
	h    *sqlsplit.Heading
	text string
	list []sqlsplit.Token
}

func (s *source) at(i int, text string) bool { return i < len(s.list) && s.list[i].Text == text }

// find returns the place of a word or sign, from i on; the length of the list when there is none.
func (s *source) find(i int, text string) int {
	for ; i < len(s.list); i++ {
		if t := s.list[i]; t.Text == text || t.Is(text) {
			return i
		}
	}
	return len(s.list)
}

// created returns the name of what a CREATE statement makes, as it is written there, and the place behind it.
func (s *source) created() (name string, next int) {
	if !s.list[0].Is("create") {
		return "", 0
	}
	words := strings.Fields(strings.ToLower(s.h.Type))
	return s.after(0, words[len(words)-1])
}

// after returns the name behind the first of a key word from i on, and the place behind that name.
func (s *source) after(i int, word string) (name string, next int) {
	for i = s.find(i, word) + 1; i < len(s.list) && (s.list[i].Is("if") || s.list[i].Is("not") || s.list[i].Is("exists") || s.list[i].Is("only")); {
		i++
	}
	if i >= len(s.list) || s.list[i].Name() == "" {
		return "", 0
	}
	name = s.list[i].Text
	for i++; s.at(i, ".") && i+1 < len(s.list); i += 2 {
		name += "." + s.list[i+1].Text
	}
	return name, i
}

// joined writes tokens out again.
func joined(list []sqlsplit.Token) string {
	var b strings.Builder
	for i, t := range list {
		if i > 0 && t.Text != "." && list[i-1].Text != "." {
			b.WriteByte(' ')
		}
		b.WriteString(t.Text)
	}
	return b.String()
}

// bare quotes a name as pg_dump does, at least where it matters here.
func bare(name string) string {
	for i, c := range name {
		if !(c == '_' || c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return ident(name)
		}
	}
	return name
}
