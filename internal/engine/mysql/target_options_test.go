package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

const small = `CREATE TABLE a (id int PRIMARY KEY AUTO_INCREMENT, v varchar(20), raw blob, b bit(4)); INSERT INTO a (v, raw, b) VALUES ('o''ne\\', x'00', 3), (NULL, x'0a5c', 7), ('ü', x'', NULL);
	CREATE TABLE c (id int PRIMARY KEY, a int CHECK (a < 100), CONSTRAINT c_sane CHECK (id < 1000), CHECK (id <> 77), CONSTRAINT c_a FOREIGN KEY (a) REFERENCES a (id)); INSERT INTO c VALUES (1, 1), (2, NULL);
	CREATE VIEW w AS SELECT * FROM a; CREATE TRIGGER tr BEFORE INSERT ON a FOR EACH ROW SET NEW.v = 'trigger'; CREATE PROCEDURE p() SELECT 1; CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1; CREATE SEQUENCE s;`

func smallFor(m *servers.MySQLServer) string {
	if isMaria(m) {
		return small
	}
	return strings.ReplaceAll(small, "CREATE SEQUENCE s;", "")
}

// copyInto copies a view and returns the error.
func copyInto(t *testing.T, v rows.View, url string, opt TargetOptions) error {
	t.Helper()
	target, err := NewTarget(url, opt)
	if err != nil {
		t.Fatal(err)
	}
	_, err = rows.Copy(t.Context(), v, target, rows.CopyOptions{})
	return err
}

// cancelling is a view whose rows end when the restore is interrupted.
type cancelling struct {
	*View
	cancel func()
}

func (v *cancelling) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	r, err := v.View.Read(ctx, p)
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(r, untilDone{ctx, v.cancel}), r}, err
}

type untilDone struct {
	ctx    context.Context
	cancel func()
}

