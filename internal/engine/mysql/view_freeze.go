package mysql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// level is how one instant was had on several connections, best first.
type level uint8

const (
	backupStages  level = iota // MariaDB: commits wait for a moment
	readLock                   // FLUSH TABLES WITH READ LOCK: writers wait for a moment
	lockTables                 // LOCK TABLES: the same, with fewer rights
	samePosition               // no lock: all snapshots happen to stand at one position of the binary log
	oneConnection              // one snapshot for everything
)

var levelText = [...]string{
	backupStages:  "one snapshot for all tables, on %d connections (BACKUP STAGE BLOCK_COMMIT)",
	readLock:      "one snapshot for all tables, on %d connections (FLUSH TABLES WITH READ LOCK)",
	lockTables:    "one snapshot for all tables, on %d connections (LOCK TABLES)",
	samePosition:  "one snapshot for all tables, on %d connections (at one position of the binary log)",
	oneConnection: "one snapshot for all tables, on %d connection",
}

// freezer opens the connections of a view and gives them one snapshot.
type freezer struct {
	*View
	readers []*session
	locker  *session // holds the locks while the snapshots begin; nobody's later
	witness *session // tells the position of the snapshots; nobody's later
	taken   time.Time
	at      string   // MySQL: the position while nothing could be committed
	refused []string // why better levels were not to be had
}

// freeze returns connections that all see one instant, and what is known about it.
func (v *View) freeze(ctx context.Context) ([]*session, rows.Origin, error) {
	f := &freezer{View: v}
	defer func() {
		f.locker.close() // and with it whatever lock it holds
		f.witness.close()
	}()
	if err := f.connect(ctx); err != nil {
		return f.readers, rows.Origin{}, err
	}
	if err := f.begin(ctx); err != nil {
		return f.readers, rows.Origin{}, err
	}
	first, witness := f.readers[0], f.witness
	if witness == nil {
		witness = first
	}
	o := rows.Origin{
		Engine: "mysql", Version: first.version, Database: v.cfg.DBName, Host: v.cfg.Addr, TakenAt: f.taken,
		Consistency: fmt.Sprintf(levelText[v.level], len(f.readers)), Position: f.at,
	}
	if witness.maria {
		o.Position = position(ctx, witness)
	}
	if len(f.refused) > 0 && v.level == oneConnection {
		o.Notes = append(o.Notes, "rows were read over one connection alone: "+strings.Join(f.refused, "; "))
	}
	for _, s := range f.readers {
		if err := s.exec(ctx, "SAVEPOINT part"); err != nil {
			return f.readers, o, err
		}
	}
	return f.readers, o, nil
}

// connect opens the connections. One or two must be had; a server without room for more is no error.
func (f *freezer) connect(ctx context.Context) (err error) {
	for n := range f.opt.Jobs + 2 + spareReaders {
		s, err := connect(ctx, f.cfg, true)
		if n > 0 && isNumber(err, 1040, 1203, 1226) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			if !s.atLeast(100600, 80000) {
				f.locker = s
				return fail.New(fail.Unsupported, "", "version %s is older than MariaDB 10.6 or MySQL 8.0", s.version)
			}
			f.locker = s
			continue
		}
		f.readers = append(f.readers, s)
	}
	last := len(f.readers) - 1
	f.readers, f.witness = f.readers[:last], f.readers[last]
	return nil
}

// begin goes down the ladder until a level works.
func (f *freezer) begin(ctx context.Context) error {
	if len(f.readers) == 0 { // the server has room for one connection
		f.readers, f.locker = []*session{f.locker}, nil
		f.level = oneConnection
		return f.alone(ctx)
	}
	wait := max(1, int(f.opt.LockWait.Seconds()))
	if err := f.locker.exec(ctx, "SET SESSION lock_wait_timeout = "+strconv.Itoa(wait)); err != nil {
		return err
	}
	for _, rung := range []struct {
		level level
		try   func(context.Context) (ok bool, err error)
	}{{backupStages, f.stages}, {readLock, f.readLock}, {lockTables, f.lockTables}, {samePosition, f.samePosition}} {
		if rung.level < f.opt.best {
			continue
		}
		ok, err := rung.try(ctx)
		if err == nil && ok {
			f.level = rung.level
			return nil
		}
		if err != nil {
			if ctx.Err() != nil || cutText(err) != "" {
				return err
			}
			f.refused = append(f.refused, err.Error())
		}
	}
	for _, s := range f.readers[1:] {
		s.close()
	}
	f.readers, f.level = f.readers[:1], oneConnection
	return f.alone(ctx)
}

