package servers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDjango holds the promise of the harness: each version runs the whole project on each engine.
func TestDjango(t *testing.T) {
	for _, version := range DjangoVersions() {
		t.Run("django"+strings.ReplaceAll(version, ".", "_"), func(t *testing.T) {
			d := Django(t, version)
			t.Run("sqlite", func(t *testing.T) { checkDjango(t, d, filepath.Join(t.TempDir(), "db.sqlite3"), "shop.book") })
			t.Run("postgres15", func(t *testing.T) {
				checkDjango(t, d, Postgres(t, "15").CreateDatabase(t), "pgapp.pgm")
			})
			t.Run("mariadb", func(t *testing.T) {
				checkDjango(t, d, MariaDB(t).CreateDatabase(t), "shop.book")
			})
		})
	}
}

func checkDjango(t *testing.T, d *DjangoRelease, db, model string) {
	p := d.Project(t, db)
	p.Migrate(t)
	p.Seed(t)
	var m struct {
		Django string
		Models []struct{ Label string }
	}
	if err := json.Unmarshal(p.ModelMap(t), &m); err != nil || !strings.HasPrefix(m.Django, d.Version+".") || len(m.Models) < 27 {
		t.Errorf("got the map of %d models by Django %s, %v", len(m.Models), m.Django, err)
	}
	if got := p.Manage(t, "dumpdata", model); !strings.HasPrefix(got, `[{"model": "`+model) {
		t.Errorf("dumpdata %s: got %.80q", model, got)
	}
	if _, stderr, err := p.ManageErr("loaddata", "nothing_of_the_kind"); err == nil || !strings.Contains(stderr, "nothing_of_the_kind") {
		t.Errorf("loaddata of a missing file: got %v, %q", err, stderr)
	}
	if d.Version == "3.2" { // finds names of its own making in a symmetrical many-to-many
		return
	}
	// What the project's migrations lack would make other tests compare the wrong things.
	if out, stderr, err := p.ManageErr("makemigrations", "--check", "--dry-run"); err != nil {
		t.Errorf("the migrations lag behind the models: %v\n%s%s", err, out, stderr)
	}
}

func TestFindDjango(t *testing.T) {
	t.Run("looks_at_the_version_and_not_at_the_folder", func(t *testing.T) {
		cache := t.TempDir()
		t.Setenv("HOLDFAST_TEST_CACHE", cache)
		dir := filepath.Join(cache, "django-9.1", debianPackages, "django")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write := func(text string) {
			if err := os.WriteFile(filepath.Join(dir, "__init__.py"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("VERSION = (9, 0, 1, \"final\", 0)\n")
		if _, err := findDjango("9.1"); err == nil {
			t.Error("took Django 9.0 for 9.1")
		}
		write("VERSION = (9, 1, 0, \"final\", 0)\n")
		if d, err := findDjango("9.1"); err != nil || d.path != filepath.Dir(dir) {
			t.Errorf("got %v, %v", d, err)
		}
	})
}
