package repo

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/blob/sharded"
	"golang.org/x/sys/unix"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// folderState is what a local folder looks like before it is opened.
type folderState int

const (
	folderMissing  folderState = iota
	folderEmpty                // or only what an interrupted init leaves
	folderHoldsKop             // a repository, perhaps damaged
	folderForeign              // other files
)

// inspectFolder looks at the top of a folder. A file in its place is folderForeign.
func inspectFolder(folder string) (folderState, error) {
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return folderMissing, nil
	case errors.Is(err, unix.ENOTDIR):
		return folderForeign, nil
	case err != nil:
		return 0, wrapWrite(err, "read the folder")
	}
	state := folderEmpty
	for _, e := range entries {
		switch name := e.Name(); {
		case name == formatBlob+sharded.CompleteBlobSuffix:
			return folderHoldsKop, nil
		case name == sharded.ParametersFile, name == formatCfgBlob+sharded.CompleteBlobSuffix, name == "lost+found", strings.Contains(name, ".tmp."):
		case name == "p", name == "q", name == "x": // packs without a format blob: damaged, but ours
			state = folderHoldsKop
		default:
			if state == folderEmpty {
				state = folderForeign
			}
		}
	}
	if state != folderHoldsKop && hasFormatCopy(folder) {
		return folderHoldsKop, nil
	}
	return state, nil
}

func hasFormatCopy(folder string) bool {
	found, err := filepath.Glob(filepath.Join(folder, formatCopyPrefix[:1], formatCopyPrefix[1:3], formatCopyPrefix[3:]+"*"))
	return err == nil && len(found) > 0
}

// shards spreads blobs over p/00 … p/ff: few enough folders to list quickly in a small
// repository, and enough that a large one has some hundred files in each.
var shards = []int{1, 2}

// openFolder opens a local folder as storage. Files get mode 0600, folders 0700.
func openFolder(ctx context.Context, folder string, create bool) (*store, error) {
	if err := healShards(folder); err != nil {
		return nil, err
	}
	base, err := filesystem.New(ctx, &filesystem.Options{
		Path: folder, FileMode: 0o600, DirectoryMode: 0o700,
		Options: sharded.Options{DirectoryShards: shards},
	}, create)
	if err != nil {
		return nil, err
	}
	return &store{
		Storage:  localStorage{base},
		location: folder,
		denied:   deniedWrite(folder),
		sweep: func(ctx context.Context, olderThan time.Duration) (int, error) {
			return sweepTemp(ctx, folder, olderThan)
		},
	}, nil
}

// healShards writes the file anew that says how blobs are spread over folders, when it is
// damaged: without it nothing is found. It leaves another program's spreading alone, which a
// repository shows by not having our copies of the format where our spreading puts them.
func healShards(folder string) error {
	if !hasFormatCopy(folder) || deniedWrite(folder) != nil {
		return nil
	}
	name := filepath.Join(folder, sharded.ParametersFile)
	var now sharded.Parameters
	right := sharded.DefaultParameters(shards)
	data, err := os.ReadFile(name)
	if err == nil && now.Load(bytes.NewReader(data)) == nil && reflect.DeepEqual(&now, right) {
		return nil
	}
	var b bytes.Buffer
	if err := right.Save(&b); err != nil {
		return err
	}
	temp := name + ".tmp." + randomName()
	if err := os.WriteFile(temp, b.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

// deniedWrite returns why folder can't be written to, or nil.
func deniedWrite(folder string) error {
	if err := unix.Access(folder, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: folder, Err: err}
	}
	return nil
}

// localStorage adds to kopia's folder storage what it leaves out.
type localStorage struct{ blob.Storage }

// PutBlob syncs the folder too: without it a power cut can undo the rename, and a backup that
// was reported as done would be gone.
func (l localStorage) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opt blob.PutOptions) error {
	if err := l.Storage.PutBlob(ctx, id, data, opt); err != nil {
		return err
	}
	sharder, ok := l.Storage.(interface {
		GetShardedPathAndFilePath(context.Context, blob.ID) (string, string, error)
	})
	if !ok {
		return nil
	}
	dir, _, err := sharder.GetShardedPathAndFilePath(ctx, id)
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, unix.EINVAL) { // file systems that can't sync folders
		return nil
	}
	return err
}

// sweepTemp removes temporary files that killed runs left in folder, and returns how many.
func sweepTemp(ctx context.Context, folder string, olderThan time.Duration) (n int, err error) {
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist): // somebody else removed it
			return nil
		case err != nil:
			return err
		case d.IsDir() || !isTemp(d.Name()):
			return nil
		}
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < olderThan {
			return nil
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		n++
		return nil
	})
	return n, err
}

// isTemp reports whether name is one kopia gives to unfinished files: BLOB.f.tmp.<16 hex digits>.
func isTemp(name string) bool {
	i := strings.LastIndex(name, ".tmp.")
	if i < 0 || len(name)-i-len(".tmp.") != 16 {
		return false
	}
	return strings.Trim(name[i+len(".tmp."):], "0123456789abcdef") == ""
}

// prepareFolder makes an empty folder for a new repository, or says why it can't.
func prepareFolder(folder string) error {
	state, err := inspectFolder(folder)
	if err != nil {
		return err
	}
	switch state {
	case folderHoldsKop:
		return fail.New(fail.Exists, "use it as it is, or choose another place", "there is a repository already")
	case folderForeign:
		return fail.New(fail.Exists, "choose a folder that is empty or does not exist yet", "it holds other files and no repository")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return wrapWrite(err, "make the folder")
	}
	if err := deniedWrite(folder); err != nil {
		return wrapWrite(err, "use the folder")
	}
	// An init that was interrupted left its first blob; kopia refuses to go on from there.
	if err := os.Remove(filepath.Join(folder, formatCfgBlob+sharded.CompleteBlobSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrapWrite(err, "remove the remains of an interrupted init")
	}
	return nil
}
