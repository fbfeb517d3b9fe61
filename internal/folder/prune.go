package folder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/retain"
)

// PruneOptions tune a prune.
type PruneOptions struct {
	DryRun bool         // decide and say, change nothing
	State  retain.State // the clock, and what forbids to remove anything; groups are named by Entry.Group
	Group  string       // the only files the policy is for, by Entry.Group; empty: all
}

// A Verdict says what becomes of a file, and why.
type Verdict struct {
	Entry
	Keep    bool
	Refused bool // the policy would let it go, but nothing may go now
	Reasons []string
}

// Reason is all reasons in one line.
func (v Verdict) Reason() string { return strings.Join(v.Reasons, "; ") }

// Prune removes the files of each database and kind that the policy does not keep. It touches only what is surely ours: a file whose
// sidecar describes it, with the size that it says, and sidecars whose file is gone. Before anything of a group goes, the file that
// stays as its newest good one is read and must match its checksum; when it doesn't it counts as damaged, and the next is taken.
// A dry run decides the same. On error the verdicts tell what was decided, if anything was.
func Prune(ctx context.Context, dir string, policy retain.Policy, o PruneOptions) ([]Verdict, error) {
	if policy.Empty() {
		return nil, fail.New(fail.Usage, "say what to keep, as in --keep-daily 7d", "prune %s without a policy", dir)
	}
	entries, err := List(dir)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return o.Group != "" && e.State == Good && e.Group() != o.Group })
	decided, err := decide(ctx, entries, policy, o.State)
	if err != nil {
		return nil, fail.Op(err, "prune %s", dir)
	}
	verdicts := make([]Verdict, len(entries))
	for i, e := range entries {
		v, ours := decided[e.Name]
		switch {
		case ours:
			verdicts[i] = Verdict{e, v.Keep, v.Refused, v.Reasons}
		case e.State == Orphan:
			verdicts[i] = Verdict{e, false, false, []string{e.Problem}}
		default:
			verdicts[i] = Verdict{e, true, false, []string{"not touched: " + e.Problem}}
		}
	}
	if o.DryRun {
		return verdicts, nil
	}
	return verdicts, remove(ctx, dir, verdicts)
}

// decide applies the policy to the good files, and looks closely at those that others go for.
func decide(ctx context.Context, entries []Entry, policy retain.Policy, s retain.State) (map[string]retain.Verdict, error) {
	byName := map[string]Entry{}
	var backups []retain.Backup
	for _, e := range entries {
		if e.State == Good {
			byName[e.Name] = e
			backups = append(backups, retain.Backup{ID: e.Name, Group: e.Group(), Time: e.Time})
		}
	}
	checked := map[string]bool{}
	for {
		verdicts, err := retain.Apply(policy, backups, s)
		if err != nil {
			return nil, err
		}
		newest, decided := newestOfPruned(verdicts, s), map[string]retain.Verdict{}
		for _, v := range verdicts {
			decided[v.ID] = v
		}
		again := false
		for i, b := range backups {
			if newest[b.Group] != b.ID || checked[b.ID] {
				continue
			}
			checked[b.ID] = true
			if err := Check(ctx, byName[b.ID]); fail.KindOf(err) == fail.Damaged {
				backups[i].Bad, again = true, true
			} else if err != nil {
				return nil, err
			}
		}
		if !again {
			return decided, nil
		}
	}
}

// newestOfPruned returns the newest good file of each group of which something would go.
func newestOfPruned(verdicts []retain.Verdict, s retain.State) map[string]string {
	newest, pruned := map[string]string{}, map[string]bool{}
	for _, v := range verdicts { // newest first
		future := !s.Now.IsZero() && v.Time.After(s.Now.Add(retain.Slack))
		if newest[v.Group] == "" && !v.Bad && !future {
			newest[v.Group] = v.ID
		}
		pruned[v.Group] = pruned[v.Group] || !v.Keep || v.Refused
	}
	for group := range newest {
		if !pruned[group] {
			delete(newest, group)
		}
	}
	return newest
}

// remove removes what isn't kept: the file, then its sidecar. After a crash between the two the sidecar is left, which the next
// prune removes; the other way round the file would be left as nobody's.
func remove(ctx context.Context, dir string, verdicts []Verdict) error {
	unlock, err := lockDir(dir)
	if err != nil {
		return Classify(err, "prune %s", dir)
	}
	defer unlock()
	var failed []error
	removed := false
	for _, v := range verdicts {
		if v.Keep {
			continue
		}
		if err := ctx.Err(); err != nil {
			failed = append(failed, err)
			break
		}
		removed = true
		if err := removeOne(dir, v.Entry); err != nil {
			failed = append(failed, Classify(err, "remove %s", v.Path))
		}
	}
	if removed {
		failed = append(failed, Classify(syncDir(dir), "prune %s", dir))
	}
	return errors.Join(failed...)
}

// removeOne removes a file that is still what was decided on.
func removeOne(dir string, e Entry) error {
	file := strings.TrimSuffix(e.Name, MetaSuffix)
	path := filepath.Join(dir, file)
	meta, err := ReadMeta(path)
	if fail.KindOf(err) == fail.NotFound && err != nil {
		return nil // another prune was faster
	} else if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // only the sidecar is left
	case err != nil:
		return err
	case e.State == Orphan: // the file was just about to come
		return nil
	case !info.Mode().IsRegular() || info.Size() != e.Size || meta.SHA256 != e.SHA256:
		return fail.New(fail.Locked, "run it again", "it changed meanwhile")
	default:
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return os.Remove(path + MetaSuffix)
}
