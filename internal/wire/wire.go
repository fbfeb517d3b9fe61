// Package wire joins names that users give to databases with the engines that speak to them. It is the only
// package that imports engines.
package wire

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/mysql"
	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// Engines, as they are called in listings.
const (
	Postgres = "postgres"
	SQLite   = "sqlite"
	MySQL    = "mysql" // and MariaDB
)

// split parses the name of a database: a URL, or the path of an SQLite file. rest is what the engine is
// given: the whole URL for servers, the path for files.
func split(db string) (engine, rest string, err error) {
	if !strings.Contains(db, "://") && (strings.Contains(db, "password=") || strings.Contains(db, "dbname=")) { // not echoed: it may hold a password
		return "", "", fail.New(fail.Usage, "write postgres://user@host/name", "a database is named by settings (key=value), which is not understood")
	}
	scheme, after, ok := strings.Cut(db, ":")
	if !ok || filepath.IsAbs(db) || strings.ContainsAny(scheme, `/\.`) {
		return SQLite, db, nil
	}
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql", "postgis", "pgsql", "psql": // as in DATABASE_URL of Django projects
		return Postgres, "postgres:" + after, nil
	case "mysql", "mariadb", "mysql2", "mysqlgis":
		return MySQL, "mysql:" + after, nil
	case "sqlite", "sqlite3":
		// sqlite:///a is the relative path a and sqlite:////a is /a in DATABASE_URL, as Django and SQLAlchemy have it.
		if p, ok := strings.CutPrefix(after, "///"); ok {
			after = p
		}
		if after == "" {
			return "", "", fail.New(fail.Usage, "write sqlite:path/to/file.sqlite3", "database %q names no file", db)
		}
		return SQLite, after, nil
	}
	return "", "", fail.New(fail.Unsupported, "databases are postgres:// and mysql:// URLs, sqlite:PATH, or paths of SQLite files", "database of kind %q", scheme+":")
}

// SourceOptions tune how a database is read.
type SourceOptions struct {
	Name     string         // what the backup's database is called; empty takes the database's own name
	Jobs     int            // connections that read rows; 0 is 2
	Tables   rows.Selection // servers only
	DataOnly bool           // no definitions; servers only
	LockWait time.Duration  // longest wait for a lock; 0 is the engine's default
}

// Source opens a database for backup.
func Source(ctx context.Context, db string, opt SourceOptions) (*backup.Source, error) {
	engine, rest, err := split(db)
	if err != nil {
		return nil, err
	}
	src := &backup.Source{Name: opt.Name, Selection: opt.Tables, DataOnly: opt.DataOnly}
	if src.Name == "" {
		if src.Name, err = Name(db); err != nil {
			return nil, err
		}
	}
	switch engine {
	case Postgres:
		view, err := postgres.Open(ctx, rest, postgres.Options{Jobs: opt.Jobs, Tables: opt.Tables, DataOnly: opt.DataOnly, LockWait: opt.LockWait})
		if err != nil {
			return nil, err
		}
		src.Rows = view
	case MySQL:
		view, err := mysql.Open(ctx, rest, mysql.Options{Jobs: opt.Jobs, Tables: opt.Tables, DataOnly: opt.DataOnly, LockWait: opt.LockWait})
		if err != nil {
			return nil, err
		}
		src.Rows = view
	default:
		if !opt.Tables.Empty() || opt.DataOnly {
			return nil, fail.New(fail.Unsupported, "leave the options out: the whole file is backed up", "back up a part of SQLite database %s", rest)
		}
		img, err := sqlite.OpenImage(ctx, rest, sqlite.ImageOptions{BusyWait: opt.LockWait})
		if err != nil {
			return nil, err
		}
		src.Image = img
	}
	return src, nil
}

// Name returns what a database is called when the user gives no name. It connects to nothing.
func Name(db string) (string, error) {
	engine, rest, err := split(db)
	if err != nil {
		return "", err
	}
	switch engine {
	case Postgres:
		name, _, err := postgres.DatabaseName(rest)
		return name, err
	case MySQL:
		name, _, err := mysql.DatabaseName(rest)
		return name, err
	}
	return sqlite.DatabaseName(rest), nil
}

// View opens a live database as rows.
func View(ctx context.Context, db string) (rows.View, error) {
	engine, rest, err := split(db)
	if err != nil {
		return nil, err
	}
	switch engine {
	case Postgres:
		return postgres.Open(ctx, rest, postgres.Options{DataOnly: true})
	case MySQL:
		return mysql.Open(ctx, rest, mysql.Options{DataOnly: true})
	}
	return sqlite.OpenView(ctx, rest)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
