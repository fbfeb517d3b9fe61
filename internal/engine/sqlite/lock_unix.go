//go:build linux || darwin

package sqlite

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// errInUse says that somebody holds a lock.
var errInUse = errors.New("is in use")

// SQLite's lock bytes (os_unix.c): PENDING, RESERVED and 510 SHARED ones, from 1 GiB on.
const (
	lockFirst = 0x40000000
	lockBytes = 512
)

// lockDatabase takes all of SQLite's locks on f until f is closed, or returns errInUse.
func lockDatabase(f *os.File) error {
	err := unix.FcntlFlock(f.Fd(), ofdSetLock, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: lockFirst, Len: lockBytes})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errInUse
	}
	return err
}

// claim marks f as the file of a running restore until f is closed, or returns errInUse.
func claim(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errInUse
	}
	return err
}
