package postgres

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// onEach runs a test on every version of the server that tests use.
func onEach(t *testing.T, test func(t *testing.T, pg *servers.PG)) {
	for _, major := range servers.PostgresVersions() {
		t.Run("postgres"+major, func(t *testing.T) { test(t, servers.Postgres(t, major)) })
	}
}

// everything makes a database that has one of everything.
func everything(t *testing.T, pg *servers.PG) (url string) {
	t.Helper()
	major, err := strconv.Atoi(pg.Major)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	script := read("everything.sql")
	if major < 15 {
		script = regexp.MustCompile(`(?m)^.* -- since 15$`).ReplaceAllString(script, "")
	}
	if major >= 18 {
		script += read("everything-18.sql")
	}
	url = pg.CreateDatabase(t)
	pg.SQL(t, url, script)
	return url
}

func openView(t *testing.T, pg *servers.PG, url string, opt Options) *View {
	t.Helper()
	opt.BinDir = pg.BinDir()
	v, err := Open(t.Context(), url, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return v
}

func tableOf(t *testing.T, v *View, name string) *rows.Table {
	t.Helper()
	table := v.Schema().Table(name)
	if table == nil {
		t.Fatalf("no table %s in the view", name)
	}
	return table
}

func readPart(t *testing.T, v *View, p rows.Part) []byte {
	t.Helper()
	r, err := v.Read(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return data
}

// readTable returns all rows of a table, sorted.
func readTable(t *testing.T, v *View, table *rows.Table) []string {
	t.Helper()
	var all []string
	for _, p := range v.Parts(table) {
		all = append(all, lines(readPart(t, v, p))...)
	}
	slices.Sort(all)
	return all
}

func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestView_Read(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		url := everything(t, pg)
		v := openView(t, pg, url, Options{PartPages: 4})
		cfg, err := parseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := connect(t.Context(), cfg, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())

		t.Run("gives_what_COPY_gives", func(t *testing.T) {
			parts, checked := 0, 0
			for _, table := range v.Schema().Tables {
				if table.Kind != rows.Ordinary {
					if n := len(v.Parts(table)); n > 0 && table.Kind != rows.LargeObjects {
						t.Errorf("%s is a %s and has %d parts", table, table.Kind, n)
					}
					continue
				}
				var want bytes.Buffer
				if _, err := conn.PgConn().CopyTo(t.Context(), &want, "COPY "+quoteTable(table)+" TO STDOUT"); err != nil {
					t.Fatal(err)
				}
				all := lines(want.Bytes())
				slices.Sort(all)
				if diff := cmp.Diff(all, readTable(t, v, table)); diff != "" {
					t.Errorf("%s: rows differ (-COPY +view):\n%.2000s", table, diff)
				}
				parts += len(v.Parts(table))
				checked++
			}
			if checked < 25 || parts < checked+50 {
				t.Errorf("checked %d tables in %d parts: the schema is not what it was", checked, parts)
			}
		})

		t.Run("gives_large_objects_in_pieces", func(t *testing.T) { testPieces(t, v) })
	})
}

func testPieces(t *testing.T, v *View) {
	got := readTable(t, v, tableOf(t, v, `pg_catalog."large objects"`))
	var ids []string
	for _, row := range got {
		f := strings.Split(row, "\t")
		ids = append(ids, f[0]+" "+f[1])
		if !strings.HasPrefix(f[2], `\\x`) {
			t.Errorf("bytes begin with %.5q", f[2])
		}
	}
	want := []string{"70001 0", "70003 0", "70003 262144", "70003 524288"}
	for i := range 20 {
		want = append(want, "70004 "+strconv.Itoa(i*262144))
	}
	slices.Sort(want)
	slices.Sort(ids)
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("pieces differ (-want +got):\n%s", diff)
	}
}

func TestView_Native(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		v := openView(t, pg, everything(t, pg), Options{})
		if err := fstest.TestFS(v.Native(), "globals.sql", "sequences.sql", "schema/pre-data.sql", "schema/post-data.sql"); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"schema/pre-data.sql":  "CREATE TABLE public.users",
			"schema/post-data.sql": "REFRESH MATERIALIZED VIEW app.per_user",
			"sequences.sql":        `SELECT pg_catalog.setval('"app"."used_seq"', 91, true);`,
			"globals.sql":          `CREATE ROLE "postgres"`,
		} {
			text, err := fs.ReadFile(v.Native(), name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	})
}
