package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// restoreApp is what our sessions are called in pg_stat_activity.
const restoreApp = "holdfast restore"

// session is one connection to the target, and what the server calls it.
type session struct {
	conn    *pgx.Conn
	started time.Time // of the backend, to tell it from a later one with the same process id
	ready   bool      // whether the pool has prepared it; changed by who holds the session
	replica bool      // whether session_replication_role is replica
}

// newSession connects and applies the settings that make loading and building fast. Durability is
// not weakened: Finish ends with a commit that waits for the disk.
func (t *Target) newSession(ctx context.Context) (*session, error) {
	conn, err := connect(ctx, t.cfg, restoreApp)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn}
	// Memory is only ever raised: an administrator's higher value is better informed.
	err = conn.QueryRow(ctx, `SELECT a.backend_start,
		pg_catalog.set_config('maintenance_work_mem', greatest(m.setting::int8, $1::int8)::text || 'kB', false),
		pg_catalog.set_config('synchronous_commit', 'off', false),
		pg_catalog.set_config('check_function_bodies', 'off', false)
		FROM pg_catalog.pg_stat_activity a, pg_catalog.pg_settings m
		WHERE a.pid = pg_catalog.pg_backend_pid() AND m.name = 'maintenance_work_mem'`,
		buildMemory(t.opt.Jobs)>>10).Scan(&s.started, nil, nil, nil)
	if err != nil {
		err = fail.Op(explainIn(ctx, err), "set up a session on %s", hostOf(t.cfg))
		_ = conn.Close(ctx)
		return nil, err
	}
	return s, nil
}

// buildMemory is how much an index build may use, in bytes: 1 GiB divided by the number of
// builds at once, at most 256 MiB and at least 64 MiB each. More was measured to be no faster.
func buildMemory(jobs int) int64 {
	return max(64<<20, min(256<<20, 1<<30/int64(max(1, jobs))))
}

// exec runs SQL without parameters, perhaps several statements.
func (s *session) exec(ctx context.Context, sql string) error {
	_, err := s.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// pool is a number of sessions that are opened when first needed.
type pool struct {
	open  func(context.Context) (*session, error)
	slots chan struct{} // one token for each session in use

	mu   sync.Mutex
	each func(context.Context, *session) error // run on a session before it is used; guarded by mu
	idle []*session                            // guarded by mu
	all  []*session                            // guarded by mu
}

func newPool(size int, open func(context.Context) (*session, error)) *pool {
	return &pool{open: open, slots: make(chan struct{}, size)}
}

// prepare makes fn run once on every session before it is used the next time.
func (p *pool) prepare(fn func(context.Context, *session) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.each = fn
	for _, s := range p.all {
		s.ready = false
	}
}

// get waits for a free session. Who gets one puts it back.
func (p *pool) get(ctx context.Context) (*session, error) {
	s, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	each := p.each
	p.mu.Unlock()
	if each != nil && !s.ready {
		if err := each(ctx, s); err != nil {
			p.put(s)
			return nil, err
		}
	}
	s.ready = true
	return s, nil
}

func (p *pool) take(ctx context.Context) (*session, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	s, err := p.open(ctx)
	if err != nil {
		<-p.slots
		return nil, err
	}
	p.mu.Lock()
	p.all = append(p.all, s)
	p.mu.Unlock()
	return s, nil
}

// put gives a session back; one that is broken is not used again.
func (p *pool) put(s *session) {
	if !s.conn.IsClosed() && !s.conn.PgConn().IsBusy() {
		p.mu.Lock()
		p.idle = append(p.idle, s)
		p.mu.Unlock()
	}
	<-p.slots
}

func (p *pool) close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		_ = s.conn.Close(ctx) // nothing is pending; the server ends the session either way
	}
	p.all, p.idle = nil, nil
}

// endSessions closes our connections and makes sure that the server has ended what they did:
// a backend notices a closed connection only when it next reads or writes.
func (t *Target) endSessions(ctx context.Context) {
	var mine []*session
	if t.main != nil {
		mine = append(mine, t.main)
	}
	if t.pool != nil {
		t.pool.mu.Lock()
		mine = append(mine, t.pool.all...)
		t.pool.mu.Unlock()
	}
	t.closeSessions(ctx)
	if len(mine) == 0 || t.did == untouched {
		return
	}
	conn, err := connect(ctx, t.cfg, restoreApp)
	if err != nil {
		return // Abort's own connection will say why
	}
	defer conn.Close(ctx)
	for _, s := range mine {
		const still = `FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start = $2`
		pid := int32(s.conn.PgConn().PID())
		// A failure here shows as a lock that Abort's statements wait for, and time out on.
		_, _ = conn.Exec(ctx, `SELECT pg_catalog.pg_terminate_backend(pid) `+still, pid, s.started)
		for n := 0; n < 100; n++ {
			var left int
			if conn.QueryRow(ctx, `SELECT count(*) `+still, pid, s.started).Scan(&left) != nil || left == 0 {
				break
			}
			_, _ = conn.Exec(ctx, fmt.Sprintf(`SELECT pg_catalog.pg_sleep(%g)`, 0.05))
		}
	}
}
