package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.list); got != c.want {
			t.Errorf("median(%v): got %v, want %v", c.list, got, c.want)
		}
	}
}

func TestResult(t *testing.T) {
	missed := result{work: "w", peer: "p", unit: "s", ours: 3, theirs: 4, oursAll: []float64{2, 3, 5}, target: 0.5}
	if got, want := missed.line(), "| w | p | 3.00 s (2.00–5.00) | 4.00 s | 0.75 | 0.50 | **no** |\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	missed.target = 0.75
	if got := missed.line(); !strings.Contains(got, "| yes |") {
		t.Errorf("a ratio that equals its target is reached, but: %s", got)
	}
}

func TestParse(t *testing.T) {
	if _, err := parse([]string{"-only", "pg-backup,nonsense"}); err == nil {
		t.Error("took a part that does not exist")
	}
	opt, err := parse([]string{"-quick", "-only", "memory"})
	if err != nil || opt.runs != 1 || len(opt.only) != 1 {
		t.Errorf("got %+v, %v", opt, err)
	}
}

func TestMeasure(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	t.Run("counts_the_memory_of_the_program", func(t *testing.T) {
		s, err := measure(context.Background(), b.shell("head -c 60000000 /dev/zero | tail -n 1 | wc -c"))
		if err != nil {
			t.Fatal(err)
		}
		if s.rss < 60e6 || s.rss > 600e6 || s.wall <= 0 {
			t.Errorf("got %+v for 60 MB held by tail", s)
		}
	})
	t.Run("fails_with_a_part_of_a_pipe", func(t *testing.T) {
		if _, err := measure(context.Background(), b.shell("false | cat")); err == nil {
			t.Error("a pipe whose first program failed passed")
		}
	})
}

func TestData(t *testing.T) {
	ctx := context.Background()
	major := servers.PostgresVersions()[0]
	b := &bench{opt: options{scale: 1, sqlite: 5000}, dir: t.TempDir(), pg: servers.OwnPostgres(t, major, servers.Options{})}
	for _, db := range []string{"bench", "twin"} {
		if _, err := b.makeDatabase(ctx, db, 1); err != nil {
			t.Fatal(err)
		}
	}
	hash := func(db string) string {
		return b.pg.SQL(t, db, "SELECT count(*), md5(string_agg(e::text, ',' ORDER BY id)) FROM events e")
	}
	t.Run("is_the_same_each_time", func(t *testing.T) {
		one, two := hash("bench"), hash("twin")
		if one != two || !strings.HasPrefix(one, "50000|") {
			t.Errorf("got %s, then %s", one, two)
		}
	})
	t.Run("changes_by_1_percent", func(t *testing.T) {
		for name, change := range map[string]func() error{"recent": b.changeRecent, "scattered": b.changeScattered} {
			next := b.pg.SQL(t, "bench", "SELECT pg_current_xact_id()")
			if err := change(); err != nil {
				t.Fatal(err)
			}
			text := b.pg.SQL(t, "bench", "SELECT (SELECT count(*) FROM events WHERE xmin::text::bigint > "+next+
				") + (SELECT count(*) FROM pgbench_accounts WHERE xmin::text::bigint > "+next+")")
			// Rows that were deleted are not to be seen.
			if got, err := strconv.Atoi(text); err != nil || got < 1300 || got > 1500 {
				t.Errorf("%s: %s of 150000 rows are new, want 1300 to 1500 (%v)", name, text, err)
			}
		}
	})
	t.Run("makes_an_SQLite_file", func(t *testing.T) {
		servers.Program(t, "sqlite3")
		if err := b.sqliteFile(); err != nil {
			t.Fatal(err)
		}
		out, err := b.command("sqlite3", b.dbFile, "SELECT count(*), count(DISTINCT payload), min(json_valid(payload)) FROM events").Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != "5000|5000|1" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("is_measured_in_files", func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"a", "b"} {
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := size(dir); n != 2000 || err != nil {
			t.Errorf("got %d, %v, want 2000", n, err)
		}
	})
}
