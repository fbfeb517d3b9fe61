package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// Money moves between accounts while the view is read; none may be lost or found twice, whatever moves to
// which page meanwhile.
func TestView_Writers(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, `CREATE TABLE account (id int PRIMARY KEY, money int, note text);
			INSERT INTO account SELECT i, 100, repeat('x', 200) FROM generate_series(1, 20000) i`)
		ctx, stop := context.WithCancel(t.Context())
		started := make(chan struct{})
		var wg sync.WaitGroup
		conn := session1(t, url)
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, err := conn.PgConn().Exec(context.Background(), fmt.Sprintf(`BEGIN;
					UPDATE public.account SET money = money - 7, note = note || 'y' WHERE id %% 200 = %[1]d;
					UPDATE public.account SET money = money + 7, note = repeat('z', 300) WHERE id %% 200 = %[2]d;
					DELETE FROM public.account WHERE id > 20000; INSERT INTO public.account SELECT i, 0, 'new' FROM generate_series(20001, 20100) i; COMMIT`,
					i%200, (i+77)%200)).ReadAll()
				if err != nil {
					t.Errorf("write: %v", err)
					stop()
				}
				if i == 3 {
					close(started)
				}
			}
		})
		<-started
		for range 3 {
			v := openView(t, pg, url, Options{DataOnly: true, PartPages: 64})
			sum, ids := 0, map[string]bool{}
			parts := v.Parts(tableOf(t, v, "public.account"))
			for _, p := range parts {
				for _, row := range lines(readPart(t, v, p)) {
					f := strings.Split(row, "\t")
					n, err := strconv.Atoi(f[1])
					if err != nil || ids[f[0]] {
						t.Errorf("row %q: %v, seen before: %t", row, err, ids[f[0]])
					}
					ids[f[0]] = true
					sum += n
				}
			}
			if len(parts) < 5 || len(ids) != 20100 || sum != 2000000 {
				t.Errorf("%d parts have %d accounts with %d", len(parts), len(ids), sum)
			}
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		}
		stop()
		wg.Wait()
	})
}

func TestView_Schema(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		v := openView(t, pg, everything(t, pg), Options{PartPages: 16})
		t.Run("describes_tables", func(t *testing.T) { testTables(t, pg, v) })
		t.Run("splits_by_ranges_that_the_server_scans_as_such", func(t *testing.T) { testRanges(t, pg, v) })
		t.Run("translates_types", func(t *testing.T) { testTypes(t, pg, v) })
		t.Run("knows_kinds_and_parents", func(t *testing.T) { testKinds(t, pg, v) })
		t.Run("reads_sequences", func(t *testing.T) { testSequences(t, pg, v) })
		t.Run("tells_where_it_is_from", func(t *testing.T) { testOrigin(t, pg, v) })
	})
}

func testTables(t *testing.T, _ *servers.PG, v *View) {
	got := *tableOf(t, v, "public.users")
	if got.EstRows < 1000 || got.EstBytes < 100000 {
		t.Errorf("estimates are %d rows, %d bytes", got.EstRows, got.EstBytes)
	}
	got.EstRows, got.EstBytes = 0, 0
	want := rows.Table{
		Schema: "public", Name: "users", Kind: rows.Ordinary,
		Columns: []rows.Column{
			{Name: "id", Type: rows.Int, Native: "integer", Size: 32, NotNull: true, Default: "nextval('public.users_id_seq'::regclass)"},
			{Name: "name", Type: rows.Text, Native: "text", NotNull: true, Default: `'it''s "me"'::text`, Literal: text(`it's "me"`), Comment: `with a 'quote' and \ backslash`},
			{Name: "email", Type: rows.Text, Native: "text"},
			{Name: "boss", Type: rows.Int, Native: "integer", Size: 32},
			{Name: "born", Type: rows.Date, Native: "date"},
			{Name: "upper_name", Type: rows.Text, Native: "text", Default: "upper(name)", Generated: true},
			{Name: "note", Type: rows.Text, Native: "text"},
			{Name: "made", Type: rows.Instant, Native: "timestamp with time zone", NotNull: true, Default: "'2024-01-01 00:00:00+00'::timestamp with time zone",
				Literal: text("2024-01-01 00:00:00+00")},
		},
		PrimaryKey: []string{"id"}, Unique: [][]string{{"email"}},
		Indexes: []rows.Index{
			{Name: "users_born", Definition: "CREATE INDEX users_born ON public.users USING btree (born DESC NULLS LAST) INCLUDE (email)", Columns: []string{"born"}},
			{Name: "users_email_key", Unique: true, Definition: "CREATE UNIQUE INDEX users_email_key ON public.users USING btree (email)", Columns: []string{"email"}},
			{Name: "users_lower", Definition: "CREATE INDEX users_lower ON public.users USING btree (lower(name)) WHERE (born IS NOT NULL)"},
		},
		ForeignKeys: []rows.ForeignKey{{Name: "users_boss_fkey", Columns: []string{"boss"}, Table: "public.users", References: []string{"id"}, Deferrable: true}},
		Comment:     "people",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("public.users differs (-want +got):\n%s", diff)
	}
}

