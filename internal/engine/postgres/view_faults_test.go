package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// wantFail checks an error's kind, and that its text and hint together have all words.
func wantFail(t *testing.T, err error, kind fail.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", kind)
	}
	if got := fail.KindOf(err); got != kind {
		t.Errorf("kind of %q is %s, want %s", err, got, kind)
	}
	text := err.Error() + "\n" + fail.HintOf(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("error %q lacks %q", text, w)
		}
	}
}

func mustNotOpen(t *testing.T, pg *servers.PG, url string, opt Options) error {
	t.Helper()
	opt.BinDir = pg.BinDir()
	v, err := Open(t.Context(), url, opt)
	if err == nil {
		v.Close()
		t.Fatal("opened, want an error")
	}
	return err
}

func session1(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	cfg, err := parseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), cfg, "the other app")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func run1(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// bigTable makes a table that does not fit into the buffers between server and client.
const bigTable = `CREATE TABLE big AS SELECT i AS id, repeat(md5(i::text), 16) AS v FROM generate_series(1, 60000) i`

func TestOpen_Unreadable(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, `
			CREATE TABLE open (a int); CREATE TABLE shut1 (a int); CREATE TABLE shut2 (a int, b int);
			CREATE SCHEMA hidden; CREATE TABLE hidden.t (a int);
			CREATE TABLE guarded (a int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
			CREATE SEQUENCE s; SELECT lo_from_bytea(4711, 'x'); SELECT lo_from_bytea(4712, 'x');
			GRANT SELECT ON LARGE OBJECT 4712 TO PUBLIC`)
		role := pg.User(t, "")
		pg.SQL(t, url, fmt.Sprintf(`GRANT SELECT ON open, guarded, hidden.t TO %[1]s; GRANT SELECT (a) ON shut2 TO %[1]s`, role.Name))

		t.Run("names_every_table", func(t *testing.T) {
			err := mustNotOpen(t, pg, role.URL(url), Options{})
			wantFail(t, err, fail.Denied, "public.shut1 (no right to select)", "public.shut2 (no right to select)", "hidden.t (no right to use its schema)",
				"public.guarded (row-level security hides rows)", "public.s (sequence", "4711", "--exclude-table", "pg_read_all_data")
			if strings.Contains(err.Error(), "public.open") || strings.Contains(err.Error(), "4712") {
				t.Errorf("error %q names what can be read", err)
			}
		})

		t.Run("leaves_out_what_is_excluded", func(t *testing.T) {
			pg.SQL(t, url, fmt.Sprintf(`GRANT SELECT ON SEQUENCE s TO %s`, role.Name))
			v := openView(t, pg, role.URL(url), Options{Tables: rows.Selection{Exclude: []string{"shut?", "hidden.*", "guarded", `"large objects"`}}})
			if got := tableNames(v); got != "public.open" {
				t.Errorf("tables are %s, want public.open", got)
			}
			_ = saveView(t, v)
		})

		t.Run("reads_with_the_rights_it_asks_for", func(t *testing.T) {
			all := pg.User(t, "BYPASSRLS IN ROLE pg_read_all_data")
			pg.SQL(t, url, fmt.Sprintf(`GRANT SELECT ON LARGE OBJECT 4711 TO %s`, all.Name))
			v := openView(t, pg, all.URL(url), Options{})
			_ = saveView(t, v)
			if got, want := tableNames(v), `hidden.t public.guarded public.open public.shut1 public.shut2 pg_catalog."large objects"`; got != want {
				t.Errorf("tables are %s, want %s", got, want)
			}
		})
	})
}

func tableNames(v *View) string {
	var names []string
	for _, t := range v.Schema().Tables {
		names = append(names, t.String())
	}
	return strings.Join(names, " ")
}

func TestOpen_Locks(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, `CREATE TABLE busy (a int); CREATE TABLE free (a int); INSERT INTO busy VALUES (1)`)

		t.Run("says_who_holds_a_table", func(t *testing.T) {
			other := session1(t, url)
			run1(t, other, `BEGIN; LOCK TABLE public.busy IN ACCESS EXCLUSIVE MODE; SELECT 'a secret literal'`)
			err := mustNotOpen(t, pg, url, Options{LockWait: 200 * time.Millisecond})
			wantFail(t, err, fail.Locked, "public.busy is held by process "+fmt.Sprint(other.PgConn().PID()), "the other app", "since 2", "--lock-wait")
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "public.free") {
				t.Errorf("error %q tells too much", err)
			}
			run1(t, other, `ROLLBACK`)
		})

		t.Run("does_not_deadlock_with_one_who_waits", func(t *testing.T) {
			v := openView(t, pg, url, Options{DataOnly: true})
			other := session1(t, url)
			done := make(chan error, 1)
			go func() {
				_, err := other.PgConn().Exec(context.Background(), `BEGIN; LOCK TABLE public.busy IN ACCESS EXCLUSIVE MODE; ROLLBACK`).ReadAll()
				done <- err
			}()
			waitFor(t, session1(t, url), `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'public.busy'::regclass AND NOT granted)`)
			_, err := v.Read(t.Context(), v.Parts(tableOf(t, v, "public.busy"))[0])
			wantFail(t, err, fail.Locked, "public.busy")
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})
}

