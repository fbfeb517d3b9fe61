package backup

import (
	"context"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/retain"
)

// PruneOptions tune a prune.
type PruneOptions struct {
	DryRun bool // decide and say, change nothing
	Now    bool // give space back at once: refused while any other Holdfast uses the repository
}

// Decision is what a prune decided for one backup.
type Decision struct {
	Backup Backup `json:"backup"`
	Keep   bool   `json:"keep"`
	Reason string `json:"reason"`
}

// Pruned is what a prune did.
type Pruned struct {
	Decisions []Decision `json:"decisions"`
	Reclaimed *Reclaimed `json:"reclaimed,omitempty"` // nil after a dry run
}

// Reclaimed is the repository's size before and after, in bytes and files.
type Reclaimed struct {
	BytesBefore int64 `json:"bytes_before"`
	BytesAfter  int64 `json:"bytes_after"`
	FilesBefore int64 `json:"files_before"`
	FilesAfter  int64 `json:"files_after"`
}

// Prune removes the backups that policy does not keep, and reclaims space that no backup needs. It never removes
// anything while the listing can't be trusted. The kept backups lose nothing: each is a full one.
func (s *Store) Prune(ctx context.Context, policy retain.Policy, opt PruneOptions) (Pruned, error) {
	if policy == (retain.Policy{}) {
		return Pruned{}, fail.New(fail.Usage, "say what to keep, as in --keep-last 7", "prune without a policy")
	}
	done, gone, err := s.decide(ctx, policy)
	if err != nil || opt.DryRun {
		return done, err
	}
	err = s.repo.Forget(ctx, gone...)
	if fail.KindOf(err) == fail.NotFound { // another prune was faster
		if done, gone, err = s.decide(ctx, policy); err == nil {
			err = s.repo.Forget(ctx, gone...)
		}
	}
	if err != nil {
		return Pruned{}, fail.Op(err, "remove %d backups", len(gone))
	}
	reclaimed, err := s.repo.Reclaim(ctx, repo.ReclaimOptions{Now: opt.Now})
	if err != nil {
		return done, fail.Op(err, "reclaim the space of removed backups")
	}
	done.Reclaimed = &Reclaimed{reclaimed.BytesBefore, reclaimed.BytesAfter, reclaimed.BlobsBefore, reclaimed.BlobsAfter}
	return done, nil
}

// clockSlack is how far ahead of this machine's clock a backup's may be.
const clockSlack = 10 * time.Minute

// decide applies a policy to what is listed, and returns also what is to go.
func (s *Store) decide(ctx context.Context, policy retain.Policy) (done Pruned, gone []repo.ID, err error) {
	list, err := s.List(ctx)
	if err != nil {
		return Pruned{}, nil, err
	}
	byID := make(map[string]Backup, len(list))
	candidates := make([]retain.Backup, len(list))
	for i, b := range list {
		byID[string(b.ID)] = b
		// By the clock of the machine that ran the backup, as lists are ordered. One from the future takes no place.
		candidates[i] = retain.Backup{ID: string(b.ID), Group: b.group(), Time: b.Started, Bad: b.State == Damaged || b.Started.After(s.now().Add(clockSlack))}
	}
	verdicts, err := retain.Apply(policy, candidates)
	if err != nil {
		return Pruned{}, nil, err
	}
	for _, v := range verdicts {
		done.Decisions = append(done.Decisions, Decision{byID[v.ID], v.Keep, v.Reason})
		if !v.Keep {
			gone = append(gone, repo.ID(v.ID))
		}
	}
	return done, gone, nil
}
