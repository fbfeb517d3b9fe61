package backup_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/servers"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// propertyChecks is how many random databases each server gets, unless -rapid.checks or $RAPID_CHECKS says otherwise.
const propertyChecks = "6"

// A caseTB lets a helper for tests fail one case of a property, so that rapid makes it smaller and shows it.
type caseTB struct {
	testing.TB
	rt *rapid.T
}

func (c caseTB) Helper()                           {}
func (c caseTB) Log(args ...any)                   { c.rt.Log(args...) }
func (c caseTB) Logf(format string, args ...any)   { c.rt.Logf(format, args...) }
func (c caseTB) Error(args ...any)                 { c.rt.Error(args...) }
func (c caseTB) Errorf(format string, args ...any) { c.rt.Errorf(format, args...) }
func (c caseTB) Fatal(args ...any)                 { c.rt.Fatal(args...) }
func (c caseTB) Fatalf(format string, args ...any) { c.rt.Fatalf(format, args...) }
func (c caseTB) Cleanup(fn func())                 { c.rt.Cleanup(fn) }
func (c caseTB) Context() context.Context          { return c.rt.Context() }

// skip leaves a case out, and says why in the test's own log.
func (c caseTB) skip(format string, args ...any) {
	c.TB.Logf("a case was left out: %.2000s", fmt.Sprintf(format, args...))
	c.rt.SkipNow()
}

// fewerChecks sets rapid's number of checks when the command line does not.
func fewerChecks(t *testing.T, checks string) {
	t.Helper()
	given := os.Getenv("RAPID_CHECKS") != ""
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if given {
		return
	}
	old := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", checks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", old) })
}

// Any database comes back equal, definitions and rows: random schemas with odd names, every type and every kind of
// object, and values at the edges of their types.
func TestPostgresRandomDatabases(t *testing.T) {
	fewerChecks(t, propertyChecks)
	var seen tally // of all servers: a few cases of one may be small ones all
	eachPostgres(t, func(t *testing.T, pg *servers.PG) {
		s := openStore(t, newRepo(t))
		rapid.Check(t, func(rt *rapid.T) {
			script, statements := randomSchema(rt)
			rt.Logf("the database:\n%s", script)
			tb := caseTB{t, rt}
			src := pg.CreateDatabase(tb)
			refused, messages := runScript(tb, pg, src, script)
			rt.Logf("refused by the server:\n%s", messages)
			seen.add(statements, refused)
			checkRoundTrip(tb, pg, s, src, &seen)
		})
		if v := verifyAll(t, s); v.Err() != nil {
			t.Errorf("verify: %v, %+v", v.Err(), v.Damage)
		}
	})
	seen.check(t)
}

// tally guards against a property that holds because nothing was tried.
type tally struct {
	cases, statements, refused, rows, tables int
	asServer                                 int // cases whose copy is equal to that by pg_dump and psql only
}

func (c *tally) add(statements, refused int) {
	c.cases++
	c.statements += statements
	c.refused += refused
}

func (c *tally) check(t *testing.T) {
	t.Helper()
	t.Logf("%+v", *c)
	accepted := c.statements - c.refused // typically 45 a case, with 6 tables and 100 rows
	if c.cases == 0 || c.asServer*2 > c.cases || accepted < 10*c.cases || c.tables < c.cases/2 || c.rows < c.cases {
		t.Errorf("too little was tried: %+v", *c)
	}
}

var scriptError = regexp.MustCompile(`(?m)^psql:.*ERROR: .*$`)

// runScript runs the statements that the server takes, and returns how many it refused.
func runScript(t testing.TB, pg *servers.PG, db, script string) (refused int, messages string) {
	t.Helper()
	cmd := pg.Command("psql", "-qXAt", "-v", "ON_ERROR_STOP=0", "-d", dbName(t, db), "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("psql: %v\n%s", err, stderr.String())
	}
	found := scriptError.FindAllString(stderr.String(), -1)
	return len(found), strings.Join(found, "\n")
}

// checkRoundTrip backs a database up, restores it and compares the two.
func checkRoundTrip(t caseTB, pg *servers.PG, s *backup.Store, src string, seen *tally) {
	want := pgDump(t, pg, src)
	dst := pg.CreateDatabase(t)
	done, err := tryBackup(t.Context(), s, wire.SourceOptions{}, src)
	if err != nil {
		t.Fatalf("back up: %v", err)
	}
	restored, err := tryRestore(t.Context(), s, done[0], dst, wire.TargetOptions{})
	if err != nil {
		if messages := restoreByServer(t, pg, src, pg.CreateDatabase(t)); messages != "" {
			t.skip("restore: %v; but pg_dump and psql can't restore it either:\n%s", err, messages)
		}
		t.Fatalf("restore: %v", err)
	}
	seen.rows += int(restored.Rows)
	seen.tables += restored.Tables
	if got := pgDump(t, pg, dst); got != want {
		// Columns that a child got from its parent later come first when it is made again: what PostgreSQL's own way back makes of it counts.
		ref := pg.CreateDatabase(t)
		messages := restoreByServer(t, pg, src, ref)
		if best := pgDump(t, pg, ref); got != best {
			t.Fatalf("dumps differ (-want +got):\n%.20000s\nand from what psql restores:\n%.20000s\n%s", dumpDiff(want, got), dumpDiff(best, got), messages)
		}
		seen.asServer++
	}
	if diff := cmp.Diff(unseenByDump(t, pg, src), unseenByDump(t, pg, dst)); diff != "" {
		t.Errorf("what pg_dump does not show differs (-want +got):\n%s", diff)
	}
}

// unseenByDump returns the rows of materialized views, and indexes and constraints that are not in order.
func unseenByDump(t testing.TB, pg *servers.PG, db string) []string {
	t.Helper()
	return strings.Split(psql(t, pg, db, `
SELECT format('SELECT %L, count(*), md5(string_agg(m::text, E''\n'' ORDER BY m::text COLLATE "C")) FROM %I.%I m;', schemaname || '.' || matviewname, schemaname, matviewname)
  FROM pg_matviews WHERE ispopulated ORDER BY 1 \gexec
SELECT format('%s %s %s', indexrelid::regclass, indisvalid, indisready) COLLATE "C" FROM pg_index WHERE NOT indisvalid OR NOT indisready ORDER BY 1;
SELECT format('%s %s', conrelid::regclass, conname) COLLATE "C" FROM pg_constraint WHERE NOT convalidated ORDER BY 1;`), "\n")
}

func dumpDiff(want, got string) string {
	return cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))
}

// restoreByServer brings a database back by pg_dump and psql, and returns what could not be: they have limits of their own with odd definitions.
func restoreByServer(t testing.TB, pg *servers.PG, src, dst string) (messages string) {
	t.Helper()
	dump, err := pg.Command("pg_dump", "-d", dbName(t, src)).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	_, messages = runScript(t, pg, dst, string(dump))
	return messages
}
