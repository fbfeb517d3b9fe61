package repo

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/format"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// InitOptions are the settings of a new repository.
type InitOptions struct {
	Compression string // of new data: "zstd-fastest" (also when empty), "zstd", "s2" or "none"
}

// compressors maps our names of compression to kopia's.
func compressor(name string) (compression.Name, error) {
	switch name {
	case "", "zstd-fastest":
		return "zstd-fastest", nil
	case "zstd":
		return "zstd", nil
	case "s2":
		return "s2-default", nil
	case "none":
		return "", nil
	}
	return "", fail.New(fail.Usage, "choose zstd-fastest, zstd, s2 or none", "no compression named %q", name)
}

// metadataCompressor compresses folders and indexes, which always pays.
const metadataCompressor compression.Name = "zstd-fastest"

// Init makes a repository at location, sealed by password. Kinds: Exists when there is one, or
// when the folder holds anything else; Usage, Denied, NoSpace, Unsupported.
func Init(ctx context.Context, location string, password fail.Secret, opt InitOptions) error {
	if password == "" {
		return fail.New(fail.Password, "", "make a repository: the password is empty")
	}
	if _, err := compressor(opt.Compression); err != nil {
		return fail.Op(err, "make a repository")
	}
	st, err := storageAt(ctx, location, true)
	if err != nil {
		return err
	}
	err = initStore(ctx, st, password, opt)
	if cerr := st.Storage.Close(ctx); err == nil {
		err = cerr
	}
	return wrapWrite(err, "make a repository in %s", st.location)
}

func initStore(ctx context.Context, st *store, password fail.Secret, opt InitOptions) error {
	settings := &repo.NewRepositoryOptions{
		BlockFormat:  format.ContentFormat{Hash: "BLAKE3-256-128", Encryption: "AES256-GCM-HMAC-SHA256"},
		ObjectFormat: format.ObjectFormat{Splitter: "DYNAMIC-4M-BUZHASH"}, // for what the kopia command adds; our objects bring their own chunks
	}
	err := repo.Initialize(ctx, st, settings, password.Reveal())
	if errors.Is(err, repo.ErrAlreadyInitialized) {
		return fail.Wrap(fail.Exists, err, "use it as it is, or choose another place", "begin")
	} else if err != nil {
		return err
	}
	blobs, err := st.formatBlobs(ctx)
	if err != nil {
		return err
	}
	return st.writeFormatCopies(ctx, blobs, opt.Compression)
}

// Exists reports whether there is a repository at location, perhaps a damaged one. It needs no password.
func Exists(_ context.Context, location string) (bool, error) {
	folder, err := parseLocation(location)
	if err != nil {
		return false, err
	}
	state, err := inspectFolder(folder)
	if err != nil {
		return false, fail.Op(err, "look for a repository in %s", folder)
	}
	return state == folderHoldsKop, nil
}

// OpenOptions tune Open.
type OpenOptions struct {
	Compression string       // of new data, instead of what Init set; see InitOptions
	Warn        func(string) // gets what the user should know though it worked; nil drops it
}

// A Repo is an open repository. Its methods may be called concurrently.
type Repo struct {
	st         *store
	kopia      repo.DirectRepository
	warn       func(string)
	configFile string // that kopia was opened with; gone by now
	compressor compression.Name
	fresh      atomic.Bool // the index was just read, as nothing was done yet

	manifests manifestCache

	segment int64 // most bytes of one object's index; lowered by tests
}

// Open opens the repository at location. When kopia's format blob is damaged or gone, a copy
// takes its place and warn hears of it. Kinds: NoRepository, Password, Damaged, Newer, Denied, Unsupported.
func Open(ctx context.Context, location string, password fail.Secret, opt OpenOptions) (*Repo, error) {
	if _, err := compressor(opt.Compression); err != nil {
		return nil, fail.Op(err, "open the repository")
	}
	st, err := storageAt(ctx, location, false)
	if err != nil {
		return nil, err
	}
	r, err := openStore(ctx, st, password, opt)
	if err != nil {
		_ = st.Storage.Close(ctx)
		return nil, fail.Op(err, "open the repository in %s", st.location)
	}
	return r, nil
}

