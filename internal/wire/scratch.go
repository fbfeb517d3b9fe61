package wire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// ScratchOptions say where a drill restores to.
type ScratchOptions struct {
	To   string // a server for scratch databases; "" or "auto": a file, or a server started from this machine's programs
	Jobs int
}

// Scratch makes a place where backup b can be restored for proof.
func Scratch(ctx context.Context, b backup.Detail, opt ScratchOptions) (backup.Scratch, error) {
	if opt.To == "auto" {
		opt.To = ""
	}
	switch b.Engine {
	case SQLite:
		if opt.To != "" {
			return nil, fail.New(fail.Usage, "leave it out: an SQLite file is restored to $TMPDIR", "drill an SQLite backup on a server")
		}
		return sqliteScratch(ctx)
	case Postgres:
		return postgresScratch(ctx, b.Manifest.Origin().Version, opt)
	}
	return nil, fail.New(fail.Unsupported, "", "drill a backup of %s", b.Engine)
}

// ScratchSize is about how many bytes of disk a drill of a backup needs. Indexes and the engine's own make rows larger.
func ScratchSize(b backup.Detail) int64 {
	if b.Kind == backup.KindRows {
		return b.Size * 2
	}
	return b.Size
}

type scratchFile struct {
	folder, path string
	dest         backup.Destination
}

func sqliteScratch(ctx context.Context) (backup.Scratch, error) {
	folder, err := os.MkdirTemp("", "holdfast-scratch-"+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, fail.Wrap(fail.NoSpace, err, "set TMPDIR to a folder with room", "make a folder for the drill")
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

func postgresScratch(ctx context.Context, version string, opt ScratchOptions) (backup.Scratch, error) {
	s := &scratchDatabase{}
	name := "holdfast_scratch_" + randomHex()
	if opt.To != "" {
		var err error
		if s.db, s.drop, err = postgres.CreateScratch(ctx, opt.To, name); err != nil {
			return nil, err
		}
	} else {
		server, err := postgres.StartScratch(ctx, postgres.MajorOf(version), "")
		if err != nil {
			return nil, err
		}
		s.drop = func(context.Context) error { return server.Stop() }
		if s.db, _, err = postgres.CreateScratch(ctx, server.URL("postgres"), name); err != nil {
			_ = server.Stop()
			return nil, err
		}
	}
	var err error
	if s.dest, err = Destination(s.db, Postgres, TargetOptions{Jobs: opt.Jobs, NoOwner: true}); err != nil {
		_ = s.drop(context.WithoutCancel(ctx))
		return nil, err
	}
	return s, nil
}

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
