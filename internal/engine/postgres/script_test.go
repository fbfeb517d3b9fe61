package postgres

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// normalDump is a whole database as pg_dump writes it, with the rows of each table in order.
// Rows of partitions by the hash of an enum are left out: they may move from one to another.
func normalDump(t *testing.T, pg *servers.PG, url string) []string {
	t.Helper()
	name, _, err := DatabaseName(url)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pg.Command("pg_dump", "--exclude-table-data=app.by_mood_*", "-d", name).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	kept := []string{}
	start := -1
	for _, line := range strings.Split(string(out), "\n") {
		switch {
		case strings.HasPrefix(line, `\restrict `), strings.HasPrefix(line, `\unrestrict `):
			continue
		case strings.HasPrefix(line, "COPY ") && strings.HasSuffix(line, " FROM stdin;"):
			start = len(kept) + 1
		case line == `\.` && start >= 0:
			slices.Sort(kept[start:])
			start = -1
		}
		kept = append(kept, line)
	}
	return kept
}

// saveView writes a view as the folder that a stored backup looks like.
func saveView(t *testing.T, v *View) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name string, text []byte) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := fs.WalkDir(v.Native(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(v.Native(), name)
		write(name, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var files []rows.PartFile
	for i, table := range v.Schema().Tables {
		for _, p := range v.Parts(table) {
			f := rows.PartFile{Part: p, Path: fmt.Sprintf("tables/it's %d/%04d.tsv", i, p.Number)}
			write(f.Path, readPart(t, v, p))
			files = append(files, f)
		}
	}
	name, script := v.RecoveryScript(files)
	write(name, script)
	return dir
}

// runScript runs restore.sql with psql and nothing else.
func runScript(t *testing.T, pg *servers.PG, dir, url string) {
	t.Helper()
	name, _, err := DatabaseName(url)
	if err != nil {
		t.Fatal(err)
	}
	cmd := pg.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, "-f", "restore.sql")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	if s := strings.TrimSpace(string(out)); s != "" && !strings.Contains(s, "wal_level") {
		t.Errorf("psql said:\n%.1000s", s)
	}
}

func TestView_RecoveryScript(t *testing.T) {
	onEach(t, func(t *testing.T, pg *servers.PG) {
		t.Run("rebuilds_everything", func(t *testing.T) {
			url := everything(t, pg)
			dir := saveView(t, openView(t, pg, url, Options{PartPages: 16}))
			other := pg.CreateDatabase(t)
			runScript(t, pg, dir, other)
			if diff := cmp.Diff(normalDump(t, pg, url), normalDump(t, pg, other)); diff != "" {
				t.Errorf("dumps differ (-original +rebuilt):\n%.3000s", diff)
			}
			const moods = `SELECT string_agg(m || ':' || v, ' ' ORDER BY m, v) FROM app.by_mood`
			if got, want := pg.SQL(t, other, moods), pg.SQL(t, url, moods); got != want {
				t.Errorf("app.by_mood has\n%.500s, want\n%.500s", got, want)
			}
		})

		t.Run("sets_what_was_set_for_the_database", func(t *testing.T) {
			url := pg.CreateDatabase(t)
			name, _, err := DatabaseName(url)
			if err != nil {
				t.Fatal(err)
			}
			role := pg.User(t, "")
			set := `SELECT string_agg(coalesce(setrole::regrole::text, '-') || ' ' || setconfig::text, ' ' ORDER BY setrole)
				FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())`
			pg.SQL(t, url, fmt.Sprintf(`ALTER DATABASE %[1]s SET search_path TO "$user", 'we"ird, one', public;
				ALTER DATABASE %[1]s SET work_mem = '7MB';
				ALTER DATABASE %[1]s SET my.text = '100%% it''s \n %%I "x"';
				ALTER ROLE %[2]s IN DATABASE %[1]s SET datestyle = 'German, DMY'`, name, role.Name))
			dir := saveView(t, openView(t, pg, url, Options{}))
			other := pg.CreateDatabase(t)
			runScript(t, pg, dir, other)
			if got, want := pg.SQL(t, other, set), pg.SQL(t, url, set); got != want || want == "" {
				t.Errorf("settings are\n%s, want\n%s", got, want)
			}
		})

		t.Run("loads_rows_alone", func(t *testing.T) {
			url := pg.CreateDatabase(t)
			const tables = `CREATE TABLE a (id serial PRIMARY KEY, v text); CREATE TABLE b ();`
			pg.SQL(t, url, tables+`INSERT INTO a (v) VALUES ('x'), (NULL), (E'\t'); INSERT INTO b DEFAULT VALUES;
				SELECT lo_from_bytea(0, 'x')`)
			dir := saveView(t, openView(t, pg, url, Options{DataOnly: true, Tables: rows.Selection{Include: []string{"public.*"}}}))
			other := pg.CreateDatabase(t)
			pg.SQL(t, other, tables)
			runScript(t, pg, dir, other)
			pg.SQL(t, url, `SELECT lo_unlink(oid) FROM pg_largeobject_metadata`)
			if diff := cmp.Diff(normalDump(t, pg, url), normalDump(t, pg, other)); diff != "" {
				t.Errorf("dumps differ (-original +rebuilt):\n%.3000s", diff)
			}
		})
	})
}