func openStore(ctx context.Context, st *store, password fail.Secret, opt OpenOptions) (*Repo, error) {
	warn := opt.Warn
	if warn == nil {
		warn = func(string) {}
	}
	saved, badCopies, err := st.formatCopy(ctx)
	if err != nil {
		return nil, wrapRead(err, "read the copies of the format")
	}
	now, err := st.formatBlobs(ctx)
	if err != nil {
		return nil, wrapRead(err, "read the format")
	}
	if saved == nil && now[formatBlob] == nil {
		return nil, fail.New(fail.Damaged, "copy kopia.repository.f from another copy of this folder", "its format blob %s and all copies of it are missing or damaged", formatBlob)
	}
	r, err := openKopia(ctx, st, password)
	if err != nil && saved != nil && isFormatError(err) {
		r, err = openWithCopy(ctx, st, password, saved, now, warn)
	}
	if err != nil {
		return nil, explainOpen(err, saved != nil)
	}
	r.warn, r.segment = warn, maxSegment
	r.fresh.Store(true)
	how := opt.Compression
	if saved != nil && how == "" {
		how = saved.Compression
	}
	if r.compressor, err = compressor(how); err != nil {
		_ = r.kopia.Close(ctx)
		return nil, err
	}
	if err := r.renewCopies(ctx, saved, badCopies); err != nil {
		warn(fmt.Sprintf("the copies of the repository's format could not be renewed: %v", err))
	}
	return r, nil
}

// isFormatError reports whether err may come from damage of the format blobs.
func isFormatError(err error) bool {
	text := err.Error()
	return errors.Is(err, format.ErrInvalidPassword) || strings.Contains(text, "format blob") || strings.Contains(text, "blobcfg")
}

// openWithCopy opens with the saved format blobs in place of the stored ones, and puts them back.
func openWithCopy(ctx context.Context, st *store, password fail.Secret, saved *formatCopy, now map[string][]byte, warn func(string)) (*Repo, error) {
	names := saved.differing(now)
	if len(names) == 0 || (now[formatBlob] != nil && replaced(saved.Blobs[formatBlob], now[formatBlob])) {
		return nil, format.ErrInvalidPassword
	}
	st.substitute = map[blob.ID][]byte{}
	for _, name := range names {
		st.substitute[blob.ID(name)] = saved.Blobs[name]
	}
	r, err := openKopia(ctx, st, password)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if st.denied == nil {
			err = st.replace(ctx, blob.ID(name), saved.Blobs[name])
		}
		switch {
		case st.denied != nil:
			warn(fmt.Sprintf("%s is damaged or missing; its copy %s is used, but the folder can't be written to", name, formatCopyName(1)))
		case err != nil:
			warn(fmt.Sprintf("%s is damaged or missing; its copy is used, but could not be put back: %v", name, err))
		default:
			warn(fmt.Sprintf("%s was damaged or missing; it was restored from its copy %s", name, formatCopyName(1)))
		}
	}
	return r, nil
}

// replace stores data as blob id; what is there now is kept aside.
func (s *store) replace(ctx context.Context, id blob.ID, data []byte) error {
	if err := s.setAside(ctx, id); err != nil && !errors.Is(err, blob.ErrBlobNotFound) {
		return err
	}
	if data == nil {
		return s.DeleteBlob(ctx, id)
	}
	_, err := s.put(ctx, id, data)
	return err
}

// setAside keeps a copy of a damaged blob, whose content may help somebody yet.
func (s *store) setAside(ctx context.Context, id blob.ID) error {
	var out buffer
	if err := s.Storage.GetBlob(ctx, id, 0, -1, &out); err != nil {
		return err
	}
	_, err := s.put(ctx, blob.ID(asidePrefix+randomName()+"."+string(id)), out.Bytes())
	return err
}

const asidePrefix = ownPrefix + "aside."

// renewCopies writes the copies of the format where they are missing, damaged or outdated.
func (r *Repo) renewCopies(ctx context.Context, saved *formatCopy, bad []blob.ID) error {
	if r.st.denied != nil {
		return nil
	}
	now, err := r.st.formatBlobs(ctx)
	if err != nil {
		return err
	}
	switch {
	case saved == nil && len(bad) == 0: // made by the kopia command; our first visit
		return r.st.writeFormatCopies(ctx, now, "")
	case saved == nil:
		r.warn("all copies of the repository's format were damaged; they were written anew")
		return r.st.writeFormatCopies(ctx, now, "")
	case len(bad) > 0:
		r.warn(fmt.Sprintf("%s was damaged or missing; it was written anew", bad[0]))
	case len(saved.differing(now)) > 0:
		r.warn("the repository's format was changed by another program (its password, perhaps); the copies of it were renewed")
	default:
		return nil
	}
	return r.st.writeFormatCopies(ctx, now, saved.Compression)
}

// storageType is the type of storage that kopia finds in its configuration file. The storage
// itself comes in the context, so that nothing secret is ever in that file.
const storageType = "holdfast"

type storeKey struct{}

