package mysql

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// nativeFS is a folder of definitions, by path.
type nativeFS map[string][]byte

// Open opens a file or a folder.
func (f nativeFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if data, ok := f[name]; ok {
		return &nativeFile{nativeInfo{name, int64(len(data)), false}, bytes.NewReader(data)}, nil
	}
	var list []fs.DirEntry
	prefix := strings.TrimPrefix(name+"/", "./")
	for p, data := range f {
		rest, ok := strings.CutPrefix(p, prefix)
		if !ok {
			continue
		}
		first, _, folder := strings.Cut(rest, "/")
		if !slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.Name() == first }) {
			list = append(list, fs.FileInfoToDirEntry(nativeInfo{first, int64(len(data)), folder}))
		}
	}
	if len(list) == 0 && name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return &nativeDir{nativeInfo{name, 0, true}, list}, nil
}

type nativeFile struct {
	nativeInfo
	*bytes.Reader
}

func (f *nativeFile) Stat() (fs.FileInfo, error) { return f.nativeInfo, nil }
func (f *nativeFile) Close() error               { return nil }
func (f *nativeFile) Size() int64                { return f.size }

type nativeDir struct {
	nativeInfo
	rest []fs.DirEntry
}

func (d *nativeDir) Stat() (fs.FileInfo, error) { return d.nativeInfo, nil }
func (d *nativeDir) Close() error               { return nil }
func (d *nativeDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: fs.ErrInvalid}
}

// ReadDir lists what was not listed yet; see [fs.ReadDirFile].
func (d *nativeDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	list := d.rest[:n]
	d.rest = d.rest[n:]
	return list, nil
}

type nativeInfo struct {
	name   string
	size   int64
	folder bool
}

func (i nativeInfo) Name() string       { return path.Base(i.name) }
func (i nativeInfo) Size() int64        { return i.size }
func (i nativeInfo) IsDir() bool        { return i.folder }
func (i nativeInfo) ModTime() time.Time { return time.Time{} }
func (i nativeInfo) Sys() any           { return nil }

// Mode is read-only.
func (i nativeInfo) Mode() fs.FileMode {
	if i.folder {
		return fs.ModeDir | 0o500
	}
	return 0o400
}
