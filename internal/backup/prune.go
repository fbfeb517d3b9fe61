package backup

import (
	"context"

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

	Refused bool `json:"refused,omitempty"` // the policy would let it go, but nothing may go now
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

// Policies returns the policy for the backups of a database by its name, or false when they are all kept.
type Policies func(database string) (retain.Policy, bool)

// OnePolicy is the same policy for every database.
func OnePolicy(p retain.Policy) Policies {
	return func(string) (retain.Policy, bool) { return p, !p.Empty() }
}

// Prune removes the backups that the policies do not keep, and reclaims space that no backup needs. It never removes
// anything while the listing can't be trusted. The kept backups lose nothing: each is a full one.
func (s *Store) Prune(ctx context.Context, policies Policies, opt PruneOptions) (Pruned, error) {
	done, gone, err := s.decide(ctx, policies)
	if err != nil || opt.DryRun {
		return done, err
	}
	err = s.repo.Forget(ctx, gone...)
	if fail.KindOf(err) == fail.NotFound { // another prune was faster
		if done, gone, err = s.decide(ctx, policies); err == nil {
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

// decide applies the policies to what is listed, and returns also what is to go.
func (s *Store) decide(ctx context.Context, policies Policies) (done Pruned, gone []repo.ID, err error) {
	list, err := s.List(ctx)
	if err != nil {
		return Pruned{}, nil, err
	}
	pins, err := s.Pins(ctx)
	if err != nil {
		return Pruned{}, nil, err
	}
	attempts, err := s.Attempts(ctx)
	if err != nil {
		return Pruned{}, nil, err
	}
	byID := make(map[string]Backup, len(list))
	byName := map[string][]retain.Backup{}
	for _, b := range list {
		byID[string(b.ID)] = b
		// By the clock of the machine that ran the backup, as lists are ordered. One from the future takes no place.
		r := retain.Backup{ID: string(b.ID), Group: b.group(), Time: b.Started, Bad: b.State == Damaged, Verified: !b.VerifiedAt.IsZero(), Drilled: !b.DrilledAt.IsZero()}
		if p, pinned := pins[b.ID]; pinned {
			r.Pin = p.retained()
		}
		byName[b.Name] = append(byName[b.Name], r)
	}
	for _, name := range sortedKeys(byName) {
		policy, _ := policies(name) // an empty one keeps everything, and says so
		verdicts, err := retain.Apply(policy, byName[name], retain.State{Now: s.now(), Failed: failedRuns(attempts, list)})
		if err != nil {
			return Pruned{}, nil, err
		}
		for _, v := range verdicts {
			done.Decisions = append(done.Decisions, Decision{byID[v.ID], v.Keep, v.Reason(), v.Refused})
			if !v.Keep {
				gone = append(gone, repo.ID(v.ID))
			}
		}
	}
	return done, gone, nil
}

// failedRuns says, by series, why the newest run of its database failed, where it did.
func failedRuns(attempts []Attempt, list []Backup) map[string]string {
	failed := map[string]string{}
	for _, a := range attempts {
		if a.OK || a.Work != WorkBackup {
			continue
		}
		for _, b := range list {
			if b.Name == a.Database && b.Started.Before(a.Started) {
				failed[b.group()] = a.Error
			}
		}
		for _, b := range list { // one made since ends it
			if b.Name == a.Database && a.Before(b) {
				delete(failed, b.group())
			}
		}
	}
	return failed
}
