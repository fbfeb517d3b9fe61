package repo

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// watermarkPrefix begins the names of blobs that say until when (Unix seconds) deleted entries
// of the index are forgotten.
const watermarkPrefix blob.ID = "xw"

// clockWait is how long a session waits for the clock to pass the watermark.
const clockWait = 5 * time.Second

// clockAhead returns once this machine's clock is past kopia's watermark, or says that it isn't.
//
// An entry of the index with a later time wins over one with an earlier time. Writing a chunk
// that was deleted before, kopia gives it a later time than its deletion; but a deletion before
// the watermark it takes for nothing, and gives the chunk the time of the clock. When that is
// behind, the deletion wins, and the chunk that was stored just now is lost without a word.
func (r *Repo) clockAhead(ctx context.Context) error {
	blobs, err := r.st.list(ctx, watermarkPrefix)
	if err != nil {
		return wrapRead(err, "read the repository's times")
	}
	var latest time.Time
	for _, b := range blobs {
		secs, err := strconv.ParseInt(strings.TrimPrefix(string(b.BlobID), string(watermarkPrefix)), 10, 64)
		if t := time.Unix(secs, 0); err == nil && t.After(latest) {
			latest = t
		}
	}
	past := latest.Add(time.Second)
	behind := time.Until(past)
	if behind > clockWait {
		return fail.New(fail.Unavailable, "set the clock of this machine", "write to the repository in %s: space was reclaimed in it at %s by another clock, and here it is %s only",
			r.st.location, latest.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
	}
	return waitUntil(ctx, past)
}

// waitUntil returns when the clock shows t.
func waitUntil(ctx context.Context, t time.Time) error {
	for {
		left := time.Until(t)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
