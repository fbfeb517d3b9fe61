package postgres

import (
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestSameDatabase(t *testing.T) {
	s := servers.Postgres(t, servers.PostgresVersions()[0])
	a, b := s.CreateDatabase(t), s.CreateDatabase(t)
	for name, tc := range map[string]struct {
		a, b string
		want bool
	}{"itself": {a, a, true}, "another": {a, b, false}, "none_yet": {a, a + "_none", false}} {
		if got, err := SameDatabase(t.Context(), tc.a, tc.b); err != nil || got != tc.want {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	if _, err := SameDatabase(t.Context(), a+"_none", a); fail.KindOf(err) != fail.NotFound {
		t.Errorf("no source: %v, want NotFound", err)
	}
}
