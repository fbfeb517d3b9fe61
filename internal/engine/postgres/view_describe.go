package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// describe fills in the schema and the parts, all from the leader's snapshot.
func (v *View) describe(ctx context.Context, f *freezer) error {
	v.schema = &rows.Schema{}
	v.parts = map[*rows.Table][]rows.Part{}
	block, err := v.origin(ctx, f.standby)
	if err != nil {
		return err
	}
	list := chosenOf(f.all)
	steps := []func(context.Context, *pgx.Conn, []*rel) error{
		describeColumns, describeIndexes, describeParents,
		func(ctx context.Context, c *pgx.Conn, l []*rel) (err error) {
			f.dangling, err = describeForeignKeys(ctx, c, l)
			return err
		},
		func(ctx context.Context, _ *pgx.Conn, _ []*rel) error { return f.publications(ctx) },
		func(ctx context.Context, c *pgx.Conn, l []*rel) error { return measure(ctx, c, l, block) },
	}
	for _, step := range steps {
		if err := step(ctx, v.leader, list); err != nil {
			return err
		}
	}
	v.refused = map[*rows.Table]error{}
	for _, r := range list {
		if r.why != "" { // else that ended the freeze
			v.refused[r.table] = fail.New(fail.Denied, "leave it out, or have it read by a role that may", "read %s: %s", r.table, r.why)
		}
		v.schema.Tables = append(v.schema.Tables, r.table)
		// Ranges of ctid are scanned as such since PostgreSQL 14.
		v.parts[r.table] = partsOf(r, int64(v.opt.PartPages), v.version < 14)
	}
	if f.objects.state == chosen {
		parts, err := objectParts(ctx, v.leader, f.objects.table, int64(v.opt.PartPages)*block)
		if err != nil {
			return err
		}
		if len(parts) > 0 {
			v.schema.Tables = append(v.schema.Tables, f.objects.table)
			v.parts[f.objects.table] = parts
		}
	}
	if v.schema.Sequences, err = v.readSequences(ctx, f.all); err != nil {
		return err
	}
	v.schema.Origin.Notes = append(v.schema.Origin.Notes, f.tellNotes()...)
	return nil
}

// tellNotes says what a reader of the backup would not expect.
func (f *freezer) tellNotes() []string {
	var notes, foreign, unlogged, left []string
	for _, r := range f.all {
		switch {
		case r.state == excluded:
			left = append(left, r.table.String())
		case r.relkind == "f":
			foreign = append(foreign, r.table.String())
		case r.unlogged:
			unlogged = append(unlogged, r.table.String())
		}
	}
	add := func(text string, names []string) {
		if len(names) > 0 {
			notes = append(notes, text+": "+strings.Join(names, ", "))
		}
	}
	add("foreign tables: only the definition is included, the rows live elsewhere", foreign)
	add("unlogged tables: rows included", unlogged)
	add("left out as asked", left)
	var views, keys []string
	for _, h := range f.views {
		views = append(views, h.String())
	}
	for _, k := range f.dangling {
		keys = append(keys, k.String())
	}
	add("views left out, since they need tables that are left out", views)
	add("foreign keys left out, since they refer to tables that are left out", keys)
	return append(f.notes, notes...)
}

const originQuery = `
SELECT current_setting('server_version'), d.datname::text, pg_encoding_to_char(d.encoding), d.datcollate::text, d.datctype::text,
	pg_get_userbyid(d.datdba)::text, coalesce(shobj_description(d.oid, 'pg_database'), ''), d.datconnlimit, t.spcname::text,
	coalesce(d.datacl::text, ''), now(), current_setting('block_size')::int8,
	CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text, to_jsonb(d)
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = current_database()`

// origin fills in where the rows come from, and returns the size of a page.
func (v *View) origin(ctx context.Context, standby bool) (block int64, err error) {
	o := &v.schema.Origin
	o.Engine, o.Host = "postgres", hostOf(v.cfg)
	var collate, ctype, owner, comment, space, acl string
	var limit int
	var position *string
	var row map[string]any // columns that not every version has
	err = v.leader.QueryRow(ctx, originQuery).Scan(&o.Version, &o.Database, &o.Encoding, &collate, &ctype,
		&owner, &comment, &limit, &space, &acl, &o.TakenAt, &block, &position, &row)
	if err != nil {
		return 0, explainIn(ctx, err)
	}
	o.TakenAt = o.TakenAt.UTC().Round(time.Microsecond)
	if position != nil {
		o.Position = *position
	}
	o.Consistency = fmt.Sprintf("one exported snapshot, %d connections", v.opt.Jobs+1)
	if standby {
		o.Position += " standby"
		o.Consistency += ", on a standby"
	}
	if o.Encoding == "SQL_ASCII" {
		o.Notes = append(o.Notes, "the database's encoding is SQL_ASCII: text is stored as it is, in whatever encoding its writers used")
	}
	text := func(name string) string { s, _ := row[name].(string); return s }
	provider := map[string]string{"": "libc", "c": "libc", "i": "icu", "b": "builtin"}[text("datlocprovider")]
	add := func(name, value string) {
		if value != "" {
			o.Attributes = append(o.Attributes, rows.Pair{Name: name, Value: value})
		}
	}
	add("collate", collate)
	add("ctype", ctype)
	add("locale_provider", provider)
	add("locale", cmp.Or(text("datlocale"), text("daticulocale")))
	add("icu_rules", text("daticurules"))
	add("owner", owner)
	add("comment", comment)
	if limit >= 0 {
		add("connection_limit", fmt.Sprint(limit))
	}
	if space != "pg_default" {
		add("tablespace", space)
	}
	add("acl", acl)
	return block, v.databaseSettings(ctx, add)
}

// databaseSettings adds what ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET have set, as the part of those statements
// that begins with SET. The role of the latter follows the attribute's name.
func (v *View) databaseSettings(ctx context.Context, add func(name, value string)) error {
	rs, err := v.leader.Query(ctx, `
SELECT coalesce(r.rolname::text, ''), u.setting FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole,
	unnest(s.setconfig) WITH ORDINALITY u (setting, pos)
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1, u.pos`)
	if err != nil {
		return explainIn(ctx, err)
	}
	var role, setting string
	_, err = pgx.ForEachRow(rs, []any{&role, &setting}, func() error {
		name := "set"
		if role != "" {
			name = "set for " + role
		}
		add(name, setClause(setting))
		return nil
	})
	return explainIn(ctx, err)
}
