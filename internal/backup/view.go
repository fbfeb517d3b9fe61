package backup

import (
	"context"
	"io"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// InitOptions tune a new repository.
type InitOptions = repo.InitOptions

// Exists reports whether there is a repository at location. It needs no password.
func Exists(ctx context.Context, location string) (bool, error) { return repo.Exists(ctx, location) }

// CanInit reports, as an error of the kinds of [Init], why a repository can't be created at location.
func CanInit(ctx context.Context, location string) error {
	exists, err := repo.Exists(ctx, location)
	if err == nil && exists {
		return fail.New(fail.Exists, "use it as it is, or choose another folder", "create repository %s: there is one already", location)
	}
	return err
}

// View opens a backup of rows as a rows.View.
func (s *Store) View(ctx context.Context, b Backup) (rows.View, error) {
	tree, m, err := s.open(ctx, b)
	if err != nil {
		return nil, err
	}
	if m.Kind != KindRows {
		return nil, fail.New(fail.Unsupported, "", "read backup %s as rows: it is an image", b.ID.Short())
	}
	return newStoredView(tree, m), nil
}

// An ImageFile is a file of a stored image. It may be read from several goroutines.
type ImageFile interface {
	io.ReaderAt
	io.Closer
}

// OpenImage opens the only file of a stored image and returns it with its name and size.
func (s *Store) OpenImage(ctx context.Context, b Backup) (f ImageFile, name string, size int64, err error) {
	tree, m, err := s.open(ctx, b)
	if err != nil {
		return nil, "", 0, err
	}
	if m.Kind != KindImage || len(m.Files) != 1 {
		return nil, "", 0, fail.New(fail.Unsupported, "", "open backup %s as one file: it holds %d", b.ID.Short(), len(m.Files))
	}
	name = m.Files[0].Name
	opened, err := tree.Open(ImageDir + "/" + name)
	if err != nil {
		return nil, "", 0, fail.Op(err, "open %s of backup %s", name, b.ID.Short())
	}
	f, ok := opened.(ImageFile)
	if !ok {
		_ = opened.Close()
		return nil, "", 0, fail.New(fail.Internal, "", "open %s of backup %s: it can't be read at random", name, b.ID.Short())
	}
	return f, name, m.Files[0].Size, nil
}
