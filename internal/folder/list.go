package folder

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

const (
	MetaSuffix = ".meta"
	metaName   = "holdfast-file/"
	metaFormat = metaName + "1"
	maxMeta    = 16 << 20
)

// Meta is a sidecar.
type Meta struct {
	Format    string          `json:"format"` // "holdfast-file/1"
	File      string          `json:"file"`   // the name of the file it describes
	CreatedAt time.Time       `json:"created_at"`
	Database  string          `json:"database"`
	Kind      string          `json:"kind"`
	Size      int64           `json:"size"` // of the file as it is stored
	SHA256    string          `json:"sha256"`
	Encrypted bool            `json:"encrypted,omitempty"`
	Engine    string          `json:"engine,omitempty"`  // not of an encrypted file, like all below
	Tool      string          `json:"tool,omitempty"`    // the version that wrote it
	Content   json.RawMessage `json:"content,omitempty"` // what the writer says of it
}

// ReadMeta reads the sidecar of a file, whose path is given. It is untrusted, and checked to be whole and of this file.
func ReadMeta(path string) (Meta, error) {
	var m Meta
	f, err := os.Open(path + MetaSuffix)
	if err != nil {
		return m, Classify(err, "read the sidecar of %s", path)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err != nil {
		return m, Classify(err, "read the sidecar of %s", path)
	}
	damaged := func(why string) (Meta, error) {
		return Meta{}, fail.New(fail.Damaged, "", "read the sidecar of %s: %s", path, why)
	}
	if len(data) > maxMeta {
		return damaged("it is too large")
	}
	if err := json.Unmarshal(bytes.TrimSpace(data), &m); err != nil {
		return damaged(err.Error())
	}
	sum, err := hex.DecodeString(m.SHA256)
	switch version, ours := strings.CutPrefix(m.Format, metaName); {
	case !ours:
		return damaged("it is none of Holdfast's")
	case version != "1":
		return Meta{}, fail.New(fail.Newer, "", "read the sidecar of %s: written by a newer Holdfast", path)
	case m.File != filepath.Base(path):
		return damaged("it describes another file")
	case err != nil || len(sum) != sha256.Size || m.Size < 0 || m.CreatedAt.IsZero() || m.Database == "" || m.Kind == "":
		return damaged("it is not complete")
	}
	return m, nil
}

// A State says what is known of a file without reading it.
type State string

// The states. Only files in state Good are ours to prune.
const (
	Good      State = "good"          // its sidecar is there and its size is right
	Empty     State = "empty"         // it has no bytes at all
	Truncated State = "truncated"     // shorter than when it was written
	Changed   State = "changed"       // longer than when it was written
	Foreign   State = "foreign"       // has a backup's name and no sidecar: somebody else wrote it
	Unclear   State = "unclear"       // its sidecar can't be read, or is of another file
	Orphan    State = "orphan"        // a sidecar whose file is gone
	Partial   State = "partial"       // being written, or left by a run that was killed: the next run removes it then
	Newer     State = "newer version" // described by a newer Holdfast
)

// An Entry is a file in a folder, by its name and sidecar.
type Entry struct {
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	State     State     `json:"state"`
	Problem   string    `json:"problem,omitempty"` // why it isn't good
	Time      time.Time `json:"time"`              // of its data; without a sidecar as its name says, taken for UTC
	Database  string    `json:"database"`          // without a sidecar as its name says, or ""
	Kind      string    `json:"kind"`
	Engine    string    `json:"engine,omitempty"`
	Encrypted bool      `json:"encrypted"`
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256,omitempty"`
	Previous  int64     `json:"previous_size,omitempty"` // of the good file before, of the same database and extension; 0: there is none

	n   int    // which one of its second
	ext string // sizes can be compared within one
}

// Group names the files among which retention chooses.
func (e Entry) Group() string { return e.Database + "\x00" + e.Kind }

// Shrunken reports whether the file is smaller than ratio times the one before it. 0 stands for one half.
func (e Entry) Shrunken(ratio float64) bool {
	if ratio <= 0 {
		ratio = 0.5
	}
	return float64(e.Size) < ratio*float64(e.Previous)
}

// List returns what is in a folder, newest first: backups, and what looks like one. Other files are not listed.
func List(dir string) ([]Entry, error) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return nil, Classify(err, "list backup files")
	}
	var all []Entry
	for _, item := range items {
		name := item.Name()
		file, isMeta := strings.CutSuffix(name, MetaSuffix)
		_, isFile := parseName(file)
		if !item.Type().IsRegular() || !isFile && !isPartial(name, partPrefix) {
			continue
		}
		if isMeta {
			if _, err := os.Lstat(filepath.Join(dir, file)); !os.IsNotExist(err) {
				continue
			}
			if meta, err := ReadMeta(filepath.Join(dir, file)); err == nil {
				e := meta.entry(dir)
				e.Name, e.Path, e.Size = name, e.Path+MetaSuffix, 0
				e.State, e.Problem = Orphan, "its file is gone"
				all = append(all, e)
			}
			continue
		}
		info, err := item.Info()
		if os.IsNotExist(err) { // pruned or renamed meanwhile
			continue
		} else if err != nil {
			return nil, Classify(err, "list backup files")
		}
		if isPartial(name, partPrefix) {
			all = append(all, Entry{Name: name, Path: filepath.Join(dir, name), State: Partial, Time: info.ModTime().UTC(), Size: info.Size(), Problem: "not finished"})
			continue
		}
		all = append(all, inspect(dir, name, info.Size()))
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.n, a.n), cmp.Compare(a.Name, b.Name))
	})
	previous := map[string]int64{}
	for i := len(all) - 1; i >= 0; i-- {
		key := all[i].Database + "\x00" + all[i].ext
		if all[i].State != Orphan && all[i].State != Partial {
			all[i].Previous = previous[key]
		}
		if all[i].State == Good {
			previous[key] = all[i].Size
		}
	}
	return all, nil
}

