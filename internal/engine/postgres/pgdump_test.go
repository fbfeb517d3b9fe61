package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// fakeDump makes a folder with a pg_dump that does what the shell commands say.
func fakeDump(t *testing.T, major, commands string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) %s.1'; exit; fi\n%s\n", major, commands)
	if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDumper(t *testing.T) {
	major := servers.PostgresVersions()[0]
	pg := servers.Postgres(t, major)
	url := pg.CreateDatabase(t)

	t.Run("serves_nothing_of_a_dump_that_failed_nor_the_password", func(t *testing.T) {
		bin := fakeDump(t, major, `echo half; echo "pg_dump: error: permission denied for $PGPASSWORD" >&2; exit 1`)
		v, err := Open(t.Context(), url, Options{BinDir: bin})
		if err != nil {
			t.Fatal(err)
		}
		_, err = fs.ReadFile(v.Native(), "schema/pre-data.sql")
		wantFail(t, err, fail.Denied, "pre-data", "permission denied for [secret]")
		if _, err := fs.Stat(v.Native(), "schema/post-data.sql"); err == nil {
			t.Error("the other file has a size")
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})

	t.Run("gives_no_password_in_arguments_and_no_secrets_of_ours", func(t *testing.T) { testSecrets(t, major, url) })

	t.Run("ends_with_the_view", func(t *testing.T) {
		bin := fakeDump(t, major, `exec sleep 1000`)
		v, err := Open(t.Context(), url, Options{BinDir: bin})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		_, err = v.Native().Open("schema/pre-data.sql")
		wantFail(t, err, fail.Interrupted)
	})

	t.Run("ends_with_its_context", func(t *testing.T) {
		bin := fakeDump(t, major, `exec sleep 1000`)
		ctx, cancel := context.WithCancel(t.Context())
		v, err := Open(ctx, url, Options{BinDir: bin})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		cancel()
		_, err = v.Native().Open("schema/post-data.sql")
		wantFail(t, err, fail.Interrupted)
	})
}

func testSecrets(t *testing.T, major, url string) {
	t.Setenv("HOLDFAST_PASSWORD", "the repository's")
	bin := fakeDump(t, major, `echo "args $@"; env; cat /proc/$$/cmdline | tr '\0' ' '`)
	v, err := Open(t.Context(), url, Options{BinDir: bin})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	text, err := fs.ReadFile(v.Native(), "schema/pre-data.sql")
	if err != nil {
		t.Fatal(err)
	}
	kept, found := strings.Builder{}, false
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "PGPASSWORD=") {
			found = true
			continue
		}
		kept.WriteString(line + "\n")
	}
	if !found || strings.Contains(kept.String(), v.cfg.Password) || strings.Contains(kept.String(), "repository's") {
		t.Errorf("arguments and environment are\n%s", kept.String())
	}
}

// A folder that was named comes first; of the rest, the server's own version.
func TestFindDump(t *testing.T) {
	major := servers.PostgresVersions()[0]
	servers.Postgres(t, major) // so that there is one
	older, same, newer := fakeDump(t, "12", ""), fakeDump(t, major, ""), fakeDump(t, "99", "")
	t.Setenv("PATH", strings.Join([]string{older, newer, same, os.Getenv("PATH")}, string(os.PathListSeparator)))
	var n int
	if _, err := fmt.Sscan(major, &n); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ named, env, want string }{
		{"", "", ""}, {newer, "", newer}, {older, newer, newer}, {"", older, ""}, {same, newer, same},
	} {
		t.Setenv("HOLDFAST_PG_BIN", test.env)
		d, err := findDump(t.Context(), n, test.named)
		if err != nil {
			t.Fatal(err)
		}
		if test.want != "" && filepath.Dir(d.path) != test.want || test.want == "" && d.major != n {
			t.Errorf("named %q, environment %q: found %s (%s)", test.named, test.env, d.path, d)
		}
	}
}
