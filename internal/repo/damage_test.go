package repo

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/sharded"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// blobFiles returns the files of the blobs whose names begin with prefix.
func blobFiles(t testing.TB, folder, prefix string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		id, isBlob := strings.CutSuffix(strings.ReplaceAll(rel, "/", ""), sharded.CompleteBlobSuffix)
		if isBlob && strings.HasPrefix(id, prefix) {
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// flipBits changes a bit of each file every now and then: packs are padded, so that one bit may not matter.
func flipBits(t testing.TB, files []string) {
	t.Helper()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := len(data) / 2 % 50; at < len(data); at += 50 {
			data[at] ^= 0x04
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func truncate(t testing.TB, files []string) {
	t.Helper()
	for _, name := range files {
		if err := os.Truncate(name, 100); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t testing.TB, files []string) {
	t.Helper()
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// closedRepo makes a repository with one backup and returns its folder.
func closedRepo(t *testing.T, files map[string][]byte) (folder string, id ID) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "repository")
	if err := Init(t.Context(), folder, testPassword, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), folder, testPassword, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	id, _ = backUp(t, r, "one", files)
	return folder, id
}

func TestDamagedPacks(t *testing.T) {
	files := map[string][]byte{"tables/t/1": noise(1, 5<<20), "tables/t/2": lines(2, 1<<20)}
	damages := map[string]struct {
		do    func(testing.TB, []string)
		found DamageKind // by looking at the structure
	}{
		"flipped bits": {flipBits, ""},
		"truncated":    {truncate, PackShort},
		"removed":      {remove, PackMissing},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			folder, id := closedRepo(t, files)
			packs := blobFiles(t, folder, "p")
			if len(packs) == 0 {
				t.Fatal("no packs")
			}
			damage.do(t, packs)
			r := openRepo(t, folder)

			// It is found,
			found, err := r.CheckStructure(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if damage.found != "" && (len(found) != 1 || found[0].Kind != damage.found || len(found[0].Contents) == 0) {
				t.Errorf("check: %+v", found)
			}
			bad := unreadable(t, r, id)
			if len(bad) == 0 {
				t.Fatal("every chunk can be read")
			}
			if err := compareFiles(ctx, r, id, files); fail.KindOf(err) != fail.Damaged {
				t.Errorf("reading: got %v, want Damaged", err)
			}
			if damage.found == "" {
				if err := r.MarkBad(ctx, bad); err != nil {
					t.Fatal(err)
				}
			}
			// and the next backup of the same data makes both backups whole.
			second, added := backUp(t, r, "two", files)
			if added == 0 {
				t.Error("nothing was stored")
			}
			checkFiles(t, r, second, files)
			checkFiles(t, r, id, files)
			if known, err := r.knownBad(ctx); err != nil || len(known) != 0 {
				t.Errorf("still known as bad: %d, %v", len(known), err)
			}
			if _, added := backUp(t, r, "three", files); added != 0 {
				t.Errorf("the third backup stored %d bytes", added)
			}
			if again, err := r.CheckStructure(ctx); err != nil || len(again) != 0 {
				t.Errorf("check afterwards: %+v, %v", again, err)
			}
		})
	}
}

// unreadable returns the chunks of a backup that can't be read, and checks that the error says which.
func unreadable(t *testing.T, r *Repo, id ID) (bad []string) {
	t.Helper()
	tree, err := r.Tree(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tables/t/1", "tables/t/2"} {
		chunks, err := tree.Chunks(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			if _, err := r.ReadChunk(t.Context(), c); err != nil {
				bad = append(bad, c.ID)
				if fail.KindOf(err) != fail.Damaged || !strings.Contains(err.Error(), c.ID) || !strings.Contains(err.Error(), "blob p") {
					t.Errorf("read chunk %s: %v", c.ID, err)
				}
			}
		}
	}
	return bad
}

func TestDamagedMetadata(t *testing.T) {
	files := map[string][]byte{"a": noise(1, 5000)}
	for name, do := range map[string]func(testing.TB, []string){"flipped bits": flipBits, "truncated": truncate, "removed": remove} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			folder, first := closedRepo(t, files)
			damaged := blobFiles(t, folder, "q")
			r := openRepo(t, folder)
			second, _ := backUp(t, r, "two", map[string][]byte{"b": noise(2, 5000)})
			do(t, damaged)

			var warned []string
			r, err := Open(ctx, folder, testPassword, OpenOptions{Warn: func(s string) { warned = append(warned, s) }})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close(ctx)
			// The other backup is there and whole, and the user hears of the lost one.
			list, err := r.List(ctx)
			if err != nil || len(list) != 1 || list[0].ID != second || len(warned) != 1 {
				t.Errorf("listed %d, %v, warned: %q", len(list), err, warned)
			}
			checkFiles(t, r, second, map[string][]byte{"b": noise(2, 5000)})
			if _, err := r.Tree(ctx, first); fail.KindOf(err) != fail.Damaged {
				t.Errorf("the lost one: got %v, want Damaged", err)
			}
			found, err := r.CheckStructure(ctx)
			if err != nil || !slices.ContainsFunc(found, func(d Damage) bool { return d.Kind == ManifestBroken }) {
				t.Errorf("check: %+v, %v", found, err)
			}
			// Nothing is collected that a backup may need,
			if _, err := r.Reclaim(ctx, ReclaimOptions{}); fail.KindOf(err) != fail.Damaged {
				t.Errorf("reclaim: got %v, want Damaged", err)
			}
			// until the lost one is given up.
			done, err := Repair(ctx, folder, testPassword, OpenOptions{})
			if err != nil || len(done.Manifests) != 1 {
				t.Errorf("repair: %+v, %v", done, err)
			}
			r = openRepo(t, folder)
			if _, err := r.Reclaim(ctx, ReclaimOptions{}); err != nil {
				t.Errorf("reclaim after the repair: %v", err)
			}
			checkFiles(t, r, second, map[string][]byte{"b": noise(2, 5000)})
			servers.ConnectKopia(t, folder, testPassword.Reveal()).Run(t, "snapshot", "verify", "--verify-files-percent=100")
		})
	}
}

