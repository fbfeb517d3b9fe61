package folder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	partPrefix = ".backup-"
	partSuffix = ".partial"
	// partAge is when a partial file counts as left behind, where locks can't tell.
	partAge = 48 * time.Hour
)

// A partial is a file that is being written. Its lock says that somebody does; the system drops it when the process ends.
type partial struct{ f *os.File }

func isPartial(name, prefix string) bool {
	return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, partSuffix)
}

// createPartial makes a partial file that only its owner can read.
func createPartial(dir, prefix string) (*partial, error) {
	for range 100 {
		f, err := os.CreateTemp(dir, prefix+"*"+partSuffix) // mode 0600
		if err != nil {
			return nil, err
		}
		p := &partial{f}
		if tryLock(f) == errLocked { // a sweep was between the two, and removes it
			p.remove()
			continue
		}
		if there, err := os.Lstat(f.Name()); err == nil {
			if mine, err := f.Stat(); err == nil && os.SameFile(mine, there) {
				return p, nil
			}
		}
		p.remove()
	}
	return nil, errors.New("somebody removes new files")
}

// remove closes the file and takes its first name away; others that it has stay.
func (p *partial) remove() {
	os.Remove(p.f.Name())
	p.f.Close()
}

// sweep removes the partial files of runs that are gone.
func sweep(dir, prefix string) error {
	items, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, item := range items {
		if !isPartial(item.Name(), prefix) || !item.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, item.Name())
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // gone meanwhile, or somebody else's
		}
		info, err := f.Stat()
		gone := err == nil
		switch lerr := tryLock(f); {
		case lerr == errLocked:
			gone = false
		case lerr != nil:
			gone = gone && time.Since(info.ModTime()) > partAge
		}
		if gone {
			err = os.Remove(name)
		}
		f.Close()
		if gone && err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// errLocked says that another process has the lock. Any other error means that locks don't work there.
var errLocked = errors.New("locked")
