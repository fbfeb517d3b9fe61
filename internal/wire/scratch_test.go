package wire

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/mysql"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// tampered is a scratch where something happens to the rows after the restore.
type tampered struct {
	*scratchMySQL
	t   *testing.T
	sql string
}

func (s tampered) View(ctx context.Context) (rows.View, error) {
	if _, err := mysql.ExecScript(ctx, s.db, strings.NewReader(s.sql), mysql.ScriptOptions{}); err != nil {
		s.t.Fatal(err)
	}
	return s.scratchMySQL.View(ctx)
}

func TestDrill_mysql(t *testing.T) {
	m := servers.MariaDB(t)
	t.Setenv("TMPDIR", shortTemp(t))
	source := newPlace(t, MySQL)
	text, err := os.ReadFile("../engine/mysql/testdata/everything.sql")
	if err != nil {
		t.Fatal(err)
	}
	source.sql(t, string(text))
	s := newStore(t)
	b, err := s.Show(t.Context(), string(backUp(t, s, source.url).ID))
	if err != nil {
		t.Fatal(err)
	}
	drill := func(t *testing.T, to, sql string) backup.DrillResult {
		t.Helper()
		scratch, err := Scratch(t.Context(), s, b, ScratchOptions{To: to})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Drill(t.Context(), b.Backup, tampered{scratch.(*scratchMySQL), t, sql}, backup.DrillOptions{Expect: []string{"SELECT count(*) = 3 FROM parents", "SELECT n >= 0 FROM v_b"}})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Expected[0].OK && sql == "" || !r.Expected[1].OK {
			t.Errorf("expected: %+v", r.Expected)
		}
		return r
	}
	t.Run("passes_on_a_server_of_its_own", func(t *testing.T) {
		if r := drill(t, "auto", ""); r.Err() != nil || r.Tables == 0 || r.Rows == 0 {
			t.Errorf("got %+v", r)
		}
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "holdfast-scratch-*")); len(left) > 0 {
			t.Errorf("left behind: %s", left)
		}
	})
	t.Run("passes_on_a_server_that_is_named", func(t *testing.T) {
		if r := drill(t, m.URL("mysql"), ""); r.Err() != nil || r.Rows == 0 {
			t.Errorf("got %+v", r)
		}
		if left := m.SQL(t, "", "SHOW DATABASES LIKE 'holdfast_scratch_%'"); left != "" {
			t.Errorf("left behind: %s", left)
		}
	})
	t.Run("finds_what_is_not_as_backed_up", func(t *testing.T) {
		r := drill(t, m.URL("mysql"), "DELETE FROM no_key LIMIT 1; UPDATE old_style SET t = 'z' WHERE id = 1; SET foreign_key_checks = 0; UPDATE children SET parent = 77 LIMIT 1;")
		if fail.KindOf(r.Err()) != fail.Mismatch {
			t.Errorf("got %v", r.Err())
		}
		for _, want := range []string{"table no_key has 2 rows, 3 were backed up", "rows of table old_style differ from those backed up", "foreign key odd `fk of children"} {
			if !slices.ContainsFunc(r.Findings, func(f string) bool { return strings.HasPrefix(f, want) }) {
				t.Errorf("not found: %s\n%q", want, r.Findings)
			}
		}
	})
	t.Run("not_on_a_server_of_another_kind", func(t *testing.T) {
		if _, err := Scratch(t.Context(), s, b, ScratchOptions{To: "postgres://x/y"}); fail.KindOf(err) != fail.Usage {
			t.Errorf("got %v", err)
		}
	})
}

// shortTemp makes a folder that another user can pass through, and whose path is short enough for a socket.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hf-drill-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// MySQL's own, in a server of MySQL that was started for it: a backup, and what mysqldump wrote.
func TestDrill_mysqlItself(t *testing.T) {
	m := servers.MySQL(t, "mysql")
	t.Setenv("HOLDFAST_MYSQL_BIN", m.ServerPrograms(t))
	t.Setenv("TMPDIR", shortTemp(t))
	text, err := os.ReadFile("../engine/mysql/testdata/everything_mysql.sql")
	if err != nil {
		t.Fatal(err)
	}
	source := m.CreateDatabase(t)
	name := source[strings.LastIndex(source, "/")+1:]
	m.SQL(t, name, string(text))
	s := newStore(t)
	b, err := s.Show(t.Context(), string(backUp(t, s, source).ID))
	if err != nil {
		t.Fatal(err)
	}
	scratch, err := Scratch(t.Context(), s, b, ScratchOptions{To: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Drill(t.Context(), b.Backup, scratch, backup.DrillOptions{Expect: []string{"SELECT count(*) > 0 FROM v_z", "SELECT n >= 0 FROM v_b"}})
	if err != nil || r.Err() != nil || r.Tables < 10 {
		t.Errorf("backup: %+v, %v", r, err)
	}
	out, err := m.Command("mysqldump", "--routines", "--triggers", "--no-tablespaces", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	d, err := drillText(t, FileDrillOptions{Expect: []string{"SELECT count(*) > 0 FROM v_z", "SELECT n >= 0 FROM v_b"}}, string(out))
	if err != nil || d.Err() != nil {
		t.Errorf("file: %+v, %v", d, err)
	}
}
