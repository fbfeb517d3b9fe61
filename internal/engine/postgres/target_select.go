package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// group is the statements of one entry, and the names in them.
type group struct {
	list    []statement
	subject qualified   // what the entry is about: the table of an index, of a grant, …
	names   []qualified // all names with a schema
	in      bool        // it is part of the restore
}

// typ is the entry's type, "" for statements outside of any.
func (g *group) typ() string {
	if g.list[0].heading == nil {
		return ""
	}
	return g.list[0].Type
}

// own is the name of what the entry creates.
func (g *group) own() qualified {
	if g.list[0].heading == nil {
		return qualified{}
	}
	name, _, _ := strings.Cut(g.list[0].Name, "(")
	return qualified{g.list[0].Schema, name}
}

// helpers are types of entries that a table may need and that are created with it when missing. Other
// tables and views are not: they were not asked for.
var helpers = []string{"TYPE", "SHELL TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "AGGREGATE", "SEQUENCE", "COLLATION",
	"TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY"}

var relationTypes = []string{"TABLE", "MATERIALIZED VIEW", "FOREIGN TABLE"}

// groups cuts a script into entries. Settings stand alone, with a nil entry.
func groups(list []statement) []*group {
	var all []*group
	for i := 0; i < len(list); {
		end := i + 1
		if apart(list[i]) {
			all = append(all, &group{list: list[i:end], in: true})
			i = end
			continue
		}
		for end < len(list) && list[end].heading == list[i].heading && !apart(list[end]) {
			end++
		}
		g := &group{list: list[i:end]}
		for _, s := range g.list {
			toks := tokens(s.text)
			for k := range toks {
				if q, ok := qualifiedAt(toks, k); ok {
					g.names = append(g.names, q)
				} else if q, ok := regclassAt(toks, k); ok {
					g.names = append(g.names, q)
				}
			}
		}
		g.subject = subjectOf(g)
		all = append(all, g)
		i = end
	}
	return all
}

// regclassAt reads the name in 'schema.name'::regclass, as in nextval's argument.
func regclassAt(list []token, i int) (q qualified, ok bool) {
	if i+3 >= len(list) || list[i].Kind != sqlsplit.String || list[i].Text[0] != '\'' || !list[i+3].Is("regclass") {
		return q, false
	}
	text := list[i].Text
	return qualifiedAt(tokens(strings.ReplaceAll(text[1:len(text)-1], "''", "'")), 0)
}

func apart(s statement) bool { return s.heading == nil || classify(s).purpose == setting }

// subjectOf finds what an entry is about. pg_dump names it first, but for the types below.
func subjectOf(g *group) qualified {
	switch g.typ() {
	case "TABLE ATTACH", "INDEX ATTACH":
		return g.own()
	case "STATISTICS":
		toks := tokens(g.list[0].text)
		for k := len(toks) - 1; k > 0; k-- {
			if q, ok := qualifiedAt(toks, k); ok && toks[k-1].Is("from") {
				return q
			}
		}
	}
	if len(g.names) > 0 {
		return g.names[0]
	}
	return g.own()
}

// create makes the tables that do not exist, with all that their definition needs and
// the target lacks.
func (s *single) create(ctx context.Context) error {
	var missing []qualified
	for _, p := range s.places {
		if !p.exists && p.table.Kind != rows.LargeObjects {
			missing = append(missing, p.name())
		}
	}
	if len(missing) == 0 || s.t.script == nil {
		return nil
	}
	sel := &selector{s: s, pre: groups(s.t.script.pre), post: groups(s.t.script.post), wanted: s.fresh, there: map[qualified]bool{}}
	if err := sel.run(ctx, missing); err != nil {
		return err
	}
	for _, schema := range sel.schemas {
		if err := s.s.exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+quoteIdent(schema)); err != nil {
			return fail.Op(explainIn(ctx, err), "create schema %s", quoteIdent(schema))
		}
	}
	a := applier{t: s.t, conn: s.s, stage: "definitions", inTx: true}
	if err := a.run(ctx, statementsIn(sel.pre)); err != nil {
		return fail.Wrap(fail.KindOf(err), err, "what it needs must exist first: extensions, parent tables", "create the tables chosen")
	}
	s.post = append(statementsIn(sel.post), sel.attach...)
	if s.t.opt.SchemaOnly {
		s.post = withoutRefresh(s.post)
	}
	for _, p := range s.places {
		p.exists = true // created now; LargeObjects don't care
	}
	return nil
}

// statementsIn returns the statements of the groups that are in.
func statementsIn(all []*group) []statement {
	var list []statement
	for _, g := range all {
		if g.in {
			list = append(list, g.list...)
		}
	}
	return list
}

// selector picks from a script what is needed for some tables.
type selector struct {
	s         *single
	pre, post []*group
	wanted    map[qualified]bool // tables, and what is created for them
	there     map[qualified]bool // what the target was asked about
	schemas   []string           // to be created without an entry in the script
	attach    []statement        // to be run when all else is done
}

