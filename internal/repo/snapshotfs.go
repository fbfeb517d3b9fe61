package repo

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// SnapshotFS is the stored tree of one backup. It implements fs.FS, fs.ReadDirFS, fs.StatFS and
// fs.ReadFileFS; its files are io.ReaderAt and io.Seeker too. It may be used concurrently, as
// long as the repository is open.
type SnapshotFS struct {
	repo *Repo
	// fs.FS has no contexts, so reads through it use this one: that of [Repo.Tree], without its end.
	ctx   context.Context
	root  *snapshot.DirEntry
	cache *chunkCache

	mu      sync.Mutex
	folders map[string]map[string]*snapshot.DirEntry // by path; guarded by mu
	files   map[string][]Chunk                       // flattened, by path; guarded by mu
}

// Tree returns the stored tree of a backup. Kinds: NotFound, Damaged.
func (r *Repo) Tree(ctx context.Context, id ID) (*SnapshotFS, error) {
	l, err := r.loadManifests(ctx)
	if err != nil {
		return nil, err
	}
	m, err := l.snapshot(id)
	if err != nil {
		return nil, fail.Op(err, "backup %s", id.Short())
	}
	return r.treeOf(ctx, m)
}

func (r *Repo) treeOf(ctx context.Context, m storedManifest) (*SnapshotFS, error) {
	var man snapshot.Manifest
	if err := json.Unmarshal(m.Data, &man); err != nil {
		return nil, damaged("backup %s: its manifest is damaged: %v", m.ID.Short(), err)
	}
	if man.RootEntry == nil || man.RootEntry.Type != snapshot.EntryTypeDirectory {
		return nil, fail.New(fail.Unsupported, "the kopia command can restore it", "backup %s: it is not a folder", m.ID.Short())
	}
	return &SnapshotFS{
		repo: r, ctx: context.WithoutCancel(ctx), root: man.RootEntry, cache: newChunkCache(),
		folders: map[string]map[string]*snapshot.DirEntry{}, files: map[string][]Chunk{},
	}, nil
}

func pathError(op, name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fail.Wrap(fail.NotFound, &fs.PathError{Op: op, Path: name, Err: err}, "", "look into the backup")
	}
	return fail.Op(err, "%s %s", op, name)
}

// folder returns the entries of a folder of the tree.
func (fsys *SnapshotFS) folder(ctx context.Context, name string) (map[string]*snapshot.DirEntry, error) {
	fsys.mu.Lock()
	entries, ok := fsys.folders[name]
	fsys.mu.Unlock()
	if ok {
		return entries, nil
	}
	e, err := fsys.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if e.Type != snapshot.EntryTypeDirectory {
		return nil, fail.Wrap(fail.NotFound, fs.ErrNotExist, "", "%s is not a folder", name)
	}
	data, err := fsys.repo.readObject(ctx, e.ObjectID, 0)
	if err != nil {
		return nil, err
	}
	if entries, err = parseFolder(data); err != nil {
		return nil, damaged("folder %s: %v", name, err)
	}
	fsys.mu.Lock()
	defer fsys.mu.Unlock()
	fsys.folders[name] = entries
	return entries, nil
}

// parseFolder checks what a folder holds: its names become parts of paths.
func parseFolder(data []byte) (map[string]*snapshot.DirEntry, error) {
	var dir snapshot.DirManifest
	if err := json.Unmarshal(data, &dir); err != nil {
		return nil, err
	}
	if dir.StreamType != "kopia:directory" {
		return nil, errors.New("it is no folder")
	}
	entries := make(map[string]*snapshot.DirEntry, len(dir.Entries))
	for _, e := range dir.Entries {
		switch {
		case e == nil:
			return nil, errors.New("an empty entry")
		case !fs.ValidPath(e.Name) || e.Name == "." || strings.ContainsAny(e.Name, "/\x00"):
			return nil, errors.New("an entry with a name that can't be one")
		case entries[e.Name] != nil:
			return nil, errors.New("two entries with one name")
		case e.FileSize < 0:
			return nil, errors.New("a file with a negative size")
		}
		entries[e.Name] = e
	}
	return entries, nil
}

