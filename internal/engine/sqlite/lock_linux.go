package sqlite

import "golang.org/x/sys/unix"

// ofdSetLock sets a lock that belongs to the open file, not to the process.
const ofdSetLock = unix.F_OFD_SETLK
