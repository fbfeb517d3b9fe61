package backup

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
)

// Fault is one thing that is wrong with the repository's own structure.
type Fault struct {
	Kind   string `json:"kind"`
	Blob   string `json:"blob"`
	Chunks int    `json:"chunks,omitempty"` // that can't be read because of it
	Reason string `json:"reason"`
}

// String says it in a line.
func (f Fault) String() string {
	s := fmt.Sprintf("%s %s: %s", f.Kind, f.Blob, f.Reason)
	if f.Chunks > 0 {
		s += fmt.Sprintf(" (%d chunks)", f.Chunks)
	}
	return s
}

func faultsOf(damage []repo.Damage) []Fault {
	var faults []Fault
	for _, d := range damage {
		faults = append(faults, Fault{string(d.Kind), d.Blob, len(d.Contents), d.Reason})
	}
	return faults
}

// Repaired is what a repair did.
type Repaired struct {
	Indexes   []string `json:"indexes,omitempty"`   // damaged parts of the index that were put aside
	Packs     []string `json:"packs,omitempty"`     // packs whose entries in the index were rebuilt
	Lost      []string `json:"lost,omitempty"`      // packs that could not be read for it
	Manifests []string `json:"manifests,omitempty"` // unreadable records of backups that were given up
	Faults    []Fault  `json:"faults,omitempty"`    // what is still wrong
}

// String says it in a few lines.
func (r Repaired) String() string {
	var lines []string
	for _, l := range []struct {
		what string
		list []string
	}{
		{"damaged parts of the index put aside", r.Indexes}, {"packs indexed again", r.Packs},
		{"packs that can't be read", r.Lost}, {"unreadable records of backups given up", r.Manifests},
	} {
		if len(l.list) > 0 {
			lines = append(lines, fmt.Sprintf("%s: %s", l.what, strings.Join(l.list, ", ")))
		}
	}
	for _, f := range r.Faults {
		lines = append(lines, "still wrong: "+f.String())
	}
	if len(lines) == 0 {
		return "Nothing needed repair."
	}
	return strings.Join(append(lines, "Now run holdfast verify --all, and back the databases up again."), "\n")
}

// Repair rebuilds what can be rebuilt of a repository: a damaged or lost index from the packs, a damaged format
// file from its copies. What it replaces is kept aside. Kinds: Locked while anybody else uses the repository, and those of Open.
func Repair(ctx context.Context, location string, password fail.Secret, warn func(string)) (Repaired, error) {
	done, err := repo.Repair(ctx, location, password, repo.OpenOptions{Warn: warn})
	return Repaired{Indexes: done.Indexes, Packs: done.Packs, Lost: done.Lost, Manifests: done.Manifests, Faults: faultsOf(done.Damage)}, err
}
