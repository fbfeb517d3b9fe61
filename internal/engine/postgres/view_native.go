package postgres

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// nativeFS holds the definitions. Files may still be in the making: to open one, or to ask
// for its size, waits for its end. The set of files is fixed before the view is handed out.
type nativeFS struct {
	files map[string]*nativeFile
	order []string
}

// nativeFile is a file's content, in memory or in a temporary file without a name.
type nativeFile struct {
	ready chan struct{} // closed once the rest is set
	err   error
	text  io.ReaderAt
	size  int64
	temp  *os.File // what text reads, to be closed; may be nil
}

func newNative() *nativeFS { return &nativeFS{files: map[string]*nativeFile{}} }

// promise adds a file that is to come; settle must follow.
func (n *nativeFS) promise(name string) *nativeFile {
	f := &nativeFile{ready: make(chan struct{})}
	n.files[name] = f
	n.order = append(n.order, name)
	slices.Sort(n.order)
	return f
}

// put adds a file.
func (n *nativeFS) put(name string, text []byte) {
	n.promise(name).settle(bytes.NewReader(text), int64(len(text)), nil)
}

func (f *nativeFile) settle(text io.ReaderAt, size int64, err error) {
	f.text, f.size, f.err = text, size, err
	close(f.ready)
}

// close waits for all files and frees them.
func (n *nativeFS) close() error {
	var errs []error
	for _, f := range n.files {
		<-f.ready
		if f.temp != nil {
			errs = append(errs, f.temp.Close())
		}
	}
	return errors.Join(errs...)
}

// Open implements fs.FS.
func (n *nativeFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if f := n.files[name]; f != nil {
		if <-f.ready; f.err != nil {
			return nil, f.err
		}
		return &openFile{SectionReader: io.NewSectionReader(f.text, 0, f.size), entry: entry{n, name}}, nil
	}
	list := n.children(name)
	if len(list) == 0 && name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &openDir{entry: entry{n, name}, rest: list}, nil
}

// children lists a folder.
func (n *nativeFS) children(dir string) []fs.DirEntry {
	var list []fs.DirEntry
	seen := map[string]bool{}
	for _, file := range n.order {
		rest, ok := file, dir == "."
		if !ok {
			rest, ok = strings.CutPrefix(file, dir+"/")
		}
		first, _, _ := strings.Cut(rest, "/")
		if ok && !seen[first] {
			seen[first] = true
			list = append(list, entry{n, path.Join(dir, first)})
		}
	}
	return list
}

// entry describes a file or folder. It is its own FileInfo; what needs the size waits.
type entry struct {
	fs   *nativeFS
	path string
}

func (e entry) Name() string { return path.Base(e.path) }
func (e entry) IsDir() bool  { return e.fs.files[e.path] == nil }
func (e entry) Type() fs.FileMode {
	return e.Mode().Type()
}
func (e entry) Mode() fs.FileMode {
	if e.IsDir() {
		return fs.ModeDir | 0o500
	}
	return 0o400
}
func (e entry) ModTime() time.Time { return time.Time{} }
func (e entry) Sys() any           { return nil }
func (e entry) Size() int64 {
	f := e.fs.files[e.path]
	if f == nil {
		return 0
	}
	<-f.ready
	return f.size
}
func (e entry) Info() (fs.FileInfo, error) {
	if f := e.fs.files[e.path]; f != nil {
		if <-f.ready; f.err != nil {
			return nil, f.err
		}
	}
	return e, nil
}

// openFile is a file being read.
type openFile struct {
	*io.SectionReader
	entry entry
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.entry, nil }
func (f *openFile) Close() error               { return nil }

// openDir is a folder being listed.
type openDir struct {
	entry entry
	rest  []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.entry, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.entry.path, Err: errors.New("is a directory")}
}
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.rest) == 0 {
		return nil, io.EOF
	}
	k := len(d.rest)
	if n > 0 {
		k = min(n, k)
	}
	list := d.rest[:k]
	d.rest = d.rest[k:]
	return list, nil
}
