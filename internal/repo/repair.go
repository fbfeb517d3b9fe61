package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// Repaired is what a Repair did.
type Repaired struct {
	Indexes   []string // damaged blobs of the index that were put aside
	Packs     []string // packs whose entries in the index were rebuilt
	Lost      []string // packs that could not be read for it
	Manifests []string // unreadable contents that held records of backups, and were given up
	Damage    []Damage // what is still wrong
}

// Repair rebuilds what can be rebuilt: a damaged or lost part of the index from the packs, which
// hold copies of their own entries, and the format blob from its copies. Records of backups
// that can't be read are given up, so that the others can be maintained again. What is replaced
// is kept aside in the repository. It needs the repository for itself, and returns Locked else.
// Data itself can't be rebuilt; the next backup of the same data heals it.
func Repair(ctx context.Context, location string, password fail.Secret, opt OpenOptions) (Repaired, error) {
	var done Repaired
	bad, err := badIndexes(ctx, location, password, opt)
	if err != nil {
		return done, err
	}
	st, err := storageAt(ctx, location, false)
	if err != nil {
		return done, err
	}
	err = underLease(ctx, st, leaseExclusive, "repair", func() error { return repair(ctx, st, password, opt, bad, &done) })
	if cerr := st.Storage.Close(ctx); err == nil {
		err = cerr
	}
	return done, wrapWrite(err, "repair the repository in %s", st.location)
}

func underLease(ctx context.Context, st *store, kind leaseKind, purpose string, f func() error) error {
	if st.denied != nil {
		return st.denied
	}
	l, err := takeLease(ctx, st, kind, purpose, 0)
	if err != nil {
		return err
	}
	err = f()
	if rerr := l.release(ctx); err == nil {
		err = rerr
	}
	return err
}

// badIndexes returns the blobs of the index that can't be read. kopia does not open at all with
// one of them, so this opens it without any.
func badIndexes(ctx context.Context, location string, password fail.Secret, opt OpenOptions) ([]blob.ID, error) {
	st, err := storageAt(ctx, location, false)
	if err != nil {
		return nil, err
	}
	st.hideIndex = true
	r, err := openStore(ctx, st, password, opt)
	if err != nil {
		_ = st.Storage.Close(ctx)
		return nil, fail.Op(err, "open the repository in %s", st.location)
	}
	bad, err := r.badIndexes(ctx)
	if cerr := r.Close(ctx); err == nil {
		err = cerr
	}
	return bad, wrapRead(err, "read the index of the repository in %s", st.location)
}

func (r *Repo) badIndexes(ctx context.Context) (bad []blob.ID, err error) {
	_, w, err := r.kopia.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: "repair"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close(ctx)) }()
	blobs, err := blob.ListAllBlobs(ctx, r.st.Storage, "x")
	if err != nil {
		return nil, err
	}
	load := w.ContentManager().LoadIndexBlob
	for _, b := range blobs {
		if !isIndex(b.BlobID) {
			continue
		}
		_, err := load(ctx, b.BlobID, newArgument(load))
		if err == nil || errors.Is(err, blob.ErrBlobNotFound) {
			continue
		}
		if _, _, known := storageKind(err); known {
			return nil, err
		}
		bad = append(bad, b.BlobID)
	}
	return bad, nil
}

// newArgument makes the buffer that f wants: its type is internal to kopia and can't be named.
func newArgument[T any](func(context.Context, blob.ID, *T) ([]content.Info, error)) *T { return new(T) }

func repair(ctx context.Context, st *store, password fail.Secret, opt OpenOptions, bad []blob.ID, done *Repaired) error {
	for _, id := range bad {
		if err := st.setAside(ctx, id); err != nil {
			return err
		}
		if err := st.DeleteBlob(ctx, id); err != nil {
			return err
		}
		done.Indexes = append(done.Indexes, string(id))
	}
	r, err := openStore(ctx, st, password, opt)
	if err != nil {
		return err
	}
	defer r.kopia.Close(ctx)
	if err := r.rebuild(ctx, done); err != nil {
		return err
	}
	done.Damage, err = r.CheckStructure(ctx)
	return err
}

// rebuild recovers entries of the index and gives unreadable manifests up.
func (r *Repo) rebuild(ctx context.Context, done *Repaired) (err error) {
	l, err := r.loadManifests(ctx)
	if err != nil {
		return err
	}
	lost, err := r.lostIndex(ctx, l)
	if err != nil {
		return err
	}
	_, w, err := r.kopia.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: "repair"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close(ctx)) }()
	for _, p := range lost {
		if _, err := w.ContentManager().RecoverIndexFromPackBlob(ctx, p.BlobID, p.Length, true); err != nil {
			if kind, hint, known := storageKind(err); known {
				return fail.Wrap(kind, err, hint, "read pack %s", p.BlobID)
			}
			done.Lost = append(done.Lost, string(p.BlobID))
			continue
		}
		done.Packs = append(done.Packs, string(p.BlobID))
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	// With the index complete again, see which manifests are really gone.
	if l, err = r.loadManifests(ctx); err != nil {
		return err
	}
	for id := range l.unreadable {
		if err := w.ContentManager().DeleteContent(ctx, id); err != nil {
			return err
		}
		done.Manifests = append(done.Manifests, id.String())
		r.warn(fmt.Sprintf("content %s was given up: backups that only it recorded can't be had back by their list", id))
	}
	return w.Flush(ctx)
}
