package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
)

// TargetOptions tune a restore. The zero value overwrites nothing.
type TargetOptions struct {
	Clean bool // replace a database that is there
}

// A Target is a file that receives the image of a database. It implements [image.Target]. What is
// written goes to a file of its own beside it, which takes its place in Finish, after SQLite checked it.
type Target struct {
	path  string // as the user named it
	full  string // absolute; a symbolic link is followed, so that the link stays
	clean bool

	name    string // of the image's file
	size    int64
	temp    *os.File
	written atomic.Int64
	notes   []string
}

var _ image.Target = (*Target)(nil)

// NewTarget returns a Target for the file at path, which Prepare will look at.
func NewTarget(path string, opt TargetOptions) (*Target, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return nil, fail.New(fail.Usage, "", "restore to %q: not a file name", path)
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, fail.Wrap(fail.Usage, err, "", "restore to %s", path)
	}
	if real, err := filepath.EvalSymlinks(full); err == nil {
		full = real
	}
	return &Target{path: path, full: full, clean: opt.Clean}, nil
}

// Notes returns what Finish found that is no fault of the restore: rows that violate a foreign key in
// the original too, since the file is the same byte for byte.
func (t *Target) Notes() []string { return t.notes }

// Prepare makes room for the file. Kinds: Exists when something is in the way and TargetOptions.Clean
// is not set, NotFound when the folder is missing, Locked when the database is in use, Denied, NoSpace.
func (t *Target) Prepare(_ context.Context, _ image.Info, files []image.File) error {
	if len(files) != 1 || files[0].Size < 0 {
		return fail.New(fail.Damaged, "", "restore %s: the image has %d files, not one", t.path, len(files))
	}
	t.name, t.size = files[0].Name, files[0].Size
	if info, err := os.Stat(filepath.Dir(t.full)); err != nil {
		return pathError(err, "restore to %s: folder", t.path)
	} else if !info.IsDir() {
		return fail.New(fail.NotFound, "", "restore to %s: %s is not a folder", t.path, filepath.Dir(t.full))
	}
	if err := t.mayReplace(); err != nil {
		return err
	}
	t.sweep()
	temp, err := os.OpenFile(t.tempName(rand.Text()[:8]), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return pathError(err, "restore to %s: make a file beside it", t.path)
	}
	t.temp = temp
	if err := claim(temp); err != nil {
		return pathError(err, "lock %s", temp.Name())
	}
	if err := allocate(temp, t.size); err != nil {
		return pathError(err, "make room of %d bytes for %s", t.size, t.path)
	}
	return nil
}

// tempName returns the name of a file for a restore to t. Prepare knows those of dead restores by it.
func (t *Target) tempName(id string) string {
	return filepath.Join(filepath.Dir(t.full), "."+filepath.Base(t.full)+".holdfast-"+id)
}

// sweep removes what restores to the same file left that were killed. One that runs holds a lock on its file.
func (t *Target) sweep() {
	prefix := filepath.Base(t.tempName(""))
	entries, _ := os.ReadDir(filepath.Dir(t.full))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(filepath.Dir(t.full), e.Name())
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if claim(f) == nil {
			_ = os.Remove(name)
		}
		_ = f.Close()
	}
}

// Write puts p at off. It may be called concurrently.
func (t *Target) Write(ctx context.Context, file string, off int64, p []byte) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case t.temp == nil:
		return fail.New(fail.Internal, "", "restore %s: write before prepare", t.path)
	case file != t.name:
		return fail.New(fail.Damaged, "", "restore %s: the image names a file %q", t.path, file)
	case off < 0 || off > t.size-int64(len(p)):
		return fail.New(fail.Damaged, "", "restore %s: %d bytes at %d do not fit into %d", t.path, len(p), off, t.size)
	}
	n, err := t.temp.WriteAt(p, off)
	t.written.Add(int64(n))
	return pathError(err, "write %s at %d", t.path, off)
}

// Finish has SQLite check the file and puts it in place. Kinds: Damaged when the check finds something,
// Incomplete when bytes are missing, Locked when the database to replace came into use.
func (t *Target) Finish(ctx context.Context) error {
	if t.temp == nil {
		return fail.New(fail.Internal, "", "restore %s: finish before prepare", t.path)
	}
	if got := t.written.Load(); got < t.size {
		return fail.New(fail.Incomplete, "", "restore %s: %d of %d bytes were written", t.path, got, t.size)
	}
	if err := t.check(ctx); err != nil {
		return sqlError(ctx, err, "check %s", t.path)
	}
	if err := t.temp.Sync(); err != nil {
		return pathError(err, "sync %s", t.path)
	}
	if err := t.replace(ctx); err != nil {
		return err
	}
	temp := t.temp
	t.temp = nil
	if err := temp.Close(); err != nil {
		return pathError(err, "close %s", t.path)
	}
	return nil
}

// Abort removes the file that Prepare made. After Finish returned nil it does nothing.
func (t *Target) Abort(context.Context) error {
	if t.temp == nil {
		return nil
	}
	err := os.Remove(t.temp.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, t.temp.Close())
	t.temp = nil
	return pathError(err, "remove the unfinished %s", t.path)
}

// mostFindings is how many findings of a check an error or a note tells.
const mostFindings = 5

// check asks SQLite about the file as it lies there, without locks or journals.
func (t *Target) check(ctx context.Context) error {
	if t.size == 0 {
		return nil // an empty database
	}
	h, err := readHeader(t.temp)
	if err != nil {
		return err
	}
	if err := h.check(t.path); err != nil {
		return fail.Wrap(fail.Damaged, err, "", "after the restore")
	}
	conn, done, err := dialReader(ctx, io.NewSectionReader(t.temp, 0, t.size), t.size)
	if err != nil {
		return err
	}
	defer done()
	defer conn.Close()
	conn.SetInterrupt(ctx)
	if err := t.checkPages(conn); err != nil {
		return err
	}
	return t.checkKeys(conn)
}

func (t *Target) checkPages(conn *sqlite3.Conn) error {
	var found []string
	list := func(st *sqlite3.Stmt) error {
		if text := st.ColumnText(0); text != "ok" {
			found = append(found, text)
		}
		return nil
	}
	err := each(conn, fmt.Sprintf("PRAGMA integrity_check(%d)", mostFindings), nil, list)
	if errors.Is(err, sqlite3.ERROR) {
		// An index needs a function or collation that only the database's own program has: check all but such indexes.
		t.notes = append(t.notes, fmt.Sprintf("indexes were not compared with their tables: %v", err))
		found = nil
		err = each(conn, fmt.Sprintf("PRAGMA quick_check(%d)", mostFindings), nil, list)
	}
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fail.New(fail.Damaged, "restore an earlier backup, and check the original", "integrity check: %s", strings.Join(found, "; "))
	}
	return nil
}

func (t *Target) checkKeys(conn *sqlite3.Conn) error {
	n := 0
	err := each(conn, "PRAGMA foreign_key_check", nil, func(st *sqlite3.Stmt) error {
		if n++; n <= mostFindings {
			t.notes = append(t.notes, fmt.Sprintf("row %s of %s refers to a row that %s does not have, in the original too", st.ColumnText(1), st.ColumnText(0), st.ColumnText(2)))
		}
		return nil
	})
	if n > mostFindings {
		t.notes = append(t.notes, fmt.Sprintf("and %d more rows that violate a foreign key", n-mostFindings))
	}
	if errors.Is(err, sqlite3.ERROR) {
		t.notes = append(t.notes, fmt.Sprintf("foreign keys were not checked: %v", err))
		err = nil
	}
	return err
}
