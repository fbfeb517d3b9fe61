package repo

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/content/index"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// ID names a backup. It is kopia's manifest ID, 32 hexadecimal digits.
type ID string

// String returns the whole ID.
func (id ID) String() string { return string(id) }

// Short returns the first 10 digits, which is what people are shown.
func (id ID) Short() string { return string(id[:min(len(id), 10)]) }

// An Entry is one backup as it is listed.
type Entry struct {
	ID      ID
	Host    string            // of the database
	User    string            // "holdfast" when empty
	Path    string            // begins with a slash; with Host and User it is what kopia calls a source
	Labels  map[string]string // whatever the caller needs to list it; short
	Started time.Time
	Ended   time.Time
}

// labelPrefix is what the kopia command expects before the name of a tag.
const labelPrefix = "tag:"

// recordPrefix begins the type of our own manifests.
const recordPrefix = "holdfast:"

// storedManifest is one manifest as kopia stores it, several to a content.
type storedManifest struct {
	ID      ID                `json:"id"`
	Labels  map[string]string `json:"labels"`
	ModTime time.Time         `json:"modified"`
	Deleted bool              `json:"deleted"`
	Data    json.RawMessage   `json:"data"`
}

// manifestCache holds the manifests of contents read before; contents never change.
//
// kopia has a reader of manifests as well, which is all or nothing: one flipped bit in one of
// them and no backup can be listed any more. And it merges them while listing; see store.IsReadOnly.
type manifestCache struct {
	mu       sync.Mutex
	contents map[content.ID][]storedManifest // guarded by mu
	warned   map[content.ID]bool             // guarded by mu
}

// loaded is what the manifests say.
type loaded struct {
	all        map[ID]storedManifest // without the deleted ones
	contents   int                   // how many contents hold them
	unreadable map[content.ID]error  // contents that could not be read
}

// loadManifests reads all manifests that are committed. Unreadable contents are no error here.
func (r *Repo) loadManifests(ctx context.Context) (loaded, error) {
	if err := r.refresh(ctx); err != nil {
		return loaded{}, err
	}
	var ids []content.ID
	err := r.reader().IterateContents(ctx, content.IterateOptions{Range: index.PrefixRange(manifest.ContentPrefix)}, func(i content.Info) error {
		ids = append(ids, i.ContentID)
		return nil
	})
	if err != nil {
		return loaded{}, wrapRead(err, "read the index")
	}
	c := &r.manifests
	c.mu.Lock()
	defer c.mu.Unlock()
	unreadable, err := r.fillLocked(ctx, c, ids)
	if err != nil {
		return loaded{}, err
	}
	l := loaded{all: map[ID]storedManifest{}, contents: len(ids), unreadable: unreadable}
	for _, id := range ids {
		for _, m := range c.contents[id] {
			if was, ok := l.all[m.ID]; !ok || m.ModTime.After(was.ModTime) {
				l.all[m.ID] = m
			}
		}
	}
	maps.DeleteFunc(l.all, func(_ ID, m storedManifest) bool { return m.Deleted })
	for id, err := range unreadable {
		if !c.warned[id] {
			c.warned[id] = true
			r.warn(fmt.Sprintf("the list of backups is damaged: those recorded in content %s can't be seen: %v; %s", id, err, hintRepair))
		}
	}
	return l, nil
}

// fillLocked makes c hold exactly the contents ids, but for those it returns.
func (r *Repo) fillLocked(ctx context.Context, c *manifestCache, ids []content.ID) (unreadable map[content.ID]error, err error) {
	old := c.contents
	c.contents = make(map[content.ID][]storedManifest, len(ids))
	if c.warned == nil {
		c.warned = map[content.ID]bool{}
	}
	unreadable = map[content.ID]error{}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, id := range ids {
		if ms, ok := old[id]; ok {
			mu.Lock()
			c.contents[id] = ms
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			data, err := r.reader().GetContent(gctx, id)
			var ms []storedManifest
			if err == nil {
				ms, err = parseManifests(data)
			}
			if kind, hint, known := storageKind(err); err != nil && known {
				return fail.Wrap(kind, err, hint, "read the list of backups")
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unreadable[id] = err
			} else {
				c.contents[id] = ms
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		c.contents = old
		return nil, err
	}
	return unreadable, nil
}

// maxManifests bounds what one content of manifests may unpack to.
const maxManifests = 256 << 20

func parseManifests(data []byte) ([]storedManifest, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxManifests))
	if err != nil {
		return nil, err
	}
	var list struct {
		Entries []storedManifest `json:"entries"`
	}
	if err := json.Unmarshal(plain, &list); err != nil {
		return nil, err
	}
	return list.Entries, nil
}

