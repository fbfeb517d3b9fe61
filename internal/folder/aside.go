package folder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// An Aside is a file of any name that is written beside its place, readable for its owner alone, and put there when it is whole.
type Aside struct {
	path string
	part *partial
}

// CreateAside begins a file. What killed runs left of one of that name is removed. The caller ends with Commit or Abort; Abort
// after Commit does nothing.
func CreateAside(path string) (*Aside, error) {
	dir, prefix := filepath.Dir(path), "."+filepath.Base(path)+"."
	_ = sweep(dir, prefix) // in a folder that can't be listed files can be written all the same
	part, err := createPartial(dir, prefix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail.New(fail.NotFound, "make it first", "write %s: there is no folder %s", path, dir)
	}
	if err != nil {
		return nil, Classify(err, "write %s", path)
	}
	return &Aside{path: path, part: part}, nil
}

// Write adds to the file.
func (a *Aside) Write(p []byte) (int, error) {
	n, err := a.part.f.Write(p)
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err // the path is that of the partial file
	}
	return n, Classify(err, "write %s", a.path)
}

// Commit makes the file durable and puts it in its place. Without overwrite it does not replace what is there, which is an error of kind Exists.
func (a *Aside) Commit(overwrite bool) error {
	defer a.Abort()
	err := a.part.f.Sync()
	temp := a.part.f.Name()
	if err == nil && overwrite {
		err = os.Rename(temp, a.path)
	} else if err == nil {
		if err = os.Link(temp, a.path); err != nil && !errors.Is(err, fs.ErrExist) {
			err = os.Rename(temp, a.path) // a file system without links
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(a.path))
	}
	return Classify(err, "write %s", a.path)
}

// Abort gives the file up and leaves nothing of it.
func (a *Aside) Abort() {
	if a.part != nil {
		a.part.remove()
		a.part = nil
	}
}
