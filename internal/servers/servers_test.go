package servers

import (
	"strings"
	"testing"
)

// report is a testing.TB that notes how a test ended. It embeds a real one, whose methods
// that nobody calls here would panic.
type report struct {
	testing.TB
	skipped, failed bool
	text            string
}

func (r *report) Helper()                   {}
func (r *report) Skipf(f string, a ...any)  { r.skipped, r.text = true, f }
func (r *report) Fatalf(f string, a ...any) { r.failed, r.text = true, f }

func TestRequire(t *testing.T) {
	for _, c := range []struct {
		rule, require   string
		ok              bool
		skipped, failed bool
	}{
		{"passes_what_is_there", "gpg", true, false, false},
		{"skips_what_is_missing", "", false, true, false},
		{"skips_what_is_missing_and_not_named", "kopia, postgres15", false, true, false},
		{"fails_what_is_named", "gpg", false, false, true},
		{"fails_what_is_named_among_others", "kopia, gpg ,tmpfs", false, false, true},
		{"does_not_take_part_of_a_name", "gpg2", false, true, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Setenv("HOLDFAST_REQUIRE", c.require)
			r := &report{}
			Require(r, "gpg", c.ok, "no such program")
			if r.skipped != c.skipped || r.failed != c.failed {
				t.Errorf("got skipped %v, failed %v; want %v, %v", r.skipped, r.failed, c.skipped, c.failed)
			}
		})
	}
}

func TestPostgresVersions(t *testing.T) {
	t.Run("are_15_and_17", func(t *testing.T) {
		t.Setenv("HOLDFAST_TEST_PG", "")
		if got := strings.Join(PostgresVersions(), " "); got != "15 17" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("keep_a_folder_without_a_server_so_that_it_fails", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("HOLDFAST_TEST_PG", dir)
		if got := PostgresVersions(); len(got) != 1 || got[0] != dir {
			t.Errorf("got %v, want %s", got, dir)
		}
		if _, err := find(dir); err == nil {
			t.Error("found a server there")
		}
	})
	t.Run("come_from_the_folders_named", func(t *testing.T) {
		t.Setenv("HOLDFAST_TEST_PG", "")
		in := install(t, "15")
		t.Setenv("HOLDFAST_TEST_PG", in.bin)
		if got := PostgresVersions(); len(got) != 1 || got[0] != "15" {
			t.Errorf("got %v, want 15", got)
		}
		if got, err := find("15"); err != nil || got.bin != in.bin {
			t.Errorf("got %v, %v", got.bin, err)
		}
		if _, err := find("17"); err == nil {
			t.Error("found a version that was not named")
		}
	})
	t.Run("may_be_versions_in_the_usual_places", func(t *testing.T) {
		t.Setenv("HOLDFAST_TEST_PG", "")
		in := install(t, "15")
		t.Setenv("HOLDFAST_TEST_PG", "15")
		if got := EveryPostgres(); len(got) != 1 || got[0] != "15" {
			t.Errorf("got %v, want 15", got)
		}
		if got, err := find("15"); err != nil || got.bin != in.bin {
			t.Errorf("got %v, %v", got.bin, err)
		}
		if _, err := find("18"); err == nil {
			t.Error("found a version that was not named")
		}
	})
}
