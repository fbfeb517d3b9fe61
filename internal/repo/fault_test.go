package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
)

var errInjected = errors.New("injected fault")

// faulty is a storage whose n-th operation fails. With after, it fails though it did its work,
// as a connection that breaks before the answer does.
type faulty struct {
	blob.Storage
	n     atomic.Int64 // operations left until the fault; negative is after it
	after bool
}

func (f *faulty) strike() bool { return f.n.Add(-1) == -1 }

// do runs op, or fails instead of it or after it.
func (f *faulty) do(op func() error) error {
	if !f.strike() {
		return op()
	}
	if f.after {
		if err := op(); err != nil {
			return err
		}
	}
	return errInjected
}

func (f *faulty) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, opt blob.PutOptions) error {
	return f.do(func() error { return f.Storage.PutBlob(ctx, id, data, opt) })
}

func (f *faulty) DeleteBlob(ctx context.Context, id blob.ID) error {
	return f.do(func() error { return f.Storage.DeleteBlob(ctx, id) })
}

func (f *faulty) GetBlob(ctx context.Context, id blob.ID, off, n int64, out blob.OutputBuffer) error {
	return f.do(func() error { return f.Storage.GetBlob(ctx, id, off, n, out) })
}

func (f *faulty) GetMetadata(ctx context.Context, id blob.ID) (m blob.Metadata, err error) {
	err = f.do(func() (err error) { m, err = f.Storage.GetMetadata(ctx, id); return err })
	return m, err
}

func (f *faulty) ListBlobs(ctx context.Context, prefix blob.ID, cb func(blob.Metadata) error) error {
	return f.do(func() error { return f.Storage.ListBlobs(ctx, prefix, cb) })
}

// openFaulty opens a repository on a faulty storage.
func openFaulty(ctx context.Context, folder string, n int64, after bool) (*Repo, *faulty, error) {
	st, err := openFolder(ctx, folder, false)
	if err != nil {
		return nil, nil, err
	}
	f := &faulty{Storage: st.Storage, after: after}
	f.n.Store(n)
	st.Storage = f
	r, err := openStore(ctx, st, testPassword, OpenOptions{})
	return r, f, err
}

// TestFaults makes every operation of the storage fail once, in each of some scenarios. After
// each fault the repository opens, is whole, has the backups from before, and the new one in
// whole or not at all.
func TestFaults(t *testing.T) {
	old := map[string][]byte{"tables/t/1": noise(1, 30_000), "tables/t/2": noise(2, 30_000), "backup.json": []byte("{}")}
	files := maps.Clone(old)
	files["tables/t/2"] = noise(3, 21<<20) // a pack goes out before the commit
	forgotten := 1
	scenarios := map[string]func(context.Context, *Repo, []ID) error{
		"backup": func(ctx context.Context, r *Repo, _ []ID) error {
			_, _, err := tryBackUp(ctx, r, "new", files)
			return err
		},
		"record": func(ctx context.Context, r *Repo, ids []ID) error {
			return r.PutRecord(ctx, "check", map[string]string{BackupLabel: string(ids[0])}, 1)
		},
		"forget": func(ctx context.Context, r *Repo, ids []ID) error {
			forgotten++ // ids[0] and ids[1] stay
			return r.Forget(ctx, ids[forgotten])
		},
		"reclaim": func(ctx context.Context, r *Repo, _ []ID) error {
			_, err := r.Reclaim(ctx, ReclaimOptions{})
			return err
		},
	}
	for name, scenario := range scenarios {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done and reported as failed %v", name, after), func(t *testing.T) {
				r := newRepo(t, InitOptions{})
				var ids []ID
				for i := range 2 {
					id, _ := backUp(t, r, fmt.Sprint("old", i), old)
					ids = append(ids, id)
				}
				stored := files
				forgotten = 1
				if name == "forget" { // enough for each round, in one session: the list must not grow with the rounds
					stored = old
					ids = append(ids, backUpMany(t, r, old, 100)...)
				}
				read := map[ID]bool{} // each new backup is read once, and all once more at the end
				sweepFaults(t, r, after, name == "forget", func(ctx context.Context, r *Repo) error { return scenario(ctx, r, ids) }, func(t *testing.T, r *Repo) {
					checkAfterFault(t, r, ids[:2], old, stored, read)
				})
				reopened, err := Open(t.Context(), r.Location(), testPassword, OpenOptions{Warn: func(s string) { t.Error("warning:", s) }})
				if err != nil {
					t.Fatal(err)
				}
				checkAfterFault(t, reopened, ids[:2], old, stored, map[ID]bool{})
				if err := reopened.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// never is more operations than there are.
const never = 1 << 40

// sweepFaults runs scenario with the first operation of the storage failing, then with the
// second, and so on until none fails. It calls check with a repository that saw no fault.
func sweepFaults(t *testing.T, healthy *Repo, after, grows bool, scenario func(context.Context, *Repo) error, check func(*testing.T, *Repo)) {
	t.Helper()
	r, f, err := openFaulty(t.Context(), healthy.Location(), never, after)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	was := never
	for n := int64(0); ; n++ {
		if n > 500 {
			t.Fatal("it never runs through")
		}
		f.n.Store(n)
		err := scenario(t.Context(), r)
		struck := f.n.Load() < 0
		f.n.Store(never)
		switch {
		case err != nil && !struck:
			t.Errorf("without a fault: %v", err)
		case err != nil && !errors.Is(err, errInjected):
			t.Errorf("the cause is not in the error: %v", err)
		}
		healthy.manifests = manifestCache{} // so that all is read from the storage
		check(t, healthy)
		if t.Failed() {
			t.Fatalf("with operation %d failing: %v", n, err)
		}
		if grows { // the next round has as many things more to read before it comes to this operation
			packs, err := healthy.st.list(t.Context(), "q")
			if err != nil {
				t.Fatal(err)
			}
			n += int64(max(len(packs)-was, 0))
			was = len(packs)
		}
		if !struck {
			t.Logf("%d operations, each failed once", n)
			if n < 8 {
				t.Error("that is too few: nothing was tested")
			}
			return
		}
	}
}

// backUpMany makes n equal backups in one session.
func backUpMany(t *testing.T, r *Repo, files map[string][]byte, n int) (ids []ID) {
	t.Helper()
	s, err := r.Begin(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		tree := s.NewTree()
		for name, data := range files {
			if _, err := tree.WriteFile(t.Context(), name, data); err != nil {
				t.Fatal(err)
			}
		}
		id, err := tree.Seal(t.Context(), Entry{Host: "db1", Path: "/test/many", Labels: map[string]string{"name": "many"}, Started: time.Now(), Ended: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ids
}

func checkAfterFault(t *testing.T, r *Repo, ids []ID, old, files map[string][]byte, read map[ID]bool) {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Errorf("list: %v", err)
	}
	seen := 0
	for _, e := range list {
		want := files
		if slices.Contains(ids, e.ID) {
			want = old
			seen++
		} else if read[e.ID] {
			continue
		}
		read[e.ID] = true
		if err := compareFiles(t.Context(), r, e.ID, want); err != nil {
			t.Errorf("backup %s: %v", e.Labels["name"], err)
		}
	}
	if seen != len(ids) {
		t.Errorf("%d of %d old backups are listed", seen, len(ids))
	}
	damages, err := r.CheckStructure(t.Context())
	if err != nil || len(damages) > 0 {
		t.Errorf("check: %+v, %v", damages, err)
	}
}
