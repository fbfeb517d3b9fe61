// Package folder keeps portable backup files in an ordinary folder: one file a backup, and beside it a sidecar,
// NAME.meta, that says what the file is and how to know that it is whole. There is no other state, so files can be copied,
// moved with their sidecars and restored with stock tools. docs/files.md describes all of it.
package folder

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// Options describe a file that is to be written.
type Options struct {
	Database string           // its name, as users know it; needed
	Kind     string           // what the file holds: "json", "jsonl" or "sql"; also the start of its extension
	Engine   string           // as in "postgres"
	Tool     string           // the version that writes
	Time     time.Time        // when the data was as the file has it; zero: now
	Local    bool             // name the file by local time, not UTC
	Envelope envelope.Options // how it is compressed and encrypted
}

// A File is being written. It has a name of its own only after Commit.
type File struct {
	dir  string
	opt  Options
	part *partial
	sum  hash.Hash
	buf  *bufio.Writer
	env  io.WriteCloser
	err  error // the first error of Write
}

// Create begins a file in dir, which is made, for its owner alone, when it isn't there. What killed runs left
// in dir is removed. The caller ends with Commit or Abort; Abort after Commit does nothing.
func Create(dir string, o Options) (*File, error) {
	if o.Database == "" || !kindPattern.MatchString(o.Kind) {
		return nil, fail.New(fail.Usage, "", "write a backup file: it needs a database's name and a kind, got %q and %q", o.Database, o.Kind)
	}
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Classify(err, "create folder %s", dir)
	}
	if err := sweep(dir, partPrefix); err != nil {
		return nil, Classify(err, "clean up in %s", dir)
	}
	part, err := createPartial(dir, partPrefix)
	if err != nil {
		return nil, Classify(err, "create a file in %s", dir)
	}
	f := &File{dir: dir, opt: o, part: part, sum: sha256.New()}
	f.buf = bufio.NewWriterSize(io.MultiWriter(part.f, f.sum), 64<<10)
	if f.env, err = envelope.Writer(f.buf, o.Envelope); err != nil {
		f.Abort()
		return nil, fail.Op(err, "create a file in %s", dir)
	}
	return f, nil
}

// Write adds to the file what the envelope makes of p.
func (f *File) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.env.Write(p)
	f.err = Classify(err, "write to %s", f.dir)
	return n, f.err
}

// Abort gives the file up and leaves nothing of it.
func (f *File) Abort() {
	if f.part == nil {
		return
	}
	if f.env != nil {
		f.env.Close() // it may still be at work; what it writes goes with the file
	}
	f.part.remove()
	f.part = nil
}

// Commit makes the file durable and gives it its name, which no other file had, together with its sidecar. content is what the
// writer wants to say of it, and may be nil; of an encrypted file it is left out, because sidecars are not encrypted.
// On error nothing is left.
func (f *File) Commit(content json.RawMessage) (Entry, error) {
	if f.part == nil {
		return Entry{}, fail.New(fail.Internal, "", "commit a file in %s: it is done", f.dir)
	}
	defer f.Abort()
	if f.err != nil {
		return Entry{}, f.err
	}
	err := f.env.Close()
	if err == nil {
		err = f.buf.Flush()
	}
	if err == nil {
		err = f.part.f.Sync()
	}
	var info fs.FileInfo
	if err == nil {
		info, err = f.part.f.Stat()
	}
	if err != nil {
		return Entry{}, Classify(err, "write to %s", f.dir)
	}
	meta := Meta{Format: metaFormat, CreatedAt: f.opt.Time.UTC().Round(0), Database: f.opt.Database, Kind: f.opt.Kind,
		Size: info.Size(), SHA256: hex.EncodeToString(f.sum.Sum(nil)), Encrypted: f.opt.Envelope.Encrypted()}
	if !meta.Encrypted {
		meta.Engine, meta.Tool, meta.Content = f.opt.Engine, f.opt.Tool, content
	}
	if meta.File, err = f.publish(meta); err != nil {
		return Entry{}, Classify(err, "name a file in %s", f.dir)
	}
	return inspect(f.dir, meta.File, meta.Size), nil
}

// publish gives sidecar and file their names, the sidecar first: a file that is seen has one. The lock keeps others from taking
// the sidecar for one whose file is gone.
func (f *File) publish(meta Meta) (string, error) {
	unlock, err := lockDir(f.dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	named, err := needsName(f.dir, f.opt.Database)
	if err != nil {
		return "", err
	}
	for n := 1; n <= maxSameSecond; n++ {
		meta.File = fileName(f.opt, named, n)
		final := filepath.Join(f.dir, meta.File)
		if _, err := os.Lstat(final); err == nil {
			continue
		}
		err := writeMeta(f.dir, meta)
		if err == nil {
			if err = claim(f.part.f.Name(), final); err == nil {
				if err = syncDir(f.dir); err == nil {
					return meta.File, nil
				}
				os.Remove(final)
			}
			os.Remove(final + MetaSuffix)
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return "", fail.New(fail.Exists, "", "%d files of one second are there", maxSameSecond)
}

const maxSameSecond = 9999

// writeMeta writes a sidecar, whole and durable, to a name that is free.
func writeMeta(dir string, meta Meta) error {
	data, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return fail.Wrap(fail.Internal, err, "", "describe %s", meta.File)
	}
	part, err := createPartial(dir, partPrefix)
	if err != nil {
		return err
	}
	defer part.remove()
	if _, err = part.f.Write(append(data, '\n')); err == nil {
		err = part.f.Sync()
	}
	if err != nil {
		return err
	}
	return claim(part.f.Name(), filepath.Join(dir, meta.File)+MetaSuffix)
}

// claim gives a file a second name that no file has, or fs.ErrExist. Where files can't have two names, an empty one takes
// the name first.
func claim(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = f.Close(); err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		os.Remove(to)
	}
	return err
}

// syncDir makes names durable: without it a crash can lose a file that is whole.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) { // some file systems can't, and need not
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Classify gives an error of the file system the kind that users need, and says what was being done.
func Classify(err error, format string, args ...any) error {
	var known *fail.Error
	switch {
	case errors.As(err, &known):
		return fail.Op(err, format, args...)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fail.Wrap(fail.NoSpace, err, "", format, args...)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fail.Wrap(fail.Denied, err, "", format, args...)
	case errors.Is(err, fs.ErrNotExist):
		return fail.Wrap(fail.NotFound, err, "", format, args...)
	case errors.Is(err, fs.ErrExist):
		return fail.Wrap(fail.Exists, err, "", format, args...)
	case errors.Is(err, syscall.ENOTDIR):
		return fail.Wrap(fail.Usage, err, "", format, args...)
	}
	return fail.Op(err, format, args...)
}

// fileName is backup_TIME.EXT or backup_NAME_TIME.EXT, and from the second of one second on backup_…TIME_2.EXT.
func fileName(o Options, named bool, n int) string {
	name := "backup_"
	if named {
		name += safeName(o.Database) + "_"
	}
	at := o.Time.UTC()
	if o.Local {
		at = o.Time.Local()
	}
	name += at.Format(stampLayout)
	if n > 1 {
		name += fmt.Sprint("_", n)
	}
	return name + "." + o.Kind + envelope.Suffix(o.Envelope)
}
