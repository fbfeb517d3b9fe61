package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// dial opens a session of a test.
func dial(t *testing.T, url string) *session {
	t.Helper()
	cfg, err := parseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := connect(t.Context(), cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// TestView_OneInstant reads two tables while money moves between them: the sum must be what it always is.
func TestView_OneInstant(t *testing.T) { eachFlavour(t, testView_OneInstant) }

func testView_OneInstant(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, fit(m, `CREATE TABLE a (id int PRIMARY KEY, x bigint, pad char(200)); CREATE TABLE b LIKE a;
		INSERT INTO a SELECT seq, 100, 'x' FROM seq_1_to_3000; INSERT INTO b SELECT * FROM a; ANALYZE TABLE a, b;`))
	name, _, _ := DatabaseName(db)
	plain := m.User(t, "SELECT ON "+name+".*")
	locker := m.User(t, "SELECT, LOCK TABLES ON "+name+".*")
	for _, c := range []struct {
		rule string
		url  string
		opt  Options
		want level
	}{
		{"by_backup_stages", db, Options{}, backupStages},
		{"by_a_read_lock", db, Options{best: readLock}, readLock},
		{"by_table_locks", locker.URL(db), Options{}, lockTables},
		{"over_one_connection_without_rights", plain.URL(db), Options{}, oneConnection},
	} {
		if c.want == backupStages && !isMaria(m) {
			continue
		}
		t.Run(c.rule, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			moves := make(chan struct{}, 1000)
			for n := range 2 {
				s := dial(t, db)
				writers.Go(func() {
					for i := n; ctx.Err() == nil; i += 2 {
						for _, sql := range []string{"START TRANSACTION", fmt.Sprintf("UPDATE a SET x = x - 1 WHERE id = %d", 1+i%3000), fmt.Sprintf("UPDATE b SET x = x + 1 WHERE id = %d", 1+i*7%3000), "COMMIT"} {
							if err := s.exec(ctx, sql); err != nil && ctx.Err() == nil && !isNumber(err, 1213) {
								t.Error(err)
								return
							}
						}
						select {
						case moves <- struct{}{}:
						default:
						}
					}
				})
			}
			<-moves
			c.opt.PartBytes = 100 << 10
			v := open(t, c.url, c.opt)
			for len(moves) > 0 {
				<-moves
			}
			<-moves // writers go on although the view is open
			<-moves
			sum := int64(0)
			for _, table := range v.Schema().Tables {
				for line := range strings.Lines(text(t, v, table.Name)) {
					var id, x int64
					if _, err := fmt.Sscan(line, &id, &x); err != nil {
						t.Fatal(err)
					}
					sum += x
				}
			}
			stop()
			writers.Wait()
			if sum != 600_000 {
				t.Errorf("the sum is %d", sum)
			}
			// Whoever has no right may yet be lucky with the position of the log.
			if v.level != c.want && !(c.want == oneConnection && v.level == samePosition) {
				t.Errorf("got level %d (%s; %v), want %d", v.level, v.Schema().Origin.Consistency, v.Schema().Origin.Notes, c.want)
			}
			if v.Schema().Origin.Position == "" && (isMaria(m) || v.level != oneConnection) { // MySQL's may be unknown then
				t.Error("no position")
			}
		})
	}
	t.Run("without_locks_where_nobody_writes", func(t *testing.T) {
		v := open(t, plain.URL(db), Options{})
		if v.level != samePosition {
			t.Errorf("got level %d: %v", v.level, v.Schema().Origin.Notes)
		}
	})
	t.Run("one_connection_serves_readers_side_by_side", func(t *testing.T) {
		v := open(t, db, Options{best: oneConnection})
		var all []io.ReadCloser
		for _, table := range v.Schema().Tables {
			r, err := v.ReadSorted(t.Context(), table, []string{"id", "x"}, []string{"-id"})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			all = append(all, r)
		}
		for _, r := range all {
			if data, err := io.ReadAll(r); err != nil || !strings.HasPrefix(string(data), "3000\t") {
				t.Errorf("got %.20q, %v", data, err)
			}
		}
	})
}

func TestView_Faults(t *testing.T) { eachFlavour(t, testView_Faults) }

