package wire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/scratch"
)

// ScratchOptions say where a drill restores to.
type ScratchOptions struct {
	To   string // a server for scratch databases; "" or "auto": a file, or a server started from this machine's programs
	Jobs int
}

// A placed scratch has a URL, for what is not restored but loaded.
type placed interface {
	backup.Scratch
	url() string
}

// Scratch makes a place where backup b of s can be restored for proof. Kind: NoSpace, when this machine's disk has no room for it.
func Scratch(ctx context.Context, s *backup.Store, b backup.Detail, opt ScratchOptions) (backup.Scratch, error) {
	if opt.auto() {
		if err := roomFor(ScratchSize(b), os.TempDir(), "restore backup "+b.ID.Short()); err != nil {
			return nil, err
		}
	}
	origin := b.Manifest.Origin()
	origin.Engine = b.Engine
	if b.Engine != Postgres || !opt.auto() {
		return newScratch(ctx, origin, nil, opt)
	}
	view, err := s.View(ctx, b.Backup)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return newScratch(ctx, origin, view.Native(), opt)
}

func (o ScratchOptions) auto() bool { return o.To == "" || o.To == "auto" }

// newScratch makes a place for a database of the given origin. A server of our own gets the roles that native names, if it is not nil.
func newScratch(ctx context.Context, origin rows.Origin, native fs.FS, opt ScratchOptions) (placed, error) {
	if !opt.auto() {
		to, _, err := split(opt.To)
		if err != nil {
			return nil, err
		}
		switch {
		case origin.Engine == SQLite:
			return nil, fail.New(fail.Usage, "leave it out: an SQLite file is restored to $TMPDIR", "drill an SQLite backup on a server")
		case to != origin.Engine:
			return nil, fail.New(fail.Usage, "--to-scratch "+origin.Engine+"://user@host", "drill a backup of %s on a server of another kind", engineNames[origin.Engine])
		}
	}
	switch origin.Engine {
	case SQLite:
		return sqliteScratch(ctx)
	case Postgres:
		if !opt.auto() {
			return postgresScratch(ctx, opt)
		}
		return ownPostgres(ctx, origin, native, opt)
	case MySQL:
		return mysqlScratch(ctx, origin, opt)
	}
	return nil, fail.New(fail.Unsupported, "load it into a database of yours", "drill what is of %q", origin.Engine)
}

// engineNames are for people.
var engineNames = map[string]string{Postgres: "PostgreSQL", MySQL: "MySQL or MariaDB", SQLite: "SQLite"}

// ScratchSize is about how many bytes of disk a drill of a backup needs. Indexes and the engine's own make rows larger, and a
// server takes some for itself.
func ScratchSize(b backup.Detail) int64 {
	switch {
	case b.Kind != backup.KindRows:
		return b.Size
	case b.Engine == MySQL:
		return b.Size*2 + 128<<20
	}
	return b.Size*2 + 64<<20
}

// roomFor refuses a drill for which a folder's disk has too little room. doing is what the drill does.
func roomFor(need int64, folder, doing string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return fail.Wrap(fail.NotFound, err, "set TMPDIR to a folder", "look for room in %s", folder)
	}
	free := int64(s.Bavail) * int64(s.Bsize)
	if need <= free {
		return nil
	}
	return fail.New(fail.NoSpace, "set TMPDIR to a folder on a larger disk, or drill on a server: --to-scratch postgres://…",
		"%s for a drill: about %d MB are needed in %s, and %d MB are free", doing, need>>20+1, folder, free>>20)
}

type scratchFile struct {
	folder, path string
	dest         backup.Destination
	loaded       bool // by statements, and not restored
}

func sqliteScratch(ctx context.Context) (placed, error) {
	folder, err := scratch.Folder("")
	if err != nil {
		return nil, err
	}
	s := &scratchFile{folder: folder, path: filepath.Join(folder, "scratch.sqlite3")}
	if s.dest, err = Destination("sqlite:"+s.path, SQLite, TargetOptions{}); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *scratchFile) Destination() backup.Destination { return s.dest }