func testRanges(t *testing.T, pg *servers.PG, v *View) {
	parts := v.Parts(tableOf(t, v, "public.orders"))
	if len(parts) < 5 || parts[0].Bounds != "0-16" || parts[1].Bounds != "16-32" || !strings.HasSuffix(parts[len(parts)-1].Bounds, "-") {
		t.Errorf("parts are %v", parts)
	}
	sql, err := partSQL(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	plan := ""
	sql = strings.TrimSuffix(strings.TrimPrefix(sql, "COPY ("), ") TO STDOUT")
	if err := session1(t, pg.URL(v.cfg.Database)).QueryRow(t.Context(), "EXPLAIN "+sql).Scan(&plan); err != nil || !strings.Contains(plan, "Tid Range Scan") {
		t.Errorf("plan of %s is %q, %v", sql, plan, err)
	}
}

func testTypes(t *testing.T, _ *servers.PG, v *View) {
	types := map[string]string{}
	for _, c := range tableOf(t, v, "app.types").Columns {
		types[c.Name] = fmt.Sprintf("%s %d", c.Type, c.Size)
	}
	for name, want := range map[string]string{
		"b": "bool 0", "i2": "int 16", "f8": "float 64", "n": "decimal 0", "m": "other 0", "vc": "text 40", "c": "text 8", "by": "bytes 0", "d": "date 0",
		"tm": "time 0", "tmz": "other 0", "ts": "timestamp 0", "tsz": "timestamptz 0", "iv": "interval 0", "u": "uuid 0", "jb": "json 0", "x": "other 0",
		"ia": "array 0", "moods": "array 0", "mood": "enum 0", "adr": "other 0", "pos": "int 32", "mail": "text 0", "poss": "array 0", "h": "other 0", "tv": "other 0",
	} {
		if types[name] != want {
			t.Errorf("column %s is %q, want %q", name, types[name], want)
		}
	}
}

func testKinds(t *testing.T, _ *servers.PG, v *View) {
	for name, want := range map[string]string{
		"app.events": "partitioned  ", "app.events_2024_a": "table app.events_2024 ", "app.by_mood_0": `table app.by_mood "app"."by_mood"`,
		"app.by_id_1": "table app.by_id ", "app.dog": "table app.animal ", "app.per_user": "matview  ", "app.elsewhere": "foreign  ",
	} {
		table := tableOf(t, v, name)
		if got := fmt.Sprintf("%s %s %s", table.Kind, table.Parent, table.LoadInto); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func testSequences(t *testing.T, _ *servers.PG, v *View) {
	got := map[string]string{}
	for _, q := range v.Schema().Sequences {
		got[q.Name] = fmt.Sprintf("%d %t %s %s", q.Last, q.Called, q.Table, q.Column)
	}
	want := map[string]string{
		"Odd \"Seq\"": "9223372036854775807 true  ", "fresh_seq": "5 false  ", "owned_seq": "1 false app.empty a", "types_id_seq": "1040 true app.types id",
		"used_seq": "91 true  ", "orders_id_seq": "20000 true public.orders id", "users_id_seq": "5000 true public.users id",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sequences differ (-want +got):\n%s", diff)
	}
}

func testOrigin(t *testing.T, pg *servers.PG, v *View) {
	o := v.Schema().Origin
	if o.Engine != "postgres" || !strings.HasPrefix(o.Version, pg.Major+".") || o.Encoding != "UTF8" || o.Host != pg.Addr() || o.Consistency == "" ||
		!strings.Contains(o.Tools, "pg_dump (PostgreSQL) ") || o.Attribute("collate") != "C.UTF-8" || o.Attribute("owner") != "postgres" || o.TakenAt.IsZero() {
		t.Errorf("origin is %+v", o)
	}
	if !regexp.MustCompile(`^[0-9A-F]+/[0-9A-F]+$`).MatchString(o.Position) {
		t.Errorf("position is %q", o.Position)
	}
	for _, want := range []string{"foreign tables: only the definition is included, the rows live elsewhere: app.elsewhere", "unlogged tables: rows included: app.scratch"} {
		if !strings.Contains(strings.Join(o.Notes, "\n"), want) {
			t.Errorf("notes %q lack %q", o.Notes, want)
		}
	}
}

func TestView_Selection(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := everything(t, pg)
		for _, test := range []struct {
			name         string
			sel          rows.Selection
			want, wanted []string // tables; notes
			missing      string   // in the definitions
		}{
			{"a_partitioned_table_brings_its_partitions", rows.Selection{Include: []string{"events"}},
				[]string{"app.events", "app.events_2023", "app.events_2024", "app.events_2024_a", "app.events_2024_rest", "app.events_other"}, nil, "CREATE TABLE public.users"},
			{"a_partition_brings_its_parents", rows.Selection{Include: []string{"app.events_2024_a"}},
				[]string{"app.events", "app.events_2024", "app.events_2024_a"}, nil, "events_other"},
			{"a_table_left_out_takes_its_children_along", rows.Selection{Include: []string{"app.animal", "app.chicken", "app.egg"}, Exclude: []string{"dog"}},
				[]string{"app.animal", "app.chicken", "app.egg"}, nil, "puppy"},
			{"views_and_foreign_keys_go_with_their_tables", rows.Selection{Exclude: []string{"users", "by_id", "app.e*"}}, nil,
				[]string{"they need tables that are left out: app.adults", "orders_user_id_fkey of public.orders", "notes_id_fkey of app.notes", "chicken_egg_fkey of app.chicken"}, "VIEW app.adults"},
			{"materialized_views_go_with_theirs", rows.Selection{Exclude: []string{"orders"}}, nil, []string{"app.busy, app.per_user"}, "VIEW app.busy"},
		} {
			t.Run(test.name, func(t *testing.T) {
				v := openView(t, pg, url, Options{Tables: test.sel})
				if got := tableNames(v); test.want != nil && got != strings.Join(test.want, " ") {
					t.Errorf("tables are\n%s, want\n%s", got, strings.Join(test.want, " "))
				}
				notes := strings.Join(v.Schema().Origin.Notes, "\n")
				for _, w := range test.wanted {
					if !strings.Contains(notes, w) {
						t.Errorf("notes lack %q:\n%s", w, notes)
					}
				}
				for _, f := range []string{"schema/pre-data.sql", "schema/post-data.sql"} {
					text, err := fs.ReadFile(v.Native(), f)
					if err != nil {
						t.Fatal(err)
					}
					if strings.Contains(string(text), test.missing) {
						t.Errorf("%s has %q", f, test.missing)
					}
				}
				runScript(t, pg, saveView(t, v), pg.CreateDatabase(t))
			})
		}
	})
}

func TestView_Encodings(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		t.Run("latin1_becomes_utf8", func(t *testing.T) {
			url := pg.CreateDatabase(t, "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
			pg.SQL(t, url, `SET client_encoding = 'UTF8'; CREATE TABLE "täble" (a text); INSERT INTO "täble" VALUES ('é'); COMMENT ON TABLE "täble" IS 'ü'`)
			v := openView(t, pg, url, Options{})
			if got := readTable(t, v, tableOf(t, v, `public."täble"`)); len(got) != 1 || got[0] != "é" {
				t.Errorf("rows are %q", got)
			}
			other := pg.CreateDatabase(t)
			runScript(t, pg, saveView(t, v), other)
			if got := pg.SQL(t, other, `SET client_encoding = 'UTF8'; SELECT a, obj_description('"täble"'::regclass) FROM "täble"`); got != "é|ü" {
				t.Errorf("restored %q", got)
			}
		})
		t.Run("sql_ascii_stays_as_it_is", func(t *testing.T) {
			const ascii = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
			url := pg.CreateDatabase(t, ascii)
			pg.SQL(t, url, `CREATE TABLE t (a text); INSERT INTO t VALUES (E'\xff\xe9 is no UTF-8')`)
			v := openView(t, pg, url, Options{})
			if got := readTable(t, v, tableOf(t, v, "public.t")); len(got) != 1 || got[0] != "\xff\xe9 is no UTF-8" {
				t.Errorf("rows are %q", got)
			}
			if notes := strings.Join(v.Schema().Origin.Notes, "\n"); !strings.Contains(notes, "SQL_ASCII") {
				t.Errorf("notes say nothing of it: %s", notes)
			}
			other := pg.CreateDatabase(t, ascii)
			runScript(t, pg, saveView(t, v), other)
			if got := pg.SQL(t, other, `SELECT encode(a::bytea, 'hex') FROM t`); !strings.HasPrefix(got, "ffe9") {
				t.Errorf("restored %q", got)
			}
		})
	})
}

