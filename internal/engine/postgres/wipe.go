package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// object is something that somebody made in a database.
type object struct {
	Kind string // in the server's words: «table», «function», «extension», …
	Name string // as SQL names it
	Drop string // the statements that remove it and what depends on it
}

// inventoryQuery lists what a fresh database does not have, in the order in which it is best
// removed. What belongs to an extension goes with it; plpgsql and schema public come with a database.
const inventoryQuery = `
WITH owned AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'),
spaces AS (
	SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n
	WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
	AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND o.objid = n.oid)),
members AS (
	SELECT DISTINCT s.nspname, d.classid, d.objid FROM spaces s
	JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = s.oid
	WHERE d.deptype = 'n' AND d.classid NOT IN ('pg_catalog.pg_extension'::pg_catalog.regclass,
		'pg_catalog.pg_default_acl'::pg_catalog.regclass, 'pg_catalog.pg_publication_rel'::pg_catalog.regclass)
	AND pg_catalog.pg_describe_object(d.classid, d.objid, 0) NOT LIKE 'publication %'
	AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = d.classid AND o.objid = d.objid)
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i WHERE i.classid = d.classid AND i.objid = d.objid AND i.deptype = 'i'))
SELECT kind, name, removal FROM (
	SELECT 1 AS rank, 'subscription' AS kind, pg_catalog.quote_ident(subname) AS name, 'subscription' AS removal
	FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
	WHERE d.datname = pg_catalog.current_database()
	UNION ALL SELECT 2, 'publication', pg_catalog.quote_ident(pubname), 'PUBLICATION' FROM pg_catalog.pg_publication
	UNION ALL SELECT 3, 'event trigger', pg_catalog.quote_ident(evtname), 'EVENT TRIGGER' FROM pg_catalog.pg_event_trigger e
	WHERE NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass AND o.objid = e.oid)
	UNION ALL SELECT CASE WHEN m.nspname = 'public' THEN 5 ELSE 6 END, i.type, i.identity,
		CASE WHEN m.nspname = 'public' THEN 'object' ELSE '' END
	FROM members m, LATERAL pg_catalog.pg_identify_object(m.classid, m.objid, 0) i
	UNION ALL SELECT 7, 'schema', pg_catalog.quote_ident(nspname), 'SCHEMA' FROM spaces WHERE nspname <> 'public'
	UNION ALL SELECT 8, 'extension', pg_catalog.quote_ident(extname), 'EXTENSION' FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'
	UNION ALL SELECT 9, 'foreign-data wrapper', pg_catalog.quote_ident(fdwname), 'FOREIGN DATA WRAPPER' FROM pg_catalog.pg_foreign_data_wrapper w
	WHERE NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass AND o.objid = w.oid)
	UNION ALL SELECT 10, i.type, i.identity, 'CAST' FROM pg_catalog.pg_cast c,
		LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_cast'::pg_catalog.regclass, c.oid, 0) i WHERE c.oid >= 16384
	AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_cast'::pg_catalog.regclass AND o.objid = c.oid)
	UNION ALL SELECT 11, 'language', pg_catalog.quote_ident(lanname), 'LANGUAGE' FROM pg_catalog.pg_language l WHERE l.oid >= 16384
	AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_language'::pg_catalog.regclass AND o.objid = l.oid)
	UNION ALL SELECT 12, 'access method', pg_catalog.quote_ident(amname), 'ACCESS METHOD' FROM pg_catalog.pg_am a WHERE a.oid >= 16384
	AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_am'::pg_catalog.regclass AND o.objid = a.oid)
	UNION ALL SELECT 13, 'large object', oid::pg_catalog.text, 'large object' FROM pg_catalog.pg_largeobject_metadata
	UNION ALL SELECT 14, 'default privileges', pg_catalog.quote_ident(r.rolname) || ' ' || d.defaclobjtype::pg_catalog.text, 'default privileges'
	FROM pg_catalog.pg_default_acl d JOIN pg_catalog.pg_roles r ON r.oid = d.defaclrole WHERE d.defaclnamespace = 0
	UNION ALL SELECT 4, 'default privileges', pg_catalog.quote_ident(r.rolname) || ' ' || d.defaclobjtype::pg_catalog.text, 'default privileges in public'
	FROM pg_catalog.pg_default_acl d JOIN pg_catalog.pg_roles r ON r.oid = d.defaclrole
	JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace WHERE n.nspname = 'public'
) all_objects ORDER BY rank, kind, name`

// inventory lists what is in the database that a fresh one does not have.
func inventory(ctx context.Context, s *session) ([]object, error) {
	r, err := s.conn.Query(ctx, inventoryQuery)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(r, func(row pgx.CollectableRow) (object, error) {
		var o object
		var removal string
		if err := row.Scan(&o.Kind, &o.Name, &removal); err != nil {
			return o, err
		}
		o.Drop = dropSQL(o, removal)
		return o, nil
	})
}

