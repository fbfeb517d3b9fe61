package backup

import (
	"context"
	"io"
	"io/fs"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// readAhead is how many chunks of one file are fetched and decompressed at once.
const readAhead = 4

// storedView is a backup of rows in the repository, seen as a rows.View.
type storedView struct {
	tree     *repo.SnapshotFS
	manifest *Manifest
	tables   map[string]*rows.Table
	parts    map[*rows.Table][]rows.Part
	stored   map[partKey]Part
	native   fs.FS
}

type partKey struct {
	table  string
	number int
}

func newStoredView(tree *repo.SnapshotFS, m *Manifest) *storedView {
	v := &storedView{tree: tree, manifest: m, tables: map[string]*rows.Table{}, parts: map[*rows.Table][]rows.Part{}, stored: map[partKey]Part{}}
	for _, t := range m.Schema.Tables {
		v.tables[t.String()] = t
	}
	for _, p := range m.Parts {
		t := v.tables[p.Table]
		v.parts[t] = append(v.parts[t], rows.Part{Table: t, Number: p.Number, Bounds: p.Path, Bytes: p.Bytes})
		v.stored[partKey{p.Table, p.Number}] = p
		t.EstBytes += p.Bytes
		t.EstRows += p.Rows
	}
	if !m.DataOnly {
		v.native = tree
	}
	return v
}

func (v *storedView) Schema() *rows.Schema            { return v.manifest.Schema }
func (v *storedView) Parts(t *rows.Table) []rows.Part { return v.parts[t] }
func (v *storedView) Native() fs.FS                   { return v.native }
func (v *storedView) Close() error                    { return nil }

// Read returns a part's rows. Its end is an error when they are not those that were backed up.
func (v *storedView) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	r, err := v.tree.Stream(ctx, p.Bounds, readAhead)
	if err != nil {
		return nil, fail.Op(err, "read part %d of table %s", p.Number, p.Table)
	}
	return &storedReader{ReadCloser: r, part: p}, nil
}

// storedReader says which table an error is about.
type storedReader struct {
	io.ReadCloser
	part rows.Part
}

func (r *storedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fail.Op(err, "read part %d of table %s", r.part.Number, r.part.Table)
	}
	return n, err
}

// checked is a Target that compares what arrives with what was backed up, part by part, so that a
// difference is found before the restore is declared finished.
type checked struct {
	rows.Target
	stored map[partKey]Part
}

func (c checked) Load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	got, err := c.Target.Load(ctx, p, r)
	if err != nil {
		return got, err
	}
	want := c.stored[partKey{p.Table.String(), p.Number}].Count
	if got != want {
		return got, fail.New(fail.Mismatch, "verify the backup; restore an older one meanwhile",
			"restore part %d of table %s: %d rows, %d bytes, hash %s arrived, but %d rows, %d bytes, hash %s were backed up",
			p.Number, p.Table, got.Rows, got.Bytes, got.Hash, want.Rows, want.Bytes, want.Hash)
	}
	return got, nil
}

// Expect passes on what the target below wants to know; see [rows.Expecter].
func (c checked) Expect(parts []rows.Part) {
	if e, ok := c.Target.(rows.Expecter); ok {
		e.Expect(parts)
	}
}
