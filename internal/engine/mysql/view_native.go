package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// Files of a view's Native.
const (
	globalsFile   = "globals.sql"
	preFile       = "schema/pre-data.sql"
	postFile      = "schema/post-data.sql"
	sequencesFile = "sequences.sql"
)

// A label says in a comment what the statement below it defines.
type label struct {
	Kind  string `json:"kind"` // "table", "sequence", "foreign key", "view", "trigger", "procedure", "function", "package", "package body", "event", "set", …
	Name  string `json:"name,omitempty"`
	Table string `json:"table,omitempty"` // that a trigger or foreign key belongs to
	Doubt bool   `json:"doubt,omitempty"` // a view that could not be read, so may not be made either
}

// statement is one statement of a definition file.
type statement struct {
	label
	sql string
}

// definitions writes the files of the view.
func (d *describer) definitions(ctx context.Context) (nativeFS, error) {
	var pre, post, seq []statement
	if d.opt.DataOnly {
		if err := d.readSequences(ctx, &pre, &seq); err != nil {
			return nil, err
		}
		return nativeFS{sequencesFile: scriptText(d.cfg.DBName, seq)}, nil
	}
	if err := d.readSequences(ctx, &pre, &seq); err != nil {
		return nil, err
	}
	for _, t := range d.schema.Tables {
		sql := d.create[t.Name]
		pre = append(pre, statement{label{Kind: "table", Name: t.Name}, d.local(sql.sql())})
		for _, k := range sql.foreign {
			post = append(post, statement{label{Kind: "foreign key", Name: k.name, Table: t.Name}, "ALTER TABLE " + quoteTable(t) + " ADD " + k.sql})
		}
	}
	d.noteRights(ctx)
	for _, step := range []func(context.Context, *[]statement) error{d.readRoutines, d.readViews, d.readTriggers, d.readEvents} {
		if err := step(ctx, &post); err != nil {
			return nil, err
		}
	}
	d.schema.Origin.Tools = d.s.version
	return nativeFS{
		preFile: scriptText(d.cfg.DBName, pre), postFile: scriptText(d.cfg.DBName, post),
		sequencesFile: scriptText(d.cfg.DBName, seq), globalsFile: d.globals(ctx),
	}, nil
}

// local takes the database's own name out of a definition: the server puts it before the sequences of defaults and views.
func (d *describer) local(sql string) string {
	return strings.NewReplacer("nextval("+quoteIdent(d.cfg.DBName)+".", "nextval(", "lastval("+quoteIdent(d.cfg.DBName)+".", "lastval(").Replace(sql)
}

