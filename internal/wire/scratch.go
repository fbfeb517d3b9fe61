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

// Scratch makes a place where backup b of s can be restored for proof. Kind: NoSpace, when this machine's disk has no room for it.
func Scratch(ctx context.Context, s *backup.Store, b backup.Detail, opt ScratchOptions) (backup.Scratch, error) {
	if opt.To == "auto" {
		opt.To = ""
	}
	if opt.To == "" {
		if err := roomFor(b, os.TempDir()); err != nil {
			return nil, err
		}
	}
	switch b.Engine {
	case SQLite:
		if opt.To != "" {
			return nil, fail.New(fail.Usage, "leave it out: an SQLite file is restored to $TMPDIR", "drill an SQLite backup on a server")
		}
		return sqliteScratch(ctx)
	case Postgres:
		if opt.To != "" {
			return postgresScratch(ctx, opt)
		}
		view, err := s.View(ctx, b.Backup)
		if err != nil {
			return nil, err
		}
		defer view.Close()
		return ownPostgres(ctx, b, view.Native(), opt)
	case MySQL:
		return mysqlScratch(ctx, b, opt)
	}
	return nil, fail.New(fail.Unsupported, "", "drill a backup of %s", b.Engine)
}

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

// roomFor refuses a drill for which a folder's disk has too little room.
func roomFor(b backup.Detail, folder string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return fail.Wrap(fail.NotFound, err, "set TMPDIR to a folder", "look for room in %s", folder)
	}
	need, free := ScratchSize(b), int64(s.Bavail)*int64(s.Bsize)
	if need <= free {
		return nil
	}
	return fail.New(fail.NoSpace, "set TMPDIR to a folder on a larger disk, or drill on a server: --to-scratch postgres://…",
		"restore backup %s for a drill: about %d MB are needed in %s, and %d MB are free", b.ID.Short(), need>>20+1, folder, free>>20)
}

type scratchFile struct {
	folder, path string
	dest         backup.Destination
}

func sqliteScratch(ctx context.Context) (backup.Scratch, error) {
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
func (s *scratchFile) View(ctx context.Context) (rows.View, error) {
	return sqlite.OpenView(ctx, s.path)
}
func (s *scratchFile) Check(ctx context.Context) ([]string, error) { return nil, nil } // the restore ran SQLite's own checks
func (s *scratchFile) Drop(context.Context) error                  { return os.RemoveAll(s.folder) }
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
func ownPostgres(ctx context.Context, b backup.Detail, native fs.FS, opt ScratchOptions) (backup.Scratch, error) {
	server, err := postgres.StartScratch(ctx, postgres.MajorOf(b.Manifest.Origin().Version), "")
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
func postgresScratch(ctx context.Context, opt ScratchOptions) (backup.Scratch, error) {
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