var registerStorage = sync.OnceFunc(func() {
	blob.AddSupportedStorage(storageType, struct{}{}, func(ctx context.Context, _ *struct{}, _ bool) (blob.Storage, error) {
		st, ok := ctx.Value(storeKey{}).(*store)
		if !ok {
			panic("repo: kopia was opened without a storage")
		}
		return st, nil
	})
})

// openKopia opens kopia on st. repo.Open wants a configuration file; repo.Connect would write
// one, but opens the repository another time for it, and deriving the key is what takes long.
func openKopia(ctx context.Context, st *store, password fail.Secret) (*Repo, error) {
	registerStorage()
	registerZstd()
	dir, err := os.MkdirTemp("", "holdfast-")
	if err != nil {
		return nil, wrapWrite(err, "make a temporary folder")
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "kopia.config")
	info := st.ConnectionInfo()
	self := whoAmI()
	data, err := json.Marshal(repo.LocalConfig{Storage: &info, ClientOptions: repo.ClientOptions{Hostname: self.Host, Username: "holdfast"}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, data, 0o600); err != nil {
		return nil, wrapWrite(err, "write a temporary file")
	}
	opened, err := repo.Open(context.WithValue(ctx, storeKey{}, st), config, password.Reveal(), &repo.Options{
		DisableRepositoryLog: true,
		DoNotWaitForUpgrade:  true,
		OnFatalError:         func(error) {}, // kopia's own would end the process; the error comes back from the call as well
	})
	if err != nil {
		return nil, err
	}
	direct, ok := opened.(repo.DirectRepository)
	if !ok {
		panic("repo: kopia opened something that is not direct")
	}
	return &Repo{st: st, kopia: direct, configFile: config}, nil
}

var indexBlobName = regexp.MustCompile(`x[nsr][0-9a-z_]+(-s[0-9a-z]+)?`)

// explainOpen says what an error of kopia's opening means.
func explainOpen(err error, haveCopy bool) error {
	if kind, hint, known := storageKind(err); known {
		return fail.Wrap(kind, err, hint, "read its format and index")
	}
	text := err.Error()
	switch {
	case errors.Is(err, format.ErrInvalidPassword) && haveCopy:
		return fail.New(fail.Password, "", "the password is wrong")
	case errors.Is(err, format.ErrInvalidPassword):
		return fail.New(fail.Password, "if it is surely right, the blob kopia.repository is damaged", "the password is wrong")
	case strings.Contains(text, "can't handle repositories created using version"), strings.Contains(text, "index version"), strings.Contains(text, "Unsupported format version"), strings.Contains(text, "feature"):
		return fail.Wrap(fail.Newer, err, "use a newer Holdfast", "read its format")
	case errors.Is(err, repo.ErrRepositoryUnavailableDueToUpgradeInProgress):
		return fail.Wrap(fail.Locked, err, "wait until the kopia command has upgraded it", "read its format")
	case strings.Contains(text, "error loading indexes"):
		name := indexBlobName.FindString(text)
		if name == "" {
			name = "unknown"
		}
		return fail.Wrap(fail.Damaged, err, hintRepair, "read its index, blob %s", name)
	}
	return fail.Wrap(fail.Damaged, err, "copy kopia.repository.f from another copy of this folder", "read its format")
}

// Close releases the repository. Sessions must have ended.
func (r *Repo) Close(ctx context.Context) error {
	err := r.kopia.Close(ctx)
	if cerr := r.st.Storage.Close(ctx); err == nil {
		err = cerr
	}
	return wrapWrite(err, "close the repository in %s", r.st.location)
}

// Location returns where the repository is.
func (r *Repo) Location() string { return r.st.location }

// UniqueID returns the repository's own random name, the same wherever it is copied to.
func (r *Repo) UniqueID() string { return hex.EncodeToString(r.kopia.UniqueID()) }

// DeriveKey returns n bytes (at most 32) of a key for purpose, made from the repository's secret key.
func (r *Repo) DeriveKey(purpose string, n int) ([]byte, error) {
	key, err := r.kopia.DeriveKey(purpose, n)
	return key, fail.Wrap(fail.Internal, err, "", "derive a key for %s", purpose)
}

// reader returns the content reader of what is committed.
func (r *Repo) reader() content.Reader { return r.kopia.ContentReader() }

// refresh makes visible what others committed. That the folder is gone, or not mounted any more, kopia would not say: to it a
// missing folder is one without files. Kind: NoRepository.
func (r *Repo) refresh(ctx context.Context) error {
	if r.fresh.Swap(false) { // opened just now
		return nil
	}
	if err := checkFolder(r.st.location); err != nil {
		return err
	}
	return wrapRead(r.kopia.Refresh(ctx), "read the index of the repository in %s", r.st.location)
}
