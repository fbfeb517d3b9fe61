package mysql

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// result is a row of a SHOW statement by the names of its columns, in lower case.
func (d *describer) show(ctx context.Context, sql string) (map[string]cell, error) {
	r := map[string]cell{}
	names, row, err := d.s.header(ctx, sql)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		r[strings.ToLower(name)] = row[i]
	}
	return r, nil
}

// showElsewhere is show in a session of its own, without the transaction of the snapshot.
func (d *describer) showElsewhere(ctx context.Context, sql string) (map[string]cell, error) {
	s, err := connect(ctx, d.cfg, true)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return (&describer{View: d.View, s: s}).show(ctx, sql)
}

// readRoutines reads procedures, functions and MariaDB's packages.
func (d *describer) readRoutines(ctx context.Context, post *[]statement) error {
	if !d.all {
		return nil
	}
	list, err := d.s.all(ctx, `SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = database()
		ORDER BY routine_type = 'PACKAGE BODY', routine_type, routine_name`)
	if err != nil {
		return err
	}
	var hidden []string
	for _, row := range list {
		kind, name := row[0].s, row[1].s
		r, err := d.show(ctx, "SHOW CREATE "+kind+" "+quoteIdent(name))
		if err != nil {
			return fail.Op(explainIn(ctx, err), "read %s %s", strings.ToLower(kind), name)
		}
		body := r["create "+strings.ToLower(kind)]
		if body.null || body.s == "" {
			hidden = append(hidden, name)
			continue
		}
		sql := d.definer(body.s)
		withSetting(post, setting(sql, r["sql_mode"].s, r["character_set_client"].s, r["collation_connection"].s, ""),
			statement{label{Kind: strings.ToLower(kind), Name: name}, sql})
	}
	if len(hidden) > 0 {
		return fail.New(fail.Denied, "GRANT SELECT ON mysql.proc (MariaDB) or SHOW_ROUTINE (MySQL)", "no right to read the routines %s", strings.Join(hidden, ", "))
	}
	return nil
}

// view is one that is to be ordered.
type viewDef struct {
	name    string
	needs   []string // other views
	set     statement
	sql     statement
	visited bool
}

var qualified = regexp.MustCompile("`((?:[^`]|``)*)`\\.`((?:[^`]|``)*)`")

// readViews reads the views, each behind those that it reads.
func (d *describer) readViews(ctx context.Context, post *[]statement) error {
	if !d.all {
		return nil
	}
	list, err := d.s.all(ctx, "SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = database() ORDER BY table_name")
	if err != nil {
		return err
	}
	views := map[string]*viewDef{}
	var order []*viewDef
	for _, row := range list {
		v := &viewDef{name: row[0].s}
		for _, m := range qualified.FindAllStringSubmatch(row[1].s, -1) {
			if m[1] == strings.ReplaceAll(d.cfg.DBName, "`", "``") {
				v.needs = append(v.needs, strings.ReplaceAll(m[2], "``", "`"))
			}
		}
		if err := d.readView(ctx, v); err != nil {
			return err
		}
		views[v.name] = v
		order = append(order, v)
	}
	var sound, doubtful []statement
	var visit func(v *viewDef)
	visit = func(v *viewDef) {
		if v == nil || v.visited {
			return
		}
		v.visited = true
		for _, name := range v.needs {
			visit(views[name])
		}
		dst := &sound
		if v.sql.Doubt {
			dst = &doubtful
		}
		*dst = append(*dst, v.set, v.sql)
	}
	for _, v := range order {
		visit(v)
	}
	*post = append(append(*post, sound...), doubtful...)
	return nil
}

func (d *describer) readView(ctx context.Context, v *viewDef) error {
	r, err := d.show(ctx, "SHOW CREATE VIEW "+quoteIdent(v.name))
	if isNumber(err, errReadOnlyTx) { // one that draws from a sequence is opened to write, even for this
		r, err = d.showElsewhere(ctx, "SHOW CREATE VIEW "+quoteIdent(v.name))
	}
	if isNumber(err, 1142) {
		return fail.Wrap(fail.Denied, err, "GRANT SHOW VIEW ON "+quoteIdent(d.cfg.DBName)+".*", "read view %s", v.name)
	}
	if err != nil {
		return fail.Op(explainIn(ctx, err), "read view %s", v.name)
	}
	text := d.local(r["create view"].s)
	v.set = setting(text, "", r["character_set_client"].s, r["collation_connection"].s, "")
	v.sql = statement{label{Kind: "view", Name: v.name}, d.definer(text)}
	if err := d.s.exec(ctx, "SELECT 1 FROM "+quoteIdent(v.name)+" LIMIT 0"); isNumber(err, errBrokenView, errNoTable, 1054) {
		v.sql.Doubt = true
		d.note("view %s is broken: what it reads is not there, or may not be read", v.name)
	}
	return nil
}

