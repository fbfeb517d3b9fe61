package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// rehearse makes the definitions of a backup from a newer server in a database of their own, which goes again, before
// --clean removes anything for them: what this server does not know must be found while what it holds is still there.
// A role that may not create databases goes without.
func (t *Target) rehearse(ctx context.Context) error {
	if t.foreign != nil || major(t.schema.Origin.Version) <= t.version {
		return nil
	}
	r := &Target{cfg: t.cfg.Copy(), opt: TargetOptions{Create: true, SchemaOnly: true, NoOwner: true, Jobs: 1},
		schema: t.schema, script: t.script, loaded: t.loaded}
	r.cfg.Database = "holdfast_rehearsal_" + strings.ToLower(rand.Text()[:12])
	r.where = "database " + r.cfg.Database + ", made to try the definitions"
	if err := r.createDatabase(ctx); err != nil {
		if ctx.Err() != nil || t.opt.Create && !isState(err, "42501") {
			return fail.Op(err, "nothing was removed: try to make a database like the original")
		}
		t.note("the definitions of the newer PostgreSQL %d could not be tried before anything was removed: %v", major(t.schema.Origin.Version), err)
		return nil
	}
	err := r.tryOut(ctx)
	what := unharmed(ctx, err, t.where)
	if aerr := r.dropRehearsal(context.WithoutCancel(ctx)); aerr != nil {
		err = errors.Join(err, aerr)
	}
	return fail.Op(err, "%s", what)
}

// unharmed says what an unsuccessful rehearsal means. Only what the server says of a definition is told as its fault.
func unharmed(ctx context.Context, err error, where string) string {
	var said *pgconn.PgError
	if ctx.Err() != nil || !errors.As(err, &said) || fail.KindOf(err) == fail.Unavailable {
		return "nothing was removed from " + where
	}
	return "nothing was removed from " + where + ", since the backup's definitions don't work here"
}

// tryOut creates all definitions.
func (t *Target) tryOut(ctx context.Context) error {
	t.opt.Create = false
	if err := t.open(ctx); err != nil {
		return err
	}
	if err := t.makeRoom(ctx); err != nil {
		return err
	}
	a := applier{t: t, conn: t.main}
	if err := a.run(ctx, t.script.pre); err != nil {
		return err
	}
	t.did = filling // so that finish does not dress a database that is to go
	t.full = t.newFull()
	if err := t.full.serial(ctx, "", t.full.plan.stats); err != nil {
		return err
	}
	return t.full.finish(ctx)
}

func (t *Target) dropRehearsal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	t.closeSessions(ctx)
	return fail.Op(t.dropDatabase(ctx), "drop %s", t.where)
}
