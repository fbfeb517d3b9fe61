package postgres

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// asRole returns a URL that logs in as a role with a password of its own.
func asRole(t *testing.T, base, role string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("user", role)
	q.Set("password", "secret")
	u.RawQuery = q.Encode()
	if u.User != nil {
		u.User = url.UserPassword(role, "secret")
	}
	return u.String()
}

func TestMerger_WithoutOwnership(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		db := pg.CreateDatabase(t)
		pg.SQL(t, db, `
			DO $$ BEGIN CREATE ROLE merge_writer LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
			CREATE TABLE a (id int PRIMARY KEY, up int REFERENCES a);
			CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a);
			CREATE TABLE c (id int PRIMARY KEY, d_id int);
			CREATE TABLE d (id int PRIMARY KEY, c_id int REFERENCES c);
			ALTER TABLE c ADD FOREIGN KEY (d_id) REFERENCES d;
			CREATE TABLE e (id int PRIMARY KEY);
			CREATE TABLE f (id int PRIMARY KEY, e_id int REFERENCES e ON DELETE SET NULL);
			CREATE TABLE hidden (id int PRIMARY KEY);
			INSERT INTO e VALUES (1); INSERT INTO f VALUES (1, 1);
			GRANT ALL ON a, b, c, d, e, f TO merge_writer;`)
		schema, role := schemaOf(t, pg, db), asRole(t, db, "merge_writer")
		a, b := loading{table: "public.a", columns: "id up", key: "id"}, loading{table: "public.b", columns: "id a_id", key: "id"}
		c, d := loading{table: "public.c", columns: "id d_id", key: "id"}, loading{table: "public.d", columns: "id c_id", key: "id"}

		t.Run("writes_what_is_referenced_first", func(t *testing.T) {
			got, err := merge(t.Context(), schema, role, false, b.with(`1 2`), a.with(`1 2`, `2 \N`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]rows.Merged{{Inserted: 1}, {Inserted: 2}}, got, ignoreMerge); diff != "" {
				t.Errorf("counts differ (-want +got):\n%s", diff)
			}
			if got := query(t, pg, db, "SELECT * FROM public.b"); !slices.Equal(got, []string{"1\t2"}) {
				t.Errorf("got %q", got)
			}
		})
		t.Run("replaces_children_first", func(t *testing.T) {
			if _, err := merge(t.Context(), schema, role, false, a.replacing().with(`7 7`), b.replacing().with(`1 7`)); err != nil {
				t.Fatal(err)
			}
			if got := query(t, pg, db, "SELECT a_id FROM public.b"); !slices.Equal(got, []string{"7"}) {
				t.Errorf("got %q", got)
			}
		})
		for name, tt := range map[string]struct {
			loads []loading
			kind  fail.Kind
			says  []string
		}{
			"refuses_a_circle":                      {[]loading{c.with(`1 1`), d.with(`1 1`)}, fail.Denied, []string{"circle", "public.c", "public.d"}},
			"names_the_first_broken_reference":      {[]loading{b.with(`9 99`)}, fail.Incomplete, []string{"rows of public.b name a_id that are not in public.a", "99"}},
			"keeps_actions_from_changing_others":    {[]loading{{table: "public.e", columns: "id", key: "id", replace: true}}, fail.Denied, []string{"f_e_id_fkey", "public.f"}},
			"names_the_table_that_it_may_not_write": {[]loading{{table: "public.hidden", columns: "id", key: "id"}}, fail.Denied, []string{"hidden"}},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := merge(t.Context(), schema, role, false, tt.loads...)
				if fail.KindOf(err) != tt.kind {
					t.Errorf("got kind %v, want %v", fail.KindOf(err), tt.kind)
				}
				for _, s := range tt.says {
					if !strings.Contains(fmt.Sprint(err), s) {
						t.Errorf("error lacks %q: %v", s, err)
					}
				}
			})
		}
	})
}

