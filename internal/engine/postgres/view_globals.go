package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// globals writes what the database needs of its cluster: roles, memberships, settings of roles, tablespaces. It never changes
// a role that is there already. Passwords are included, as hashes, when the role may read them.
func (v *View) globals(ctx context.Context) ([]byte, error) {
	var b strings.Builder
	b.WriteString("-- Roles, memberships and tablespaces of the cluster. Run with psql as a superuser; what exists is left as it is.\n")
	var hashes bool
	if err := v.leader.QueryRow(ctx, `SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')`).Scan(&hashes); err != nil {
		return nil, explainIn(ctx, err)
	}
	if !hashes {
		b.WriteString("-- The backup's role may not read passwords: set them anew.\n")
		v.schema.Origin.Notes = append(v.schema.Origin.Notes, "globals.sql has no passwords of roles: only superusers may read them")
	}
	for _, step := range []func(context.Context, *strings.Builder) error{
		func(ctx context.Context, b *strings.Builder) error { return v.roles(ctx, b, hashes) }, v.memberships, v.tablespaces,
	} {
		if err := step(ctx, &b); err != nil {
			return nil, err
		}
	}
	return []byte(b.String()), nil
}

// roles writes CREATE ROLE for all but the predefined ones, together with their settings.
func (v *View) roles(ctx context.Context, b *strings.Builder, hashes bool) error {
	from, password := "pg_roles", "NULL::text"
	if hashes {
		from, password = "pg_authid", "rolpassword"
	}
	rs, err := v.leader.Query(ctx, fmt.Sprintf(`
SELECT r.rolname::text, concat_ws(' ',
	CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
	CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
	CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
	CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, CASE WHEN rolconnlimit >= 0 THEN 'CONNECTION LIMIT ' || rolconnlimit END),
	coalesce(%s, ''), coalesce(rolvaliduntil::text, ''), coalesce(shobj_description(r.oid, 'pg_authid'), ''),
	coalesce((SELECT setconfig FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0), '{}')
FROM %s r WHERE rolname !~ '^pg_' ORDER BY rolname COLLATE "C"`, password, from))
	if err != nil {
		return explainIn(ctx, err)
	}
	var name, options, hash, until, comment string
	var settings []string
	_, err = pgx.ForEachRow(rs, []any{&name, &options, &hash, &until, &comment, &settings}, func() error {
		if hash != "" {
			options += " PASSWORD " + quoteLiteral(hash)
		}
		if until != "" {
			options += " VALID UNTIL " + quoteLiteral(until)
		}
		body := fmt.Sprintf("CREATE ROLE %s WITH %s;", quoteIdent(name), options)
		if comment != "" {
			body += fmt.Sprintf(" COMMENT ON ROLE %s IS %s;", quoteIdent(name), quoteLiteral(comment))
		}
		for _, s := range settings {
			body += fmt.Sprintf(" ALTER ROLE %s %s;", quoteIdent(name), setClause(s))
		}
		// A DO statement with its body as a literal: a dollar quote could be ended by a name.
		fmt.Fprintf(b, "DO %s;\n", quoteLiteral("BEGIN "+body+" EXCEPTION WHEN duplicate_object THEN NULL; END"))
		return nil
	})
	return explainIn(ctx, err)
}

func (v *View) memberships(ctx context.Context, b *strings.Builder) error {
	extra := "''"
	if v.version >= 16 {
		extra = "', INHERIT ' || m.inherit_option || ', SET ' || m.set_option"
	}
	rs, err := v.leader.Query(ctx, fmt.Sprintf(`
SELECT DISTINCT r.rolname::text COLLATE "C", u.rolname::text COLLATE "C", 'ADMIN ' || m.admin_option || %s, m.admin_option
FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
WHERE u.rolname !~ '^pg_' ORDER BY 1, 2`, extra))
	if err != nil {
		return explainIn(ctx, err)
	}
	var role, member, options string
	var admin bool
	_, err = pgx.ForEachRow(rs, []any{&role, &member, &options, &admin}, func() error {
		if v.version < 16 { // the only option that could be given
			options = ""
			if admin {
				options = "ADMIN OPTION"
			}
		}
		fmt.Fprintf(b, "GRANT %s TO %s", quoteIdent(role), quoteIdent(member))
		if options != "" {
			b.WriteString(" WITH " + options)
		}
		b.WriteString(";\n")
		return nil
	})
	return explainIn(ctx, err)
}

// tablespaces are written as comments: their folders must be made first, perhaps elsewhere.
func (v *View) tablespaces(ctx context.Context, b *strings.Builder) error {
	rs, err := v.leader.Query(ctx, `
SELECT spcname::text, pg_get_userbyid(spcowner)::text, pg_tablespace_location(oid) FROM pg_tablespace
WHERE spcname !~ '^pg_' ORDER BY spcname COLLATE "C"`)
	if err != nil {
		return explainIn(ctx, err)
	}
	var name, owner, location string
	_, err = pgx.ForEachRow(rs, []any{&name, &owner, &location}, func() error {
		sql := fmt.Sprintf("CREATE TABLESPACE %s OWNER %s LOCATION %s;", quoteIdent(name), quoteIdent(owner), quoteLiteral(location))
		fmt.Fprintf(b, "-- %s\n", commented(sql)) // psql ends a comment at a carriage return as well
		return nil
	})
	return explainIn(ctx, err)
}

// listSettings are settings whose value is a list of names, each of them quoted when it is stored.
var listSettings = map[string]bool{
	"local_preload_libraries": true, "search_path": true, "session_preload_libraries": true,
	"shared_preload_libraries": true, "temp_tablespaces": true, "unix_socket_directories": true,
}

// setClause turns name=value, as pg_db_role_setting has it, into SET name TO value.
func setClause(setting string) string {
	name, value, _ := strings.Cut(setting, "=")
	parts := strings.Split(name, ".") // of an extension's setting
	for i := range parts {
		parts[i] = quoteIdent(parts[i])
	}
	clause := "SET " + strings.Join(parts, ".") + " TO "
	if !listSettings[strings.ToLower(name)] {
		return clause + quoteLiteral(value)
	}
	items := splitNames(value)
	for i := range items {
		items[i] = quoteLiteral(items[i])
	}
	if len(items) == 0 {
		return clause + "''"
	}
	return clause + strings.Join(items, ", ")
}

// splitNames splits a list of names at its commas and takes double quotes off.
func splitNames(list string) []string {
	var names []string
	var cur strings.Builder
	quoted, any := false, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"' && quoted && i+1 < len(list) && list[i+1] == '"':
			cur.WriteByte('"')
			i++
		case c == '"':
			quoted, any = !quoted, true
		case c == ',' && !quoted:
			names, any = append(names, cur.String()), false
			cur.Reset()
		case c == ' ' && !quoted:
		default:
			cur.WriteByte(c)
			any = true
		}
	}
	if any {
		names = append(names, cur.String())
	}
	return names
}
