package repo

import (
	"context"
	"time"
)

// Hold keeps what the repository holds now where it is, until release is called: a reclaim that gives
// space back at once rewrites and removes files that a long read may be about to open. A repository that
// can't be written to needs no hold, since nothing is removed from it either. Kind: Locked, while such a reclaim is at work.
func (r *Repo) Hold(ctx context.Context, purpose string) (release func(), err error) {
	if r.st.denied != nil {
		return func() {}, nil
	}
	l, err := takeLease(ctx, r.st, leaseReader, purpose, writerWait)
	if err != nil {
		return nil, err
	}
	r.fresh.Store(false) // what was read before the lease may have moved
	return func() {
		if err := l.release(ctx); err != nil {
			r.warn(err.Error() + "; it expires by itself")
		}
	}, nil
}

// claimWait is how long Claim waits for a claim that just ends.
const claimWait = time.Second

// Claim makes a piece of work, by its name, this process's until release is called, so that two processes on one
// repository, on whatever machines, don't do the same. Kind: Locked, naming who is at it. In a repository that can't be written
// to everybody gets the claim.
func (r *Repo) Claim(ctx context.Context, name string) (release func(), err error) {
	if r.st.denied != nil {
		return func() {}, nil
	}
	l, err := takeLease(ctx, r.st, leaseJob, name, claimWait)
	if err != nil {
		return nil, err
	}
	return func() {
		if err := l.release(ctx); err != nil {
			r.warn(err.Error() + "; it expires by itself")
		}
	}, nil
}
