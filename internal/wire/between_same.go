package wire

import (
	"context"

	"github.com/holdfast-db/holdfast/internal/engine/mysql"
	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// notOntoItself refuses to empty the database that is to be copied.
func notOntoItself(ctx context.Context, source *rows.Origin, from, to string) error {
	engine, a, err := split(from)
	if err != nil {
		return err
	}
	other, b, err := split(to)
	if err != nil || engine != other {
		return err
	}
	same := false
	switch engine { // a file is replaced as a whole, or is in use
	case Postgres:
		same, err = postgres.SameDatabase(ctx, a, b)
	case MySQL:
		same, err = mysql.SameDatabase(ctx, a, b)
	}
	if same {
		return fail.New(fail.Usage, "copy into another database", "copy database %s on %s: --clean would empty it, and it is what is to be copied", source.Database, source.Host)
	}
	return err
}