// find returns the entry of name.
func (fsys *SnapshotFS) find(ctx context.Context, name string) (*snapshot.DirEntry, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	if name == "." {
		return fsys.root, nil
	}
	entries, err := fsys.folder(ctx, path.Dir(name))
	if err != nil {
		return nil, err
	}
	e := entries[path.Base(name)]
	if e == nil {
		return nil, fs.ErrNotExist
	}
	return e, nil
}

// Open opens a file or folder.
func (fsys *SnapshotFS) Open(name string) (fs.File, error) {
	e, err := fsys.find(fsys.ctx, name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if e.Type == snapshot.EntryTypeDirectory {
		list, err := fsys.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openFolderFile{info: fileInfo{name, e}, list: list}, nil
	}
	chunks, err := fsys.Chunks(fsys.ctx, name)
	if err != nil {
		return nil, err
	}
	return &File{fsys: fsys, info: fileInfo{name, e}, chunks: chunks}, nil
}

// Stat describes a file or folder.
func (fsys *SnapshotFS) Stat(name string) (fs.FileInfo, error) {
	e, err := fsys.find(fsys.ctx, name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return fileInfo{name, e}, nil
}

// ReadDir lists a folder by name.
func (fsys *SnapshotFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fsys.folder(fsys.ctx, name)
	if err != nil {
		return nil, pathError("read folder", name, err)
	}
	list := make([]fs.DirEntry, 0, len(entries))
	for _, e := range entries {
		list = append(list, fs.FileInfoToDirEntry(fileInfo{e.Name, e}))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Chunks returns how a file is stored, in order, without gaps. Reading them with
// [Repo.ReadChunk] needs no particular order.
func (fsys *SnapshotFS) Chunks(ctx context.Context, name string) ([]Chunk, error) {
	fsys.mu.Lock()
	chunks, ok := fsys.files[name]
	fsys.mu.Unlock()
	if ok {
		return chunks, nil
	}
	e, err := fsys.find(ctx, name)
	if err != nil {
		return nil, pathError("read", name, err)
	}
	if e.Type != snapshot.EntryTypeFile {
		return nil, fail.New(fail.Unsupported, "", "read %s: it is not a file", name)
	}
	if chunks, err = fsys.repo.chunksOf(ctx, e.ObjectID, e.FileSize); err != nil {
		return nil, pathError("read", name, err)
	}
	fsys.mu.Lock()
	defer fsys.mu.Unlock()
	fsys.files[name] = chunks
	return chunks, nil
}

// fileInfo describes an entry. Its path is as it was asked for.
type fileInfo struct {
	path string
	e    *snapshot.DirEntry
}

func (i fileInfo) Name() string       { return path.Base(i.path) }
func (i fileInfo) Size() int64        { return i.e.FileSize }
func (i fileInfo) ModTime() time.Time { return i.e.ModTime.ToTime() }
func (i fileInfo) IsDir() bool        { return i.e.Type == snapshot.EntryTypeDirectory }
func (i fileInfo) Sys() any           { return nil }

func (i fileInfo) Mode() fs.FileMode {
	perm := fs.FileMode(i.e.Permissions) & fs.ModePerm
	switch i.e.Type {
	case snapshot.EntryTypeDirectory:
		return fs.ModeDir | perm
	case snapshot.EntryTypeFile:
		return perm
	case snapshot.EntryTypeSymlink:
		return fs.ModeSymlink | perm
	}
	return fs.ModeIrregular | perm
}

// openFolderFile is an open folder.
type openFolderFile struct {
	info fileInfo
	list []fs.DirEntry
	next int
}

func (f *openFolderFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolderFile) Close() error               { return nil }

func (f *openFolderFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.path, Err: errors.New("is a folder")}
}

// ReadDir returns the next n entries, or all that are left.
func (f *openFolderFile) ReadDir(n int) ([]fs.DirEntry, error) {
	left := f.list[f.next:]
	if n <= 0 {
		f.next = len(f.list)
		return left, nil
	}
	if len(left) == 0 {
		return nil, io.EOF
	}
	left = left[:min(n, len(left))]
	f.next += len(left)
	return left, nil
}
