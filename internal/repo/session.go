package repo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// writerWait is how long a session waits for an exclusive reclaim to end.
const writerWait = 20 * time.Second

// MaxChunk is the most bytes a chunk may have.
const MaxChunk = 4 << 20

// A Session adds backups to the repository. Nothing it writes is listed before Commit; when
// that returns nil everything is durable. Its methods, its trees and their streams may be used
// concurrently, but Commit and Abort only when nothing else is going on.
type Session struct {
	repo  *Repo
	w     repo.DirectRepositoryWriter
	lease *lease
	packs *written
	slots chan struct{}  // one for each chunk being compressed
	busy  sync.WaitGroup // chunks in flight

	suspect map[content.ID]bool // contents that are known to be unreadable; read-only

	mu      sync.Mutex
	seen    map[hash]struct{}   // new contents that were counted; guarded by mu
	healed  map[content.ID]bool // suspects that were written anew; guarded by mu
	emptied map[blob.ID]bool    // packs they were in; guarded by mu
	open    int                 // streams not closed; guarded by mu
	ended   bool                // guarded by mu
}

// hash identifies a content within the data chunks.
type hash [16]byte

// Begin starts a session. While a reclaim that gives space back at once is at work, it waits a
// little and then returns Locked. Other kinds: Denied, NoSpace.
func (r *Repo) Begin(ctx context.Context, purpose string) (*Session, error) {
	if r.st.denied != nil {
		return nil, wrapWrite(r.st.denied, "begin a %s in %s", purpose, r.st.location)
	}
	l, err := takeLease(ctx, r.st, leaseWriter, purpose, writerWait)
	if err != nil {
		return nil, err
	}
	r.fresh.Store(false) // what was read before the lease may have moved
	s := &Session{
		repo: r, lease: l, packs: &written{},
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)+2),
		seen:  map[hash]struct{}{}, healed: map[content.ID]bool{}, emptied: map[blob.ID]bool{},
	}
	if err = r.clockAhead(ctx); err == nil {
		s.suspect, err = r.suspects(ctx)
	}
	if err == nil {
		_, s.w, err = r.kopia.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: purpose})
	}
	if err != nil {
		return nil, errors.Join(wrapWrite(err, "begin a %s", purpose), l.release(ctx))
	}
	return s, nil
}

// context returns ctx for calls to the writer: what it stores is remembered.
func (s *Session) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, writtenKey{}, s.packs)
}

// Commit makes everything sealed in the session durable and listed. Streams must be closed. On
// error nothing is listed (unless the storage stored the last blob and reported an error all the
// same); call Abort then.
func (s *Session) Commit(ctx context.Context) error {
	s.mu.Lock()
	open, ended := s.open, s.ended
	s.mu.Unlock()
	switch {
	case ended:
		return fail.New(fail.Internal, "", "commit a session that has ended")
	case open > 0:
		return fail.New(fail.Internal, "", "commit a session with %d open streams", open)
	}
	s.busy.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.settleBad(s.context(ctx)); err != nil {
		return err
	}
	// A machine that slept too long may have been taken for dead, and what the session relies
	// on removed. Then it must not commit.
	if err := s.lease.check(ctx); err != nil {
		return err
	}
	if err := s.repo.clockAhead(ctx); err != nil { // it may have been set back meanwhile
		return err
	}
	if err := s.w.Flush(s.context(ctx)); err != nil {
		return wrapWrite(err, "write to the repository in %s", s.repo.st.location)
	}
	s.packs.take()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	err := errors.Join(s.w.Close(ctx), s.lease.release(ctx))
	if err != nil {
		s.repo.warn(fmt.Sprintf("the session was committed, but cleaning up after it failed: %v", err))
	}
	return nil
}

// Abort ends the session and removes what it stored, as far as nothing refers to it. It waits
// for chunks in flight, works with a cancelled ctx too, and does nothing after Commit.
func (s *Session) Abort(ctx context.Context) error {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	s.mu.Unlock()
	if ended {
		return nil
	}
	s.busy.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	s.repo.removeUncommitted(ctx, s.packs)
	return wrapWrite(errors.Join(s.w.Close(ctx), s.lease.release(ctx)), "abort the session")
}

// removeUncommitted deletes packs that no index names. What can't be deleted is left to Reclaim.
func (r *Repo) removeUncommitted(ctx context.Context, log *written) {
	ctx = context.WithoutCancel(ctx)
	packs, indexes := log.take()
	for _, id := range indexes {
		// Its put failed; but should it be there, it names the packs.
		if there, err := r.st.exists(ctx, id); there || err != nil {
			return
		}
	}
	// The markers come last: a pack without one looks like a pack that lost its index.
	for _, id := range slices.Backward(packs) {
		if err := r.st.DeleteBlob(ctx, id); err != nil {
			return
		}
	}
}

// putContent stores one content and returns its ID and how many bytes it added to the
// repository. Its data is compressed and encrypted by the calling goroutine.
func (s *Session) putContent(ctx context.Context, kind contentKind, data []byte) (content.ID, int64, error) {
	ow := s.newWriter(ctx, kind)
	defer ow.Close()
	if _, err := ow.Write(data); err != nil {
		return content.EmptyID, 0, err
	}
	return s.finishContent(ctx, kind, ow, data)
}
