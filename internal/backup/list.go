package backup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
)

// checkKind is the kind of the records that hold results of checks.
const checkKind = "check"

// Check is the recorded result of looking at one backup again.
type Check struct {
	Backup  repo.ID   `json:"backup"`
	What    string    `json:"what"` // "verify" or "drill"
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Percent float64   `json:"percent"` // of the data that was read; 100 is every byte
	Damage  []Damage  `json:"damage,omitempty"`
	Version string    `json:"holdfast,omitempty"`
}

// Damage is one thing that is wrong with a backup.
type Damage struct {
	Backup repo.ID `json:"backup"`
	Path   string  `json:"path"`            // in the backup's tree
	Table  string  `json:"table,omitempty"` // when the path belongs to one
	Reason string  `json:"reason"`
}

// List returns all backups, newest first.
func (s *Store) List(ctx context.Context) ([]Backup, error) {
	entries, err := s.repo.List(ctx)
	if err != nil {
		return nil, fail.Op(err, "list backups")
	}
	list := make([]Backup, 0, len(entries))
	byID := make(map[repo.ID]int, len(entries))
	for _, e := range entries {
		if e.Labels[labelFormat] == "" {
			continue // a snapshot that somebody else put there
		}
		list = append(list, backupOf(e))
	}
	slices.SortFunc(list, func(a, b Backup) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID))
	})
	for i, b := range list {
		byID[b.ID] = i
	}
	checks, err := s.checks(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, c := range checks { // oldest first, so that the newest decides
		i, ok := byID[c.Backup]
		switch {
		case !ok:
		default:
			list[i].checked(c)
		}
	}
	return list, nil
}

// checked notes the result of one more check: up the ladder, or off it. A drill reads every byte too.
func (b *Backup) checked(c Check) {
	switch {
	case len(c.Damage) > 0:
		b.State, b.StateAt = Damaged, c.At
		b.VerifiedAt, b.DrilledAt, b.DrillSeconds = time.Time{}, time.Time{}, 0
	case c.What == WorkDrill:
		b.State, b.StateAt = Drilled, c.At
		b.VerifiedAt, b.DrilledAt, b.DrillSeconds = c.At, c.At, c.Seconds
	case c.Percent == 100:
		b.VerifiedAt = c.At
		if b.DrilledAt.IsZero() {
			b.State, b.StateAt = Verified, c.At
		} else {
			b.State, b.StateAt = Drilled, b.DrilledAt
		}
	}
}

// checks returns recorded checks, oldest first.
func (s *Store) checks(ctx context.Context, labels map[string]string) ([]Check, error) {
	records, err := s.repo.Records(ctx, checkKind, labels)
	if err != nil {
		return nil, fail.Op(err, "read the records of checks")
	}
	checks := make([]Check, 0, len(records))
	for _, r := range records {
		var c Check
		if err := r.Decode(&c); err != nil {
			return nil, fail.Op(err, "read the record of a check")
		}
		checks = append(checks, c)
	}
	slices.SortStableFunc(checks, func(a, b Check) int { return a.At.Compare(b.At) })
	return checks, nil
}

// minPrefix is how much of an ID must be given at least.
const minPrefix = 4

// Find returns the backup that name means: an ID, a unique prefix of one, latest, or latest:DATABASE.
func (s *Store) Find(ctx context.Context, name string) (Backup, error) {
	list, err := s.List(ctx)
	if err != nil {
		return Backup{}, err
	}
	if latest, db, named := strings.Cut(name, ":"); latest == "latest" {
		b, passed, err := findLatest(list, db, named)
		if passed != nil {
			why := "which is partial"
			if passed.State == Damaged {
				why = "which is damaged"
			}
			s.warn(fmt.Sprintf("%s is %s of %s; passed over %s of %s, %s", name, b.ID.Short(), timeOf(b), passed.ID.Short(), timeOf(*passed), why))
		}
		return b, err
	}
	return findID(list, name)
}

func timeOf(b Backup) string { return b.Started.Local().Format(time.DateTime) }

func findID(list []Backup, name string) (Backup, error) {
	var found []Backup
	for _, b := range list {
		if strings.HasPrefix(string(b.ID), name) && len(name) >= minPrefix {
			found = append(found, b)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Backup{}, fail.New(fail.Usage, "give more of the id", "%d backups begin with %q", len(found), name)
	case len(name) < minPrefix:
		return Backup{}, fail.New(fail.Usage, fmt.Sprintf("give at least %d characters of the id, or latest[:DATABASE]", minPrefix), "backup %q: too short", name)
	}
	return Backup{}, fail.New(fail.NotFound, "holdfast list shows what there is", "no backup %q", name)
}

// findLatest picks the newest backup that is whole and not known to be damaged: «latest» must not turn out to be one
// table of a database. Only when there is none it is the newest part, and only then a damaged one.
// passed is the newest that was passed over, if any.
func findLatest(list []Backup, db string, named bool) (b Backup, passed *Backup, err error) {
	rank := func(c Backup) int {
		switch {
		case c.State == Damaged:
			return 2
		case c.Partial:
			return 1
		}
		return 0
	}
	sources, names := map[string]bool{}, map[string]bool{}
	var newest *Backup
	for _, c := range list { // newest first
		names[c.Name] = true
		if named && c.Name != db {
			continue
		}
		if newest == nil {
			newest = &c
		}
		if b.ID == "" || rank(c) < rank(b) {
			b, sources = c, map[string]bool{}
		}
		if rank(c) == rank(b) {
			sources[c.Engine+" "+c.Source+" on "+c.Host+partText(c)] = true
		}
	}
	switch {
	case b.ID == "" && len(list) == 0:
		return b, nil, fail.New(fail.NotFound, "holdfast backup DATABASE makes one", "the repository holds no backup")
	case b.ID == "":
		return b, nil, fail.New(fail.NotFound, "there are backups of "+strings.Join(sortedKeys(names), ", "), "no backup of a database named %q", db)
	case len(sources) > 1:
		what := "latest"
		if named {
			what += ":" + db
		}
		return b, nil, fail.New(fail.Usage, "name one by its id; backup --name gives databases names of their own",
			"%s could mean the backups of %s", what, strings.Join(sortedKeys(sources), ", or "))
	case newest.ID != b.ID:
		passed = newest
	}
	return b, passed, nil
}

// partText tells selections of one database apart.
func partText(b Backup) string {
	if b.Partial {
		return " (selection " + b.series + ")"
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Detail is all there is to know about one backup.
type Detail struct {
	Backup
	Manifest *Manifest `json:"manifest"`
	Checks   []Check   `json:"checks,omitempty"` // oldest first
}

// Show returns the details of the backup that name means; see [Store.Find].
func (s *Store) Show(ctx context.Context, name string) (Detail, error) {
	b, err := s.Find(ctx, name)
	if err != nil {
		return Detail{}, err
	}
	_, m, err := s.open(ctx, b)
	if err != nil {
		return Detail{}, err
	}
	checks, err := s.checks(ctx, map[string]string{"backup": string(b.ID)})
	return Detail{b, m, checks}, err
}

// open returns a backup's tree and manifest.
func (s *Store) open(ctx context.Context, b Backup) (*repo.SnapshotFS, *Manifest, error) {
	tree, err := s.repo.Tree(ctx, b.ID)
	if err != nil {
		return nil, nil, fail.Op(err, "open backup %s", b.ID.Short())
	}
	m, err := readManifest(tree)
	if err != nil {
		return nil, nil, fail.Op(err, "open backup %s", b.ID.Short())
	}
	return tree, m, nil
}