// entry is what the sidecar says.
func (m Meta) entry(dir string) Entry {
	parts, _ := parseName(m.File)
	return Entry{Name: m.File, Path: filepath.Join(dir, m.File), State: Good, Time: m.CreatedAt.UTC(), Database: m.Database, Kind: m.Kind, Engine: m.Engine,
		Encrypted: m.Encrypted, Size: m.Size, SHA256: m.SHA256, n: parts.n, ext: parts.ext}
}

// inspect tells what a file is by its name, size and sidecar.
func inspect(dir, name string, size int64) Entry {
	path := filepath.Join(dir, name)
	meta, err := ReadMeta(path)
	e := meta.entry(dir)
	if err != nil {
		parts, _ := parseName(name)
		e = Entry{Name: name, Path: path, State: Unclear, Problem: err.Error(), Time: parts.time, Database: parts.database, Kind: parts.kind,
			Encrypted: strings.HasSuffix(name, ".age") || strings.HasSuffix(name, ".gpg"), n: parts.n, ext: parts.ext}
	}
	e.Size = size
	switch kind := fail.KindOf(err); {
	case err != nil && kind == fail.NotFound:
		e.State, e.Problem = Foreign, "it has no sidecar"
	case err != nil && kind == fail.Newer:
		e.State = Newer
	case err != nil:
		return e
	case size < meta.Size:
		e.State, e.Problem = Truncated, "it is shorter than when it was written"
	case size > meta.Size:
		e.State, e.Problem = Changed, "it is longer than when it was written"
	}
	if size == 0 {
		e.State, e.Problem = Empty, "it is empty"
	}
	return e
}

// Latest returns the newest file of a database that may be restored: a good one or, when there is none, one without
// a sidecar. Without a name the folder must hold files of one database only.
func Latest(dir, database string) (Entry, error) {
	all, err := List(dir)
	if err != nil {
		return Entry{}, err
	}
	for _, state := range []State{Good, Foreign} {
		var found []Entry
		var names []string
		for _, e := range all {
			if e.State != state || database != "" && e.Database != database && (state == Good || e.Database != safeName(database)) {
				continue
			}
			found = append(found, e)
			if !slices.Contains(names, e.Database) {
				names = append(names, e.Database)
			}
		}
		if len(names) > 1 && database == "" {
			return Entry{}, fail.New(fail.Usage, "say which, as in "+filepath.Join(dir, "latest:"+names[0]), "choose the latest file in %s: it holds files of several databases: %s", dir, strings.Join(names, ", "))
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	if database == "" {
		return Entry{}, fail.New(fail.NotFound, "", "choose the latest file in %s: there is none that can be used", dir)
	}
	return Entry{}, fail.New(fail.NotFound, "", "choose the latest file of %s in %s: there is none that can be used", database, dir)
}

// Check reads a file and compares it with its sidecar. It returns an error of kind Damaged when they differ, and of kind
// Unsupported when there is no sidecar to compare with.
func Check(ctx context.Context, e Entry) error {
	switch e.State {
	case Good:
	case Empty, Truncated, Changed:
		return fail.New(fail.Damaged, "", "check %s: %s", e.Path, e.Problem)
	default:
		return fail.New(fail.Unsupported, "", "check %s: there is nothing to compare it with: %s", e.Path, e.Problem)
	}
	f, err := os.Open(e.Path)
	if err != nil {
		return Classify(err, "check %s", e.Path)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, contextReader{ctx, f})
	switch {
	case err != nil:
		return Classify(err, "check %s", e.Path)
	case n != e.Size:
		return fail.New(fail.Damaged, "", "check %s: it has %d bytes and had %d when it was written", e.Path, n, e.Size)
	case hex.EncodeToString(sum.Sum(nil)) != strings.ToLower(e.SHA256):
		return fail.New(fail.Damaged, "", "check %s: it was altered since it was written: its SHA-256 is another", e.Path)
	}
	return nil
}

// A contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
