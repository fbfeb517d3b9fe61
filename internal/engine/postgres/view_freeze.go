package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// freezer takes the locks and the snapshot.
type freezer struct {
	*View
	standby  bool
	all      []*rel // every relation, chosen or not
	objects  *rel   // the pseudo table of large objects
	dangling []danglingKey
	shared   []entryOf // with publications, of what is left out
	views    []hidden  // left out because of what they need
	notes    []string
}

// lockBatch is how many tables one LOCK TABLE names.
const lockBatch = 200

// freezeTries is how often the list of tables may change under our hands.
const freezeTries = 5

// freeze locks the chosen tables and takes the snapshot, in that order: a table that was truncated or
// rewritten after a snapshot but before it is locked would seem empty in that snapshot.
func (f *freezer) freeze(ctx context.Context) error {
	if err := f.leader.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&f.standby); err != nil {
		return explainIn(ctx, err)
	}
	for try := 0; ; try++ {
		if err := f.list(ctx); err != nil {
			return err
		}
		before := chosenOf(f.all)
		if err := f.begin(ctx, before); err != nil {
			if isState(err, "42P01") && try < freezeTries { // dropped meanwhile
				if err := f.rollback(ctx); err != nil {
					return err
				}
				continue
			}
			return f.explainLock(ctx, before, err)
		}
		if err := f.list(ctx); err != nil {
			return err
		}
		if sameTables(before, chosenOf(f.all)) || try >= freezeTries {
			return nil
		}
		if err := f.rollback(ctx); err != nil {
			return err
		}
	}
}

// list reads the relations, chooses, and checks that what is chosen can be read.
func (f *freezer) list(ctx context.Context) error {
	all, err := relations(ctx, f.leader, f.standby)
	if err != nil {
		return err
	}
	f.objects = &rel{relkind: "L", table: objectsTable()}
	if err := choose(append(all, f.objects), f.opt.Tables); err != nil {
		return err
	}
	f.all = all
	if f.views, err = hiddenViews(ctx, f.leader, all); err != nil {
		return err
	}
	if f.opt.LateRights {
		return nil
	}
	var more []string
	if f.objects.state == chosen {
		if more, err = unreadableObjects(ctx, f.leader); err != nil {
			return err
		}
	}
	sequences, err := unreadableSequences(ctx, f.leader, all)
	if err != nil {
		return err
	}
	return unreadable(all, append(more, sequences...)...)
}

// begin opens the transaction, locks the tables and only then lets the first query take the snapshot.
func (f *freezer) begin(ctx context.Context, list []*rel) error {
	var sql strings.Builder
	fmt.Fprintf(&sql, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = %d", max(1, f.opt.LockWait.Milliseconds()))
	if err := f.exec(ctx, sql.String()); err != nil {
		return err
	}
	list = slices.DeleteFunc(slices.Clone(list), func(r *rel) bool { return !r.lockable() || r.why != "" })
	for batch := range slices.Chunk(list, lockBatch) {
		names := make([]string, len(batch))
		for i, r := range batch {
			names[i] = "ONLY " + quoteTable(r.table)
		}
		if err := f.exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"); err != nil {
			return err
		}
	}
	return explainIn(ctx, f.leader.QueryRow(ctx, `SELECT pg_export_snapshot() FROM set_config('lock_timeout', '0', true)`).Scan(&f.snapshot))
}

func (f *freezer) exec(ctx context.Context, sql string) error {
	_, err := f.leader.PgConn().Exec(ctx, sql).ReadAll()
	return explainIn(ctx, err)
}

func (f *freezer) rollback(ctx context.Context) error { return f.exec(ctx, "ROLLBACK") }

func sameTables(a, b []*rel) bool {
	return slices.EqualFunc(a, b, func(x, y *rel) bool { return x.oid == y.oid && x.table.String() == y.table.String() })
}

// explainLock names the tables that could not be locked in time and who holds them.
func (f *freezer) explainLock(ctx context.Context, list []*rel, err error) error {
	switch {
	case isState(err, "53200"):
		return fail.Wrap(fail.Unavailable, err, "raise max_locks_per_transaction on the server", "lock %d tables", len(list))
	case !isState(err, "55P03"):
		return err
	}
	if rerr := f.rollback(ctx); rerr != nil {
		return err
	}
	holders, herr := lockHolders(ctx, f.leader, list)
	if herr != nil || len(holders) == 0 {
		return fail.Wrap(fail.Locked, err, hintLock, "lock the tables within %s", f.opt.LockWait)
	}
	return fail.New(fail.Locked, "end that work, or wait longer for it with --lock-wait", "lock within %s: %s", f.opt.LockWait, strings.Join(holders, "; "))
}