// No extension of the distribution has a configuration table, so one is given to hstore.
func TestView_Extensions(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, `CREATE EXTENSION hstore; CREATE TABLE settings (name text, builtin bool); CREATE TABLE cache (a int);
			ALTER EXTENSION hstore ADD TABLE settings; ALTER EXTENSION hstore ADD TABLE cache;
			UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass], extcondition = ARRAY['WHERE NOT builtin'] WHERE extname = 'hstore';
			INSERT INTO settings VALUES ('a', true), ('b', false); INSERT INTO cache VALUES (1)`)
		v := openView(t, pg, url, Options{})
		if got := tableNames(v); got != "public.settings" {
			t.Errorf("tables are %s", got)
		}
		table := tableOf(t, v, "public.settings")
		if table.Extension != "hstore" || table.Filter != "NOT builtin" {
			t.Errorf("extension %q, filter %q", table.Extension, table.Filter)
		}
		if diff := cmp.Diff([]string{"b\tf"}, readTable(t, v, table)); diff != "" {
			t.Errorf("rows differ (-want +got):\n%s", diff)
		}
	})
}

func TestView_Standby(t *testing.T) {
	for _, major := range servers.PostgresVersions() {
		t.Run("postgres"+major, func(t *testing.T) {
			primary := servers.OwnPostgres(t, major, servers.Options{})
			url := everything(t, primary)
			standby := servers.OwnPostgres(t, major, servers.Options{StandbyOf: primary})
			name, _, err := DatabaseName(url)
			if err != nil {
				t.Fatal(err)
			}
			wantFail(t, mustNotOpen(t, standby, standby.URL(name), Options{}), fail.Incomplete, "app.scratch (unlogged", "--exclude-table", "primary")
			v := openView(t, standby, standby.URL(name), Options{PartPages: 16, Tables: rows.Selection{Exclude: []string{"scratch"}}})
			if o := v.Schema().Origin; !strings.HasSuffix(o.Position, " standby") {
				t.Errorf("position is %q", o.Position)
			}
			other := primary.CreateDatabase(t)
			runScript(t, primary, saveView(t, v), other)
			primary.SQL(t, url, `DROP TABLE app.scratch`)
			if diff := cmp.Diff(normalDump(t, primary, url), normalDump(t, primary, other)); diff != "" {
				t.Errorf("dumps differ (-original +rebuilt):\n%.3000s", diff)
			}
		})
	}
}
