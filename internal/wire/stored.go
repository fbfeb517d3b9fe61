package wire

import (
	"context"
	"errors"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/sqlite"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// Stored opens a backup as rows, whatever its kind. An image is read where it is, without a copy.
func Stored(ctx context.Context, s *backup.Store, b backup.Backup) (rows.View, error) {
	if b.Kind == backup.KindRows {
		return s.View(ctx, b)
	}
	f, name, size, err := s.OpenImage(ctx, b)
	if err != nil {
		return nil, err
	}
	v, err := sqlite.OpenStored(ctx, name, f, size)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &storedView{v, f}, nil
}

// storedView closes the file below the view with it.
type storedView struct {
	*sqlite.View // with all it can do: it also dumps SQL, and sorts
	file         backup.ImageFile
}

func (v *storedView) Close() error { return errors.Join(v.View.Close(), v.file.Close()) }

// ExecSQLite runs statements on an SQLite file, which is created if need be. It is here for the demo.
func ExecSQLite(ctx context.Context, path, statements string) error {
	return sqlite.Exec(ctx, path, statements)
}