func (sel *selector) run(ctx context.Context, tables []qualified) error {
	for _, q := range tables {
		if !slices.ContainsFunc(sel.pre, func(g *group) bool { return slices.Contains(relationTypes, g.typ()) && g.own() == q }) {
			return fail.New(fail.Damaged, "", "the definitions lack table %s", q)
		}
		sel.wanted[q] = true
	}
	for _, q := range sel.s.t.schema.Sequences {
		if t := sel.s.t.schema.Table(q.Table); t != nil && sel.wanted[qualified{t.Schema, t.Name}] {
			sel.wanted[qualified{q.Schema, q.Name}] = true
		}
	}
	// Until nothing is added: what is taken in may need more.
	for changed := true; changed; {
		changed = false
		for _, g := range slices.Concat(sel.pre, sel.post) {
			if g.in || !sel.belongs(g) {
				continue
			}
			ok, err := sel.admit(ctx, g)
			if err != nil {
				return err
			}
			g.in = ok
			changed = changed || ok
		}
	}
	return sel.addSchemas(ctx)
}

// belongs reports whether an entry is about something that is wanted.
func (sel *selector) belongs(g *group) bool {
	switch g.typ() {
	case "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "VIEW", "":
		return false
	case "TABLE", "MATERIALIZED VIEW", "FOREIGN TABLE":
		return sel.wanted[g.own()]
	case "TYPE", "SHELL TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "AGGREGATE", "COLLATION":
		return sel.wanted[g.own()]
	case "INDEX", "CONSTRAINT":
		if sel.wanted[g.subject] {
			// For its comment and its attachment. A constraint's entry is named «table constraint».
			sel.wanted[qualified{g.list[0].Schema, strings.TrimPrefix(g.list[0].Name, g.subject.name+" ")}] = true
			return true
		}
		return false
	}
	return sel.wanted[g.subject] || sel.wanted[g.own()]
}

// admit looks at what an entry needs and takes that in too. It leaves out, with a note, what ties
// a table to another one that is neither there nor restored.
func (sel *selector) admit(ctx context.Context, g *group) (bool, error) {
	for _, q := range g.names {
		if sel.wanted[q] {
			continue
		}
		i := slices.IndexFunc(sel.pre, func(d *group) bool {
			return d.own() == q && d.typ() != "" && d != g && (slices.Contains(helpers, d.typ()) || slices.Contains(relationTypes, d.typ()))
		})
		if i < 0 {
			continue
		}
		there, err := sel.exists(ctx, q)
		if err != nil {
			return false, err
		}
		switch {
		case there:
		case slices.Contains(helpers, sel.pre[i].typ()):
			sel.wanted[q] = true
		case g.typ() == "FK CONSTRAINT", g.typ() == "TABLE ATTACH":
			sel.s.t.note("%s was left out: table %s does not exist here", g.list[0].heading, q)
			return false, nil
		}
	}
	switch {
	case len(g.names) == 0 || sel.wanted[g.names[0]]:
	case g.typ() == "INDEX ATTACH":
		return false, nil // the older table's indexes are matched when the new one is attached
	case g.typ() == "TABLE ATTACH":
		// To an older table, whose indexes and constraints the new one then has to have.
		if q := g.own(); !sel.s.alone[q] {
			sel.s.alone[q] = true
			sel.attach = append(sel.attach, g.list...)
		}
		return false, nil
	}
	return true, nil
}

// exists reports whether the target has a relation, type, routine or collation of that name.
func (sel *selector) exists(ctx context.Context, q qualified) (bool, error) {
	if there, asked := sel.there[q]; asked {
		return there, nil
	}
	var there bool
	err := sel.s.s.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = $1 AND (
		EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = $2)
		OR EXISTS (SELECT FROM pg_catalog.pg_type c WHERE c.typnamespace = n.oid AND c.typname = $2)
		OR EXISTS (SELECT FROM pg_catalog.pg_proc c WHERE c.pronamespace = n.oid AND c.proname = $2)
		OR EXISTS (SELECT FROM pg_catalog.pg_collation c WHERE c.collnamespace = n.oid AND c.collname = $2)
		OR EXISTS (SELECT FROM pg_catalog.pg_ts_config c WHERE c.cfgnamespace = n.oid AND c.cfgname = $2)
		OR EXISTS (SELECT FROM pg_catalog.pg_ts_dict c WHERE c.dictnamespace = n.oid AND c.dictname = $2)))`, q.schema, q.name).Scan(&there)
	sel.there[q] = there
	return there, explainIn(ctx, err)
}

// addSchemas takes in the schemas of what is created, where they are missing.
func (sel *selector) addSchemas(ctx context.Context) error {
	there, err := column(ctx, sel.s.s, `SELECT nspname::text FROM pg_catalog.pg_namespace`)
	if err != nil {
		return explainIn(ctx, err)
	}
	for q := range sel.wanted {
		if slices.Contains(there, q.schema) {
			continue
		}
		there = append(there, q.schema)
		defined := false
		for _, g := range sel.pre {
			if g.typ() == "SCHEMA" && g.list[0].Name == q.schema || g.typ() != "" && g.list[0].Name == "SCHEMA "+q.schema {
				g.in, defined = true, true
			}
		}
		if !defined {
			sel.schemas = append(sel.schemas, q.schema)
		}
	}
	return nil
}
