package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/content/indexblob"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotgc"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// ReclaimOptions tune Reclaim.
type ReclaimOptions struct {
	// Now gives space back at once. It needs the repository for itself: Locked while any session
	// is open anywhere, and sessions wait meanwhile. Without it kopia's margins of safety hold
	// (data that nothing refers to is removed one to three days later, over several runs) and
	// backups go on beside it.
	Now bool
}

// Reclaimed is what a Reclaim came to.
type Reclaimed struct {
	BlobsBefore, BlobsAfter int64
	BytesBefore, BytesAfter int64
	TempFiles               int // remains of killed runs that were removed
}

const (
	tempAge    = 24 * time.Hour // younger temporary files may belong to somebody
	longestRun = 12 * time.Hour // of a session beside which data may be collected; kopia spares what is younger than 24
)

// Reclaim gives space of forgotten backups back, merges the index and the list of backups, and
// removes remains of killed runs. One runs at a time; others get Locked. It refuses with Damaged
// while any backup's record can't be read, since kopia would take that backup's data for garbage.
func (r *Repo) Reclaim(ctx context.Context, opt ReclaimOptions) (rec Reclaimed, err error) {
	if r.st.denied != nil {
		return rec, wrapWrite(r.st.denied, "reclaim space in %s", r.st.location)
	}
	kind, purpose := leaseMaintenance, "reclaim"
	if opt.Now {
		kind, purpose = leaseExclusive, "reclaim of all space at once"
	}
	l, err := takeLease(ctx, r.st, kind, purpose, 0)
	if err != nil {
		return rec, err
	}
	defer func() {
		if rerr := l.release(ctx); rerr != nil && err == nil {
			err = wrapWrite(rerr, "end the reclaim")
		}
	}()
	if rec.BytesBefore, rec.BlobsBefore, err = r.Stats(ctx); err != nil {
		return rec, err
	}
	if err := r.reclaim(ctx, l, opt, &rec); err != nil {
		return rec, r.explainReclaim(err)
	}
	rec.BytesAfter, rec.BlobsAfter, err = r.Stats(ctx)
	return rec, err
}

func (r *Repo) reclaim(ctx context.Context, l *lease, opt ReclaimOptions, rec *Reclaimed) (err error) {
	if r.st.sweep != nil {
		if rec.TempFiles, err = r.st.sweep(ctx, tempAge); err != nil {
			return err
		}
	}
	r.fresh.Store(false)
	if err := r.allReadable(ctx); err != nil {
		return err
	}
	if err := r.noLongSession(ctx); err != nil {
		return err
	}
	if err := r.dropBroken(ctx); err != nil {
		return err
	}
	if err := r.mergeManifests(ctx); err != nil {
		return err
	}
	if err := l.check(ctx); err != nil {
		return err
	}
	collect := collectCarefully
	if opt.Now {
		collect = collectNow
	}
	if err := r.maintain(ctx, collect); err != nil {
		return err
	}
	return r.noteOrphans(ctx, false)
}

// maintain runs f, kopia's maintenance, in a session of kopia's.
func (r *Repo) maintain(ctx context.Context, f func(context.Context, repo.DirectRepositoryWriter, *Repo) error) (err error) {
	// kopia locks a file beside its configuration, which is long gone. The lock that counts is ours.
	dir := filepath.Dir(r.configFile)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	_, w, err := r.kopia.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: "reclaim"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close(ctx)) }()
	if err := f(ctx, w, r); err != nil {
		return err
	}
	return w.Flush(ctx)
}

func collectCarefully(ctx context.Context, w repo.DirectRepositoryWriter, r *Repo) error {
	if err := r.noteOrphans(ctx, true); err != nil {
		return err
	}
	if err := w.Refresh(ctx); err != nil {
		return err
	}
	return snapshotmaintenance.Run(ctx, w, maintenance.ModeFull, true, maintenance.SafetyFull)
}

