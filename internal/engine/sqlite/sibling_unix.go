//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// makeSiblings makes empty -wal and -shm files where a WAL database has none, with the owner and
// the mode of the database. The driver would make them with the mode that the umask leaves, so that others could
// read what is written to the log, and as root they would be root's, so that the database's own program could not
// write to them. SQLite's C library gives them away too, but only after it made them; a link leaves no such moment.
// Where the folder can't be written to SQLite itself decides what is possible.
func makeSiblings(full string) error {
	info, err := os.Stat(full)
	if err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Lstat(full + suffix); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := linkEmpty(full+suffix, info)
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
			return fmt.Errorf("make %s: %w", filepath.Base(full)+suffix, err)
		}
	}
	return nil
}

// linkEmpty makes an empty file with the owner and mode of like, unless there is one by then.
func linkEmpty(name string, like fs.FileInfo) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := sameOwner(f, like); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// sameOwner gives f the mode of like, and its owner when we may.
func sameOwner(f *os.File, like fs.FileInfo) error {
	if err := f.Chmod(like.Mode().Perm()); err != nil {
		return err
	}
	if owner, ok := like.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return f.Chown(int(owner.Uid), int(owner.Gid))
	}
	return nil
}
