package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// closeWait limits what is done for good manners, to a server that may be gone.
const closeWait = 5 * time.Second

// session is one connection with the fixed settings. It is used by one goroutine at a time.
type session struct {
	conn   driver.Conn
	tap    *tap       // how rows are read fast; nil when the connection is encrypted
	stream *rowStream // whose buffers are used again
	id     string
	server
}

// server is what is known of a server.
type server struct {
	version string // as it gives it
	maria   bool
	number  int // 101106 is 10.11.6
}

// atLeast reports whether the server is a MariaDB of the first version, or a MySQL of the second; 0 is never.
func (s server) atLeast(maria, mysql int) bool {
	if s.maria {
		return maria != 0 && s.number >= maria
	}
	return mysql != 0 && s.number >= mysql
}

func parseVersion(text string) server {
	s := server{version: text, maria: strings.Contains(text, "MariaDB")}
	if s.maria {
		text = strings.TrimPrefix(text, "5.5.5-") // what MariaDB 10 says for old replicas' sake
	}
	parts := strings.SplitN(text, ".", 3)
	for i := range 3 {
		n := 0
		if i < len(parts) {
			end := strings.IndexFunc(parts[i], func(r rune) bool { return r < '0' || r > '9' })
			if end < 0 {
				end = len(parts[i])
			}
			n, _ = strconv.Atoi(parts[i][:end])
		}
		s.number = s.number*100 + n
	}
	return s
}

// connect opens a session. The database may be left out.
func connect(ctx context.Context, cfg *mysql.Config, withDatabase bool) (*session, error) {
	cfg = cfg.Clone()
	if !withDatabase {
		cfg.DBName = ""
	}
	s := &session{}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{KeepAlive: time.Minute}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		s.tap = &tap{Conn: conn}
		return s.tap, nil
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fail.Wrap(fail.Usage, err, "", "connect to %s", cfg.Addr)
	}
	if s.conn, err = connector.Connect(ctx); err != nil {
		return nil, fail.Op(explainIn(ctx, err), "connect to %s", cfg.Addr)
	}
	if s.tap.encrypted {
		s.tap = nil
	}
	if err := s.setUp(ctx); err != nil {
		s.close()
		return nil, fail.Op(explainIn(ctx, err), "set up a session on %s", cfg.Addr)
	}
	return s, nil
}

// setUp gives the session settings of its own: the text of a value must not depend on the server's.
func (s *session) setUp(ctx context.Context) error {
	row, err := s.one(ctx, "SELECT version(), connection_id()")
	if err != nil {
		return err
	}
	s.server, s.id = parseVersion(row[0].s), row[1].s
	set := []string{
		"sql_mode = ''", "time_zone = '+00:00'", "sql_quote_show_create = 1", "net_write_timeout = 86400", "net_read_timeout = 86400",
		"wait_timeout = 604800", "sql_select_limit = DEFAULT", "sql_safe_updates = 0", "group_concat_max_len = 1048576", "autocommit = 1",
	}
	if s.maria {
		set = append(set, "max_statement_time = 0", "tx_isolation = 'REPEATABLE-READ'", "idle_transaction_timeout = 0")
	} else {
		set = append(set, "max_execution_time = 0", "transaction_isolation = 'REPEATABLE-READ'", "information_schema_stats_expiry = 0")
	}
	if err := s.exec(ctx, "SET NAMES utf8mb4"); err != nil {
		return err
	}
	return s.exec(ctx, "SET SESSION "+strings.Join(set, ", SESSION "))
}

// close ends the session; nothing is pending.
func (s *session) close() {
	if s != nil && s.conn != nil {
		if s.tap != nil {
			_ = s.tap.SetDeadline(time.Now().Add(closeWait))
		}
		_ = s.conn.Close() // the server ends the session either way
	}
}

// exec runs a statement whose result does not matter.
func (s *session) exec(ctx context.Context, sql string) error {
	_, err := s.affect(ctx, sql)
	return err
}

// affect runs a statement and returns how many rows it affected.
func (s *session) affect(ctx context.Context, sql string) (int64, error) {
	r, err := s.conn.(driver.ExecerContext).ExecContext(ctx, sql, nil)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// cell is a value of a query's result as text.
type cell struct {
	s    string
	null bool
}

// each calls fn with every row of a query's result. fn must not use the session.
func (s *session) each(ctx context.Context, sql string, fn func(row []cell) error) error {
	return s.result(ctx, sql, func([]string) {}, fn)
}

func (s *session) result(ctx context.Context, sql string, head func(names []string), fn func(row []cell) error) (err error) {
	r, err := s.conn.(driver.QueryerContext).QueryContext(ctx, sql, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	head(r.Columns())
	values := make([]driver.Value, len(r.Columns()))
	row := make([]cell, len(values))
	for {
		if err := r.Next(values); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		for i, v := range values {
			row[i] = cell{null: v == nil}
			switch v := v.(type) {
			case nil:
			case []byte:
				row[i].s = string(v)
			default:
				row[i].s = fmt.Sprint(v)
			}
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}

// all returns a query's result.
func (s *session) all(ctx context.Context, sql string) (list [][]cell, err error) {
	err = s.each(ctx, sql, func(row []cell) error {
		list = append(list, append([]cell(nil), row...))
		return nil
	})
	return list, err
}

// header returns the names of a result's columns and its first row.
func (s *session) header(ctx context.Context, sql string) (names []string, row []cell, err error) {
	err = s.result(ctx, sql, func(n []string) { names = n }, func(r []cell) error {
		if row == nil {
			row = append(row, r...)
		}
		return nil
	})
	if err == nil && row == nil {
		names = nil
	}
	return names, row, err
}

// one returns the first row of a query's result; nil when there is none.
func (s *session) one(ctx context.Context, sql string) (row []cell, err error) {
	list, err := s.all(ctx, sql)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// quoteIdent quotes one identifier for SQL, always.
func quoteIdent(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func quoteIdents(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteIdent(n)
	}
	return strings.Join(quoted, ", ")
}

func quoteTable(t *rows.Table) string { return quoteIdent(t.Name) }

// quoteLiteral quotes text as an SQL string for sessions with our sql_mode.
func quoteLiteral(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`, "\n", `\n`, "\r", `\r`, "\x1a", `\Z`).Replace(text) + "'"
}
