package sqlite

import (
	"context"
	"errors"

	"github.com/ncruces/go-sqlite3"
)

// Exec runs statements on a database file, all or none; the file is created if need be. It is for samples
// and demonstrations: backups only read.
func Exec(ctx context.Context, path, statements string) error {
	conn, err := sqlite3.Open(path)
	if err == nil {
		defer conn.SetInterrupt(conn.SetInterrupt(ctx))
		if err = conn.BusyTimeout(defaultBusyWait); err == nil {
			err = conn.Exec("BEGIN IMMEDIATE;" + statements + ";COMMIT")
		}
		err = errors.Join(err, conn.Close())
	}
	return sqlError(ctx, err, "run statements on %s", path)
}