func TestDamagedIndex(t *testing.T) {
	files := map[string][]byte{"a": noise(1, 50_000)}
	for name, do := range map[string]func(testing.TB, []string){"flipped bits": flipBits, "truncated": truncate, "removed": remove} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			folder, first := closedRepo(t, files)
			indexes := blobFiles(t, folder, "xn")
			r := openRepo(t, folder)
			second, _ := backUp(t, r, "two", map[string][]byte{"b": noise(2, 50_000)})
			if len(indexes) != 1 {
				t.Fatalf("%d index blobs", len(indexes))
			}
			do(t, indexes)
			blobName := strings.TrimSuffix(filepath.Base(indexes[0]), sharded.CompleteBlobSuffix)

			r, err := Open(ctx, folder, testPassword, OpenOptions{})
			if name != "removed" {
				if fail.KindOf(err) != fail.Damaged || fail.HintOf(err) == "" || !strings.Contains(err.Error(), blobName) {
					t.Fatalf("open: %v (hint %q), want Damaged naming …%s", err, fail.HintOf(err), blobName)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				found, err := r.CheckStructure(ctx)
				if err != nil || len(found) != 2 || found[0].Kind != IndexMissing || found[1].Kind != IndexMissing {
					t.Errorf("check: %+v, %v; want two packs without an index", found, err)
				}
				if err := r.Close(ctx); err != nil {
					t.Error(err)
				}
			}
			if _, err := Repair(ctx, folder, "wrong", OpenOptions{}); fail.KindOf(err) != fail.Password {
				t.Errorf("repair with a wrong password: %v", err)
			}
			done, err := Repair(ctx, folder, testPassword, OpenOptions{})
			if err != nil || len(done.Packs) != 2 || len(done.Damage) != 0 || (name != "removed") != (len(done.Indexes) == 1) {
				t.Errorf("repair: %+v, %v", done, err)
			}
			r = openRepo(t, folder)
			checkFiles(t, r, first, files)
			checkFiles(t, r, second, map[string][]byte{"b": noise(2, 50_000)})
			if again, err := Repair(ctx, folder, testPassword, OpenOptions{}); err != nil || len(again.Packs)+len(again.Indexes)+len(again.Lost)+len(again.Manifests) != 0 {
				t.Errorf("repair of a whole repository: %+v, %v", again, err)
			}
		})
	}
}

