package backup

import (
	"context"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/retain"
)

// pinKind is the kind of the records of pins. They go with their backup.
const pinKind = "pin"

// A Pin keeps a backup whatever the policy says.
type Pin struct {
	Backup repo.ID   `json:"backup"`
	Until  time.Time `json:"until,omitzero"` // zero: for ever
	Reason string    `json:"reason,omitempty"`
	Set    time.Time `json:"set,omitzero"`
}

// Pin keeps backup b until a time, or for ever when it is zero. It replaces an earlier pin.
func (s *Store) Pin(ctx context.Context, b Backup, until time.Time, reason string) (Pin, error) {
	p := Pin{Backup: b.ID, Until: until, Reason: reason, Set: s.now().UTC()}
	if !until.IsZero() && until.Before(p.Set) {
		return Pin{}, fail.New(fail.Usage, "give a time to come", "pin backup %s until %s: that is over", b.ID.Short(), until.Format(time.DateTime))
	}
	return p, fail.Op(s.repo.SetRecord(ctx, pinKind, map[string]string{repo.BackupLabel: string(b.ID)}, p), "pin backup %s", b.ID.Short())
}

// Unpin takes a pin off.
func (s *Store) Unpin(ctx context.Context, b Backup) error {
	return fail.Op(s.repo.SetRecord(ctx, pinKind, map[string]string{repo.BackupLabel: string(b.ID)}, nil), "unpin backup %s", b.ID.Short())
}

// Pins returns all pins by backup, those that are over too.
func (s *Store) Pins(ctx context.Context) (map[repo.ID]Pin, error) {
	records, err := s.repo.Records(ctx, pinKind, nil)
	if err != nil {
		return nil, fail.Op(err, "read the pins")
	}
	pins := make(map[repo.ID]Pin, len(records))
	for _, r := range records {
		var p Pin
		if err := r.Decode(&p); err != nil {
			return nil, fail.Op(err, "read a pin")
		}
		pins[p.Backup] = p
	}
	return pins, nil
}

// retained is the pin as retention has it.
func (p Pin) retained() *retain.Pin { return &retain.Pin{Until: p.Until, Reason: p.Reason} }