// collectNow does what kopia's full maintenance does, but drops what was deleted before it
// rewrites packs, and rewrites every pack with much waste. kopia's order carries the deleted
// chunks over into new packs, and it leaves a wasteful pack alone when there is only one.
func collectNow(ctx context.Context, w repo.DirectRepositoryWriter, r *Repo) error {
	if err := snapshotgc.Run(ctx, w, true, maintenance.SafetyNone, time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	if err := r.noteOrphans(ctx, true); err != nil {
		return err
	}
	// kopia's times have whole seconds, and what was just deleted can be a second in the future.
	soon := time.Now().Add(2 * time.Second)
	drop := indexblob.CompactOptions{AllIndexes: true, DropDeletedBefore: soon, DisableEventualConsistencySafety: true}
	if _, err := w.ContentManager().CompactIndexes(ctx, drop); err != nil {
		return err
	}
	if err := w.Refresh(ctx); err != nil {
		return err
	}
	move, err := r.wasted(ctx, w)
	if err != nil {
		return err
	}
	if len(move) > 0 {
		if _, err := maintenance.RewriteContents(ctx, w, &maintenance.RewriteContentsOptions{ContentIDs: move}, maintenance.SafetyNone); err != nil {
			return err
		}
	}
	err = maintenance.RunExclusive(ctx, w, maintenance.ModeFull, true, func(ctx context.Context, params maintenance.RunParameters) error {
		return maintenance.Run(ctx, params, maintenance.SafetyNone)
	})
	return errors.Join(err, waitUntil(ctx, soon.Add(time.Second))) // see clockAhead
}

// wasted returns the contents of packs of which a fifth or more is waste.
func (r *Repo) wasted(ctx context.Context, w repo.DirectRepositoryWriter) (move []content.ID, err error) {
	lengths, err := r.packLengths(ctx)
	if err != nil {
		return nil, err
	}
	err = w.ContentReader().IteratePacks(ctx, content.IteratePackOptions{IncludeContentInfos: true}, func(p content.PackInfo) error {
		waste := lengths[p.PackID] - p.TotalSize
		if waste < 64<<10 || waste < lengths[p.PackID]/5 { // small packs are padded, and merged by kopia
			return nil
		}
		for _, i := range p.ContentInfos {
			move = append(move, i.ContentID)
		}
		return nil
	})
	return move, err
}

// allReadable returns Damaged when a backup's record can't be read.
func (r *Repo) allReadable(ctx context.Context) error {
	l, err := r.loadManifests(ctx)
	if err != nil {
		return err
	}
	bad := []error{l.unreadableError()}
	for _, m := range l.all {
		if m.Labels[manifest.TypeLabelKey] != snapshot.ManifestType {
			continue
		}
		if _, err := r.treeOf(ctx, m); err != nil && fail.KindOf(err) == fail.Damaged {
			bad = append(bad, err)
		}
	}
	return fail.Wrap(fail.Damaged, errors.Join(bad...), hintRepair, "backups whose record can't be read would lose their data")
}

// noLongSession returns Locked when a session has been open for so long that kopia might take
// its first chunks for garbage.
func (r *Repo) noLongSession(ctx context.Context) error {
	leases, err := readLeases(ctx, r.st)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if age := time.Since(l.info.Since); l.info.Kind == leaseWriter && (age > longestRun || age < -time.Hour) {
			return fail.New(fail.Locked, "reclaim when it has ended", "a %s (host %s, process %d) has been running since %s",
				l.info.Purpose, l.info.Host, l.info.PID, l.info.Since.Local().Format(time.DateTime))
		}
	}
	return nil
}

// scheduleBlob is where kopia notes when its maintenance ran. Without it the margins of safety
// begin anew, which costs time only.
const scheduleBlob blob.ID = "kopia.maintenance"

var sessionMarkerName = regexp.MustCompile(`\bs[0-9a-f]{32}-s[0-9a-f]+`)

// dropBroken puts damaged blobs aside that hold nothing of value but stop kopia's maintenance:
// its schedule, and markers of sessions.
func (r *Repo) dropBroken(ctx context.Context) error {
	if _, err := maintenance.GetSchedule(ctx, r.kopia); err != nil {
		if _, _, known := storageKind(err); known {
			return err
		}
		r.warn(fmt.Sprintf("%s was damaged and is begun anew: %v", scheduleBlob, err))
		if err := r.st.replace(ctx, scheduleBlob, nil); err != nil {
			return err
		}
	}
	for {
		_, err := r.reader().ListActiveSessions(ctx)
		if err == nil {
			return nil
		}
		name := sessionMarkerName.FindString(err.Error())
		if _, _, known := storageKind(err); known || name == "" {
			return err
		}
		r.warn(fmt.Sprintf("marker of a session %s was damaged and is put aside", name))
		if err := r.st.replace(ctx, blob.ID(name), nil); err != nil {
			return err
		}
	}
}

func (r *Repo) explainReclaim(err error) error {
	kind, hint, known := storageKind(err)
	switch {
	case known:
	case strings.Contains(err.Error(), "clock skew"):
		kind, hint = fail.Unavailable, "set the clock of this machine, or of the storage"
	default:
		kind, hint = fail.Damaged, "holdfast verify names the backups it touches; forget those that can't be saved"
	}
	return fail.Wrap(kind, err, hint, "reclaim space in %s", r.st.location)
}

