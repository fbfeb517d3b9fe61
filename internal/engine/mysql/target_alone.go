package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// For how many seconds a restore waits for another one, which may be about to end (a busy server needs a moment to notice that a session is gone),
// and an Abort for one that has looked at the database and refuses.
const (
	beginWait = 5
	abortWait = 10
)

// alone makes sure that no other restore of everything is at work in the database: two would empty it for each other, and load into each
// other's tables. One of everything keeps others out until its session ends.
func (t *Target) alone(ctx context.Context, s *session, wait int) error {
	row, err := s.one(ctx, "SELECT @@lower_case_table_names")
	if err != nil {
		return err
	}
	name := t.cfg.DBName
	if row[0].s != "0" { // the server takes capitals for small letters
		name = strings.ToLower(name)
	}
	hash := sha256.Sum256([]byte(name))
	t.lock = quoteLiteral("holdfast_restore_" + hex.EncodeToString(hash[:20])) // MySQL takes at most 64 characters
	row, err = s.one(ctx, fmt.Sprintf("SELECT GET_LOCK(%s, %d)", t.lock, wait))
	switch {
	case err != nil && cutText(err) != "":
		return err
	case err == nil && row[0].s == "0":
		return fail.New(fail.Locked, "wait until it is done", "another restore into it is going on")
	}
	if t.opt.Partial || t.opt.DataOnly {
		t.release(ctx, s)
	}
	return nil // also where a cluster forbids such locks
}

// release lets others in. Without it they wait until the server has noticed that the session is closed.
func (t *Target) release(ctx context.Context, s *session) {
	_ = s.exec(ctx, "DO RELEASE_LOCK("+t.lock+")")
}
