package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// paper is a View made of text, for what no server would give.
type paper struct {
	schema    *rows.Schema
	parts     map[string][]string // row text of each part by table
	pre, post string
}

func (p *paper) Schema() *rows.Schema { return p.schema }
func (p *paper) Close() error         { return nil }
func (p *paper) Parts(t *rows.Table) []rows.Part {
	var list []rows.Part
	for i := range p.parts[t.String()] {
		list = append(list, rows.Part{Table: t, Number: i + 1})
	}
	return list
}

func (p *paper) Read(_ context.Context, part rows.Part) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(p.parts[part.Table.String()][part.Number-1])), nil
}

// Native hands out the definitions.
func (p *paper) Native() fs.FS {
	return fstest.MapFS{
		"schema/pre-data.sql":  {Data: []byte(p.pre)},
		"schema/post-data.sql": {Data: []byte(p.post)},
	}
}

// with adds definitions.
func (p *paper) with(pre, post string) *paper {
	p.pre += pre
	p.post += post
	return p
}

func (p *paper) withSequence(name string) *paper {
	p.schema.Sequences = append(p.schema.Sequences, rows.Sequence{Schema: "public", Name: name, Last: 1})
	return p
}

// simple is a view of one table of numbers with a primary key.
func simple(rowText ...string) *paper {
	return &paper{
		schema: &rows.Schema{Origin: rows.Origin{Engine: "postgres", Version: "13.1", Encoding: "UTF8"}, Tables: []*rows.Table{
			{Schema: "public", Name: "n", Kind: rows.Ordinary, Columns: []rows.Column{{Name: "id", Type: rows.Int, Native: "integer"}}},
		}},
		parts: map[string][]string{"public.n": rowText},
		pre:   "-- Name: n; Type: TABLE; Schema: public; Owner: postgres\nCREATE TABLE public.n (id integer);\n",
		post:  "-- Name: n n_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres\nALTER TABLE ONLY public.n\n ADD CONSTRAINT n_pkey PRIMARY KEY (id);\n",
	}
}

func TestTarget_full(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		t.Run("refuses_a_database_that_is_not_empty", func(t *testing.T) { refusesFull(t, pg) })
		t.Run("takes_a_database_with_an_empty_public_schema", func(t *testing.T) {
			db := pg.CreateDatabase(t)
			if _, _, err := copyView(t, simple("1\n2\n"), db, TargetOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := pg.SQL(t, db, `SELECT sum(id) FROM n`); got != "3" {
				t.Errorf("got sum %s, want 3", got)
			}
		})
		t.Run("clean_removes_everything", func(t *testing.T) { cleans(t, pg) })
		t.Run("create_makes_the_database", func(t *testing.T) { creates(t, pg) })
		t.Run("missing_database", func(t *testing.T) {
			_, _, err := copyView(t, simple(), pg.URL("nowhere_at_all"), TargetOptions{})
			if fail.KindOf(err) != fail.NotFound || !strings.Contains(fail.HintOf(err), "--create") {
				t.Errorf("got %v, hint %q", err, fail.HintOf(err))
			}
		})
		t.Run("missing_roles_are_noted", func(t *testing.T) { notesRoles(t, pg) })
		t.Run("keeps_what_a_plain_user_may", func(t *testing.T) { plainUser(t, pg) })
	})
}

func refusesFull(t *testing.T, pg *servers.PG) {
	things := []string{
		`CREATE TABLE t (a int)`, `CREATE VIEW v AS SELECT 1`, `CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		`CREATE TYPE e AS ENUM ('a')`, `CREATE SCHEMA s`, `CREATE EXTENSION hstore`, `SELECT lo_create(0)`, `CREATE SEQUENCE s`,
		`CREATE PUBLICATION p`, `CREATE SERVER s FOREIGN DATA WRAPPER w`, `CREATE DOMAIN d AS int`, `CREATE COLLATION c FROM "C"`,
		`CREATE CAST (int AS box) WITH INOUT`, `ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC`, `CREATE OPERATOR #+# (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)`,
	}
	for _, sql := range things {
		db := pg.CreateDatabase(t)
		if strings.Contains(sql, "WRAPPER") {
			pg.SQL(t, db, `CREATE FOREIGN DATA WRAPPER w`)
		}
		pg.SQL(t, db, sql)
		before := dump(t, pg, db)
		_, _, err := copyView(t, simple("1\n"), db, TargetOptions{})
		if fail.KindOf(err) != fail.Exists || !strings.Contains(fail.HintOf(err), "--clean") {
			t.Errorf("%s: got %v, hint %q; want Exists", sql, err, fail.HintOf(err))
		}
		if after := dump(t, pg, db); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Errorf("%s: the database was changed", sql)
		}
	}
}

