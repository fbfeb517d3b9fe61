package repo

import (
	"context"
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
