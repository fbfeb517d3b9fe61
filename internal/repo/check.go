package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
)

// DamageKind says what is wrong.
type DamageKind string

// The kinds of structural damage.
const (
	PackMissing    DamageKind = "pack missing"    // the index names a blob that is not there
	PackShort      DamageKind = "pack short"      // the index names bytes behind a blob's end
	IndexMissing   DamageKind = "index missing"   // a pack's entries in the index are lost; Repair brings them back
	ManifestBroken DamageKind = "manifest broken" // records of backups can't be read
	FormatCopy     DamageKind = "format copy"     // a copy of the format blob is missing or damaged; opening renews it
)

// A Damage is one thing that is wrong with the repository's structure.
type Damage struct {
	Kind     DamageKind
	Blob     string   // or content, for ManifestBroken
	Contents []string // chunks that can't be read because of it, as in [Chunk]; those of folders and indexes too
	Reason   string
}

// CheckStructure looks for damage without reading the backups' data: packs that are missing or
// short, packs whose index is lost, unreadable records of backups, copies of the format. What a
// flipped bit does to a pack is found only by reading it; see [Repo.ReadChunk].
func (r *Repo) CheckStructure(ctx context.Context) ([]Damage, error) {
	r.fresh.Store(false)
	l, err := r.loadManifests(ctx)
	if err != nil {
		return nil, err
	}
	damages, err := r.checkPacks(ctx)
	if err != nil {
		return nil, err
	}
	lost, err := r.lostIndex(ctx, l)
	if err != nil {
		return nil, err
	}
	for _, p := range lost {
		damages = append(damages, Damage{Kind: IndexMissing, Blob: string(p.BlobID), Reason: "no index names what it holds; " + hintRepair})
	}
	for id, err := range l.unreadable {
		damages = append(damages, Damage{Kind: ManifestBroken, Blob: id.String(), Contents: []string{id.String()}, Reason: err.Error()})
	}
	_, bad, err := r.st.formatCopy(ctx)
	if err != nil {
		return nil, wrapRead(err, "read the copies of the format")
	}
	for _, name := range bad {
		damages = append(damages, Damage{Kind: FormatCopy, Blob: string(name), Reason: "missing or damaged"})
	}
	return damages, nil
}

func (r *Repo) checkPacks(ctx context.Context) ([]Damage, error) {
	bad, err := r.badPacks(ctx)
	if err != nil || len(bad) == 0 {
		return nil, err
	}
	lost := map[blob.ID][]string{}
	err = r.reader().IterateContents(ctx, content.IterateOptions{}, func(i content.Info) error {
		if length, ok := bad[i.PackBlobID]; ok && int64(i.PackOffset)+int64(i.PackedLength) > length {
			lost[i.PackBlobID] = append(lost[i.PackBlobID], i.ContentID.String())
		}
		return nil
	})
	if err != nil {
		return nil, wrapRead(err, "read the index")
	}
	var damages []Damage
	for id, length := range bad {
		d := Damage{Kind: PackShort, Blob: string(id), Contents: lost[id], Reason: fmt.Sprintf("it has %d bytes only; %d chunks are cut off", length, len(lost[id]))}
		if length < 0 {
			d.Kind, d.Reason = PackMissing, fmt.Sprintf("it is gone, and %d chunks with it", len(lost[id]))
		}
		damages = append(damages, d)
	}
	return damages, nil
}

// lostIndex returns the packs that are not in the index and should be.
func (r *Repo) lostIndex(ctx context.Context, l loaded) (lost []blob.Metadata, err error) {
	orphans, err := r.unindexed(ctx)
	if err != nil || len(orphans) == 0 {
		return nil, wrapRead(err, "compare packs and index")
	}
	packs, contents := map[blob.ID]bool{}, map[string]bool{}
	for _, rec := range l.records(orphanKind, nil) {
		var o orphanRecord
		if rec.Decode(&o) != nil {
			continue
		}
		for _, id := range o.Packs {
			packs[id] = true
		}
		for _, id := range o.Contents {
			contents[id] = true
		}
	}
	_, w, err := r.kopia.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: "check"}) // nothing is written
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close(ctx)) }()
	for _, p := range orphans {
		if packs[p.BlobID] {
			continue
		}
		needed, err := r.needed(ctx, w, p, contents)
		if err != nil {
			return nil, err
		}
		if needed {
			lost = append(lost, p)
		}
	}
	return lost, nil
}

// needed reports whether a pack that the index does not name holds something that is nowhere
// else, but for contents that were deleted. One that can't be read might.
func (r *Repo) needed(ctx context.Context, w repo.DirectRepositoryWriter, p blob.Metadata, deleted map[string]bool) (bool, error) {
	infos, err := w.ContentManager().RecoverIndexFromPackBlob(ctx, p.BlobID, p.Length, false)
	if _, _, known := storageKind(err); known {
		return false, wrapRead(err, "read pack %s", p.BlobID)
	} else if err != nil {
		return true, nil
	}
	for _, i := range infos {
		_, err := r.reader().ContentInfo(ctx, i.ContentID)
		if errors.Is(err, content.ErrContentNotFound) {
			if !deleted[i.ContentID.String()] {
				return true, nil
			}
		} else if err != nil {
			return false, wrapRead(err, "read the index")
		}
	}
	return false, nil
}
