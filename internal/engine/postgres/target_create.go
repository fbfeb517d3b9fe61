package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// maintenance returns a session in a database that is surely there, to create or drop ours.
func (t *Target) maintenance(ctx context.Context) (*session, error) {
	var first error
	for _, name := range []string{"postgres", "template1"} {
		cfg := t.cfg.Copy()
		cfg.Database = name
		conn, err := connect(ctx, cfg, restoreApp)
		if err == nil {
			return &session{conn: conn}, nil
		}
		if first == nil {
			first = err
		}
		if !isState(err, "3D000") && !isState(err, "42501") {
			break
		}
	}
	return nil, first
}

// createDatabase makes the database as the backup's was: encoding, locale and its provider.
func (t *Target) createDatabase(ctx context.Context) error {
	s, err := t.maintenance(ctx)
	if err != nil {
		return err
	}
	defer s.conn.Close(ctx)
	name := t.cfg.Database
	var exists bool
	err = s.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)`, name).Scan(&exists)
	if err != nil {
		return fail.Op(explainIn(ctx, err), "look for %s", t.where)
	}
	if exists && !t.opt.Clean {
		return fail.New(fail.Exists, "--clean drops it first; without --create an empty one is used", "create %s: it exists", t.where)
	}
	if exists {
		t.version = serverVersion(s.conn)
		if err := t.rehearse(ctx); err != nil {
			return err
		}
		if err := s.exec(ctx, "DROP DATABASE "+quoteIdent(name)); err != nil {
			return fail.Op(explainIn(ctx, err), "drop %s", t.where)
		}
		t.had = fmt.Sprintf("--clean dropped %s, and it is gone; that was", t.where)
	}
	known, err := readKnown(ctx, s)
	if err != nil {
		return fail.Op(explainIn(ctx, err), "look for %s", t.where)
	}
	t.did = created
	if err := s.exec(ctx, createSQL(name, &t.schema.Origin, serverVersion(s.conn), known)); err != nil {
		if !exists {
			t.did = untouched
		}
		hint := ""
		if isState(err, "22023") {
			hint = "this server lacks the locale: create the database yourself, then restore without --create"
		}
		err = explainIn(ctx, err)
		return fail.Wrap(fail.KindOf(err), err, hint, "create %s", t.where)
	}
	return nil
}

// createSQL returns the CREATE DATABASE for a database like the one that o describes.
func createSQL(name string, o *rows.Origin, version int, known known) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE DATABASE %s TEMPLATE template0", quoteIdent(name))
	add := func(option, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s %s", option, quoteLiteral(value))
		}
	}
	add("ENCODING", o.Encoding)
	add("LC_COLLATE", o.Attribute("collate"))
	add("LC_CTYPE", o.Attribute("ctype"))
	if space := o.Attribute("tablespace"); space != "" && known.tablespaces[space] {
		fmt.Fprintf(&b, " TABLESPACE %s", quoteIdent(space))
	}
	provider := o.Attribute("locale_provider")
	switch {
	case provider == "icu" && version >= 15:
		b.WriteString(" LOCALE_PROVIDER icu")
		add("ICU_LOCALE", o.Attribute("locale"))
		if version >= 16 {
			add("ICU_RULES", o.Attribute("icu_rules"))
		}
	case provider == "builtin" && version >= 17:
		b.WriteString(" LOCALE_PROVIDER builtin")
		add("BUILTIN_LOCALE", o.Attribute("locale"))
	case version >= 15:
		b.WriteString(" LOCALE_PROVIDER libc")
	}
	return b.String()
}

// dropDatabase removes the database that Prepare created.
func (t *Target) dropDatabase(ctx context.Context) error {
	s, err := t.maintenance(ctx)
	if err != nil {
		return err
	}
	defer s.conn.Close(ctx)
	if err := t.dropSubscriptions(ctx); err != nil {
		return err
	}
	// Nobody but this restore had a use for it yet, so sessions in it are ended.
	return explainIn(ctx, s.exec(ctx, "DROP DATABASE IF EXISTS "+quoteIdent(t.cfg.Database)+" WITH (FORCE)"))
}

// dropSubscriptions removes what keeps a database from being dropped.
func (t *Target) dropSubscriptions(ctx context.Context) error {
	s, err := t.newSession(ctx)
	if isState(err, "3D000") {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.conn.Close(ctx)
	found, err := inventory(ctx, s)
	if err != nil {
		return explainIn(ctx, err)
	}
	_, err = t.wipe(ctx, s, slices.DeleteFunc(found, func(o object) bool { return o.Kind != "subscription" }))
	return err
}

// dress gives a database that was created here what is not in the definitions: settings, rights,
// comment and owner of the database itself.
func (t *Target) dress(ctx context.Context) error {
	name := quoteIdent(t.cfg.Database)
	h := &heading{Name: t.cfg.Database, Type: "DATABASE"}
	var list []statement
	add := func(format string, args ...any) {
		list = append(list, statement{h, fmt.Sprintf(format, args...) + ";", 0})
	}
	o := &t.schema.Origin
	for _, p := range o.Attributes {
		role, forRole := strings.CutPrefix(p.Name, "set for ")
		switch {
		case p.Name == "comment":
			add("COMMENT ON DATABASE %s IS %s", name, quoteLiteral(p.Value))
		case p.Name == "connection_limit":
			add("ALTER DATABASE %s CONNECTION LIMIT %s", name, p.Value)
		case p.Name == "set":
			add("ALTER DATABASE %s %s", name, p.Value)
		case forRole && !t.known.roles[role]:
			t.note("role %s does not exist here: its settings in the database were left out", quoteIdent(role))
		case forRole:
			add("ALTER ROLE %s IN DATABASE %s %s", quoteIdent(role), name, p.Value)
		}
	}
	if acl := o.Attribute("acl"); acl != "" {
		grants, err := t.databaseGrants(ctx, acl)
		if err != nil {
			return err
		}
		add("REVOKE ALL ON DATABASE %s FROM PUBLIC", name)
		for _, g := range grants {
			add("GRANT %s ON DATABASE %s TO %s%s", g.Right, name, g.Grantee, g.option())
		}
	}
	// Last, since only the owner may do the above.
	if owner := o.Attribute("owner"); owner != "" {
		add("ALTER DATABASE %s OWNER TO %s", name, quoteIdent(owner))
	}
	for _, s := range list {
		// The attributes were stored as text: each is one statement or none.
		if pieces, err := sqlsplit.Split(sqlsplit.PostgreSQL, s.text); err != nil || len(pieces) != 1 || pieces[0].Kind != sqlsplit.Statement {
			return fail.New(fail.Damaged, "", "the backup's description of the database holds %.100q", s.text)
		}
	}
	a := applier{t: t, conn: t.main}
	return a.quietly(ctx, list)
}

// databaseGrants reads the text of a database's access control list, item by item: roles in it may be
// missing here.
func (t *Target) databaseGrants(ctx context.Context, acl string) ([]grant, error) {
	items, err := column(ctx, t.main, `SELECT pg_catalog.unnest($1::pg_catalog.text[])`, acl)
	if err != nil {
		return nil, fail.Wrap(fail.Damaged, explainIn(ctx, err), "", "read the rights on the database")
	}
	var all []grant
	for _, item := range items {
		r, err := t.main.conn.Query(ctx, grantQuery+`FROM pg_catalog.aclexplode(ARRAY[$1::pg_catalog.text::pg_catalog.aclitem]) a`, item)
		if err != nil {
			return nil, explainIn(ctx, err)
		}
		list, err := pgx.CollectRows(r, pgx.RowToStructByPos[grant])
		if isState(err, "42704") {
			t.note("a role of %q does not exist here: its rights on the database were left out", item)
			continue
		}
		if err != nil {
			return nil, explainIn(ctx, err)
		}
		all = append(all, list...)
	}
	return all, nil
}