// alone begins the only snapshot. MySQL tells its position only if nobody commits meanwhile.
func (f *freezer) alone(ctx context.Context) error {
	before := position(ctx, f.readers[0])
	err := f.snapshots(ctx)
	if err == nil && position(ctx, f.readers[0]) == before {
		f.at = before
	}
	return err
}

// locked begins the snapshots while a lock is held. Where a binary log is written, servers give the locks of tables that were
// read back only to sessions that don't log, so readers don't, if they may; only the witness sees the log's position.
func (f *freezer) locked(ctx context.Context) error {
	for _, s := range f.readers {
		if f.witness == nil || s.exec(ctx, "SET SESSION sql_log_bin = 0") != nil {
			break // ALTER and the like wait until the view is closed
		}
	}
	err := f.snapshots(ctx)
	if err == nil && !f.locker.maria {
		f.at = position(ctx, f.locker)
	}
	return err
}

// snapshots begins one on each connection.
func (f *freezer) snapshots(ctx context.Context) error {
	f.taken = time.Now().UTC()
	all := f.readers
	if f.witness != nil {
		all = append(slices.Clone(all), f.witness)
	}
	for _, s := range all {
		if err := s.exec(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"); err != nil {
			return err
		}
	}
	return nil
}

// stages is MariaDB's way: it waits neither for readers nor for open transactions.
func (f *freezer) stages(ctx context.Context) (bool, error) {
	if !f.locker.maria {
		return false, nil
	}
	for _, stage := range []string{"START", "BLOCK_DDL", "BLOCK_COMMIT"} {
		if err := f.locker.exec(ctx, "BACKUP STAGE "+stage); err != nil {
			if stage != "START" {
				_ = f.locker.exec(ctx, "BACKUP STAGE END") // else the lock goes with the connection
			}
			return false, err
		}
	}
	if err := f.locked(ctx); err != nil {
		return false, err
	}
	return true, f.locker.exec(ctx, "BACKUP STAGE END")
}

// readLock is the way of MySQL. The lock waits for every statement that runs, and all writers and
// later readers of those tables wait behind it; so it is not asked for while a long one runs.
func (f *freezer) readLock(ctx context.Context) (bool, error) {
	if err := f.guard(ctx); err != nil {
		return false, err
	}
	if !f.locker.maria {
		_ = f.locker.exec(ctx, "LOCK INSTANCE FOR BACKUP") // keeps definitions as they are; without the right to, the rest is enough
	}
	if err := f.locker.exec(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
		return false, err
	}
	if err := f.locked(ctx); err != nil {
		return false, err
	}
	return true, f.locker.exec(ctx, "UNLOCK TABLES")
}

// longStatement is how many seconds a statement may have run for others to wait for it.
const longStatement = 5