// lockHolders says who holds, or waits for, locks of list that conflict with reading.
func lockHolders(ctx context.Context, conn *pgx.Conn, list []*rel) ([]string, error) {
	rs, err := conn.Query(ctx, `
SELECT l.relation, l.pid, coalesce(nullif(a.application_name, ''), a.backend_type, ''), coalesce(a.usename::text, ''),
	coalesce(a.xact_start, a.query_start, now()), l.granted
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY ($1) AND l.pid <> pg_backend_pid()
	AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY l.relation, l.granted DESC, l.pid`, oids(list))
	if err != nil {
		return nil, err
	}
	byOID := index(list)
	var holders []string
	var relation uint32
	var pid int32
	var app, user string
	var since time.Time
	var granted bool
	_, err = pgx.ForEachRow(rs, []any{&relation, &pid, &app, &user, &since, &granted}, func() error {
		verb := "is held by"
		if !granted {
			verb = "is wanted by"
		}
		who := fmt.Sprintf("process %d", pid)
		if app != "" {
			who += " (" + app + ")"
		}
		if user != "" {
			who += " of user " + user
		}
		holders = append(holders, fmt.Sprintf("%s %s %s since %s", byOID[relation].table, verb, who, since.UTC().Format(time.RFC3339)))
		return nil
	})
	return holders, err
}

// hidden is a view or materialized view that can't be defined without a table that is left out.
type hidden struct {
	schema, name string
}

// hiddenViews finds the views that need what is left out, directly or through other views. Materialized ones among all are marked excluded.
func hiddenViews(ctx context.Context, conn *pgx.Conn, all []*rel) ([]hidden, error) {
	var out []uint32
	for _, r := range all {
		if r.state == excluded {
			out = append(out, r.oid)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	rs, err := conn.Query(ctx, `
WITH RECURSIVE needs (viewer, relation) AS (
	SELECT DISTINCT w.ev_class, d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
		AND d.refclassid = 'pg_class'::regclass
	WHERE w.rulename = '_RETURN' AND d.refobjid <> w.ev_class
), gone (oid) AS (
	SELECT viewer FROM needs WHERE relation = ANY ($1)
	UNION SELECT n.viewer FROM needs n JOIN gone g ON g.oid = n.relation
)
SELECT c.oid, n.nspname::text, c.relname::text FROM gone g JOIN pg_class c ON c.oid = g.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT c.oid = ANY ($1) ORDER BY 2, 3`, out)
	if err != nil {
		return nil, explainIn(ctx, err)
	}
	byOID := index(all)
	var oid uint32
	var h hidden
	var list []hidden
	_, err = pgx.ForEachRow(rs, []any{&oid, &h.schema, &h.name}, func() error {
		if r := byOID[oid]; r != nil {
			r.state = excluded
		}
		list = append(list, h)
		return nil
	})
	return list, explainIn(ctx, err)
}

// publications finds the publications that have tables that are left out.
func (f *freezer) publications(ctx context.Context) error {
	var out []uint32
	for _, r := range f.all {
		if r.state == excluded {
			out = append(out, r.oid)
		}
	}
	if len(out) == 0 {
		return nil
	}
	rs, err := f.leader.Query(ctx, `
SELECT p.pubname::text || ' ' || c.relname::text, n.nspname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
	JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.prrelid = ANY ($1)`, out)
	if err != nil {
		return explainIn(ctx, err)
	}
	e := entryOf{what: "PUBLICATION TABLE"}
	_, err = pgx.ForEachRow(rs, []any{&e.name, &e.schema}, func() error {
		f.shared = append(f.shared, e)
		return nil
	})
	return explainIn(ctx, err)
}

// without lists the entries of pg_dump's text that could not be run without what is left out.
func (f *freezer) without() []entryOf {
	list := slices.Clone(f.shared)
	for _, k := range f.dangling {
		list = append(list, entryOf{"FK CONSTRAINT", k.table + " " + k.key, k.schema})
	}
	return list
}

// String names the view as rows does tables.
func (h hidden) String() string { return (&rows.Table{Schema: h.schema, Name: h.name}).String() }