func (s *scratchFile) url() string                     { return "sqlite:" + s.path }
func (s *scratchFile) View(ctx context.Context) (rows.View, error) {
	return sqlite.OpenView(ctx, s.path)
}
func (s *scratchFile) Drop(context.Context) error { return os.RemoveAll(s.folder) }

// Check runs SQLite's own checks, which a restore has done already.
func (s *scratchFile) Check(ctx context.Context) ([]string, error) {
	if !s.loaded {
		return nil, nil
	}
	v, err := sqlite.QueryValue(ctx, s.path, "SELECT group_concat(integrity_check, '; ') FROM pragma_integrity_check")
	if err != nil || v == "ok" {
		return nil, err
	}
	return []string{v}, nil
}
func (s *scratchFile) Query(ctx context.Context, sql string) (bool, string, error) {
	v, err := sqlite.QueryValue(ctx, s.path, sql)
	return truth(v), v, err
}

// truth tells whether an SQL value counts as true.
func truth(v string) bool {
	switch strings.ToLower(v) {
	case "t", "true":
		return true
	}
	n, err := strconv.ParseFloat(v, 64)
	return err == nil && n != 0
}

type scratchDatabase struct {
	db   string
	dest backup.Destination
	drop func(context.Context) error
}

// ownPostgres starts a server that has the roles of the backup's, so that owners, grants and policies are restored as well.
func ownPostgres(ctx context.Context, origin rows.Origin, native fs.FS, opt ScratchOptions) (placed, error) {
	server, err := postgres.StartScratch(ctx, postgres.MajorOf(origin.Version), "")
	if err != nil {
		return nil, err
	}
	s := &scratchDatabase{drop: func(context.Context) error { return server.Stop() }}
	if native != nil {
		err = postgres.CreateRoles(ctx, server.URL("postgres"), native)
	}
	if err == nil {
		s.db, _, err = postgres.CreateScratch(ctx, server.URL("postgres"), scratchName())
	}
	if err == nil {
		s.dest, err = Destination(s.db, Postgres, TargetOptions{Jobs: opt.Jobs})
	}
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return s, nil
}

// postgresScratch makes a database on a server of the user's, without the owners and grants of the backup's.
func postgresScratch(ctx context.Context, opt ScratchOptions) (placed, error) {
	s := &scratchDatabase{}
	var err error
	if s.db, s.drop, err = postgres.CreateScratch(ctx, opt.To, scratchName()); err != nil {
		return nil, err
	}
	if s.dest, err = Destination(s.db, Postgres, TargetOptions{Jobs: opt.Jobs, NoOwner: true}); err != nil {
		return nil, errors.Join(err, s.drop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func scratchName() string { return "holdfast_scratch_" + randomHex() }

func (s *scratchDatabase) Destination() backup.Destination { return s.dest }
func (s *scratchDatabase) url() string                     { return s.db }
func (s *scratchDatabase) View(ctx context.Context) (rows.View, error) {
	return postgres.Open(ctx, s.db, postgres.Options{DataOnly: true})
}
func (s *scratchDatabase) Check(ctx context.Context) ([]string, error) {
	return postgres.CheckDatabase(ctx, s.db)
}
func (s *scratchDatabase) Drop(ctx context.Context) error { return s.drop(ctx) }
func (s *scratchDatabase) Query(ctx context.Context, sql string) (bool, string, error) {
	v, err := postgres.QueryValue(ctx, s.db, sql)
	return truth(v), v, err
}

func randomHex() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// File returns the file of a database that is one.
func File(db string) (path string, ok bool) {
	engine, rest, err := split(db)
	if err != nil || engine != SQLite {
		return "", false
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(rest, "file:"), "?")
	return path, true
}