// scriptText writes statements between delimiters that occur in none of them.
func scriptText(database string, list []statement) []byte {
	delimiter := "$$"
	for n := 1; slices.ContainsFunc(list, func(s statement) bool { return strings.Contains(s.sql, delimiter) }); n++ {
		delimiter = fmt.Sprintf("$holdfast%d$", n)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- Definitions of database %s, for the mariadb client.\nDELIMITER %s\n", commented(database), delimiter)
	for _, s := range list {
		head, err := json.Marshal(s.label)
		if err != nil {
			panic("mysql: a label without JSON: " + err.Error())
		}
		fmt.Fprintf(&b, "-- %s\n%s\n%s\n", head, s.sql, delimiter)
	}
	b.WriteString("DELIMITER ;\n")
	return []byte(b.String())
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

// readSequences reads MariaDB's sequences and their values.
func (d *describer) readSequences(ctx context.Context, pre, seq *[]statement) error {
	if !d.s.maria {
		return nil
	}
	names, err := d.s.all(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_type = 'SEQUENCE' ORDER BY binary table_name")
	if err != nil {
		return err
	}
	for _, row := range names {
		name := row[0].s
		if !d.all && !d.mentioned(name) {
			continue
		}
		create, err := d.s.one(ctx, "SHOW CREATE SEQUENCE "+quoteIdent(name))
		if err != nil {
			return fail.Op(explainIn(ctx, err), "read sequence %s", name)
		}
		value, err := d.s.one(ctx, "SELECT next_not_cached_value, cycle_count FROM "+quoteIdent(name))
		if err != nil {
			return fail.Op(explainIn(ctx, err), "read sequence %s", name)
		}
		*pre = append(*pre, statement{label{Kind: "sequence", Name: name}, create[1].s})
		*seq = append(*seq, statement{label{Kind: "sequence value", Name: name},
			fmt.Sprintf("DO setval(%s, %s, 0, %s)", quoteIdent(name), value[0].s, value[1].s)})
		s := rows.Sequence{Name: name}
		_, _ = fmt.Sscan(value[0].s, &s.Last)
		d.schema.Sequences = append(d.schema.Sequences, s)
	}
	return nil
}

// mentioned reports whether a default of a chosen table needs the sequence.
func (d *describer) mentioned(sequence string) bool {
	for _, t := range d.schema.Tables {
		for _, c := range t.Columns {
			if strings.Contains(c.Default, quoteIdent(sequence)) {
				return true
			}
		}
	}
	return false
}

var (
	definerClause = regexp.MustCompile("^(CREATE (?:OR REPLACE )?(?:ALGORITHM=[A-Z]+ )?)DEFINER=(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")(?:@(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"))? ")
	grantLine     = regexp.MustCompile("^GRANT (.*?) ON (?:TABLE )?(`(?:[^`]|``)*`|\\*)\\.(`(?:[^`]|``)*`|\\*) TO ")
)

// definer leaves the DEFINER clause out of a definition when the options say so.
func (d *describer) definer(sql string) string {
	if d.opt.NoDefiners {
		return withoutDefiner(sql)
	}
	return sql
}

func withoutDefiner(sql string) string { return definerClause.ReplaceAllString(sql, "$1") }

// setting is the statement that makes the session as it was when a definition was written. The text itself is
// in UTF-8, so another character set is only named when that makes no difference.
func setting(sql, mode, charset, collation, zone string) statement {
	ascii := !strings.ContainsFunc(sql, func(r rune) bool { return r >= 0x80 })
	if charset == "" || !ascii && !strings.HasPrefix(charset, "utf8") {
		charset, collation = "utf8mb4", "utf8mb4_general_ci"
	}
	text := fmt.Sprintf("SET SESSION sql_mode = %s, SESSION character_set_client = %s, SESSION collation_connection = %s",
		quoteLiteral(mode), quoteLiteral(charset), quoteLiteral(collation))
	if zone != "" {
		text += ", SESSION time_zone = " + quoteLiteral(zone)
	}
	return statement{label{Kind: "set"}, text}
}

// withSetting appends a definition and, before it, its setting unless that is the one before.
func withSetting(post *[]statement, set, s statement) {
	last := ""
	for _, p := range *post {
		if p.Kind == "set" {
			last = p.sql
		}
	}
	if last != set.sql {
		*post = append(*post, set)
	}
	*post = append(*post, s)
}

// noteRights says which definitions the server hides from this user without a word.
func (d *describer) noteRights(ctx context.Context) {
	if !d.all {
		return
	}
	have := map[string]bool{}
	err := d.s.each(ctx, "SHOW GRANTS", func(row []cell) error {
		m := grantLine.FindStringSubmatch(row[0].s)
		if m == nil {
			return nil
		}
		on := strings.Trim(m[2], "`")
		if on != "*" && !likeMatch(on, d.cfg.DBName) && on != "mysql" {
			return nil
		}
		for _, right := range strings.Split(m[1], ", ") {
			switch {
			case on == "mysql" && (m[3] == "*" || m[3] == "`proc`") && (right == "SELECT" || right == "ALL PRIVILEGES"):
				have["routines"] = true
			case on != "mysql" && m[3] == "*":
				have[right] = true
				have["routines"] = have["routines"] || on == "*" && (right == "SELECT" || right == "SHOW_ROUTINE") || right == "SHOW CREATE ROUTINE"
			}
		}
		return nil
	})
	if err != nil || have["ALL PRIVILEGES"] {
		return
	}
	for _, x := range []struct{ right, what string }{{"TRIGGER", "triggers"}, {"EVENT", "events"}, {"routines", "routines of others"}} {
		if !have[x.right] {
			d.note("no right to see %s: if there are any, they are not in the backup", x.what)
		}
	}
}

// likeMatch matches a database's name with the pattern in a grant.
func likeMatch(pattern, name string) bool {
	var re strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern):
			i++
			re.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c == '%':
			re.WriteString(".*")
		case c == '_':
			re.WriteString(".")
		default:
			re.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	ok, err := regexp.MatchString("(?s)^(?:"+re.String()+")$", name)
	return ok && err == nil
}