func testView_Faults(t *testing.T, m *servers.MySQLServer) {
	db := m.CreateDatabase(t)
	m.SQL(t, db, fit(m, "CREATE TABLE a (id int PRIMARY KEY, pad char(250)); INSERT INTO a SELECT seq, repeat('x', 250) FROM seq_1_to_40000; CREATE TABLE b (id int); INSERT INTO b VALUES (1); ANALYZE TABLE a"))
	name, _, _ := DatabaseName(db)
	first := func(t *testing.T, v *View, table string) io.ReadCloser {
		r, err := v.Read(t.Context(), v.Parts(v.Schema().Table(table))[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Run("a_reader_that_is_closed_early_keeps_its_connection", func(t *testing.T) {
		v := open(t, db, Options{})
		for range 20 {
			if err := first(t, v, "a").Close(); err != nil {
				t.Fatal(err)
			}
		}
		if v.left != cap(v.idle) || len(v.idle) != v.left {
			t.Errorf("%d of %d connections are left, %d idle", v.left, cap(v.idle), len(v.idle))
		}
		if got := strings.Count(text(t, v, "a"), "\n"); got != 40000 {
			t.Errorf("got %d rows", got)
		}
	})
	t.Run("a_connection_that_is_cut_is_an_error", func(t *testing.T) {
		v := open(t, db, Options{})
		r := first(t, v, "a")
		m.SQL(t, "", "KILL CONNECTION "+r.(*rowReader).session.id)
		if _, err := io.Copy(io.Discard, r); fail.KindOf(err) != fail.Unavailable {
			t.Errorf("got %v", err)
		}
		r.Close()
		if got := strings.Count(text(t, v, "a"), "\n"); got != 40000 { // the others go on
			t.Errorf("got %d rows", got)
		}
	})
	t.Run("a_cancelled_read_ends_and_spoils_nothing", func(t *testing.T) {
		v := open(t, db, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		r, err := v.Read(ctx, v.Parts(v.Schema().Table("a"))[0])
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		r.Close()
		if got := strings.Count(text(t, v, "a"), "\n"); got != 40000 || v.left != cap(v.idle) {
			t.Errorf("got %d rows, %d connections of %d", got, v.left, cap(v.idle))
		}
	})
	t.Run("definitions_may_change_while_it_is_open_and_that_is_told", func(t *testing.T) {
		v := open(t, db, Options{})
		m.SQL(t, db, "SET lock_wait_timeout = 5; ALTER TABLE b ADD x int FIRST, FORCE; CREATE TABLE later (id int); DROP TABLE later")
		r, err := v.Read(t.Context(), v.Parts(v.Schema().Table("b"))[0])
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if fail.KindOf(err) != fail.Locked {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the_server_dies", func(t *testing.T) {
		own := servers.OwnMySQL(t, m.Flavour, servers.MySQLOptions{})
		db := own.CreateDatabase(t)
		own.SQL(t, db, fit(m, "CREATE TABLE a (id int PRIMARY KEY, pad char(250)); INSERT INTO a SELECT seq, repeat('x', 250) FROM seq_1_to_40000"))
		v := open(t, db, Options{})
		r := first(t, v, "a")
		own.Crash(t)
		if _, err := io.Copy(io.Discard, r); fail.KindOf(err) != fail.Unavailable {
			t.Errorf("got %v", err)
		}
		r.Close()
		_, err := rows.Measure(t.Context(), v, rows.CopyOptions{})
		if fail.KindOf(err) != fail.Unavailable {
			t.Errorf("got %v", err)
		}
	})
	t.Run("rights_that_are_missing_are_named", func(t *testing.T) {
		u := m.User(t, "SELECT ON "+name+".a", "INSERT ON "+name+".b")
		_, err := Open(t.Context(), u.URL(db), Options{})
		if fail.KindOf(err) != fail.Denied || !strings.Contains(err.Error(), "b") || strings.Contains(err.Error(), "a,") {
			t.Errorf("got %v", err)
		}
		viewed := m.CreateDatabase(t)
		m.SQL(t, viewed, "CREATE VIEW v AS SELECT 1 AS x")
		_, err = Open(t.Context(), m.User(t, "SELECT ON "+viewed[strings.LastIndex(viewed, "/")+1:]+".*").URL(viewed), Options{})
		if fail.KindOf(err) != fail.Denied || !strings.Contains(fail.HintOf(err), "SHOW VIEW") {
			t.Errorf("got %v (%s)", err, fail.HintOf(err))
		}
		v := open(t, u.URL(db), Options{Tables: rows.Selection{Include: []string{"a"}}})
		if got := strings.Count(text(t, v, "a"), "\n"); got != 40000 {
			t.Errorf("got %d rows", got)
		}
		v = open(t, m.User(t, "SELECT ON "+name+".*").URL(db), Options{})
		if notes := strings.Join(v.Schema().Origin.Notes, "; "); !strings.Contains(notes, "no right to see triggers") || !strings.Contains(notes, "events") || !strings.Contains(notes, "routines") {
			t.Errorf("notes: %s", notes)
		}
	})
	t.Run("errors_tell_what_but_no_password", func(t *testing.T) {
		for _, c := range []struct {
			url  string
			kind fail.Kind
		}{
			{"mysql://root:s3cret@" + m.Addr() + "/" + name, fail.Denied},
			{"mysql://root:s3cret@127.0.0.1:1/x", fail.Unavailable},
			{"mysql://root:s3cret@no.such.host.invalid/x", fail.Unavailable},
			{strings.Replace(db, name, "no_such_database", 1), fail.NotFound},
			{"mysql://root:s3cret%zz@h/x", fail.Usage},
		} {
			_, err := Open(t.Context(), c.url, Options{})
			if fail.KindOf(err) != c.kind || strings.Contains(fmt.Sprintf("%v %s %#v", err, fail.HintOf(err), err), "s3cret") {
				t.Errorf("%s: got %v of kind %v", c.url, err, fail.KindOf(err))
			}
		}
		_, err := Open(t.Context(), db, Options{Tables: rows.Selection{Include: []string{"nope"}}})
		if fail.KindOf(err) != fail.NotFound {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a_broken_view_is_told", func(t *testing.T) {
		db := m.CreateDatabase(t)
		m.SQL(t, db, "CREATE TABLE gone (id int); CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE VIEW broken AS SELECT * FROM gone; CREATE VIEW fine AS SELECT * FROM t; DROP TABLE gone")
		v := open(t, db, Options{})
		if notes := strings.Join(v.Schema().Origin.Notes, "; "); !strings.Contains(notes, "view broken is broken") {
			t.Errorf("notes: %s", notes)
		}
		to := m.CreateDatabase(t)
		target, _ := restore(t, v, to, TargetOptions{})
		if notes := strings.Join(target.Notes(), "; "); !strings.Contains(notes, "view broken was broken") {
			t.Errorf("notes: %s", notes)
		}
		if got := m.SQL(t, to, "SELECT id FROM fine"); got != "1" {
			t.Errorf("got %s", got)
		}
	})
}