// waitFor polls the server until a condition holds.
func waitFor(t *testing.T, conn *pgx.Conn, condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		var ok bool
		// The server does the waiting between two looks.
		if err := conn.QueryRow(ctx, condition+` FROM pg_sleep(0.02)`).Scan(&ok); err != nil {
			t.Fatalf("wait for %s: %v", condition, err)
		}
		if ok {
			return
		}
	}
}

func TestView_Faults(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := pg.CreateDatabase(t)
		pg.SQL(t, url, bigTable)
		admin := session1(t, url)
		const readers = `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'holdfast' AND state = 'active')`

		t.Run("a_cut_connection_is_no_end", func(t *testing.T) {
			_, r := startBig(t.Context(), t, pg, url)
			run1(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query ~ 'COPY.*TO STDOUT' AND pid <> pg_backend_pid()`)
			n, err := io.Copy(io.Discard, r)
			wantFail(t, err, fail.Unavailable, "public.big")
			if n == 0 || n > 32<<20 {
				t.Errorf("read %d bytes: not in the middle", n)
			}
			if _, again := r.Read(make([]byte, 10)); again == nil || errors.Is(again, io.EOF) {
				t.Errorf("a second Read says %v", again)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})

		t.Run("a_cancelled_context_ends_the_work", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			_, r := startBig(ctx, t, pg, url)
			cancel()
			_, err := io.Copy(io.Discard, r)
			wantFail(t, err, fail.Interrupted)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			waitFor(t, admin, readers)
		})

		t.Run("closing_early_ends_the_work_and_spares_the_view", func(t *testing.T) {
			v, r := startBig(t.Context(), t, pg, url)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			waitFor(t, admin, readers)
			if got := len(readTable(t, v, tableOf(t, v, "public.big"))); got != 60000 {
				t.Errorf("then read %d rows, want 60000", got)
			}
		})

		t.Run("connections_are_used_again", func(t *testing.T) { testReuse(t, pg, url, admin) })
	})
}

// startBig begins to read the big table.
func startBig(ctx context.Context, t *testing.T, pg *servers.PG, url string) (*View, io.ReadCloser) {
	t.Helper()
	v := openView(t, pg, url, Options{DataOnly: true})
	r, err := v.Read(ctx, v.Parts(tableOf(t, v, "public.big"))[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return v, r
}

func testReuse(t *testing.T, pg *servers.PG, url string, admin *pgx.Conn) {
	v := openView(t, pg, url, Options{DataOnly: true, PartPages: 100})
	parts := v.Parts(tableOf(t, v, "public.big"))
	total := 0
	for _, p := range parts {
		total += len(lines(readPart(t, v, p)))
	}
	if len(parts) < 20 || total != 60000 {
		t.Errorf("%d parts, %d rows", len(parts), total)
	}
	var n int
	if err := admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'holdfast'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 2 {
		t.Errorf("%d connections, want the leader and one reader", n)
	}
}

func TestOpen_Usage(t *testing.T) {
	pg := servers.Postgres(t, servers.PostgresVersions()[0])
	url := pg.CreateDatabase(t)
	pg.SQL(t, url, `CREATE TABLE users (a int)`)
	t.Run("a_pattern_without_a_table", func(t *testing.T) {
		err := mustNotOpen(t, pg, url, Options{Tables: rows.Selection{Include: []string{"users", "nobody"}, Exclude: []string{"x.*"}}})
		wantFail(t, err, fail.NotFound, "nobody, x.*")
	})
	t.Run("a_pattern_that_is_none", func(t *testing.T) {
		wantFail(t, mustNotOpen(t, pg, url, Options{Tables: rows.Selection{Include: []string{`"users`}}}), fail.Usage, "--include")
	})
	t.Run("a_wrong_password", func(t *testing.T) {
		err := mustNotOpen(t, pg, "postgres://postgres:s3cret-word@"+pg.Addr()+"/x", Options{})
		wantFail(t, err, fail.Denied, "connect to "+pg.Addr(), "~/.pgpass")
		if strings.Contains(err.Error(), "s3cret-word") {
			t.Errorf("error shows the password: %s", err)
		}
	})
	t.Run("a_database_that_is_not_there", func(t *testing.T) {
		wantFail(t, mustNotOpen(t, pg, pg.URL("nowhere"), Options{}), fail.NotFound, "nowhere")
	})
	t.Run("a_server_that_is_not_there", func(t *testing.T) {
		wantFail(t, mustNotOpen(t, pg, "postgres://x:y@127.0.0.1:1/x", Options{}), fail.Unavailable, "127.0.0.1:1", "refused", "is the server running")
	})
	t.Run("no_pg_dump", func(t *testing.T) {
		_, err := findDump(t.Context(), 99, pg.BinDir())
		wantFail(t, err, fail.Unsupported, "pg_dump for PostgreSQL 99", "postgresql-client-99", "--data-only", "is version")
	})
}