func cleans(t *testing.T, pg *servers.PG) {
	db := everything(t, pg)
	pg.SQL(t, db, `
		CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE PROCEDURE public.p() LANGUAGE sql AS '';
		CREATE AGGREGATE public.agg (int) (SFUNC = int4pl, STYPE = int);
		CREATE TYPE public.comp AS (a int);
		CREATE TYPE public.rng AS RANGE (subtype = float8);
		CREATE DOMAIN public.dom AS int;
		CREATE TEXT SEARCH CONFIGURATION public.tsc (COPY = simple);
		CREATE OPERATOR public.#-# (LEFTARG = int, RIGHTARG = int, FUNCTION = int4mi);
		CREATE OPERATOR CLASS public.oc FOR TYPE int4 USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int4, int4);
		CREATE STATISTICS public.st ON id, at FROM app.events;
		CREATE CAST (int AS box) WITH INOUT;
		CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere' PUBLICATION x WITH (connect = false);
		CREATE LANGUAGE pltest HANDLER plpgsql_call_handler;
		CREATE FOREIGN DATA WRAPPER w; CREATE SERVER srv FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR PUBLIC SERVER srv;
		ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
		ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
		ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO PUBLIC;
		COMMENT ON SCHEMA public IS 'mine';
		REVOKE ALL ON SCHEMA public FROM PUBLIC;
		ALTER SCHEMA public OWNER TO postgres;`)
	if _, _, err := copyView(t, simple("1\n"), db, TargetOptions{Clean: true}); err != nil {
		t.Fatal(err)
	}
	want := pg.CreateDatabase(t)
	pg.SQL(t, want, `CREATE TABLE n (id int PRIMARY KEY); INSERT INTO n VALUES (1)`)
	sameDump(t, pg, want, db)
}

func creates(t *testing.T, pg *servers.PG) {
	name := nameOf(t, pg.CreateDatabase(t))
	pg.SQL(t, "postgres", `DROP DATABASE "`+name+`"`)
	view := simple("1\n")
	view.schema.Origin.Attributes = []rows.Pair{{Name: "collate", Value: "C"}, {Name: "ctype", Value: "C"}, {Name: "locale_provider", Value: "libc"}}
	view.schema.Origin.Encoding = "LATIN1"
	role := pg.User(t, "")
	view.schema.Origin.Attributes = append(view.schema.Origin.Attributes, rows.Pair{Name: "comment", Value: "it's here"}, rows.Pair{Name: "connection_limit", Value: "7"},
		rows.Pair{Name: "set", Value: "SET work_mem TO '7MB'"}, rows.Pair{Name: "set for " + role.Name, Value: "SET work_mem TO '8MB'"}, rows.Pair{Name: "set for nobody", Value: "SET work_mem TO '8MB'"},
		rows.Pair{Name: "owner", Value: role.Name}, rows.Pair{Name: "acl", Value: "{=c/postgres,postgres=CTc/postgres,nobody_here=C/postgres}"})
	create := TargetOptions{Create: true}
	target, _, err := copyView(t, view, pg.URL(name), create)
	if err != nil {
		t.Fatal(err)
	}
	const ask = `SELECT pg_encoding_to_char(encoding), datcollate, datconnlimit, pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'),
		has_database_privilege('public', oid, 'TEMP'), has_database_privilege('public', oid, 'CONNECT'),
		(SELECT string_agg(s::text, ' ' ORDER BY setrole) FROM pg_db_role_setting, unnest(setconfig) s WHERE setdatabase = d.oid)
		FROM pg_database d WHERE datname = current_database()`
	if got, want := pg.SQL(t, name, ask), "LATIN1|C|7|"+role.Name+"|it's here|f|t|work_mem=7MB work_mem=8MB"; got != want {
		t.Errorf("got a database with %s, want %s", got, want)
	}
	if notes := strings.Join(target.Notes(), "\n"); len(target.Notes()) != 2 || !strings.Contains(notes, "nobody_here") {
		t.Errorf("notes: %q", target.Notes())
	}
	view.schema.Origin.Attributes = view.schema.Origin.Attributes[:3]
	_, _, err = copyView(t, view, pg.URL(name), create)
	if fail.KindOf(err) != fail.Exists || pg.SQL(t, name, `SELECT count(*) FROM n`) != "1" {
		t.Errorf("a second time: got %v, want Exists", err)
	}
	view.parts["public.n"] = []string{"5\n", "6\n"}
	if _, _, err := copyView(t, view, pg.URL(name), TargetOptions{Create: true, Clean: true}); err != nil {
		t.Fatal(err)
	}
	if got := pg.SQL(t, name, `SELECT sum(id) FROM n`); got != "11" {
		t.Errorf("dropped and created: got sum %s, want 11", got)
	}
}

