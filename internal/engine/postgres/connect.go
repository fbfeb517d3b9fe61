package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

const (
	connectTimeout = 30 * time.Second // when the URL and the environment name none
	cancelWait     = 5 * time.Second  // how long a canceled query may take to end
)

// DatabaseName returns the name of the database that url means and the server it is on
// («db1:5432» or the path of a socket), after libpq's defaults, without connecting.
func DatabaseName(url string) (name, host string, err error) {
	cfg, err := parseURL(url)
	if err != nil {
		return "", "", err
	}
	return cfg.Database, hostOf(cfg), nil
}

// hostOf names the server of cfg, the first one when there are several.
func hostOf(cfg *pgx.ConnConfig) string {
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	if network == "unix" {
		return address
	}
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
}

// parseURL reads a postgres:// URL (or nothing at all) with libpq's habits: PG* variables, password
// file, service file, TLS options. The database is always set. Errors never show the password.
func parseURL(text string) (*pgx.ConnConfig, error) {
	if text != "" && !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return nil, fail.New(fail.Usage, hintURL, "read the database URL: it does not begin with postgres://")
	}
	cfg, err := parseConfig(text)
	if err == nil && cfg.Database == "" {
		// libpq's default, which counts when the password file is searched.
		cfg, err = parseConfig(withDatabase(text, cfg.User))
	}
	if err != nil {
		return nil, err
	}
	if err := onlyLibpq(cfg); err != nil {
		return nil, err
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	// No prepared statements: sessions are short, and poolers dislike them.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cancelWait}
	}
	return cfg, nil
}

const hintURL = "the form is postgres://user@host:5432/database?sslmode=verify-full; percent-encode special characters"

func parseConfig(text string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(text)
	if err == nil {
		return cfg, nil
	}
	// pgx quotes the URL with the password masked as well as it can, which is not always.
	why := "not a valid connection URL"
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		if i := strings.LastIndex(err.Error(), "`: "); i >= 0 {
			why = err.Error()[i+3:]
		}
		if strings.HasPrefix(why, "failed to parse") {
			why = "not a valid connection URL"
		}
		why, _, _ = strings.Cut(strings.TrimPrefix(why, "failed to "), " (strconv.") // which quotes
	}
	return nil, fail.New(fail.Usage, hintURL, "read the database URL: %s", why)
}

// onlyLibpq removes parameters that libpq understands and the driver takes for settings of the server. Those that it
// can do without go; those that promise something it does not keep are refused.
func onlyLibpq(cfg *pgx.ConnConfig) error {
	for _, key := range []string{"sslcrl", "sslcrldir", "requirepeer", "hostaddr"} {
		if cfg.RuntimeParams[key] != "" {
			return fail.New(fail.Unsupported, "", "read the database URL: parameter %s is not supported", key)
		}
	}
	if cfg.RuntimeParams["gssencmode"] == "require" {
		return fail.New(fail.Unsupported, "use TLS: sslmode=verify-full", "read the database URL: gssencmode=require is not supported")
	}
	for _, key := range append([]string{"fallback_application_name", "load_balance_hosts"}, passed...) {
		if key != "options" {
			delete(cfg.RuntimeParams, key)
		}
	}
	return nil
}

func withDatabase(text, name string) string {
	switch {
	case !strings.Contains(text, "://"):
		return text + " dbname=" + conninfoQuote(name)
	case strings.Contains(text, "?"):
		return text + "&dbname=" + url.QueryEscape(name)
	}
	return text + "?dbname=" + url.QueryEscape(name)
}

// conninfoQuote quotes a value of a keyword=value connection string.
func conninfoQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// sessionSettings is what every connection sets, as pg_dump does and for its reasons: the text of a
// value must not depend on what the user, the database or postgresql.conf say.
const sessionSettings = `
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET timezone = 'UTC';
SET extra_float_digits = 3;
SET bytea_output = 'hex';
SET lc_monetary = 'C';
SET xmloption = 'content';
SET standard_conforming_strings = on;
SET array_nulls = on;
SET quote_all_identifiers = off;
SET synchronize_seqscans = off;
SET row_security = off;
SET default_transaction_read_only = off;
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
SET client_min_messages = warning;
SELECT pg_catalog.set_config('search_path', '', false);`

// connect opens a session with the fixed settings. app is shown in pg_stat_activity. Text
// travels as UTF-8, or as it is when the database's encoding is SQL_ASCII.
func connect(ctx context.Context, cfg *pgx.ConnConfig, app string) (*pgx.Conn, error) {
	cfg = cfg.Copy()
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = app
	}
	delete(cfg.RuntimeParams, "client_encoding")
	delete(cfg.RuntimeParams, "timezone")
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fail.Op(hinted(explainIn(ctx, err)), "connect to %s", hostOf(cfg))
	}
	if _, err := conn.PgConn().Exec(ctx, settings(conn)).ReadAll(); err != nil {
		err = explainIn(ctx, err)
		_ = conn.Close(ctx)
		return nil, fail.Op(err, "set up a session on %s", hostOf(cfg))
	}
	return conn, nil
}

// hinted gives an error of a connection attempt that the driver alone understands a kind.
func hinted(err error) error {
	if fail.KindOf(err) != fail.Internal {
		return err
	}
	if strings.Contains(err.Error(), "refused TLS") {
		return fail.Wrap(fail.Unavailable, root(err), "check sslmode", "encrypt the connection")
	}
	return &fail.Error{Kind: fail.Unavailable, Err: &plain{root(err).Error(), err}, Hint: hintGone}
}

func settings(conn *pgx.Conn) string {
	sql := sessionSettings
	version := serverVersion(conn)
	if version >= 14 {
		sql += "SET idle_session_timeout = 0;"
	}
	if version >= 17 {
		sql += "SET transaction_timeout = 0;"
	}
	encoding := "UTF8"
	if conn.PgConn().ParameterStatus("server_encoding") == "SQL_ASCII" {
		encoding = "SQL_ASCII"
	}
	return sql + fmt.Sprintf("SET client_encoding = %s;", encoding)
}

// serverVersion returns the server's major version, 0 when it does not say.
func serverVersion(conn *pgx.Conn) int {
	text := conn.PgConn().ParameterStatus("server_version")
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, _ := strconv.Atoi(text[:end])
	return n
}

// quoteIdent quotes one identifier for SQL, always.
func quoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteTable quotes a table's name for SQL, with its schema.
func quoteTable(t *rows.Table) string {
	return quoteIdent(cmp.Or(t.Schema, "public")) + "." + quoteIdent(t.Name)
}

// quoteLiteral quotes text as an SQL literal that reads the same whatever
// standard_conforming_strings says.
func quoteLiteral(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
