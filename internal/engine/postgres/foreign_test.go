package postgres

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// sqliteView makes an SQLite database and opens it.
func sqliteView(t *testing.T, sql string) *sqlite.View {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.sqlite3")
	if err := sqlite.Exec(t.Context(), path, sql); err != nil {
		t.Fatal(err)
	}
	v, err := sqlite.OpenView(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

const shopSQLite = `COMMIT; PRAGMA foreign_keys = OFF; BEGIN;
CREATE TABLE "Customer" (id integer PRIMARY KEY AUTOINCREMENT, name varchar(40) NOT NULL DEFAULT 'no''body', born date DEFAULT '2000-01-02', active bool NOT NULL DEFAULT 1,
	credit decimal(8,2) DEFAULT 0, note text, photo blob, meta json CHECK (json_valid(meta)), seen datetime, rnd int DEFAULT (random()),
	full_ text GENERATED ALWAYS AS (name || '!') VIRTUAL, anything, weight real, "odd ""name" text, UNIQUE (name, born));
CREATE TABLE orders (no integer NOT NULL, line smallint NOT NULL, customer_id bigint REFERENCES "Customer" ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
	parent_no int, parent_line int, PRIMARY KEY (no, line), FOREIGN KEY (parent_no, parent_line) REFERENCES orders (no, line));
CREATE TABLE loose (a int REFERENCES nowhere (x), b text REFERENCES "Customer" (note), c text REFERENCES "Customer" (id));
CREATE TABLE aside (id integer PRIMARY KEY, v text);
CREATE INDEX by_credit ON "Customer" (credit, active);
CREATE UNIQUE INDEX one_seen ON "Customer" (seen);
CREATE INDEX rich ON "Customer" (credit) WHERE credit > 100;
CREATE INDEX low ON "Customer" (lower(name));
INSERT INTO "Customer" (id, name, born, active, credit, note, photo, meta, seen, anything, weight, "odd ""name") VALUES
	(1, 'Ann', '1990-05-06', 1, 12.5, 'tab	and' || char(10) || 'line \ ä', x'00ff5c', '{"a": [1, null]}', '2024-01-02 03:04:05.123456', 5, 0.1, 'o'),
	(7, 'Bob', NULL, 0, -3, NULL, NULL, NULL, NULL, 'five', 1e300, NULL);
INSERT INTO "Customer" (id, name) VALUES (90, 'gone'); DELETE FROM "Customer" WHERE id = 90;
INSERT INTO orders VALUES (1, 1, 7, NULL, NULL), (1, 2, 1, 1, 1);
INSERT INTO aside VALUES (3, 'x');`

func foreignTarget(t *testing.T, url string, opt TargetOptions) *Target {
	t.Helper()
	target, err := NewTarget(url, opt)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestTarget_FromSQLite(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		view := sqliteView(t, shopSQLite)
		url := pg.CreateDatabase(t)
		target := foreignTarget(t, url, TargetOptions{})
		omitted := strings.Join(target.Omitted(view.Schema()), "\n")
		for _, want := range []string{"default of rnd in public.\"Customer\": random()", "generated column full_", "index rich", "index low",
			"(a) of public.loose to nowhere (x): there is no such table", "(b) of public.loose to \"Customer\" (note): the referenced columns are not unique", "(c) of public.loose to \"Customer\" (id): the types differ"} {
			if !strings.Contains(omitted, want) {
				t.Errorf("what is omitted lacks %q:\n%s", want, omitted)
			}
		}
		report, err := rows.Copy(t.Context(), view, target, rows.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n := report.Tables()[`"Customer"`].Rows; n != 2 {
			t.Errorf("counted %d customers, want 2", n)
		}

		t.Run("defines_every_portable_thing", func(t *testing.T) {
			v := openView(t, pg, url, Options{DataOnly: true})
			var got []string
			for _, table := range v.Schema().Tables {
				for _, c := range table.Columns {
					line := fmt.Sprintf("%s.%s %s", table.Name, c.Name, c.Native)
					if c.NotNull {
						line += " not null"
					}
					if c.Literal != nil {
						line += " default " + *c.Literal
					}
					got = append(got, line+strings.Repeat(" identity", len(c.Identity)/7))
				}
			}
			want := []string{
				"Customer.id bigint not null identity", "Customer.name character varying(40) not null default no'body", "Customer.born date default 2000-01-02",
				"Customer.active boolean not null default t", "Customer.credit numeric(8,2) default 0", "Customer.note text", "Customer.photo bytea", "Customer.meta jsonb",
				"Customer.seen timestamp without time zone", "Customer.rnd bigint", "Customer.anything text", "Customer.weight double precision", `Customer.odd "name text`,
				"aside.id bigint not null identity", "aside.v text", "loose.a bigint", "loose.b text", "loose.c text",
				"orders.no bigint not null", "orders.line smallint not null", "orders.customer_id bigint", "orders.parent_no bigint", "orders.parent_line bigint",
			}
			got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "orders.line") })
			want = slices.DeleteFunc(want, func(s string) bool { return strings.HasPrefix(s, "orders.line") })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("columns differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"CREATE INDEX by_credit ON public.\"Customer\" USING btree (credit, active)",
				"CREATE UNIQUE INDEX \"Customer_name_born_key\" ON public.\"Customer\" USING btree (name, born)", "CREATE UNIQUE INDEX \"Customer_pkey\" ON public.\"Customer\" USING btree (id)",
				"CREATE UNIQUE INDEX aside_pkey ON public.aside USING btree (id)", "CREATE UNIQUE INDEX one_seen ON public.\"Customer\" USING btree (seen)",
				"CREATE UNIQUE INDEX orders_pkey ON public.orders USING btree (no, line)"},
				query(t, pg, url, "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")); diff != "" {
				t.Errorf("indexes differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"FOREIGN KEY (customer_id) REFERENCES public.\"Customer\"(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
				"FOREIGN KEY (parent_no, parent_line) REFERENCES public.orders(no, line)"},
				query(t, pg, url, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' ORDER BY 1")); diff != "" {
				t.Errorf("foreign keys differ (-want +got):\n%s", diff)
			}
		})
		t.Run("carries_every_value", func(t *testing.T) {
			if diff := cmp.Diff([]string{
				"1\tAnn\t1990-05-06\tt\t12.50\ttab\\tand\\nline \\\\ ä\t\\\\x00ff5c\t{\"a\": [1, null]}\t2024-01-02 03:04:05.123456\t5\t0.1\to",
				"7\tBob\t\\N\tf\t-3.00\t\\N\t\\N\t\\N\t\\N\tfive\t1e+300\t\\N"},
				query(t, pg, url, `SELECT id, name, born, active, credit, note, photo, meta, seen, anything, weight, "odd ""name" FROM public."Customer" ORDER BY id`)); diff != "" {
				t.Errorf("rows differ (-want +got):\n%s", diff)
			}
		})
		t.Run("goes_on_counting", func(t *testing.T) {
			if got := query(t, pg, url, `SELECT nextval(pg_get_serial_sequence('public."Customer"', 'id')), nextval('public.aside_id_seq')`); !slices.Equal(got, []string{"91\t4"}) {
				t.Errorf("got %q, want 91 and 4", got)
			}
		})
	})
}

