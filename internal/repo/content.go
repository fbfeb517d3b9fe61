package repo

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// contentKind says how a content is stored.
type contentKind struct {
	prefix     content.IDPrefix // "" for data; see doc.go for others
	compressor compression.Name // "" for none
}

// wholeSplitter never splits a chunk: it is larger than any.
const wholeSplitter = "FIXED-8M"

type objectWriter interface {
	io.WriteCloser
	Result() (object.ID, error)
}

func (s *Session) newWriter(ctx context.Context, kind contentKind) objectWriter {
	return s.w.NewObjectWriter(s.context(ctx), object.WriterOptions{
		Prefix: kind.prefix, Splitter: wholeSplitter, Compressor: kind.compressor, MetadataCompressor: metadataCompressor,
	})
}

// finishContent completes ow, which holds one chunk, and returns its content and how many bytes
// that added to the repository. data is the chunk itself; it may be nil when nothing is suspect.
func (s *Session) finishContent(ctx context.Context, kind contentKind, ow objectWriter, data []byte) (content.ID, int64, error) {
	oid, err := ow.Result()
	if err != nil {
		return content.EmptyID, 0, err
	}
	cid, compressed, ok := oid.ContentID()
	if !ok || compressed {
		return content.EmptyID, 0, fail.New(fail.Internal, "", "a chunk became object %s", oid)
	}
	if s.suspect[cid] {
		if err := s.heal(ctx, kind, cid, data); err != nil {
			return content.EmptyID, 0, fail.Op(err, "replace damaged chunk %s", cid)
		}
	}
	added, err := s.added(ctx, cid)
	return cid, added, err
}

// heal writes a content anew whose stored form is missing or damaged. kopia's deduplication
// would trust the index and store nothing.
func (s *Session) heal(ctx context.Context, kind contentKind, cid content.ID, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.healed[cid] {
		return nil
	}
	ctx = s.context(ctx)
	if was, err := s.w.ContentInfo(ctx, cid); err == nil {
		s.emptied[was.PackBlobID] = true
	}
	if err := s.w.ContentManager().DeleteContent(ctx, cid); err != nil && !errors.Is(err, content.ErrContentNotFound) {
		return err
	}
	ow := s.newWriter(ctx, kind)
	defer ow.Close()
	if _, err := ow.Write(data); err != nil {
		return err
	}
	if _, err := ow.Result(); err != nil {
		return err
	}
	s.healed[cid] = true
	return nil
}

