// Package sqlite sees an SQLite file as an image and as rows: [OpenImage] copies the pages of a
// live database, [OpenView] and [OpenStored] read its tables, [Target] puts an image back, [RowsTarget] makes
// a new file of any engine's tables, and [Merger] puts rows into tables that exist.
//
// What one instant means depends on the file's journal mode. In WAL mode a reader sees the
// database as it was when it began, and writers go on: the copy costs them nothing but a
// log that can't be reset meanwhile. In the rollback-journal modes readers and writers exclude each
// other, so that the image is read in short batches and what changed under way is read again.
//
// Databases that a program ATTACHes are files of their own. Each is backed up alone and each
// is consistent in itself; a transaction that spans several files may be in one image and not in the other.
package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// magic is how a database file begins.
const magic = "SQLite format 3\x00"

// headerSize is the length of the database header at the start of page 1.
const headerSize = 100

// DatabaseName returns what a database file is called in a catalogue: its base name
// without the extension .db, .sqlite or .sqlite3.
func DatabaseName(path string) string {
	base := filepath.Base(path)
	for _, ext := range []string{".db", ".sqlite", ".sqlite3"} {
		if name, ok := strings.CutSuffix(base, ext); ok && name != "" {
			return name
		}
	}
	return base
}

// IsDatabase reports whether the file at path starts like an SQLite database. An empty file,
// which SQLite takes for an empty database, does not. The error is a [fail.Error] of kind
// NotFound, Denied or Unsupported (a directory).
func IsDatabase(path string) (bool, error) {
	f, _, err := openFile(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		return false, fail.Wrap(fail.Unavailable, err, "", "read %s", path)
	}
	return h.magic, nil
}

// header is what the first bytes of a database file say.
type header struct {
	empty    bool // no bytes at all
	magic    bool
	pageSize int  // 0 when it makes no sense
	wal      bool // the file is in WAL mode
	counter  uint32
	pages    uint32
	version  uint32 // of the library that wrote last
	stamp    [16]byte
}

// readHeader reads the header of a file of any content.
func readHeader(r io.ReaderAt) (header, error) {
	var b [headerSize]byte
	n, err := r.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return header{}, err
	}
	return parseHeader(b[:n]), nil
}

func parseHeader(b []byte) header {
	h := header{empty: len(b) == 0}
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) {
		return h
	}
	h.magic = true
	h.pageSize = int(binary.BigEndian.Uint16(b[16:]))
	if h.pageSize == 1 {
		h.pageSize = 65536
	}
	if h.pageSize < 512 || h.pageSize > 65536 || h.pageSize&(h.pageSize-1) != 0 {
		h.pageSize = 0
	}
	h.wal = b[18] == 2 && b[19] == 2
	h.counter = binary.BigEndian.Uint32(b[24:])
	h.pages = binary.BigEndian.Uint32(b[28:])
	h.version = binary.BigEndian.Uint32(b[96:])
	copy(h.stamp[:], b[24:40])
	return h
}

// openFile opens a regular file for reading and returns the path behind symbolic links, next
// to which SQLite keeps its journals.
func openFile(path string) (*os.File, string, error) {
	full, err := resolve(path)
	if err != nil {
		return nil, "", pathError(err, "open %s", path)
	}
	// Asked before opening: to open a pipe would wait for its other end.
	info, err := os.Stat(full)
	if err != nil {
		return nil, "", pathError(err, "open %s", path)
	}
	if info.IsDir() {
		return nil, "", fail.New(fail.Unsupported, "name the database file in it", "open %s: is a directory, not an SQLite database", path)
	}
	if !info.Mode().IsRegular() {
		return nil, "", fail.New(fail.Unsupported, "", "open %s: is not a regular file", path)
	}
	f, err := os.Open(full)
	if err != nil {
		return nil, "", pathError(err, "open %s", path)
	}
	return f, full, nil
}

// resolve returns the absolute path of an existing file without symbolic links.
func resolve(path string) (string, error) {
	full, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(full)
}

// check refuses a header that no SQLite database has.
func (h header) check(path string) error {
	switch {
	case h.empty:
		return nil
	case !h.magic:
		return fail.New(fail.Unsupported, "an encrypted database (SQLCipher, SEE) can't be told from other files without its key; back it up with the tool that encrypts it",
			"open %s: is not an SQLite database, or is encrypted", path)
	case h.pageSize == 0:
		return fail.New(fail.Damaged, hintDamaged, "open %s: the header gives an impossible page size", path)
	}
	return nil
}
