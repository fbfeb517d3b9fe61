package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// VerifyOptions tune a verification.
type VerifyOptions struct {
	Percent  float64 // of the chunks to read, more than 0 and at most 100; 0 is 100
	Jobs     int     // concurrent reads; 0 is 2
	Version  string  // of Holdfast, for the record
	Observer Observer
}

// Verification is the result of verifying some backups.
type Verification struct {
	Backups   int             `json:"backups"`
	Chunks    int             `json:"chunks"` // that were read, each once
	Bytes     int64           `json:"bytes"`  // of content read
	Percent   float64         `json:"percent"`
	Seconds   float64         `json:"seconds"`
	Damage    []Damage        `json:"damage,omitempty"`
	Structure []Fault         `json:"structure,omitempty"` // of the repository itself
	Damaged   map[repo.ID]int `json:"-"`                   // number of findings by backup
}

// Verify reads backups back from the repository: their structure, and every byte of their content or a
// sample of it. Row counts and hashes are compared with those taken at the backup. Each chunk is read
// once, however many backups share it. Results are recorded in the repository; damaged chunks are marked, so that
// the next backup that holds the same data replaces them. Damage is a result, not an error.
func (s *Store) Verify(ctx context.Context, backups []Backup, opt VerifyOptions) (Verification, error) {
	if opt.Percent < 0 || opt.Percent > 100 {
		return Verification{}, fail.New(fail.Usage, "give a percentage such as 10%", "verify a sample of %v%%", opt.Percent)
	}
	if opt.Percent == 0 {
		opt.Percent = 100
	}
	start := s.now()
	v := &verifier{store: s, opt: opt, chunks: map[string]*chunkResult{}, result: Verification{Percent: opt.Percent, Damaged: map[repo.ID]int{}}}
	release, err := s.repo.Hold(ctx, "verify")
	if err != nil {
		return Verification{}, err
	}
	defer release()
	structure, err := s.repo.CheckStructure(ctx)
	if err != nil {
		return Verification{}, fail.Op(err, "check the repository's structure")
	}
	v.result.Structure = faultsOf(structure)
	var total int64
	for _, b := range backups {
		total += b.Size
	}
	opt.Observer.begin("verify", total)
	for _, b := range backups {
		if err := v.backup(ctx, b); err != nil {
			return Verification{}, err
		}
	}
	v.result.Seconds = s.now().Sub(start).Seconds()
	return v.result, nil
}

type verifier struct {
	store *Store
	opt   VerifyOptions

	mu     sync.Mutex
	chunks map[string]*chunkResult // by chunk ID; guarded by mu
	bad    []string                // IDs of chunks that can't be read and were not marked yet; guarded by mu
	result Verification            // guarded by mu
}

// chunkResult is what reading one chunk showed. Chunks are shared between files and backups.
type chunkResult struct {
	once  sync.Once
	err   error      // nil when it was read, or left out of the sample
	count rows.Count // as row text
	whole bool       // it ends with the end of a row
}

// backup verifies one backup and records the result. Its error is one that ends the whole verification.
func (v *verifier) backup(ctx context.Context, b Backup) error {
	start := v.store.now()
	damage, err := v.tree(ctx, b)
	if err != nil {
		return err
	}
	v.result.Backups++
	v.result.Damage = append(v.result.Damage, damage...)
	v.result.Damaged[b.ID] = len(damage)
	end := v.store.now()
	check := Check{Backup: b.ID, What: "verify", At: end.UTC(), Seconds: end.Sub(start).Seconds(), Percent: v.opt.Percent, Damage: damage, Version: v.opt.Version}
	if err := v.markBad(ctx); err != nil {
		return err
	}
	err = v.store.repo.PutRecord(ctx, checkKind, map[string]string{"backup": string(b.ID)}, check)
	if fail.KindOf(err) == fail.Denied { // a read-only repository can be verified as well
		return nil
	}
	return fail.Op(err, "record the check of backup %s", b.ID.Short())
}

// markBad tells the repository which chunks can't be trusted.
func (v *verifier) markBad(ctx context.Context) error {
	v.mu.Lock()
	bad := v.bad
	v.bad = nil
	v.mu.Unlock()
	if len(bad) == 0 {
		return nil
	}
	err := v.store.repo.MarkBad(ctx, bad)
	if fail.KindOf(err) == fail.Denied {
		return nil
	}
	return fail.Op(err, "mark %d damaged chunks", len(bad))
}

