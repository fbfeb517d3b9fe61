package sqlite

import (
	"context"
	"errors"

	"github.com/ncruces/go-sqlite3"
)

// QueryValue runs one query that only reads and returns the first value of its first row as text; NULL is «null».
func QueryValue(ctx context.Context, path, sql string) (value string, err error) {
	conn, err := dial(ctx, path, readOnly, defaultBusyWait)
	if err != nil {
		return "", sqlError(ctx, err, "open %s", path)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	defer conn.SetInterrupt(conn.SetInterrupt(ctx))
	st, _, err := conn.Prepare(sql)
	if err != nil {
		return "", sqlError(ctx, err, "read the query")
	}
	if st == nil {
		return "no row", nil
	}
	defer st.Close()
	value = "no row"
	if st.Step() && st.ColumnCount() > 0 {
		if value = st.ColumnText(0); st.ColumnType(0) == sqlite3.NULL {
			value = "null"
		}
	}
	return value, sqlError(ctx, st.Err(), "run the query")
}