// mergeManifests has kopia merge its contents of manifests when there are many.
func (r *Repo) mergeManifests(ctx context.Context) error {
	r.st.compact.Store(true)
	defer r.st.compact.Store(false)
	_, err := r.kopia.FindManifests(ctx, map[string]string{manifest.TypeLabelKey: "none"})
	return err
}

// orphanKind is the kind of the record of what a reclaim leaves, or would leave if it were killed,
// without an entry in the index. Any other pack that the index does not name has lost its entries.
const orphanKind = "orphans"

type orphanRecord struct {
	Packs    []blob.ID `json:"packs"`
	Contents []string  `json:"contents,omitempty"` // deleted ones in packs of records and folders that hold others too
}

// noteOrphans records the packs that the index does not name. When it looks ahead, what is deleted
// but still in the index is with them: entries go before their packs do, and a reclaim that is
// killed between the two must not look like a lost index.
func (r *Repo) noteOrphans(ctx context.Context, ahead bool) (err error) {
	if err := r.kopia.Refresh(ctx); err != nil {
		return err
	}
	rec, err := r.orphans(ctx, ahead)
	if err != nil {
		return err
	}
	old, err := r.Records(ctx, orphanKind, nil)
	if err != nil || (len(old) == 0 && len(rec.Packs) == 0 && len(rec.Contents) == 0) {
		return err
	}
	_, w, err := r.kopia.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: "reclaim"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close(ctx)) }()
	for _, o := range old {
		if err := w.DeleteManifest(ctx, manifest.ID(o.ID)); err != nil {
			return err
		}
	}
	if len(rec.Packs) > 0 || len(rec.Contents) > 0 {
		if err := putRecord(ctx, w, orphanKind, nil, rec); err != nil {
			return err
		}
	}
	return w.Flush(ctx)
}

func (r *Repo) orphans(ctx context.Context, ahead bool) (rec orphanRecord, err error) {
	packs, err := r.unindexed(ctx)
	for _, p := range packs {
		rec.Packs = append(rec.Packs, p.BlobID)
	}
	if err != nil || !ahead {
		return rec, err
	}
	isLive, deleted := map[blob.ID]bool{}, map[blob.ID][]string{}
	err = r.reader().IterateContents(ctx, content.IterateOptions{IncludeDeleted: true}, func(i content.Info) error {
		switch {
		case !i.Deleted:
			isLive[i.PackBlobID] = true
		case isData(i.PackBlobID):
			deleted[i.PackBlobID] = nil // there can be millions
		default:
			deleted[i.PackBlobID] = append(deleted[i.PackBlobID], i.ContentID.String())
		}
		return nil
	})
	for p, contents := range deleted {
		// What is alive in a pack of data moves before the entries go, and a backup would miss what did not. Of records
		// of backups nobody would miss one.
		if isData(p) || !isLive[p] {
			rec.Packs = append(rec.Packs, p)
		} else {
			rec.Contents = append(rec.Contents, contents...)
		}
	}
	return rec, err
}

func isData(pack blob.ID) bool {
	return strings.HasPrefix(string(pack), string(content.PackBlobIDPrefixRegular))
}

// unindexed returns the packs that no entry of the index names and that belong to no session in
// progress.
func (r *Repo) unindexed(ctx context.Context) ([]blob.Metadata, error) {
	markers, err := r.st.list(ctx, content.BlobIDPrefixSession)
	if err != nil {
		return nil, err
	}
	sessions := map[content.SessionID]bool{}
	for _, m := range markers {
		sessions[content.SessionIDFromBlobID(m.BlobID)] = true
	}
	var packs []blob.Metadata
	for _, prefix := range content.PackBlobIDPrefixes {
		found, err := r.st.list(ctx, prefix)
		if err != nil {
			return nil, err
		}
		packs = append(packs, found...)
	}
	known := map[blob.ID]bool{}
	err = r.reader().IterateContents(ctx, content.IterateOptions{IncludeDeleted: true}, func(i content.Info) error {
		known[i.PackBlobID] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	var orphans []blob.Metadata
	for _, p := range packs {
		if !known[p.BlobID] && !sessions[content.SessionIDFromBlobID(p.BlobID)] {
			orphans = append(orphans, p)
		}
	}
	return orphans, nil
}

// Stats returns what the repository occupies, damaged parts and remains of killed runs included.
func (r *Repo) Stats(ctx context.Context) (bytes, blobs int64, err error) {
	err = r.st.ListBlobs(ctx, "", func(m blob.Metadata) error {
		bytes += m.Length
		blobs++
		return nil
	})
	return bytes, blobs, wrapRead(err, "measure the repository in %s", r.st.location)
}