func TestTarget_FromSQLite_Partly(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	view := sqliteView(t, shopSQLite)
	url := pg.CreateDatabase(t)
	pg.SQL(t, url, `CREATE TABLE aside (id serial PRIMARY KEY, v varchar(3))`)
	some := func(names ...string) (list []*rows.Table) {
		for _, n := range names {
			list = append(list, view.Schema().Table(n))
		}
		return list
	}
	t.Run("rows_only", func(t *testing.T) {
		target := foreignTarget(t, url, TargetOptions{DataOnly: true})
		if _, err := rows.Copy(t.Context(), view, target, rows.CopyOptions{Tables: some("aside")}); err != nil {
			t.Fatal(err)
		}
		if got := query(t, pg, url, `SELECT id, v, nextval('public.aside_id_seq') FROM public.aside`); !slices.Equal(got, []string{"3\tx\t4"}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("some_tables_beside_others", func(t *testing.T) {
		target := foreignTarget(t, url, TargetOptions{Partial: true})
		if _, err := rows.Copy(t.Context(), view, target, rows.CopyOptions{Tables: some(`"Customer"`)}); err != nil {
			t.Fatal(err)
		}
		if got := query(t, pg, url, `SELECT count(*), nextval('public."Customer_id_seq"'), (SELECT count(*) FROM pg_indexes WHERE tablename = 'Customer') FROM public."Customer"`); !slices.Equal(got, []string{"2\t91\t4"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestTarget_FromSQLite_Errors(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	url := pg.CreateDatabase(t) // which each case leaves empty
	for name, tt := range map[string]struct {
		sql  string
		says []string
	}{
		"a_text_in_a_number":          {`CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (2, 'two')`, []string{"t", "line 2", "column b", "two"}},
		"a_date_that_is_none":         {`CREATE TABLE t (d date); INSERT INTO t VALUES ('2023-02-29')`, []string{"line 1", "column d", "2023-02-29"}},
		"a_text_that_is_too_long":     {`CREATE TABLE t (v varchar(2)); INSERT INTO t VALUES ('abc')`, []string{"line 1", "column v"}},
		"a_decimal_with_more_digits":  {`CREATE TABLE t (a int, v decimal(5,2)); INSERT INTO t VALUES (1, 1.25), (1.125, 1.125)`, []string{"row 2", "column v", "2 digits"}},
		"a_decimal_with_an_exponent":  {`CREATE TABLE t (v decimal(5,2)); INSERT INTO t VALUES (1.25e-9)`, []string{"row 1", "column v", "2 digits"}},
		"a_reference_that_is_broken":  {`COMMIT; PRAGMA foreign_keys = OFF; BEGIN; CREATE TABLE t (id integer PRIMARY KEY, up int REFERENCES t); INSERT INTO t VALUES (1, 5)`, []string{"t", "(up)=(5)"}},
		"a_key_that_is_there_twice":   {`CREATE TABLE t (k text COLLATE NOCASE, d date); CREATE UNIQUE INDEX k ON t (d); INSERT INTO t VALUES ('a', '2024-01-01'), ('b', ' 2024-01-01')`, []string{"(d)=(2024-01-01)"}},
		"a_null_character_in_a_text":  {`CREATE TABLE t (v text); INSERT INTO t VALUES ('a' || char(0))`, []string{"0x00", "line 1"}},
		"no_json_in_a_column_of_json": {`CREATE TABLE t (v json); INSERT INTO t VALUES ('{')`, []string{"line 1", "column v"}},
	} {
		t.Run(name, func(t *testing.T) {
			view := sqliteView(t, tt.sql)
			_, err := rows.Copy(t.Context(), view, foreignTarget(t, url, TargetOptions{}), rows.CopyOptions{})
			if err == nil || fail.KindOf(err) == fail.Internal {
				t.Fatalf("got %v, want an error with a kind", err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error lacks %q: %v", s, err)
				}
			}
			if got := query(t, pg, url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"); len(got) > 0 {
				t.Errorf("the database holds %q", got)
			}
		})
	}
}

// TestTranslate checks what only other engines than SQLite have.
func TestTranslate(t *testing.T) {
	long := strings.Repeat("x", 70)
	s := &rows.Schema{Origin: rows.Origin{Engine: "mysql"}, Tables: []*rows.Table{
		{Schema: "shop", Name: "a", Kind: rows.Ordinary, Comment: "it's a", PrimaryKey: []string{"id"}, Columns: []rows.Column{
			{Name: "id", Type: rows.Int, Size: 33, Identity: "default"}, {Name: "big", Type: rows.Int, Size: 65, Literal: text("0")}, {Name: "tiny", Type: rows.Int, Size: 8, Literal: text("7")},
			{Name: "mood", Type: rows.Enum, Values: []string{"sad", "it's"}, Literal: text("sad"), Comment: "how"}, {Name: "when_", Type: rows.Timestamp, Default: "'0000-00-00'", Literal: text("0000-00-00 00:00:00")},
			{Name: "f", Type: rows.Float, Size: 32}, {Name: "u", Type: rows.UUID}, {Name: "span", Type: rows.Interval}, {Name: "at", Type: rows.Instant}, {Name: "g", Type: rows.Other, Native: "point"},
			{Name: "n", Type: rows.Int, Size: 16, Default: "99999", Literal: text("99999")}},
			Indexes: []rows.Index{{Name: "same", Columns: []string{"big"}}, {Name: long, Columns: []string{"tiny"}}}},
		{Schema: "shop", Name: "search", Kind: rows.Foreign},
		{Schema: "shop", Name: "search_data", Kind: rows.Ordinary, Native: []rows.Pair{{Name: "shadow_of", Value: "search"}}, Columns: []rows.Column{{Name: "x", Type: rows.Bytes}}},
		{Schema: "shop", Name: "b", Kind: rows.Ordinary, Columns: []rows.Column{{Name: "a_id", Type: rows.Int, Size: 64}},
			Indexes:     []rows.Index{{Name: "same", Columns: []string{"a_id"}}, {Name: long, Columns: []string{"a_id"}}},
			ForeignKeys: []rows.ForeignKey{{Name: "fk", Columns: []string{"a_id"}, Table: "shop.a", References: []string{"id"}, OnDelete: "set null", OnUpdate: "cascade; DROP TABLE a"}}},
	}}
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	url := pg.CreateDatabase(t)
	target := foreignTarget(t, url, TargetOptions{})
	if diff := cmp.Diff([]string{"table shop.search: a foreign table is made by its engine alone", "table shop.search_data: it belongs to search",
		"default of when_ in public.a: '0000-00-00'", "default of n in public.a: 99999"}, target.Omitted(s)); diff != "" {
		t.Errorf("what is omitted differs (-want +got):\n%s", diff)
	}
	if err := target.Prepare(t.Context(), s, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			_ = target.Abort(context.Background())
		}
	}()
	for name, text := range map[string]string{"shop.a": "4294967295\t18446744073709551615\t-128\tit's\t\\N\t0.1\t\\N\t\\N\t\\N\tx\t1\n", "shop.b": "4294967295\n", "shop.search_data": "\\\\x00\n"} {
		if _, err := target.Load(t.Context(), rows.Part{Table: s.Table(name), Number: 1}, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := target.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string][]string{
		"SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'public.a'::regclass AND attnum > 0 ORDER BY attnum": {
			"id\tbigint", "big\tnumeric(20,0)", "tiny\tsmallint", "mood\ttext", "when_\ttimestamp without time zone", "f\treal", "u\tuuid", "span\tinterval", "at\ttimestamp with time zone", "g\ttext", "n\tsmallint"},
		"SELECT relname FROM pg_class WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace ORDER BY 1": {"a_pkey", "b_same", "same", long[:61] + "_1", long[:63]},
		"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN ('f', 'c') AND connamespace = 'public'::regnamespace ORDER BY 1": {
			"CHECK ((mood = ANY (ARRAY['sad'::text, 'it''s'::text])))", "FOREIGN KEY (a_id) REFERENCES public.a(id) ON DELETE SET NULL"},
		"SELECT obj_description('public.a'::regclass), col_description('public.a'::regclass, 4), nextval('public.a_id_seq')": {"it's a\thow\t4294967296"},
	} {
		if diff := cmp.Diff(want, query(t, pg, url, sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sql, diff)
		}
	}
}