// snapshot returns the manifest of a backup. Without one it is NotFound, but Damaged when it may
// be among those that can't be read.
func (l loaded) snapshot(id ID) (storedManifest, error) {
	m, ok := l.all[id]
	switch {
	case ok && m.Labels[manifest.TypeLabelKey] == snapshot.ManifestType:
		return m, nil
	case len(l.unreadable) > 0:
		return m, fail.Wrap(fail.Damaged, l.unreadableError(), hintRepair, "the list of backups is damaged")
	}
	return m, fail.New(fail.NotFound, "holdfast list shows what there is", "there is none")
}

// unreadableError names the contents that could not be read, and why.
func (l loaded) unreadableError() error {
	var errs []error
	for id, err := range l.unreadable {
		errs = append(errs, fail.Op(err, "content %s", id))
	}
	return errors.Join(errs...)
}

// List returns all complete backups, oldest first. Backups whose record is damaged are missing
// from it; Warn hears of them, and [Repo.CheckStructure] names the damage.
func (r *Repo) List(ctx context.Context) ([]Entry, error) {
	l, err := r.loadManifests(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(l.all))
	for _, m := range l.all {
		if m.Labels[manifest.TypeLabelKey] != snapshot.ManifestType {
			continue
		}
		e, complete, err := m.entry()
		if err != nil {
			r.warn(fmt.Sprintf("backup %s can't be listed: %v", m.ID.Short(), err))
			continue
		}
		if complete {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return entries, nil
}

// entry returns m, a snapshot's manifest, as it is listed.
func (m storedManifest) entry() (e Entry, complete bool, err error) {
	var when struct {
		Start      time.Time `json:"startTime"`
		End        time.Time `json:"endTime"`
		Incomplete string    `json:"incomplete"`
	}
	if err := json.Unmarshal(m.Data, &when); err != nil {
		return Entry{}, false, damaged("its manifest is damaged: %v", err)
	}
	e = Entry{
		ID: m.ID, Host: m.Labels[snapshot.HostnameLabel], User: m.Labels[snapshot.UsernameLabel], Path: m.Labels[snapshot.PathLabel],
		Labels: map[string]string{}, Started: when.Start, Ended: when.End,
	}
	for k, v := range m.Labels {
		if name, ours := strings.CutPrefix(k, labelPrefix); ours {
			e.Labels[name] = v
		}
	}
	return e, when.Incomplete == "", nil
}

// A Record is something noted about backups: the result of a check, say. Records keep no data alive.
type Record struct {
	ID     string
	Kind   string
	Labels map[string]string
	Time   time.Time // when it was put
	data   json.RawMessage
}

// Decode stores what was put into v, like json.Unmarshal.
func (rec Record) Decode(v any) error {
	if err := json.Unmarshal(rec.data, v); err != nil {
		return fail.Wrap(fail.Damaged, err, "", "decode record %s", rec.ID)
	}
	return nil
}

// BackupLabel is the label of a record that names the backup it is about by its whole ID.
// [Repo.Forget] removes such records together with the backup.
const BackupLabel = "backup"

// PutRecord keeps v, as JSON, under kind and labels. When it returns nil the record is durable.
func (r *Repo) PutRecord(ctx context.Context, kind string, labels map[string]string, v any) error {
	return r.write(ctx, "record", func(ctx context.Context, w repo.DirectRepositoryWriter) error {
		return putRecord(ctx, w, kind, labels, v)
	})
}

// SetRecord keeps v, as JSON, under kind and labels in the place of all records of that kind with exactly these
// labels, and removes those. With a nil v it only removes them.
func (r *Repo) SetRecord(ctx context.Context, kind string, labels map[string]string, v any) error {
	return r.write(ctx, "record", func(ctx context.Context, w repo.DirectRepositoryWriter) error {
		l, err := r.loadManifests(ctx)
		if err != nil {
			return err
		}
		if v != nil {
			if err := putRecord(ctx, w, kind, labels, v); err != nil {
				return err
			}
		}
		for _, old := range l.records(kind, labels) {
			if len(old.Labels) != len(labels) {
				continue
			}
			if err := w.DeleteManifest(ctx, manifest.ID(old.ID)); err != nil {
				return wrapWrite(err, "remove a record of kind %s", kind)
			}
		}
		return nil
	})
}

func putRecord(ctx context.Context, w repo.RepositoryWriter, kind string, labels map[string]string, v any) error {
	all := map[string]string{manifest.TypeLabelKey: recordPrefix + kind}
	for k, l := range labels {
		all[labelPrefix+k] = l
	}
	if _, err := w.PutManifest(ctx, all, v); err != nil {
		return wrapWrite(err, "put a record of kind %s", kind)
	}
	return nil
}

// Records returns the records of kind that have all of labels, oldest first.
func (r *Repo) Records(ctx context.Context, kind string, labels map[string]string) ([]Record, error) {
	l, err := r.loadManifests(ctx)
	if err != nil {
		return nil, err
	}
	return l.records(kind, labels), nil
}

func (l loaded) records(kind string, labels map[string]string) []Record {
	var found []Record
next:
	for _, m := range l.all {
		if m.Labels[manifest.TypeLabelKey] != recordPrefix+kind {
			continue
		}
		rec := Record{ID: string(m.ID), Kind: kind, Labels: map[string]string{}, Time: m.ModTime, data: m.Data}
		for k, v := range m.Labels {
			if name, ours := strings.CutPrefix(k, labelPrefix); ours {
				rec.Labels[name] = v
			}
		}
		for k, v := range labels {
			if got, ok := rec.Labels[k]; !ok || got != v {
				continue next
			}
		}
		found = append(found, rec)
	}
	slices.SortFunc(found, func(a, b Record) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
	return found
}

// Forget removes backups and the records about them. Their data stays until [Repo.Reclaim].
// NotFound, and nothing removed, when an ID is unknown.
func (r *Repo) Forget(ctx context.Context, ids ...ID) error {
	return r.write(ctx, "forget", func(ctx context.Context, w repo.DirectRepositoryWriter) error {
		l, err := r.loadManifests(ctx)
		if err != nil {
			return err
		}
		gone := map[string]bool{}
		for _, id := range ids {
			if _, err := l.snapshot(id); err != nil {
				return fail.Op(err, "forget backup %s", id.Short())
			}
			gone[string(id)] = true
		}
		for _, m := range l.all {
			about := gone[m.Labels[labelPrefix+BackupLabel]] && strings.HasPrefix(m.Labels[manifest.TypeLabelKey], recordPrefix)
			if !gone[string(m.ID)] && !about {
				continue
			}
			if err := w.DeleteManifest(ctx, manifest.ID(m.ID)); err != nil {
				return wrapRead(err, "forget backup %s", m.ID.Short())
			}
		}
		return nil
	})
}

// write runs f in a short session of its own and commits it.
func (r *Repo) write(ctx context.Context, purpose string, f func(context.Context, repo.DirectRepositoryWriter) error) (err error) {
	if r.st.denied != nil {
		return wrapWrite(r.st.denied, "write to the repository in %s", r.st.location)
	}
	l, err := takeLease(ctx, r.st, leaseWriter, purpose, writerWait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.release(ctx)) }()
	r.fresh.Store(false) // what was read before the lease may have moved
	if err := r.refresh(ctx); err != nil {
		return err
	}
	_, w, err := r.kopia.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: purpose})
	if err != nil {
		return wrapWrite(err, "begin to write")
	}
	pack := &written{}
	wctx := context.WithValue(ctx, writtenKey{}, pack)
	if err = f(wctx, w); err == nil {
		err = l.check(ctx)
	}
	if err == nil {
		err = wrapWrite(w.Flush(wctx), "write to the repository in %s", r.st.location)
	}
	if err != nil {
		r.removeUncommitted(ctx, pack)
	}
	return errors.Join(err, w.Close(ctx))
}
