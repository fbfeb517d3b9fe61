package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	kopiafs "github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Tree is a backup in the making: files with slash-separated paths. It may be used concurrently.
type Tree struct {
	session *Session

	mu     sync.Mutex
	files  map[string]*snapshot.DirEntry // by path; nil while its stream is open; guarded by mu
	sealed bool                          // guarded by mu
}

// NewTree begins a backup in the session.
func (s *Session) NewTree() *Tree {
	return &Tree{session: s, files: map[string]*snapshot.DirEntry{}}
}

// Create begins a file. Its path must be like tables/public.users/0001.tsv: relative, clean,
// no other file's, and no folder of one. An error about it is the stream's.
func (t *Tree) Create(name string, opt StreamOptions) *Stream {
	st := &Stream{tree: t, path: name, kind: contentKind{compressor: t.compressor(opt)}}
	if opt.Vital {
		st.kind.prefix = vitalPrefix
	}
	t.session.streamOpened()
	t.mu.Lock()
	defer t.mu.Unlock()
	_, taken := t.files[name]
	switch {
	case !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\x00\\"):
		st.err = fail.New(fail.Internal, "", "store %q: not a path", name)
	case taken:
		st.err = fail.New(fail.Internal, "", "store %s: there is such a file already", name)
	case t.sealed:
		st.err = fail.New(fail.Internal, "", "store %s: the backup is sealed", name)
	default:
		t.files[name] = nil
	}
	return st
}

// WriteFile stores data as a file. It is taken for vital: see [StreamOptions].
func (t *Tree) WriteFile(ctx context.Context, name string, data []byte) (StreamInfo, error) {
	st := t.Create(name, StreamOptions{Vital: true})
	for chunk := range slices.Chunk(data, MaxChunk) {
		if err := st.Append(ctx, chunk); err != nil {
			break
		}
	}
	return st.Close(ctx)
}

// vitalPrefix has kopia put a content into the packs of folders and indexes: a lost pack of data does not take
// along what says which table it was of.
const vitalPrefix content.IDPrefix = "x"

func (t *Tree) addFile(name string, oid object.ID, size int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return fail.New(fail.Internal, "", "store %s: the backup is sealed", name)
	}
	t.files[name] = &snapshot.DirEntry{Name: path.Base(name), Type: snapshot.EntryTypeFile, Permissions: 0o600, FileSize: size, ObjectID: oid}
	return nil
}

// Seal writes the folders and the record that make the tree a backup, within the session. All
// its streams must be closed. e.ID is ignored and e.Host and e.Path must be set.
func (t *Tree) Seal(ctx context.Context, e Entry) (ID, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.sealed:
		return "", fail.New(fail.Internal, "", "seal a backup twice")
	case e.Host == "" || !strings.HasPrefix(e.Path, "/"):
		return "", fail.New(fail.Internal, "", "seal a backup of host %q, path %q", e.Host, e.Path)
	}
	when := kopiafs.UTCTimestamp(e.Started.UnixNano())
	root, err := t.foldersLocked(ctx, when)
	if err != nil {
		return "", err
	}
	m := &snapshot.Manifest{
		Source:    snapshot.SourceInfo{Host: e.Host, UserName: cmp.Or(e.User, "holdfast"), Path: e.Path},
		StartTime: when, EndTime: kopiafs.UTCTimestamp(e.Ended.UnixNano()),
		RootEntry: root, Tags: map[string]string{},
		Stats: snapshot.Stats{TotalFileSize: root.DirSummary.TotalFileSize, TotalFileCount: int32(root.DirSummary.TotalFileCount), TotalDirectoryCount: int32(root.DirSummary.TotalDirCount)},
	}
	for k, v := range e.Labels {
		m.Tags[labelPrefix+k] = v
	}
	id, err := snapshot.SaveSnapshot(t.session.context(ctx), t.session.w, m)
	if err != nil {
		return "", wrapWrite(err, "seal the backup")
	}
	t.sealed = true
	return ID(id), nil
}

// foldersLocked writes the folders, the deepest first, and returns the root's entry.
func (t *Tree) foldersLocked(ctx context.Context, when kopiafs.UTCTimestamp) (*snapshot.DirEntry, error) {
	folders := map[string]*snapshotfs.DirManifestBuilder{".": {}}
	for name, file := range t.files {
		if file == nil {
			return nil, fail.New(fail.Internal, "", "seal the backup: %s is open, or failed", name)
		}
		for dir := path.Dir(name); folders[dir] == nil; dir = path.Dir(dir) {
			folders[dir] = &snapshotfs.DirManifestBuilder{}
		}
		file.ModTime = when
		folders[path.Dir(name)].AddEntry(file)
	}
	names := make([]string, 0, len(folders))
	for name := range folders {
		if t.files[name] != nil {
			return nil, fail.New(fail.Internal, "", "seal the backup: %s is a file and a folder", name)
		}
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(depth(b), depth(a)), cmp.Compare(a, b)) })
	for _, name := range names {
		m := folders[name].Build(when, "")
		oid, err := t.session.putFolder(ctx, m)
		if err != nil {
			return nil, wrapWrite(err, "store folder %s", name)
		}
		e := &snapshot.DirEntry{Name: path.Base(name), Type: snapshot.EntryTypeDirectory, Permissions: 0o700, ModTime: when, ObjectID: oid, DirSummary: m.Summary}
		if name == "." {
			e.Name = "backup"
			return e, nil
		}
		folders[path.Dir(name)].AddEntry(e)
	}
	panic("repo: a tree without a root")
}

func depth(name string) int {
	if name == "." {
		return -1
	}
	return strings.Count(name, "/")
}

// folderPrefix is kopia's prefix of contents that are folders.
const folderPrefix content.IDPrefix = "k"

// putFolder stores one folder. snapshotfs.WriteDirManifest would do, but trusts damaged chunks.
func (s *Session) putFolder(ctx context.Context, m *snapshot.DirManifest) (object.ID, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return object.EmptyID, err
	}
	var entries []object.IndirectObjectEntry
	var start int64
	for chunk := range slices.Chunk(data, MaxChunk) {
		cid, _, err := s.putContent(ctx, contentKind{prefix: folderPrefix, compressor: metadataCompressor}, chunk)
		if err != nil {
			return object.EmptyID, err
		}
		entries = append(entries, object.IndirectObjectEntry{Start: start, Length: int64(len(chunk)), Object: object.DirectObjectID(cid)})
		start += int64(len(chunk))
	}
	if len(entries) == 1 {
		return entries[0].Object, nil
	}
	index, err := json.Marshal(indirectObject{indirectStream, entries})
	if err != nil {
		return object.EmptyID, err
	}
	cid, _, err := s.putContent(ctx, contentKind{prefix: folderPrefix, compressor: metadataCompressor}, index)
	if err != nil {
		return object.EmptyID, err
	}
	return object.ParseID("I" + cid.String())
}