func (u untilDone) Read([]byte) (int, error) {
	u.cancel()
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

func TestTarget_Options(t *testing.T) { eachFlavour(t, testTarget_Options) }

func testTarget_Options(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, smallFor(m))
	v := open(t, db, Options{})
	all := dump(t, m, db)
	some := open(t, db, Options{Tables: rows.Selection{Include: []string{"c"}}})
	kind := func(t *testing.T, err error, want fail.Kind) {
		t.Helper()
		if fail.KindOf(err) != want || err == nil {
			t.Errorf("got %v of kind %v, want %v", err, fail.KindOf(err), want)
		}
	}
	t.Run("a_database_that_holds_something_is_left_alone", func(t *testing.T) {
		for _, what := range []string{"CREATE TABLE x (id int)", "CREATE VIEW x AS SELECT 1", "CREATE PROCEDURE x() SELECT 1", "CREATE SEQUENCE x"} {
			if strings.Contains(what, "SEQUENCE") && !isMaria(m) {
				continue
			}
			to := m.CreateDatabase(t)
			m.SQL(t, to, what)
			before := dump(t, m, to)
			kind(t, copyInto(t, v, to, TargetOptions{}), fail.Exists)
			if diff := cmp.Diff(before, dump(t, m, to)); diff != "" {
				t.Error(diff)
			}
		}
	})
	t.Run("clean_replaces_everything", func(t *testing.T) {
		to := everything(t, m)
		restore(t, v, to, TargetOptions{Clean: true})
		if diff := cmp.Diff(all, dump(t, m, to)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("create_makes_the_database_and_clean_drops_it_before", func(t *testing.T) {
		name := "created_" + strings.ToLower(t.Name()[len(t.Name())-5:])
		defer m.SQL(t, "", "DROP DATABASE IF EXISTS "+name)
		kind(t, copyInto(t, v, m.URL(name), TargetOptions{}), fail.NotFound)
		restore(t, v, m.URL(name), TargetOptions{Create: true})
		kind(t, copyInto(t, v, m.URL(name), TargetOptions{Create: true}), fail.Exists)
		restore(t, v, m.URL(name), TargetOptions{Create: true, Clean: true})
		if diff := cmp.Diff(all, dump(t, m, m.URL(name))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("partial_adds_tables_and_leaves_others", func(t *testing.T) {
		to := m.CreateDatabase(t)
		m.SQL(t, to, "CREATE TABLE other (id int); INSERT INTO other VALUES (7)")
		target, _ := restore(t, some, to, TargetOptions{Partial: true})
		if got := m.SQL(t, to, "SHOW TABLES; SELECT * FROM other; SELECT count(*) FROM c"); got != "c\nother\n7\n2" {
			t.Errorf("got %s", got)
		}
		if notes := strings.Join(target.Notes(), "; "); !strings.Contains(notes, "c_a") {
			t.Errorf("notes: %s", notes)
		}
		kind(t, copyInto(t, some, to, TargetOptions{Partial: true}), fail.Exists)
	})
	t.Run("partial_with_clean_replaces_the_table_and_its_foreign_keys", func(t *testing.T) {
		to := m.CreateDatabase(t)
		restore(t, v, to, TargetOptions{})
		m.SQL(t, to, "UPDATE c SET a = NULL; DROP TRIGGER tr")
		parents := open(t, db, Options{Tables: rows.Selection{Include: []string{"a"}}})
		restore(t, some, to, TargetOptions{Partial: true, Clean: true})
		restore(t, parents, to, TargetOptions{Partial: true, Clean: true}) // which c refers to
		if diff := cmp.Diff(all, dump(t, m, to)); diff != "" {
			t.Error(diff)
		}
		if _, err := m.Query(name(t, to), "INSERT INTO c VALUES (9, 99)"); err == nil {
			t.Error("the foreign key is gone")
		}
	})
	t.Run("data_only_fills_tables_that_exist", func(t *testing.T) {
		to := m.CreateDatabase(t)
		kind(t, copyInto(t, v, to, TargetOptions{DataOnly: true}), fail.NotFound)
		restore(t, v, to, TargetOptions{SchemaOnly: true})
		if got := m.SQL(t, to, "SELECT count(*) FROM a"); got != "0" {
			t.Errorf("schema only: %s rows", got)
		}
		m.SQL(t, to, "DROP TRIGGER tr")
		restore(t, v, to, TargetOptions{DataOnly: true})
		kind(t, copyInto(t, v, to, TargetOptions{DataOnly: true}), fail.Exists)
		restore(t, v, to, TargetOptions{DataOnly: true, Clean: true})
		if got := m.SQL(t, to, "SELECT id, v, hex(raw), b+0 FROM a ORDER BY id; SELECT * FROM c ORDER BY id"); got != "1\to'ne\\\t00\t3\n2\tNULL\t0A5C\t7\n3\tü\t\tNULL\n1\t1\n2\tNULL" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a_failure_leaves_what_was_there", func(t *testing.T) {
		bad := &breaking{v, "c"}
		empty := m.CreateDatabase(t)
		for _, opt := range []TargetOptions{{}, {Partial: true}} {
			if err := copyInto(t, bad, empty, opt); !errors.Is(err, errStub) {
				t.Errorf("got %v", err)
			}
			if got := m.SQL(t, empty, "SHOW TABLES; SHOW PROCEDURE STATUS WHERE db = database()"); got != "" {
				t.Errorf("%+v left %s", opt, got)
			}
		}
		full := m.CreateDatabase(t)
		m.SQL(t, full, "CREATE TABLE a (id int, v text, raw blob, b bit(4)); CREATE TABLE c (id int, a int); INSERT INTO c VALUES (5, 5)")
		before := dump(t, m, full)
		for _, opt := range []TargetOptions{{Partial: true, Clean: true}, {DataOnly: true, Clean: true}} {
			if err := copyInto(t, bad, full, opt); !errors.Is(err, errStub) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, dump(t, m, full)); diff != "" {
				t.Errorf("%+v: %s", opt, diff)
			}
		}
		err := copyInto(t, bad, full, TargetOptions{Clean: true})
		if !errors.Is(err, errStub) || !strings.Contains(err.Error(), "--clean removed table a, table c") {
			t.Errorf("got %v", err)
		}
		gone := m.URL("gone_again")
		if err := copyInto(t, bad, gone, TargetOptions{Create: true}); !errors.Is(err, errStub) || m.SQL(t, "", "SHOW DATABASES LIKE 'gone_again'") != "" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an_interrupted_restore_leaves_nothing", func(t *testing.T) {
		to := m.CreateDatabase(t)
		ctx, cancel := context.WithCancel(t.Context())
		target, err := NewTarget(to, TargetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = rows.Copy(ctx, &cancelling{v, cancel}, target, rows.CopyOptions{})
		if fail.KindOf(err) != fail.Interrupted {
			t.Errorf("got %v", err)
		}
		if got := m.SQL(t, to, "SHOW TABLES"); got != "" {
			t.Errorf("%s is left", got)
		}
	})
	t.Run("definers_can_be_left_out", func(t *testing.T) {
		to := m.CreateDatabase(t)
		n := name(t, to)
		u := m.User(t, "ALL PRIVILEGES ON "+n+".*")
		m.SQL(t, "", "SET GLOBAL log_bin_trust_function_creators = 1")
		kind(t, copyInto(t, v, u.URL(to), TargetOptions{}), fail.Denied)
		restore(t, v, u.URL(to), TargetOptions{NoOwner: true})
		if got := m.SQL(t, to, "SELECT DISTINCT definer FROM information_schema.triggers WHERE trigger_schema = database()"); !strings.HasPrefix(got, u.Name) {
			t.Errorf("got %s", got)
		}
	})
}

func name(t *testing.T, url string) string {
	t.Helper()
	n, _, err := DatabaseName(url)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTarget_Servers(t *testing.T) { eachFlavour(t, testTarget_Servers) }

func testTarget_Servers(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, smallFor(m))
	v := open(t, db, Options{})
	settings := []string{"local-infile=0", "max-allowed-packet=1M"}
	if isMaria(m) { // MySQL keeps what it was initialised with
		settings = append(settings, "lower-case-table-names=1")
	}
	own := servers.OwnMySQL(t, m.Flavour, servers.MySQLOptions{Settings: settings})
	t.Run("without_local_infile_rows_are_inserted", func(t *testing.T) {
		all := everything(t, m)
		m.SQL(t, all, "DELETE FROM byte_types WHERE length(lb) > 100000")
		to := own.CreateDatabase(t)
		restore(t, open(t, all, Options{}), to, TargetOptions{})
		if diff := cmp.Diff(strings.Split(dump(t, m, all), "\n"), strings.Split(dump(t, own, to), "\n")); diff != "" {
			t.Error(diff)
		}
	})
	huge := &stub{schema: &rows.Schema{Tables: []*rows.Table{{Name: "t", Kind: rows.Ordinary, Columns: []rows.Column{{Name: "x", Type: rows.Text}}}}},
		text: map[string]string{"t": strings.Repeat("x", 3<<20) + "\n"}}
	t.Run("a_row_that_is_too_long_names_the_setting", func(t *testing.T) {
		err := copyInto(t, huge, own.CreateDatabase(t), TargetOptions{})
		if fail.KindOf(err) != fail.Unsupported || !strings.Contains(err.Error()+fail.HintOf(err), "max_allowed_packet") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("names_that_differ_by_case_alone_are_refused_where_case_is_lost", func(t *testing.T) {
		if !isMaria(m) {
			t.Skip("this server tells them apart")
		}
		two := &stub{schema: &rows.Schema{Tables: []*rows.Table{{Name: "T", Kind: rows.Ordinary}, {Name: "t", Kind: rows.Ordinary}}}}
		err := copyInto(t, two, own.CreateDatabase(t), TargetOptions{})
		if fail.KindOf(err) != fail.Unsupported || !strings.Contains(err.Error(), "lower_case_table_names") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("references_are_checked_where_case_is_lost", func(t *testing.T) {
		int32 := func(name string) rows.Column { return rows.Column{Name: name, Type: rows.Int, Size: 32} }
		for engine, wants := range map[string]string{"sqlite": "name none of", "postgres": ""} {
			v := &stub{schema: &rows.Schema{Origin: rows.Origin{Engine: engine}, Tables: []*rows.Table{
				{Name: "Parent", Kind: rows.Ordinary, Columns: []rows.Column{int32("id")}, PrimaryKey: []string{"id"}},
				{Name: "Child", Kind: rows.Ordinary, Columns: []rows.Column{int32("p")}, ForeignKeys: []rows.ForeignKey{{Name: "fk", Columns: []string{"p"}, Table: `"Parent"`, References: []string{"id"}}}}}},
				text: map[string]string{`"Parent"`: "1\n", `"Child"`: "1\n7\n"}}
			to := own.CreateDatabase(t)
			if err := copyInto(t, v, to, TargetOptions{}); (err == nil) != (wants == "") || err != nil && !strings.Contains(err.Error(), wants) {
				t.Errorf("%s: got %v", engine, err)
			}
			if got := own.SQL(t, to, "SELECT count(*) FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL AND table_schema = database()"); got != "0" {
				t.Errorf("%s: %s foreign keys", engine, got)
			}
		}
	})
	t.Run("a_merger_needs_neither_local_infile_nor_the_right_to_lock", func(t *testing.T) {
		to := own.CreateDatabase(t)
		own.SQL(t, to, strings.NewReplacer("CREATE VIEW", "-- ").Replace(smallFor(m)))
		u := own.User(t, "SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES ON "+name(t, to)+".*")
		schema := open(t, to, Options{}).Schema()
		got, err := merge(t.Context(), schema, u.URL(to), false, loading{table: "a", columns: "id v raw b", key: "id", text: "1\tx\t\\\\x00\t3\n9\t\\N\t\\\\x5c\t1\n"})
		if diff := cmp.Diff([]rows.Merged{{Inserted: 1, Changed: 1}}, got, ignoreMerge); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		_, err = merge(t.Context(), schema, u.URL(to), false, loading{table: "c", columns: "id a", key: "id", text: "7\t77\n"})
		if fail.KindOf(err) != fail.Incomplete || own.SQL(t, to, "SELECT count(*) FROM c") != "2" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a_server_that_demands_primary_keys_says_so", func(t *testing.T) {
		if isMaria(m) {
			t.Skip("it has no such setting")
		}
		to, none := own.CreateDatabase(t), m.CreateDatabase(t)
		m.SQL(t, none, "CREATE TABLE no_key (a int); INSERT INTO no_key VALUES (1)")
		from := open(t, none, Options{})
		u := own.User(t, "ALL PRIVILEGES ON "+name(t, to)+".*")
		own.SQL(t, "", "SET GLOBAL sql_require_primary_key = 1")
		defer own.SQL(t, "", "SET GLOBAL sql_require_primary_key = 0")
		err := copyInto(t, from, u.URL(to), TargetOptions{})
		if fail.KindOf(err) != fail.Unsupported || !strings.Contains(fail.HintOf(err), "sql_require_primary_key") {
			t.Errorf("got %v (%s)", err, fail.HintOf(err))
		}
		restore(t, from, to, TargetOptions{}) // root may do without
	})
	t.Run("values_that_do_not_fit_are_errors_without_local_infile_too", func(t *testing.T) {
		for _, c := range []struct{ typ, value string }{{"int", "99999999999"}, {"float", "NaN"}} {
			v := &stub{schema: &rows.Schema{Origin: rows.Origin{Engine: "postgres"}, Tables: []*rows.Table{{Name: "t", Kind: rows.Ordinary, Columns: []rows.Column{{Name: "x", Type: rows.Type(c.typ), Size: 32}}}}},
				text: map[string]string{"t": c.value + "\n"}}
			if err := copyInto(t, v, own.CreateDatabase(t), TargetOptions{}); err == nil || fail.KindOf(err) == fail.Internal {
				t.Errorf("%s %s: got %v", c.typ, c.value, err)
			}
		}
	})
	t.Run("a_read_only_server_says_so", func(t *testing.T) {
		to := own.CreateDatabase(t)
		u := own.User(t, "ALL PRIVILEGES ON "+name(t, to)+".*")
		own.SQL(t, "", "SET GLOBAL read_only = 1")
		err := copyInto(t, v, u.URL(to), TargetOptions{})
		own.SQL(t, "", "SET GLOBAL read_only = 0")
		if fail.KindOf(err) != fail.Denied || !strings.Contains(fail.HintOf(err), "read-only") {
			t.Errorf("got %v (%s)", err, fail.HintOf(err))
		}
		own.SQL(t, to, "CREATE TABLE old (id int)")
		own.SQL(t, "", "SET GLOBAL read_only = 1")
		err = copyInto(t, v, u.URL(to), TargetOptions{Clean: true})
		own.SQL(t, "", "SET GLOBAL read_only = 0")
		if fail.KindOf(err) != fail.Denied || strings.Contains(err.Error(), "gone") || strings.Contains(err.Error(), "holds part of") {
			t.Errorf("with --clean, of which nothing was done: got %v", err)
		}
	})
	t.Run("a_server_that_dies_is_told", func(t *testing.T) {
		to := own.CreateDatabase(t)
		target, err := NewTarget(to, TargetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := target.Prepare(t.Context(), v.Schema(), v.Native()); err != nil {
			t.Fatal(err)
		}
		own.Crash(t)
		p := v.Parts(v.Schema().Table("a"))[0]
		_, err = target.Load(t.Context(), p, strings.NewReader(fmt.Sprintln("1\tx\t\\\\x00\t1")))
		if fail.KindOf(err) != fail.Unavailable {
			t.Errorf("got %v", err)
		}
		if err := target.Abort(t.Context()); fail.KindOf(err) != fail.Unavailable || !strings.Contains(err.Error(), "holds part of a restore") {
			t.Errorf("got %v", err)
		}
	})
}