func TestDamagedFormat(t *testing.T) {
	files := map[string][]byte{"a": noise(1, 5000)}
	for _, name := range []string{"kopia.repository", "kopia.blobcfg", "holdfast.format-copy.1", "holdfast.format-copy.2", "holdfast.format-copy."} {
		for how, do := range map[string]func(testing.TB, []string){"flipped bits": flipBits, "truncated": truncateShort, "removed": remove} {
			t.Run(name+" "+how, func(t *testing.T) {
				ctx := t.Context()
				folder, id := closedRepo(t, files)
				do(t, blobFiles(t, folder, name))
				if there, err := Exists(ctx, folder); err != nil || !there {
					t.Errorf("exists: %v, %v", there, err)
				}
				if strings.HasPrefix(name, "kopia.r") {
					// A wrong password is no damage.
					if _, err := Open(ctx, folder, "wrong", OpenOptions{}); fail.KindOf(err) != fail.Password {
						t.Errorf("open with a wrong password: %v", err)
					}
				}
				var warned []string
				warn := func(s string) { warned = append(warned, s) }
				r, err := Open(ctx, folder, testPassword, OpenOptions{Warn: warn})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close(ctx)
				// All copies gone is what a repository of the kopia command looks like.
				gone := name == "holdfast.format-copy." && how == "removed"
				if len(warned) != 1 && !gone {
					t.Errorf("warned: %q", warned)
				}
				checkFiles(t, r, id, files)
				backUp(t, r, "two", files)
				// It was healed for good.
				warned = nil
				again, err := Open(ctx, folder, testPassword, OpenOptions{Warn: warn})
				if err != nil || len(warned) > 0 {
					t.Fatalf("open again: %v, warned: %q", err, warned)
				}
				defer again.Close(ctx)
				if found, err := again.CheckStructure(ctx); err != nil || len(found) > 0 {
					t.Errorf("check: %+v, %v", found, err)
				}
			})
		}
	}
	t.Run("everything gone", func(t *testing.T) {
		folder, _ := closedRepo(t, files)
		remove(t, append(blobFiles(t, folder, "holdfast."), blobFiles(t, folder, "kopia.repository")...))
		_, err := Open(t.Context(), folder, testPassword, OpenOptions{})
		if fail.KindOf(err) != fail.Damaged || fail.HintOf(err) == "" {
			t.Errorf("open: got %v (hint %q), want Damaged", err, fail.HintOf(err))
		}
	})
	t.Run("a changed password is no damage", func(t *testing.T) {
		folder, id := closedRepo(t, files)
		k := servers.ConnectKopia(t, folder, testPassword.Reveal())
		k.Run(t, "repository", "change-password", "--new-password=other")
		if _, err := Open(t.Context(), folder, testPassword, OpenOptions{}); fail.KindOf(err) != fail.Password {
			t.Errorf("open with the old password: got %v, want Password", err)
		}
		var warned []string
		r, err := Open(t.Context(), folder, "other", OpenOptions{Warn: func(s string) { warned = append(warned, s) }})
		if err != nil || len(warned) != 1 {
			t.Fatalf("open with the new one: %v, warned: %q", err, warned)
		}
		defer r.Close(t.Context())
		checkFiles(t, r, id, files)
		remove(t, blobFiles(t, folder, "kopia.repository")) // the copies are of the new one now
		again, err := Open(t.Context(), folder, "other", OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		again.Close(t.Context())
	})
}

// truncateShort leaves less than any of the format blobs has.
func truncateShort(t testing.TB, files []string) {
	t.Helper()
	for _, name := range files {
		if err := os.Truncate(name, 20); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedShards(t *testing.T) {
	for how, do := range map[string]func(testing.TB, []string){"flipped bits": flipBits, "truncated": truncateShort, "removed": remove} {
		t.Run(how, func(t *testing.T) {
			folder, id := closedRepo(t, sampleFiles())
			do(t, []string{filepath.Join(folder, sharded.ParametersFile)})
			checkFiles(t, openRepo(t, folder), id, sampleFiles())
			servers.ConnectKopia(t, folder, testPassword.Reveal()).Run(t, "snapshot", "verify", "--verify-files-percent=100")
		})
	}
	t.Run("another program's stay", func(t *testing.T) {
		folder, id := closedRepo(t, sampleFiles())
		copied := t.TempDir()
		servers.ConnectKopia(t, folder, testPassword.Reveal()).Run(t, "repository", "sync-to", "filesystem", "--path="+copied) // with kopia's own
		checkFiles(t, openRepo(t, copied), id, sampleFiles())
	})
}

func TestDamagedMaintenance(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	id, _ := backUp(t, r, "one", sampleFiles())
	if _, err := r.Reclaim(ctx, ReclaimOptions{}); err != nil {
		t.Fatal(err)
	}
	flipBits(t, blobFiles(t, r.Location(), "kopia.maintenance"))
	marker := filepath.Join(r.Location(), "s", "ab", "cdef0123456789abcdef0123456789-s0123456789abcdef13f.f")
	if err := os.MkdirAll(filepath.Dir(marker), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(marker, noise(1, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reclaim(ctx, ReclaimOptions{}); err != nil {
		t.Errorf("reclaim: %v", err)
	}
	checkFiles(t, r, id, sampleFiles())
}

// TestSubstitute opens a damaged repository that can't be written to.
func TestSubstitute(t *testing.T) {
	folder, id := closedRepo(t, sampleFiles())
	flipBits(t, blobFiles(t, folder, "kopia.repository"))
	st, err := openFolder(t.Context(), folder, false)
	if err != nil {
		t.Fatal(err)
	}
	st.denied = os.ErrPermission
	st.Storage = noWrites{st.Storage}
	var warned []string
	r, err := openStore(t.Context(), st, testPassword, OpenOptions{Warn: func(s string) { warned = append(warned, s) }})
	if err != nil || len(warned) != 1 {
		t.Fatalf("open: %v, warned: %q", err, warned)
	}
	defer r.Close(t.Context())
	checkFiles(t, r, id, sampleFiles())
	if _, err := r.Begin(t.Context(), "backup"); fail.KindOf(err) != fail.Denied {
		t.Errorf("begin: got %v, want Denied", err)
	}
}

// noWrites panics when something is written.
type noWrites struct{ blob.Storage }

func (noWrites) PutBlob(context.Context, blob.ID, blob.Bytes, blob.PutOptions) error {
	panic("a blob is written to a repository that can't be")
}

func (noWrites) DeleteBlob(context.Context, blob.ID) error {
	panic("a blob is deleted in a repository that can't be written to")
}
