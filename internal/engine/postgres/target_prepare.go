package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// hintInTheWay is the way out when the target database holds something.
const hintInTheWay = "--clean removes it first, --create makes a database of another name, --table restores single tables beside it"

// open connects to the database, which it creates when that was asked for, and learns what the
// cluster has.
func (t *Target) open(ctx context.Context) error {
	if t.opt.Create {
		if err := t.createDatabase(ctx); err != nil {
			return err
		}
	}
	main, err := t.newSession(ctx)
	if isState(err, "3D000") {
		return fail.Wrap(fail.NotFound, err, "--create makes it", "restore into %s", t.where)
	}
	if err != nil {
		return err
	}
	t.main = main
	t.version = serverVersion(main.conn)
	t.pool = newPool(t.opt.Jobs, t.newSession)
	if t.known, err = readKnown(ctx, main); err != nil {
		return fail.Op(explainIn(ctx, err), "look at %s", t.where)
	}
	return nil
}

func readKnown(ctx context.Context, s *session) (k known, err error) {
	k = known{map[string]bool{}, map[string]bool{}}
	for _, q := range []struct {
		sql string
		set map[string]bool
	}{
		{`SELECT rolname FROM pg_catalog.pg_roles`, k.roles},
		{`SELECT spcname FROM pg_catalog.pg_tablespace`, k.tablespaces},
	} {
		list, err := column(ctx, s, q.sql)
		if err != nil {
			return k, err
		}
		for _, name := range list {
			q.set[name] = true
		}
	}
	return k, nil
}

// column returns the only column of a query as text.
func column(ctx context.Context, s *session, sql string, args ...any) ([]string, error) {
	r, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(r, pgx.RowTo[string])
}

// makeRoom makes sure that the database is empty. It returns Exists, having changed nothing, when
// it is not and may not be emptied.
func (t *Target) makeRoom(ctx context.Context) error {
	if err := alone(ctx, t.main, "5s"); err != nil {
		return fail.Op(err, "restore into %s", t.where)
	}
	var err error
	if t.public, err = readPublic(ctx, t.main); err != nil {
		return fail.Op(explainIn(ctx, err), "look at %s", t.where)
	}
	found, err := inventory(ctx, t.main)
	if err != nil {
		return fail.Op(explainIn(ctx, err), "look at %s", t.where)
	}
	switch {
	case len(found) == 0:
	case !t.opt.Clean:
		return fail.New(fail.Exists, hintInTheWay, "%s is not empty: it holds %s", t.where, summary(found))
	default:
		if err := t.rehearse(ctx); err != nil {
			return err
		}
		done, err := t.wipe(ctx, t.main, found)
		if done > 0 {
			t.had = fmt.Sprintf("--clean removed what %s held (%s), and it is empty now; that was", t.where, summary(found))
			t.did = max(t.did, filling)
		}
		if err != nil {
			return fail.Op(err, "empty %s", t.where)
		}
	}
	if t.opt.Clean || t.did == created {
		// What the definitions say of public's owner and rights counts from its first state.
		t.public = t.public.initial()
		if err := t.public.restore(ctx, t.main); err != nil {
			return fail.Op(explainIn(ctx, err), "reset schema public of %s", t.where)
		}
	}
	return t.needPublic(ctx)
}

// needPublic creates schema public when the definitions take it for granted: pg_dump does, when it
// is the one that came with the database.
func (t *Target) needPublic(ctx context.Context) error {
	if t.public.exists {
		return nil
	}
	uses := slices.ContainsFunc(t.script.pre, func(s statement) bool { return s.heading != nil && s.Schema == "public" })
	defines := slices.ContainsFunc(t.script.pre, func(s statement) bool {
		return s.heading != nil && s.Type == "SCHEMA" && s.Name == "public" && classify(s).purpose == define
	})
	if !uses || defines {
		return nil
	}
	t.did = max(t.did, filling)
	return fail.Op(explainIn(ctx, t.main.exec(ctx, `CREATE SCHEMA public`)), "create schema public in %s", t.where)
}

// emptyAgain removes what a failed restore put into a database that was empty.
func (t *Target) emptyAgain(ctx context.Context) error {
	s, err := t.newSession(ctx)
	if err != nil {
		return err
	}
	defer s.conn.Close(ctx)
	if err := s.exec(ctx, `SET lock_timeout = '30s'`); err != nil {
		return explainIn(ctx, err)
	}
	if err := alone(ctx, s, "30s"); err != nil {
		return err
	}
	defer release(ctx, s)
	found, err := inventory(ctx, s)
	if err != nil {
		return explainIn(ctx, err)
	}
	if _, err := t.wipe(ctx, s, found); err != nil {
		return err
	}
	if err := t.public.restore(ctx, s); err != nil {
		return explainIn(ctx, err)
	}
	return nil
}

// aloneKey is the number of the advisory lock of those who restore everything into a database: holdfast, by its letters.
const aloneKey = 0x686f6c6466617374

// alone makes sure that no other restore of everything is at work in the database, until the session ends: two would empty it for each
// other, and load into each other's tables. Another one may be about to end, or to refuse, which is waited for.
func alone(ctx context.Context, s *session, wait string) error {
	err := s.exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = '%s'; SELECT pg_catalog.pg_advisory_lock(%d)", wait, aloneKey))
	if isState(err, "55P03") {
		return fail.New(fail.Locked, "wait until it is done", "another restore into it is going on")
	}
	return explainIn(ctx, err)
}

// release lets others in. Without it they wait until the server has noticed that the session is closed.
func release(ctx context.Context, s *session) {
	_ = s.exec(ctx, "SELECT pg_catalog.pg_advisory_unlock_all()")
}
