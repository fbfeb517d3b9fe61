package wire

import (
	"context"
	"errors"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/mysql"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// scratchMySQL is a database for a while.
type scratchMySQL struct {
	db   string
	dest backup.Destination
	drop func(context.Context) error
}

// mysqlScratch makes a database on a server of the user's, or on one of our own. Definers are left out: their accounts are not there, and
// views and triggers would not work.
func mysqlScratch(ctx context.Context, origin rows.Origin, opt ScratchOptions) (placed, error) {
	var err error
	s := &scratchMySQL{}
	if !opt.auto() {
		_, rest, err := split(opt.To)
		if err != nil {
			return nil, err
		}
		if s.db, s.drop, err = mysql.CreateScratch(ctx, rest, scratchName()); err != nil {
			return nil, err
		}
	} else {
		own, err := mysql.StartScratch(ctx, origin, "")
		if err != nil {
			return nil, err
		}
		s.drop = func(context.Context) error { return own.Stop() }
		if s.db, _, err = mysql.CreateScratch(ctx, own.URL("mysql"), scratchName()); err != nil {
			return nil, errors.Join(err, own.Stop())
		}
	}
	if s.dest, err = Destination(s.db, MySQL, TargetOptions{Jobs: opt.Jobs, NoOwner: true}); err != nil {
		return nil, errors.Join(err, s.drop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *scratchMySQL) Destination() backup.Destination { return s.dest }
func (s *scratchMySQL) url() string                     { return s.db }
func (s *scratchMySQL) View(ctx context.Context) (rows.View, error) {
	return mysql.Open(ctx, s.db, mysql.Options{DataOnly: true})
}
func (s *scratchMySQL) Check(ctx context.Context) ([]string, error) {
	return mysql.CheckDatabase(ctx, s.db)
}
func (s *scratchMySQL) Drop(ctx context.Context) error { return s.drop(ctx) }
func (s *scratchMySQL) Query(ctx context.Context, sql string) (bool, string, error) {
	v, err := mysql.QueryValue(ctx, s.db, sql)
	return truth(v), v, err
}