// tree verifies all files of one backup. Whatever is wrong with them is damage; only an
// interruption or a store out of reach is an error.
func (v *verifier) tree(ctx context.Context, b Backup) ([]Damage, error) {
	damaged := func(name, table string, err error) ([]Damage, error) {
		if ctx.Err() != nil || fail.KindOf(err) == fail.Unavailable {
			return nil, err
		}
		return []Damage{{Backup: b.ID, Path: name, Table: table, Reason: err.Error()}}, nil
	}
	tree, m, err := v.store.open(ctx, b)
	if err != nil {
		return damaged(ManifestName, "", err)
	}
	parts := make(map[string]Part, len(m.Parts))
	for _, p := range m.Parts {
		parts[p.Path] = p
	}
	var all []Damage
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return nil
		}
		part, isPart := parts[name]
		delete(parts, name)
		if err == nil {
			err = v.file(ctx, tree, name, part, isPart)
		}
		if err == nil {
			return nil
		}
		found, err := damaged(name, part.Table, err)
		all = append(all, found...)
		return err
	})
	if err != nil {
		return nil, err
	}
	for name, p := range parts {
		all = append(all, Damage{Backup: b.ID, Path: name, Table: p.Table, Reason: "the file is missing"})
	}
	for _, f := range m.Files {
		if info, err := fs.Stat(tree, path.Join(ImageDir, f.Name)); err != nil {
			all = append(all, Damage{Backup: b.ID, Path: path.Join(ImageDir, f.Name), Reason: "the file is missing"})
		} else if info.Size() != f.Size {
			all = append(all, Damage{Backup: b.ID, Path: path.Join(ImageDir, f.Name), Reason: fmt.Sprintf("%d bytes are stored, but %d were backed up", info.Size(), f.Size)})
		}
	}
	return all, nil
}

// file reads one file's chunks, and compares row counts and hashes when it is a part of a table.
func (v *verifier) file(ctx context.Context, tree *repo.SnapshotFS, name string, part Part, isPart bool) error {
	chunks, err := tree.Chunks(ctx, name)
	if err != nil {
		return err
	}
	if len(chunks) == 0 {
		return v.judge(ctx, tree, name, part, isPart, nil)
	}
	always := rand.IntN(len(chunks)) // however small the sample: one chunk of each file
	results := make([]*chunkResult, len(chunks))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(v.opt.Jobs, 2))
	for i, c := range chunks {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if i != always && v.opt.Percent < 100 && rand.Float64()*100 >= v.opt.Percent {
				results[i] = &chunkResult{whole: true}
				return nil
			}
			results[i] = v.chunk(gctx, c)
			v.opt.Observer.update(rows.Update{Bytes: c.Length})
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return v.judge(ctx, tree, name, part, isPart, results)
}

// judge says what the results of a file's chunks mean.
func (v *verifier) judge(ctx context.Context, tree *repo.SnapshotFS, name string, part Part, isPart bool, results []*chunkResult) error {
	var bad []string
	var first error
	var count rows.Count
	whole := true
	for i, r := range results {
		if r.err != nil {
			bad = append(bad, strconv.Itoa(i))
			if first == nil {
				first = r.err
			}
		}
		count = count.Add(r.count)
		whole = whole && r.whole
	}
	if len(bad) > 0 {
		return fail.Wrap(fail.KindOf(first), first, "", "%d of %d chunks can't be read (%s)", len(bad), len(results), strings.Join(bad[:min(len(bad), 10)], ", "))
	}
	if !isPart || v.opt.Percent < 100 {
		return nil
	}
	if !whole { // a row longer than a chunk: its pieces only count together
		var err error
		if count, err = countFile(ctx, tree, name); err != nil {
			return err
		}
	}
	if count != part.Count {
		return fail.New(fail.Damaged, "", "%d rows, %d bytes, hash %s are stored, but %d rows, %d bytes, hash %s were backed up",
			count.Rows, count.Bytes, count.Hash, part.Rows, part.Bytes, part.Hash)
	}
	return nil
}

func countFile(ctx context.Context, tree *repo.SnapshotFS, name string) (rows.Count, error) {
	r, err := tree.Stream(ctx, name, readAhead)
	if err != nil {
		return rows.Count{}, err
	}
	defer r.Close()
	var c rows.Counter
	buf := make([]byte, 1<<20)
	for {
		n, err := r.Read(buf)
		_, _ = c.Write(buf[:n])
		if err != nil && errors.Is(err, io.EOF) {
			return c.Count()
		}
		if err != nil {
			return rows.Count{}, err
		}
	}
}

// chunk reads one chunk, unless it was read before.
func (v *verifier) chunk(ctx context.Context, c repo.Chunk) *chunkResult {
	v.mu.Lock()
	r := v.chunks[c.ID]
	if r == nil {
		r = &chunkResult{}
		v.chunks[c.ID] = r
	}
	v.mu.Unlock()
	r.once.Do(func() {
		data, err := v.store.repo.ReadChunk(ctx, c)
		r.err = err
		if err != nil {
			v.mu.Lock()
			v.bad = append(v.bad, c.ID)
			v.mu.Unlock()
			return
		}
		if r.whole = len(data) == 0 || bytes.HasSuffix(data, []byte{'\n'}); r.whole {
			var counter rows.Counter
			_, _ = counter.Write(data)
			r.count, _ = counter.Count()
		}
		v.mu.Lock()
		v.result.Chunks++
		v.result.Bytes += int64(len(data))
		v.mu.Unlock()
	})
	return r
}

// Err is the findings as one error; nil when all is well.
func (v Verification) Err() error {
	if len(v.Damage) == 0 && len(v.Structure) == 0 {
		return nil
	}
	bad := 0
	for _, n := range v.Damaged {
		if n > 0 {
			bad++
		}
	}
	return fail.New(fail.Damaged, "back up the same databases again: that heals what is still there; then verify again",
		"%d of %d backups are damaged, %d faults in the repository's structure", bad, v.Backups, len(v.Structure))
}
