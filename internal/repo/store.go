package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// store is the storage of one open repository, as kopia sees it.
type store struct {
	blob.Storage
	location string
	denied   error                                                           // why nothing can be written; nil when it can
	sweep    func(ctx context.Context, olderThan time.Duration) (int, error) // removes remains of killed writers; may be nil

	compact   atomic.Bool // kopia may merge manifests now
	hideIndex bool        // show no index blobs, to open a repository whose index is damaged
	abandoned sync.Map    // blob.ID of leases that were released but could not be deleted

	substitute map[blob.ID][]byte // what reads of a damaged format blob get
}

// IsReadOnly says yes though writing works. Nothing but kopia's merging of manifests asks: it
// would happen at any listing, by any number of processes at once, and two of them together
// can bring a deleted manifest back. So manifests are merged under our maintenance lease only.
func (s *store) IsReadOnly() bool { return !s.compact.Load() }

// ConnectionInfo names a storage type whose parameters travel in the context; see openKopia.
func (s *store) ConnectionInfo() blob.ConnectionInfo {
	return blob.ConnectionInfo{Type: storageType, Config: &struct{}{}}
}

// Close leaves the storage open: its owner closes it.
func (s *store) Close(context.Context) error { return nil }

func (s *store) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if data, ok := s.substitute[id]; ok && offset == 0 && length < 0 {
		out.Reset()
		_, err := out.Write(data)
		return err
	}
	return s.Storage.GetBlob(ctx, id, offset, length, out)
}

func (s *store) ListBlobs(ctx context.Context, prefix blob.ID, cb func(blob.Metadata) error) error {
	if !s.hideIndex {
		return s.Storage.ListBlobs(ctx, prefix, cb)
	}
	return s.Storage.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
		if isIndex(m.BlobID) {
			return nil
		}
		return cb(m)
	})
}

func (s *store) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opt blob.PutOptions) error {
	if s.denied != nil {
		return s.denied
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	log, logged := ctx.Value(writtenKey{}).(*written)
	if logged {
		log.begin(id)
	}
	if err := s.Storage.PutBlob(ctx, id, data, opt); err != nil {
		return err
	}
	if logged {
		log.done(id)
	}
	return nil
}

func (s *store) DeleteBlob(ctx context.Context, id blob.ID) error {
	if s.denied != nil {
		return s.denied
	}
	return s.Storage.DeleteBlob(ctx, id)
}

// isIndex reports whether id is an index blob with entries (not a marker of an epoch).
func isIndex(id blob.ID) bool {
	return strings.HasPrefix(string(id), "xn") || strings.HasPrefix(string(id), "xs") || strings.HasPrefix(string(id), "xr")
}

// written remembers the packs that a session stored and no index names yet, so that an
// aborted session can take them away again. It travels in the context of the session's calls.
type written struct {
	mu      sync.Mutex
	packs   []blob.ID // and markers of sessions, which come before them; guarded by mu
	indexes []blob.ID // that were begun, and perhaps stored though an error came back; guarded by mu
}

type writtenKey struct{}

func (w *written) begin(id blob.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch id[0] {
	case 'p', 'q', 's': // one whose put fails may be there all the same
		w.packs = append(w.packs, id)
	case 'x':
		w.indexes = append(w.indexes, id)
	}
}

func (w *written) done(id blob.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id[0] == 'x' { // the index now names all packs before it
		w.packs, w.indexes = nil, nil
	}
}

func (w *written) take() (packs, indexes []blob.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	packs, indexes = w.packs, w.indexes
	w.packs, w.indexes = nil, nil
	return packs, indexes
}

// get reads a whole small blob.
func (s *store) get(ctx context.Context, id blob.ID) ([]byte, error) {
	var out buffer
	if err := s.GetBlob(ctx, id, 0, -1, &out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// put stores a whole small blob and returns the storage's time for it.
func (s *store) put(ctx context.Context, id blob.ID, data []byte) (time.Time, error) {
	var mtime time.Time
	if err := s.PutBlob(ctx, id, blobBytes(data), blob.PutOptions{GetModTime: &mtime}); err != nil {
		return time.Time{}, err
	}
	if mtime.IsZero() {
		m, err := s.GetMetadata(ctx, id)
		return m.Timestamp, err
	}
	return mtime, nil
}

// list returns the blobs whose names begin with prefix.
func (s *store) list(ctx context.Context, prefix blob.ID) ([]blob.Metadata, error) {
	return blob.ListAllBlobs(ctx, s, prefix)
}

// blobBytes is data to be stored.
type blobBytes []byte

func (b blobBytes) Length() int { return len(b) }

func (b blobBytes) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}

func (b blobBytes) Reader() io.ReadSeekCloser { return nopCloser{bytes.NewReader(b)} }

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// buffer receives a blob.
type buffer struct{ bytes.Buffer }

func (b *buffer) Length() int { return b.Len() }

// storageAt opens the storage of location. With create it prepares a new, empty one.
func storageAt(ctx context.Context, location string, create bool) (*store, error) {
	folder, err := parseLocation(location)
	if err != nil {
		return nil, err
	}
	if create {
		if err := prepareFolder(folder); err != nil {
			return nil, fail.Op(err, "make a repository in %s", folder)
		}
	} else if err := checkFolder(folder); err != nil {
		return nil, err
	}
	st, err := openFolder(ctx, folder, create)
	if err != nil {
		return nil, wrapWrite(err, "open the repository in %s", folder)
	}
	return st, nil
}

// checkFolder says why folder can't be a repository, before kopia tries at length.
func checkFolder(folder string) error {
	state, err := inspectFolder(folder)
	switch {
	case err != nil:
		return fail.Op(err, "open the repository in %s", folder)
	case state == folderMissing:
		return fail.New(fail.NoRepository, hintInit, "open the repository in %s: the folder does not exist", folder)
	case state == folderEmpty:
		return fail.New(fail.NoRepository, hintInit, "open the repository in %s: the folder is empty", folder)
	case state == folderForeign:
		return fail.New(fail.NoRepository, "check the path; holdfast init makes a repository in an empty folder", "open the repository in %s: it is not a repository", folder)
	}
	return nil
}

// exists reports whether blob id is there.
func (s *store) exists(ctx context.Context, id blob.ID) (bool, error) {
	_, err := s.GetMetadata(ctx, id)
	if errors.Is(err, blob.ErrBlobNotFound) {
		return false, nil
	}
	return err == nil, err
}

const (
	formatBlob    = format.KopiaRepositoryBlobID
	formatCfgBlob = format.KopiaBlobCfgBlobID
	ownPrefix     = "holdfast."
)