// guard waits until no statement runs for long, up to LockWait.
func (f *freezer) guard(ctx context.Context) error {
	deadline := time.Now().Add(f.opt.LockWait)
	for {
		row, err := f.locker.one(ctx, fmt.Sprintf(`SELECT count(*), max(time) FROM information_schema.processlist WHERE command IN ('Query', 'Execute')
			AND time >= %d AND id <> connection_id() AND user NOT IN ('system user', 'event_scheduler')`, longStatement))
		if err != nil || row[0].s == "0" {
			return err
		}
		if time.Now().After(deadline) {
			return fail.New(fail.Locked, hintLock, "a statement has been running for %s seconds, and a lock would make all others wait for it", row[1].s)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lockTables locks each table against writers.
func (f *freezer) lockTables(ctx context.Context) (bool, error) {
	if err := f.guard(ctx); err != nil {
		return false, err
	}
	match, err := f.opt.Tables.Matcher()
	if err != nil {
		return false, fail.Wrap(fail.Usage, err, "", "select tables")
	}
	names, err := f.locker.all(ctx, `SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')`)
	if err != nil {
		return false, err
	}
	var list []string
	for _, row := range names {
		if match.Match(f.cfg.DBName, row[0].s) {
			list = append(list, quoteIdent(row[0].s)+" READ")
		}
	}
	if len(list) == 0 {
		return false, nil
	}
	if err := f.locker.exec(ctx, "LOCK TABLES "+strings.Join(list, ", ")); err != nil {
		return false, err
	}
	if err := f.locked(ctx); err != nil {
		return false, err
	}
	return true, f.locker.exec(ctx, "UNLOCK TABLES")
}

// samePosition needs no right at all: it begins the snapshots and looks whether they stand at one
// position of the log that every commit is written to; if not, it begins them again.
func (f *freezer) samePosition(ctx context.Context) (bool, error) {
	if ok, err := f.allLogged(ctx); !ok || err != nil {
		return false, err
	}
	for range 20 {
		before := ""
		if !f.locker.maria {
			before = position(ctx, f.locker)
		}
		if err := f.snapshots(ctx); err != nil {
			return false, err
		}
		same := true
		for _, s := range f.readers {
			at := position(ctx, s) // MariaDB: the snapshot's; MySQL: the server's
			if before == "" {
				before = at
			}
			same = same && at == before && at != ""
		}
		if same {
			f.at = before
			return true, nil
		}
	}
	return false, fail.New(fail.Locked, "", "too many commits to begin several snapshots at one instant without a lock")
}

// allLogged reports whether every commit moves the position, what that is.
func (f *freezer) allLogged(ctx context.Context) (bool, error) {
	sql := "SELECT @@log_bin = 1 AND (@@log_slave_updates = 1 OR @@gtid_slave_pos = '')"
	if !f.locker.maria {
		sql = "SELECT @@log_bin = 1 AND @@gtid_mode = 'ON' AND @@log_replica_updates = 1"
	}
	row, err := f.locker.one(ctx, sql)
	return err == nil && row[0].s == "1", err
}

// position tells where the session's snapshot stands in the binary log; "" when that is not to be known.
func position(ctx context.Context, s *session) string {
	if !s.maria {
		return positionOfServer(ctx, s)
	}
	at := map[string]string{}
	_ = s.each(ctx, "SHOW STATUS LIKE 'binlog\\_snapshot\\_%'", func(row []cell) error {
		at[strings.ToLower(row[0].s)] = row[1].s
		return nil
	})
	file, offset := at["binlog_snapshot_file"], at["binlog_snapshot_position"]
	if file == "" {
		return ""
	}
	text := file + ":" + offset
	row, err := s.one(ctx, "SELECT binlog_gtid_pos("+quoteLiteral(file)+", "+offset+")")
	if err == nil && row != nil && row[0].s != "" {
		text += " gtid " + row[0].s
	}
	return text
}

// positionOfServer tells where MySQL's binary log ends. Without REPLICATION CLIENT only the transactions are known, if they have names.
func positionOfServer(ctx context.Context, s *session) string {
	show, text := "SHOW BINARY LOG STATUS", ""
	if !s.atLeast(0, 80200) {
		show = "SHOW MASTER STATUS"
	}
	if row, err := s.one(ctx, show); err == nil && len(row) > 1 {
		text = row[0].s + ":" + row[1].s
	}
	row, err := s.one(ctx, "SELECT @@global.gtid_executed")
	if err == nil && row != nil && row[0].s != "" {
		text += " gtid " + strings.ReplaceAll(row[0].s, "\n", "")
	}
	return strings.TrimPrefix(text, " ")
}