func notesRoles(t *testing.T, pg *servers.PG) {
	view := simple("1\n")
	view.pre += `ALTER TABLE public.n OWNER TO "no such Role";
		GRANT SELECT ON TABLE public.n TO nobody_there;
		GRANT SELECT ON TABLE public.n TO PUBLIC;
		SET SESSION AUTHORIZATION 'grantor not here';
		GRANT UPDATE ON TABLE public.n TO PUBLIC;
		RESET SESSION AUTHORIZATION;
		GRANT DELETE ON TABLE public.n TO PUBLIC;
		ALTER DEFAULT PRIVILEGES FOR ROLE gone_too IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC;
		SET default_tablespace = no_such_space;
		CREATE TABLE public.m ();`
	db := pg.CreateDatabase(t)
	target, _, err := copyView(t, view, db, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(target.Notes(), "\n")
	for _, name := range []string{"no such Role", "nobody_there", "grantor not here", "gone_too", "no_such_space"} {
		if strings.Count(notes, name) != 1 {
			t.Errorf("%s is not noted once in:\n%s", name, notes)
		}
	}
	if got := pg.SQL(t, db, `SELECT string_agg(privilege_type, ',' ORDER BY privilege_type) FROM information_schema.table_privileges WHERE table_name = 'n' AND grantee = 'PUBLIC'`); got != "DELETE,SELECT" {
		t.Errorf("PUBLIC may %s, want DELETE,SELECT", got)
	}
	clean := pg.CreateDatabase(t)
	target, _, err = copyView(t, view, clean, TargetOptions{NoOwner: true})
	if err != nil || len(target.Notes()) != 1 {
		t.Errorf("without owners: got %v, notes %q", err, target.Notes())
	}
}

func plainUser(t *testing.T, pg *servers.PG) {
	source := pg.CreateDatabase(t)
	pg.SQL(t, source, `CREATE EXTENSION hstore; COMMENT ON EXTENSION hstore IS 'mine'; CREATE TABLE n (id int PRIMARY KEY, h hstore);
		INSERT INTO n VALUES (1, 'a=>1'); COMMENT ON SCHEMA public IS 'ours'; GRANT SELECT ON n TO PUBLIC;`)
	role := pg.User(t, "NOSUPERUSER")
	db := pg.CreateDatabase(t)
	pg.SQL(t, "postgres", fmt.Sprintf(`ALTER DATABASE %q OWNER TO %q`, nameOf(t, db), role.Name))
	pg.SQL(t, db, fmt.Sprintf(`GRANT ALL ON SCHEMA public TO %q`, role.Name))
	target, _, err := transfer(t, pg, source, role.URL(nameOf(t, db)), TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := pg.SQL(t, db, `SELECT h->'a', pg_get_userbyid(relowner), has_table_privilege('public', 'n', 'SELECT') FROM n, pg_class c WHERE c.oid = 'n'::regclass`); got != "1|"+role.Name+"|t" {
		t.Errorf("got %s", got)
	}
	if len(target.Notes()) == 0 {
		t.Error("nothing was noted of the owner that was left out")
	}
}

// breaking is a view whose rows end with an error, or after which something is done.
type breaking struct {
	rows.View
	read func(p rows.Part, r io.ReadCloser) (io.ReadCloser, error)
}

func (b *breaking) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	r, err := b.View.Read(ctx, p)
	if err != nil {
		return nil, err
	}
	return b.read(p, r)
}

// then runs a function when a reader is at its end.
type then struct {
	io.Reader
	do func() error
}

func (r *then) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		if derr := r.do(); derr != nil {
			return n, derr
		}
	}
	return n, err
}
func (r *then) Close() error { return nil }