// readTriggers reads the triggers of the chosen tables, in the order in which they fire.
func (d *describer) readTriggers(ctx context.Context, post *[]statement) error {
	list, err := d.s.all(ctx, `SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE trigger_schema = database()
		ORDER BY event_object_table, action_timing, event_manipulation, action_order`)
	if err != nil {
		return err
	}
	for _, row := range list {
		if d.tables[row[1].s] == nil {
			continue
		}
		r, err := d.show(ctx, "SHOW CREATE TRIGGER "+quoteIdent(row[0].s))
		if err != nil {
			return fail.Op(explainIn(ctx, err), "read trigger %s", row[0].s)
		}
		sql := d.definer(r["sql original statement"].s)
		withSetting(post, setting(sql, r["sql_mode"].s, r["character_set_client"].s, r["collation_connection"].s, ""),
			statement{label{Kind: "trigger", Name: row[0].s, Table: row[1].s}, sql})
	}
	return nil
}

func (d *describer) readEvents(ctx context.Context, post *[]statement) error {
	if !d.all {
		return nil
	}
	list, err := d.s.all(ctx, "SELECT event_name FROM information_schema.events WHERE event_schema = database() ORDER BY event_name")
	if err != nil {
		return err
	}
	for _, row := range list {
		r, err := d.show(ctx, "SHOW CREATE EVENT "+quoteIdent(row[0].s))
		if err != nil {
			return fail.Op(explainIn(ctx, err), "read event %s", row[0].s)
		}
		sql := d.definer(r["create event"].s)
		withSetting(post, setting(sql, r["sql_mode"].s, r["character_set_client"].s, r["collation_connection"].s, r["time_zone"].s),
			statement{label{Kind: "event", Name: row[0].s}, sql})
	}
	return nil
}

// servant are accounts that every server makes for itself.
var servant = []string{"mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "PUBLIC"}

// globals writes users and roles with their rights, if this user may see them.
//
// They are read over a connection of their own: no snapshot has them, and a transaction that has read them holds up every
// GRANT until it ends.
func (d *describer) globals(ctx context.Context) []byte {
	s, err := connect(ctx, d.cfg, false)
	if err != nil {
		d.note("users and their rights are not in the backup: %v", err)
		return scriptText(d.cfg.DBName, nil)
	}
	defer s.close()
	query := "SELECT user, host, is_role = 'Y' FROM mysql.user ORDER BY is_role DESC, user, host"
	if !d.s.maria { // whose roles are users
		query = `SELECT user, host, 0 FROM mysql.user u
			ORDER BY EXISTS (SELECT 1 FROM mysql.role_edges e WHERE e.from_user = u.user AND e.from_host = u.host) DESC, user, host`
		_ = s.exec(ctx, "SET SESSION print_identified_with_as_hex = 1") // a salt is any bytes
	}
	list, err := s.all(ctx, query)
	if err != nil {
		d.note("users and their rights are not in the backup: %v", err)
		return scriptText(d.cfg.DBName, nil)
	}
	var out, rights []statement // a right may name any user
	for _, row := range list {
		name, host, role := row[0].s, row[1].s, row[2].s == "1"
		if slices.Contains(servant, name) || name == "" && !role {
			continue
		}
		account := quoteLiteral(name) + "@" + quoteLiteral(host)
		create := "CREATE ROLE IF NOT EXISTS " + quoteLiteral(name)
		if role {
			account = quoteLiteral(name)
		} else {
			r, err := s.one(ctx, "SHOW CREATE USER "+account)
			if err != nil {
				d.note("user %s is not in the backup: %v", account, err)
				continue
			}
			create = strings.Replace(r[0].s, "CREATE USER ", "CREATE USER IF NOT EXISTS ", 1)
		}
		out = append(out, statement{label{Kind: "user", Name: fmt.Sprintf("%s@%s", name, host)}, create})
		grants, err := s.all(ctx, "SHOW GRANTS FOR "+account)
		if err != nil {
			d.note("the rights of %s are not in the backup: %v", account, err)
		}
		for _, g := range grants {
			if account != "'root'@'localhost'" || !strings.HasPrefix(g[0].s, "GRANT PROXY ON ") { // which each server gives, and nobody else may
				rights = append(rights, statement{label{Kind: "grant", Name: name}, g[0].s})
			}
		}
	}
	return scriptText(d.cfg.DBName, append(out, rights...))
}
