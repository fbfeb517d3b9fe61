package wire

import (
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// A place is an empty database of some engine for one test.
type place struct {
	engine string
	url    string
	try    func(sql string) (string, error) // runs SQL with the engine's own client
}

func (p place) sql(t testing.TB, sql string) string {
	t.Helper()
	out, err := p.try(sql)
	if err != nil {
		t.Fatalf("%s: %v\n%.2000s", p.engine, err, sql)
	}
	return strings.TrimSpace(out)
}

// engines are those that the tests copy between.
func engines() []string { return []string{Postgres, MySQL, SQLite} }

// newPlace makes an empty database.
func newPlace(t testing.TB, engine string) place {
	t.Helper()
	p := place{engine: engine}
	switch engine {
	case Postgres:
		pg := servers.Postgres(t, servers.PostgresVersions()[0])
		t.Setenv("HOLDFAST_PG_BIN", pg.BinDir())
		t.Setenv("PATH", os.Getenv("PATH")+string(os.PathListSeparator)+pg.ServerPrograms(t)) // for drills
		p.url = pg.CreateDatabase(t)
		p.try = func(sql string) (string, error) { return pg.Query(p.url, sql) }
	case MySQL:
		return placeOn(t, servers.MariaDB(t))
	case SQLite:
		program := servers.Program(t, "sqlite3")
		p.url = filepath.Join(t.TempDir(), "db.sqlite3")
		p.try = func(sql string) (string, error) {
			cmd := exec.Command(program, "-bail", "-batch", "-cmd", ".timeout 5000", p.url)
			cmd.Stdin = strings.NewReader("PRAGMA foreign_keys=on;\n" + sql)
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
	}
	return p
}

// placeOn is an empty database of MariaDB or MySQL.
func placeOn(t testing.TB, m *servers.MySQLServer) place {
	t.Helper()
	p := place{engine: MySQL, url: m.CreateDatabase(t, "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")}
	name := p.url[strings.LastIndex(p.url, "/")+1:]
	p.try = func(sql string) (string, error) { return m.Query(name, sql) }
	return p
}

// mustCopy copies a database and returns what is said of it.
func mustCopy(t testing.TB, from, to place, opt CopyOptions) *Copied {
	t.Helper()
	done, err := Copy(context.Background(), from.url, to.url, opt)
	if err != nil {
		t.Fatalf("copy %s to %s: %v", from.engine, to.engine, err)
	}
	return done
}

// bytesSQL writes bytes in an engine's SQL.
func bytesSQL(engine string, b []byte) string {
	if engine == Postgres {
		return `'\x` + hex.EncodeToString(b) + `'`
	}
	return "X'" + hex.EncodeToString(b) + "'"
}

// textSQL writes text in an engine's SQL.
func textSQL(engine, s string) string {
	switch quoted := strings.ReplaceAll(s, "'", "''"); engine {
	case Postgres:
		return "'" + quoted + "'"
	case MySQL:
		return "convert(X'" + hex.EncodeToString([]byte(s)) + "' using utf8mb4)"
	default:
		return "cast(X'" + hex.EncodeToString([]byte(s)) + "' as text)"
	}
}
