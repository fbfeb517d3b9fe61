// Package servers starts the real servers that tests and benchmarks run against, and says
// what happens when something a test needs is not on the machine.
//
// A test asks for a server by name and gets one that is shared by the whole test process:
//
//	for _, major := range servers.PostgresVersions() {
//		t.Run("postgres"+major, func(t *testing.T) {
//			pg := servers.Postgres(t, major)
//			url := pg.CreateDatabase(t)
//			…
//		})
//	}
//
// Servers run as an unprivileged user, keep their data in a folder of their own, and end with
// the process that started them, however that ends: see watch.sh.
//
// Four environment variables matter. $HOLDFAST_REQUIRE names what must not be missing:
// without it a test is skipped, with it the test fails. $HOLDFAST_TEST_PG lists what
// PostgreSQL installations to use instead of the default ones: bin folders, or major versions («18»). $HOLDFAST_TEST_CACHE is
// where scripts/test-deps.sh keeps what it had to make; without it that is a folder in
// $XDG_CACHE_HOME or ~/.cache.
package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Require skips the test unless ok, or fails it when $HOLDFAST_REQUIRE, a comma list, has
// name in it. Why says what is missing, for the person who is to provide it.
//
// Names in use: postgres15, postgres17 (and so on), mariadb, mysql, sqlite3, python3, tmpfs, kopia. The
// Makefile lists those that CI requires.
func Require(t testing.TB, name string, ok bool, why string) {
	t.Helper()
	switch {
	case ok:
	case Required(name):
		t.Fatalf("$HOLDFAST_REQUIRE asks for %s, which is missing: %s", name, why)
	default:
		t.Skipf("needs %s: %s", name, why)
	}
}

// Required reports whether $HOLDFAST_REQUIRE has name in it.
func Required(name string) bool {
	for _, item := range strings.Split(os.Getenv("HOLDFAST_REQUIRE"), ",") {
		if strings.TrimSpace(item) == name {
			return true
		}
	}
	return false
}

// Program returns the path of a program on $PATH, and requires it under its own name.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	Require(t, name, err == nil, "no such program on $PATH (scripts/test-deps.sh installs it)")
	return path
}

// CacheDir is the folder scripts/test-deps.sh fills. Both must agree. A test that changes $HOME sets $HOLDFAST_TEST_CACHE to it first.
func CacheDir() string {
	if dir := os.Getenv("HOLDFAST_TEST_CACHE"); dir != "" {
		return dir
	}
	base, err := os.UserCacheDir() // $XDG_CACHE_HOME or ~/.cache
	if err != nil {
		base = os.TempDir()
	}
	return filepath.Join(base, "holdfast-test")
}

// cleanEnv is the environment without what would lead libpq's programs to another server.
func cleanEnv(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG")
	})
	return append(env, more...)
}