// TestTarget_fails breaks a restore at each of its steps. A database that was empty is empty after.
func TestTarget_fails(t *testing.T) {
	errCut := errors.New("cut off")
	onRead := func(v rows.View, do func() error) rows.View {
		return &breaking{v, func(_ rows.Part, r io.ReadCloser) (io.ReadCloser, error) { return &then{r, do}, nil }}
	}
	onEach(t, func(t *testing.T, pg *servers.PG) {
		kill := func(app string) func() error {
			return func() error {
				for range 200 { // the session may not be at its COPY yet
					killed, err := pg.Query("postgres", fmt.Sprintf(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '%s' AND query LIKE 'COPY %%'`, app))
					if err != nil || killed != "0" {
						return err
					}
					if _, err := pg.Query("postgres", "SELECT pg_sleep(0.05)"); err != nil {
						return err
					}
				}
				return errors.New("no session to kill")
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tests := map[string]struct {
			ctx  context.Context
			view rows.View
			kind fail.Kind
			text string
		}{
			"in_a_definition":    {t.Context(), simple("1\n").with("CREATE TABLE public.m (a no_such_type);", ""), fail.NotFound, "create TABLE public.n"},
			"in_rows":            {t.Context(), simple("1\n", "x\n"), fail.Incomplete, "load rows of public.n, part 2"},
			"in_text":            {t.Context(), simple("1\n2"), fail.Damaged, "has no end"},
			"in_reading":         {t.Context(), onRead(simple("1\n"), func() error { return errCut }), fail.Internal, "cut off"},
			"by_a_killed_server": {t.Context(), onRead(simple("1\n"), kill(restoreApp)), fail.Unavailable, "load rows of public.n"},
			"by_cancelling":      {ctx, onRead(simple("1\n"), func() error { cancel(); <-ctx.Done(); return ctx.Err() }), fail.Interrupted, ""},
			"in_a_constraint":    {t.Context(), simple("1\n1\n"), fail.Incomplete, "create CONSTRAINT public.n n_pkey"},
			"in_the_rest":        {t.Context(), simple("1\n").with("", "-- Name: r; Type: RULE; Schema: public; Owner: postgres\nCREATE RULE r AS ON DELETE TO public.nowhere DO NOTHING;"), fail.NotFound, "create RULE public.r"},
			"in_a_sequence":      {t.Context(), simple("1\n").withSequence("gone"), fail.NotFound, `"public"."gone"`},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				db := pg.CreateDatabase(t)
				target, err := NewTarget(db, TargetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				_, err = rows.Copy(tt.ctx, tt.view, target, rows.CopyOptions{})
				if err == nil || fail.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v (%v), want %v with %q", err, fail.KindOf(err), tt.kind, tt.text)
				}
				isEmpty(t, pg, db)
				n := "" // a backend whose connection was closed takes a moment to notice
				for range 100 {
					n = pg.SQL(t, db, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'`)
					if n == "0" {
						break
					}
					pg.SQL(t, db, `SELECT pg_sleep(0.1)`)
				}
				if n != "0" {
					t.Errorf("%s sessions are still at work", n)
				}
			})
		}
	})
}

// TestTarget_fails_and_had_changed_more breaks a restore that did not find an empty database.
func TestTarget_fails_and_had_changed_more(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		t.Run("and_a_created_database_is_gone", func(t *testing.T) {
			name := nameOf(t, pg.CreateDatabase(t))
			pg.SQL(t, "postgres", `DROP DATABASE "`+name+`"`)
			_, _, err := copyView(t, simple("x\n"), pg.URL(name), TargetOptions{Create: true})
			if err == nil || pg.SQL(t, "postgres", `SELECT count(*) FROM pg_database WHERE datname = '`+name+`'`) != "0" {
				t.Errorf("got %v, and the database is there", err)
			}
		})
		t.Run("and_says_what_clean_removed", func(t *testing.T) {
			db := pg.CreateDatabase(t)
			pg.SQL(t, db, `CREATE TABLE old (a int)`)
			_, _, err := copyView(t, simple("x\n"), db, TargetOptions{Clean: true})
			if err == nil || !strings.Contains(err.Error(), "--clean removed what database") || !strings.Contains(err.Error(), "public.old") {
				t.Errorf("got %v", err)
			}
			isEmpty(t, pg, db)
		})
	})
}