// dropSQL returns the statement that removes an object; "" for what its schema takes along.
func dropSQL(o object, removal string) string {
	switch removal {
	case "":
		return ""
	case "subscription":
		// Without its slot, which is on another server and may serve somebody: the publisher's
		// administrator drops it there.
		return fmt.Sprintf("ALTER SUBSCRIPTION %[1]s DISABLE; ALTER SUBSCRIPTION %[1]s SET (slot_name = NONE); DROP SUBSCRIPTION %[1]s", o.Name)
	case "large object":
		return "SELECT pg_catalog.lo_unlink(" + o.Name + ")"
	case "default privileges", "default privileges in public":
		return dropDefaults(o.Name, removal != "default privileges")
	case "object":
		removal = strings.ToUpper(o.Kind)
		switch o.Kind {
		case "function", "procedure", "aggregate":
			removal = "ROUTINE"
		case "composite type":
			removal = "TYPE"
		case "statistics object":
			removal = "STATISTICS"
		}
	}
	drop := "DROP " + removal + " IF EXISTS " + o.Name
	switch removal {
	case "PUBLICATION": // nothing depends on it
	case "ACCESS METHOD", "CAST":
		drop += " CASCADE"
	default:
		drop += " CASCADE"
	}
	return drop
}

// dropDefaults returns the statements that give default privileges their first state; name is the
// role and the kind of object.
func dropDefaults(name string, inPublic bool) string {
	role, kind := name[:len(name)-2], name[len(name)-1:]
	things := map[string]string{"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS", "L": "LARGE OBJECTS"}[kind]
	scope := "ALTER DEFAULT PRIVILEGES FOR ROLE " + role
	if inPublic {
		scope += " IN SCHEMA public"
	}
	// The grantees are asked for when it runs: a list made here would be a second query's.
	revoke := fmt.Sprintf(`DO $holdfast$ DECLARE g text; BEGIN
	FOR g IN SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END
		FROM pg_catalog.pg_default_acl d, LATERAL pg_catalog.aclexplode(d.defaclacl) a
		WHERE d.defaclobjtype = %s AND pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(d.defaclrole)) = %s
		AND d.defaclnamespace = %s
	LOOP EXECUTE %s || g; END LOOP; END $holdfast$`,
		quoteLiteral(kind), quoteLiteral(role), map[bool]string{false: "0", true: "'public'::pg_catalog.regnamespace"}[inPublic],
		quoteLiteral(scope+" REVOKE ALL ON "+things+" FROM "))
	if inPublic {
		return revoke
	}
	revoke += "; " + scope + " GRANT ALL ON " + things + " TO " + role
	switch kind {
	case "f", "T":
		revoke += "; " + scope + " GRANT ALL ON " + things + " TO PUBLIC"
	}
	return revoke
}

