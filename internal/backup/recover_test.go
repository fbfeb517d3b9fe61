package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// Without Holdfast, the stock kopia command and psql bring a PostgreSQL database back.
func TestRecoverPostgresWithoutHoldfast(t *testing.T) {
	onPostgres(t, servers.EveryPostgres(), func(t *testing.T, pg *servers.PG) {
		src, dst := pg.CreateDatabase(t), pg.CreateDatabase(t)
		loadEverything(t, pg, src)
		// A name must not become a command of psql where somebody runs globals.sql.
		const tablespace = `"ts` + "\r" + `\! touch pwned #"`
		if out, err := pg.Command("psql", "-qX", "-d", dbName(t, src), "-c", "set allow_in_place_tablespaces = on", "-c", "create tablespace "+tablespace+" location ''").CombinedOutput(); err != nil {
			t.Fatalf("make a tablespace: %v\n%s", err, out)
		}
		t.Cleanup(func() { psql(t, pg, src, "drop tablespace "+tablespace) })
		loc := newRepo(t)
		b := backUp(t, openStore(t, loc), src)

		tree := filepath.Join(t.TempDir(), "tree")
		servers.ConnectKopia(t, loc, password).Run(t, "snapshot", "restore", b.ID.String(), tree)
		if globals, err := os.ReadFile(filepath.Join(tree, "globals.sql")); err != nil || bytes.ContainsRune(globals, '\r') || !bytes.Contains(globals, []byte("touch pwned")) {
			t.Errorf("globals.sql has a carriage return, or no tablespace (%v)", err)
		}
		for _, name := range []string{"backup.json", "globals.sql", "restore.sql", "sequences.sql", "schema/pre-data.sql", "schema/post-data.sql"} {
			if info, err := os.Stat(filepath.Join(tree, name)); err != nil || info.Size() == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		cmd := pg.Command("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", dbName(t, dst), "-f", "restore.sql")
		// The psql of this machine: a server in a chroot has one that doesn't see the folder.
		cmd.Path, cmd.Dir = servers.Program(t, "psql"), tree
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("psql -f restore.sql: %v\n%s", err, out)
		}
		sameDump(t, pgDump(t, pg, src), pgDump(t, pg, dst))
	})
}

// And the SQLite file comes back by kopia alone.
func TestRecoverSQLiteWithoutHoldfast(t *testing.T) {
	db := sqliteDB(t, "app.sqlite3", "create table t (x); with recursive n(i) as (select 1 union all select i+1 from n where i<30000) insert into t select hex(randomblob(30)) from n;")
	loc := newRepo(t)
	b := backUp(t, openStore(t, loc), db)

	tree := filepath.Join(t.TempDir(), "tree")
	servers.ConnectKopia(t, loc, password).Run(t, "snapshot", "restore", b.ID.String(), tree)
	want, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(tree, "image", "app.sqlite3"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("kopia restores %d bytes that differ from the %d of the file", len(got), len(want))
	}
	if out := sqliteExec(t, filepath.Join(tree, "image", "app.sqlite3"), "pragma integrity_check; select count(*) from t;"); out != "ok\n30000\n" {
		t.Errorf("the recovered file says %q", out)
	}
}
