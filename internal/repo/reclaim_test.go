package repo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kopia/kopia/repo/blob"
)

// A reclaim that dies at any operation leaves the backups readable and nothing that looks like
// damage, and the next one gives the space back.
func TestReclaimDies(t *testing.T) {
	t.Parallel()
	kept := map[string][]byte{"tables/t/1": noise(1, 30_000), "backup.json": []byte("{}")}
	r := newRepo(t, InitOptions{})
	id, _ := backUp(t, r, "kept", kept)
	if _, err := r.Reclaim(t.Context(), ReclaimOptions{Now: true}); err != nil {
		t.Fatal(err)
	}
	clean, _, err := r.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		forgotten, _ := backUp(t, r, fmt.Sprint("forgotten", i), map[string][]byte{"tables/t/1": noise(uint64(10+i), 300_000)})
		if err := r.Forget(t.Context(), forgotten); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	died := 0
	var wg sync.WaitGroup // a reclaim of all space spends most of its time waiting for the clock
	for over := false; !over; died++ {
		folder := filepath.Join(t.TempDir(), "repository")
		if err := os.CopyFS(folder, os.DirFS(r.Location())); err != nil {
			t.Fatal(err)
		}
		cmd, out, _ := startJob(t, "reclaim", folder, fmt.Sprint(died))
		said := ""
		for out.Scan() {
			said += out.Text()
		}
		if err := cmd.Wait(); err == nil {
			over = true
		} else if cmd.ProcessState.ExitCode() != diedCode {
			t.Errorf("change %d: %v: %s", died, err, said)
		}
		n := died
		wg.Go(func() {
			if err := afterReclaim(t, folder, id, kept, clean); err != nil {
				t.Errorf("change %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	if died < 25 {
		t.Errorf("a reclaim made %d changes only", died)
	}
}

// afterReclaim looks at what a reclaim left that died, and reclaims once more.
func afterReclaim(t *testing.T, folder string, id ID, kept map[string][]byte, clean int64) error {
	r, err := Open(t.Context(), folder, testPassword, OpenOptions{})
	if err != nil {
		return err
	}
	checkAfterFault(t, r, []ID{id}, kept, nil, map[ID]bool{})
	rec, err := r.Reclaim(t.Context(), ReclaimOptions{Now: true})
	if err != nil {
		return fmt.Errorf("the next reclaim: %w", err)
	}
	checkAfterFault(t, r, []ID{id}, kept, nil, map[ID]bool{})
	if rec.BytesAfter > clean+100_000 {
		return fmt.Errorf("%d bytes are left; without the forgotten backups there were %d", rec.BytesAfter, clean)
	}
	return r.Close(t.Context())
}

// diedCode is the exit code of a job that ended itself in the middle of its work.
const diedCode = 7

// mortal is a storage at whose n-th operation the process ends, as by a kill.
type mortal struct {
	blob.Storage
	n atomic.Int64
}

func (m *mortal) step() {
	if m.n.Add(-1) == -1 {
		os.Exit(diedCode)
	}
}

func (m *mortal) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opt blob.PutOptions) error {
	m.step()
	return m.Storage.PutBlob(ctx, id, data, opt)
}

func (m *mortal) DeleteBlob(ctx context.Context, id blob.ID) error {
	m.step()
	return m.Storage.DeleteBlob(ctx, id)
}

// jobReclaim reclaims all space at once and dies at the n-th change of the storage.
func jobReclaim(ctx context.Context, folder string, n int64) error {
	st, err := openFolder(ctx, folder, false)
	if err != nil {
		return err
	}
	m := &mortal{Storage: st.Storage}
	m.n.Store(never)
	st.Storage = m
	r, err := openStore(ctx, st, testPassword, OpenOptions{})
	if err != nil {
		return err
	}
	m.n.Store(n)
	_, err = r.Reclaim(ctx, ReclaimOptions{Now: true})
	return err
}