func TestMerger_Server(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	db := pg.CreateDatabase(t)
	pg.SQL(t, db, `CREATE TABLE a (id int PRIMARY KEY, v text)`)
	schema := schemaOf(t, pg, db)
	plan := []*rows.Merge{{Table: schema.Table("public.a"), Columns: []string{"id", "v"}, Key: []string{"id"}}}

	t.Run("gives_up_waiting_for_a_lock", func(t *testing.T) {
		holder := NewMerger(db, MergerOptions{})
		if err := holder.Begin(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		defer holder.Abort(context.Background())
		second := NewMerger(db, MergerOptions{LockWait: 50 * time.Millisecond})
		err := second.Begin(t.Context(), plan)
		if fail.KindOf(err) != fail.Locked || fail.HintOf(err) == "" {
			t.Errorf("got %v, want that it is locked, and a hint", err)
		}
		if err := second.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("says_that_the_connection_ended", func(t *testing.T) {
		m := NewMerger(db, MergerOptions{})
		if err := m.Begin(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		pg.SQL(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast load'`)
		_, err := m.Load(t.Context(), plan[0], strings.NewReader("1\tx\n"))
		if fail.KindOf(err) != fail.Unavailable {
			t.Errorf("got %v, want that the server is gone", err)
		}
		if err := m.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("passes_on_an_error_of_the_source", func(t *testing.T) {
		m := NewMerger(db, MergerOptions{})
		if err := m.Begin(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		cause := fail.New(fail.Damaged, "", "the file ends here")
		_, err := m.Load(t.Context(), plan[0], io.MultiReader(strings.NewReader("1\tx\n"), failing{cause}))
		if fail.KindOf(err) != fail.Damaged || !strings.Contains(err.Error(), "the file ends here") {
			t.Errorf("got %v", err)
		}
		if err := m.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		if got := query(t, pg, db, "SELECT * FROM public.a"); len(got) != 0 {
			t.Errorf("rows are left: %q", got)
		}
	})
	t.Run("stops_when_it_is_interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := NewMerger(db, MergerOptions{})
		if err := m.Begin(ctx, plan); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := m.Finish(ctx, false); fail.KindOf(err) != fail.Interrupted {
			t.Errorf("got %v, want an interruption", err)
		}
		if err := m.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("refuses_what_is_no_url", func(t *testing.T) {
		m := NewMerger("https://nowhere", MergerOptions{})
		if err := m.Begin(t.Context(), plan); fail.KindOf(err) != fail.Usage {
			t.Errorf("got %v, want a usage error", err)
		}
	})
	t.Run("needs_every_table", func(t *testing.T) {
		m := NewMerger(db, MergerOptions{})
		err := m.Begin(t.Context(), []*rows.Merge{{Table: &rows.Table{Schema: "public", Name: "gone"}, Columns: []string{"id"}}})
		if fail.KindOf(err) != fail.NotFound || !strings.Contains(err.Error(), "public.gone") {
			t.Errorf("got %v, want that the table isn't there", err)
		}
		if err := m.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestMerger_Kinds(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		db := pg.CreateDatabase(t)
		pg.SQL(t, db, `
			CREATE TABLE log (what text);
			CREATE TABLE a (id int PRIMARY KEY, v text);
			CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_OP || ' ' || NEW.id); RETURN NEW; END $$;
			CREATE TRIGGER note AFTER INSERT OR UPDATE ON a FOR EACH ROW EXECUTE FUNCTION note();
			CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 13 THEN RETURN NULL; END IF; RETURN NEW; END $$;
			CREATE TABLE filtered (id int PRIMARY KEY);
			CREATE TRIGGER odd BEFORE INSERT ON filtered FOR EACH ROW EXECUTE FUNCTION odd();
			CREATE TABLE parent (id int, k text); CREATE TABLE child (id int, k text) INHERITS (parent);
			INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 'c');
			CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
			CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
			CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
			CREATE TABLE ref (id int PRIMARY KEY, part_id int REFERENCES parts);
			INSERT INTO parts VALUES (1, 'one'), (11, 'eleven'); INSERT INTO ref VALUES (1, 11);
			CREATE TABLE nulls (a int, b text, v int);
			INSERT INTO nulls VALUES (1, NULL, 1), (NULL, 'x', 2), (2, 'y', 3);
			CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
			CREATE TABLE names (name text COLLATE ci PRIMARY KEY, v int); INSERT INTO names VALUES ('Ann', 1);
			INSERT INTO a VALUES (1, 'old'); TRUNCATE log;`)
		schema := schemaOf(t, pg, db)
		for _, tt := range []struct { // in this order: they build on each other
			name  string
			load  loading
			count rows.Merged
			sql   string
			want  []string
		}{
			{"triggers_run_and_find_their_tables", loading{table: "public.a", columns: "id v", key: "id", text: "1\tnew\n2\tx\n"}, rows.Merged{Inserted: 1, Changed: 1},
				"SELECT what FROM public.log ORDER BY 1", []string{"INSERT 2", "UPDATE 1"}},
			{"triggers_may_drop_rows", loading{table: "public.filtered", columns: "id", key: "id", text: "12\n13\n"}, rows.Merged{Inserted: 1, Same: 1},
				"SELECT * FROM public.filtered", []string{"12"}},
			{"children_are_left_alone", loading{table: "public.parent", columns: "id k", key: "id", text: "1\tP\n"}, rows.Merged{Changed: 1},
				"SELECT k FROM public.parent ORDER BY 1", []string{"P", "c"}},
			{"rows_find_their_partitions", loading{table: "public.parts", columns: "id v", key: "id", text: "1\tuno\n12\ttwelve\n11\televen\n"}, rows.Merged{Inserted: 1, Changed: 1, Same: 1},
				"SELECT tableoid::regclass, id, v FROM public.parts ORDER BY id", []string{"public.parts1\t1\tuno", "public.parts2\t11\televen", "public.parts2\t12\ttwelve"}},
			{"a_partition_is_referenced_through_its_parent", loading{table: "public.parts2", columns: "id v", key: "id", replace: true, text: "11\tlater\n"}, rows.Merged{Inserted: 1, Deleted: 2},
				"SELECT id, v FROM public.parts ORDER BY id", []string{"1\tuno", "11\tlater"}},
			{"null_finds_null", loading{table: "public.nulls", columns: "a b v", key: "a b", text: "1\t\\N\t7\n\\N\tx\t2\n\\N\t\\N\t9\n2\ty\t4\n"}, rows.Merged{Inserted: 1, Changed: 2, Same: 1},
				"SELECT * FROM public.nulls ORDER BY v", []string{"\\N\tx\t2", "2\ty\t4", "1\t\\N\t7", "\\N\t\\N\t9"}},
			{"keys_are_compared_as_the_index_does", loading{table: "public.names", columns: "name v", key: "name", text: "ANN\t2\n"}, rows.Merged{Changed: 1},
				"SELECT * FROM public.names", []string{"Ann\t2"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				got, err := merge(t.Context(), schema, db, false, tt.load)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]rows.Merged{tt.count}, got, ignoreMerge); diff != "" {
					t.Errorf("counts differ (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.want, query(t, pg, db, tt.sql)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tt.sql, diff)
				}
			})
		}
	})
}