// summary says in a few words what was found: «3 tables, 1 function (public.users, …)».
func summary(found []object) string {
	count := map[string]int{}
	var kinds []string
	for _, o := range found {
		if count[o.Kind] == 0 {
			kinds = append(kinds, o.Kind)
		}
		count[o.Kind]++
	}
	// Tables first: they are what people look for.
	slices.SortStableFunc(kinds, func(a, b string) int {
		return cmp.Compare(cmp.Or(btoi(a != "table"), -count[a]), cmp.Or(btoi(b != "table"), -count[b]))
	})
	var words []string
	for _, k := range kinds[:min(4, len(kinds))] {
		words = append(words, plural(count[k], k))
	}
	if len(kinds) > 4 {
		words = append(words, "…")
	}
	first := found[slices.IndexFunc(found, func(o object) bool { return o.Kind == kinds[0] })]
	return strings.Join(words, ", ") + ", among them " + first.Kind + " " + first.Name
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func plural(n int, what string) string {
	switch {
	case n == 1 || strings.HasSuffix(what, "s"):
	case strings.HasSuffix(what, "x"):
		what += "es"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// wipeBatch is how many objects are removed in one round trip.
const wipeBatch = 200

// wipePiece is how many objects are removed in one transaction when all together are too many.
const wipePiece = 20

// wipe removes objects, in one transaction, so that a failure leaves all of them; when the server has
// not enough room for that many locks, in pieces. It returns how many it removed.
func (t *Target) wipe(ctx context.Context, s *session, found []object) (done int, err error) {
	var drops []object
	for _, o := range found {
		if o.Drop != "" {
			drops = append(drops, o)
		}
	}
	if len(drops) == 0 {
		return 0, nil
	}
	if err := s.exec(ctx, "BEGIN"); err != nil {
		return 0, explainIn(ctx, err)
	}
	if err = t.dropAll(ctx, s, drops); err == nil {
		// A commit that fails may have worked: what is left is for the caller to see.
		return len(drops), explainIn(ctx, s.exec(ctx, "COMMIT"))
	}
	if rerr := s.exec(ctx, "ROLLBACK"); rerr != nil || !isState(err, "53200") {
		return 0, err
	}
	for done < len(drops) {
		end := min(done+wipePiece, len(drops))
		if err := t.dropAll(ctx, s, drops[done:end]); err != nil {
			return done, err
		}
		done = end
	}
	return done, nil
}

func (t *Target) dropAll(ctx context.Context, s *session, drops []object) error {
	for start := 0; start < len(drops); start += wipeBatch {
		batch := drops[start:min(start+wipeBatch, len(drops))]
		var sql strings.Builder
		for _, o := range batch {
			sql.WriteString(o.Drop)
			sql.WriteString(";\n")
		}
		if err := s.exec(ctx, sql.String()); err != nil {
			return fail.Op(explainIn(ctx, err), "remove %s %s or what follows it", batch[0].Kind, batch[0].Name)
		}
		t.observe("emptying", start+len(batch), len(drops))
	}
	return nil
}

// publicState is what schema public is like: every database has it, and a restore changes it.
type publicState struct {
	exists         bool
	owner, comment string
	rights         []grant
	first          []grant // its rights when the cluster was made
	firstOwner     string
}

// grant is one right on schema public.
type grant struct {
	Grantee, Right string
	Again          bool // with grant option
}

// option is what follows a GRANT that may be passed on.
func (g grant) option() string {
	if g.Again {
		return " WITH GRANT OPTION"
	}
	return ""
}

// grantQuery begins a query for grants; a is what aclexplode returns.
const grantQuery = `SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
	a.privilege_type, a.is_grantable `

func readPublic(ctx context.Context, s *session) (p publicState, err error) {
	err = s.conn.QueryRow(ctx, `SELECT true, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(nspowner)),
		coalesce(pg_catalog.obj_description(oid, 'pg_namespace'), ''),
		CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 150000 THEN 'pg_database_owner'
			ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(10)) END
		FROM pg_catalog.pg_namespace WHERE nspname = 'public'`).
		Scan(&p.exists, &p.owner, &p.comment, &p.firstOwner)
	if err == pgx.ErrNoRows {
		return publicState{}, nil
	}
	if err != nil {
		return p, err
	}
	for _, q := range []struct {
		sql string
		dst *[]grant
	}{
		{`, LATERAL pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a WHERE n.nspname = 'public'`, &p.rights},
		{`LEFT JOIN pg_catalog.pg_init_privs i ON i.objoid = n.oid AND i.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass,
		LATERAL pg_catalog.aclexplode(coalesce(i.initprivs, n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a WHERE n.nspname = 'public'`, &p.first},
	} {
		r, err := s.conn.Query(ctx, grantQuery+`FROM pg_catalog.pg_namespace n `+q.sql)
		if err != nil {
			return p, err
		}
		if *q.dst, err = pgx.CollectRows(r, pgx.RowToStructByPos[grant]); err != nil {
			return p, err
		}
	}
	return p, nil
}

// initial returns the state that a fresh database has.
func (p publicState) initial() publicState {
	if !p.exists {
		return p
	}
	p.owner, p.comment, p.rights = p.firstOwner, "standard public schema", p.first
	return p
}

// restore brings schema public back to p, where it differs.
func (p publicState) restore(ctx context.Context, s *session) error {
	now, err := readPublic(ctx, s)
	if err != nil {
		return err
	}
	switch {
	case !p.exists && now.exists:
		return s.exec(ctx, "DROP SCHEMA public CASCADE")
	case !p.exists:
		return nil
	case !now.exists:
		if err := s.exec(ctx, "CREATE SCHEMA public"); err != nil {
			return err
		}
		if now, err = readPublic(ctx, s); err != nil {
			return err
		}
	}
	var sql strings.Builder
	if now.owner != p.owner {
		fmt.Fprintf(&sql, "ALTER SCHEMA public OWNER TO %s;\n", p.owner)
	}
	if now.comment != p.comment {
		fmt.Fprintf(&sql, "COMMENT ON SCHEMA public IS %s;\n", quoteLiteral(p.comment))
	}
	if !slices.Equal(now.rights, p.rights) {
		for _, g := range now.rights {
			fmt.Fprintf(&sql, "REVOKE ALL ON SCHEMA public FROM %s;\n", g.Grantee)
		}
		for _, g := range p.rights {
			fmt.Fprintf(&sql, "GRANT %s ON SCHEMA public TO %s%s;\n", g.Right, g.Grantee, g.option())
		}
	}
	if sql.Len() == 0 {
		return nil
	}
	err = s.exec(ctx, sql.String())
	if isState(err, "42501") {
		return nil // who may not change it has not changed it
	}
	return err
}