// added returns how many bytes content cid, just written, adds to the repository: none when it
// was there before the session, or was counted in it already.
func (s *Session) added(ctx context.Context, cid content.ID) (int64, error) {
	now, err := s.w.ContentInfo(ctx, cid)
	if err != nil {
		return 0, err
	}
	// The repository's own view does not see what the session has not committed.
	was, err := s.repo.kopia.ContentInfo(ctx, cid)
	switch {
	case errors.Is(err, content.ErrContentNotFound):
	case err != nil:
		return 0, err
	case was.PackBlobID == now.PackBlobID && !was.Deleted:
		return 0, nil
	}
	key := hash(cid.Hash())
	if kindOf(cid) != "" {
		key[0] ^= kindOf(cid)[0]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, counted := s.seen[key]; counted {
		return 0, nil
	}
	s.seen[key] = struct{}{}
	return int64(now.PackedLength), nil
}

func kindOf(cid content.ID) content.IDPrefix { return cid.Prefix() }

// suspects returns the contents that can't be trusted: their pack is missing or too short, or
// a check found them unreadable. Mostly there are none, at the cost of one listing of packs.
func (r *Repo) suspects(ctx context.Context) (map[content.ID]bool, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	bad, err := r.badPacks(ctx)
	if err != nil {
		return nil, err
	}
	if len(bad) > 0 { // perhaps they were cleared away, and the index read before
		if err := r.kopia.Refresh(ctx); err != nil {
			return nil, wrapRead(err, "read the index")
		}
		if bad, err = r.badPacks(ctx); err != nil {
			return nil, err
		}
	}
	suspect := map[content.ID]bool{}
	if len(bad) > 0 {
		err := r.reader().IterateContents(ctx, content.IterateOptions{}, func(i content.Info) error {
			if length, ok := bad[i.PackBlobID]; ok && int64(i.PackOffset)+int64(i.PackedLength) > length {
				suspect[i.ContentID] = true
			}
			return nil
		})
		if err != nil {
			return nil, wrapRead(err, "read the index")
		}
	}
	known, err := r.knownBad(ctx)
	for cid := range known {
		suspect[cid] = true
	}
	return suspect, err
}

// badPacks returns the packs that the index needs and that are shorter than it says, with
// their length; missing ones have length -1.
func (r *Repo) badPacks(ctx context.Context) (map[blob.ID]int64, error) {
	lengths, err := r.packLengths(ctx)
	if err != nil {
		return nil, err
	}
	bad := map[blob.ID]int64{}
	err = r.reader().IterateContents(ctx, content.IterateOptions{}, func(i content.Info) error {
		length, ok := lengths[i.PackBlobID]
		if !ok {
			length = -1
		}
		if int64(i.PackOffset)+int64(i.PackedLength) > length {
			bad[i.PackBlobID] = length
		}
		return nil
	})
	return bad, wrapRead(err, "read the index")
}

func (r *Repo) packLengths(ctx context.Context) (map[blob.ID]int64, error) {
	lengths := map[blob.ID]int64{}
	for _, prefix := range content.PackBlobIDPrefixes {
		err := r.st.ListBlobs(ctx, prefix, func(m blob.Metadata) error {
			lengths[m.BlobID] = m.Length
			return nil
		})
		if err != nil {
			return nil, wrapRead(err, "list the packs")
		}
	}
	return lengths, nil
}

// badKind is the kind of records that name unreadable chunks.
const badKind = "bad"

type badRecord struct {
	Contents []string `json:"contents"`
}

// MarkBad notes that chunks can't be read (see [Chunk]), so that the next backup of the same
// data stores them anew instead of relying on them.
func (r *Repo) MarkBad(ctx context.Context, chunkIDs []string) error {
	var rec badRecord
	for _, id := range chunkIDs {
		cid, _, err := parseChunkID(id)
		if err != nil {
			return err
		}
		rec.Contents = append(rec.Contents, cid.String())
	}
	if len(rec.Contents) == 0 {
		return nil
	}
	return r.PutRecord(ctx, badKind, nil, rec)
}

// knownBad returns the contents that MarkBad noted and nobody healed since.
func (r *Repo) knownBad(ctx context.Context) (map[content.ID]bool, error) {
	records, err := r.Records(ctx, badKind, nil)
	if err != nil {
		return nil, err
	}
	bad := map[content.ID]bool{}
	for _, rec := range records {
		var b badRecord
		if rec.Decode(&b) != nil {
			continue
		}
		for _, text := range b.Contents {
			if cid, err := content.ParseID(text); err == nil {
				bad[cid] = true
			}
		}
	}
	return bad, nil
}

// settleBad takes healed contents out of the records of bad ones, with the session's commit.
func (s *Session) settleBad(ctx context.Context) error {
	if len(s.healed) == 0 {
		return nil
	}
	// The packs they were in may have no entry in the index any more, and that is right.
	if err := putRecord(ctx, s.w, orphanKind, nil, orphanRecord{Packs: slices.Collect(maps.Keys(s.emptied))}); err != nil {
		return err
	}
	records, err := s.repo.Records(ctx, badKind, nil)
	if err != nil {
		return err
	}
	for _, rec := range records {
		var b, left badRecord
		if rec.Decode(&b) != nil {
			continue
		}
		for _, text := range b.Contents {
			if cid, err := content.ParseID(text); err == nil && !s.healed[cid] {
				left.Contents = append(left.Contents, text)
			}
		}
		if len(left.Contents) == len(b.Contents) {
			continue
		}
		if err := s.w.DeleteManifest(ctx, manifest.ID(rec.ID)); err != nil {
			return wrapRead(err, "note that damaged chunks were replaced")
		}
		if len(left.Contents) == 0 {
			continue
		}
		if err := putRecord(ctx, s.w, badKind, nil, left); err != nil {
			return err
		}
	}
	return nil
}
