package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// Definitions are blamed only for what the server says of them.
func TestUnharmed(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	syntax := fail.Op(explain(&pgconn.PgError{Code: "42601"}), "create table t")
	for name, tc := range map[string]struct {
		ctx    context.Context
		err    error
		blamed bool
	}{
		"definition":  {t.Context(), syntax, true},
		"unsupported": {t.Context(), fail.Wrap(fail.Unsupported, syntax, "", "create"), true},
		"canceled":    {canceled, syntax, false},
		"connection":  {t.Context(), explain(pgconn.ErrConnClosed), false},
		"shutdown":    {t.Context(), explain(&pgconn.PgError{Code: "57P01"}), false},
		"other":       {t.Context(), errors.New("no"), false},
	} {
		got := unharmed(tc.ctx, tc.err, "database x")
		if strings.Contains(got, "definitions") != tc.blamed || !strings.HasPrefix(got, "nothing was removed from database x") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
