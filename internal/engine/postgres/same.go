package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// SameDatabase reports whether two URLs lead to one database. Addresses don't tell: there are sockets, tunnels and aliases. So the
// servers are asked: an advisory lock on a number that nobody can guess is in the way of the same database's sessions alone.
func SameDatabase(ctx context.Context, a, b string) (bool, error) {
	one, err := openPlain(ctx, a)
	if err != nil {
		return false, err
	}
	defer one.Close(ctx)
	other, err := openPlain(ctx, b)
	if isState(err, "3D000") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer other.Close(ctx)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	key := int64(binary.NativeEndian.Uint64(random[:]))
	const doing = "find out whether two databases are one"
	// In a transaction, so that a pooler can't give the second session the server's session of the first one.
	tx, err := one.Begin(ctx)
	if err != nil {
		return false, fail.Op(explainIn(ctx, err), doing)
	}
	if _, err := tx.Exec(ctx, `SELECT pg_catalog.pg_advisory_xact_lock($1)`, key); err != nil {
		return false, fail.Op(explainIn(ctx, err), doing)
	}
	var free bool
	if err := other.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_xact_lock($1)`, key).Scan(&free); err != nil {
		return false, fail.Op(explainIn(ctx, err), doing)
	}
	return !free, nil
}

func openPlain(ctx context.Context, url string) (*pgx.Conn, error) {
	cfg, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	return connect(ctx, cfg, "holdfast")
}
