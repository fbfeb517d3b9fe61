package sqlite

// ofdSetLock sets a lock that belongs to the open file, not to the process: F_OFD_SETLK of <sys/fcntl.h>, which
// golang.org/x/sys/unix does not have.
const ofdSetLock = 90
