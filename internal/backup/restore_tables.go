package backup

import (
	"context"
	"io"
	"io/fs"
	"sync"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// restoreImageRows writes the tables of an image, as dest.View reads them, and compares the number of rows of each with what was
// counted when the backup was taken.
func (s *Store) restoreImageRows(ctx context.Context, tree *repo.SnapshotFS, m *Manifest, dest Destination, opt RestoreOptions, done *Restored) error {
	tables, err := selectTables(dest.View.Schema(), opt.Tables)
	if err != nil {
		return err
	}
	var paths []string
	for _, f := range m.Files {
		paths = append(paths, ImageDir+"/"+f.Name)
	}
	if err := s.allThere(ctx, done.Backup, tree, paths); err != nil {
		return err
	}
	view := imageTables{dest.View, opt}
	var total int64
	for _, t := range tables {
		for _, p := range view.Parts(t) {
			total += p.Bytes
		}
	}
	opt.Observer.begin(m.Name, total)
	target := &counted{Target: dest.Rows, manifest: m, tables: tables, found: map[*rows.Table]int64{}}
	if opt.SchemaOnly {
		target.manifest = nil
	}
	report, err := rows.Copy(ctx, view, target, rows.CopyOptions{Jobs: opt.Jobs, Tables: tables, Observer: opt.Observer.update})
	if err != nil {
		return err
	}
	sum := report.Total()
	done.Tables, done.Rows, done.Bytes = len(tables), sum.Rows, sum.Bytes
	return nil
}

// imageTables is a view of an image, less what the options leave out.
type imageTables struct {
	rows.View
	opt RestoreOptions
}

func (v imageTables) Parts(t *rows.Table) []rows.Part {
	if v.opt.SchemaOnly {
		return nil
	}
	return v.View.Parts(t)
}

func (v imageTables) Native() fs.FS {
	if v.opt.DataOnly {
		return nil
	}
	return v.View.Native()
}

// counted is a Target that compares the number of rows of each table with the manifest before it finishes.
type counted struct {
	rows.Target
	manifest *Manifest
	tables   []*rows.Table

	mu    sync.Mutex
	found map[*rows.Table]int64 // rows; guarded by mu
}

func (c *counted) Load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	got, err := c.Target.Load(ctx, p, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found[p.Table] += got.Rows
	return got, err
}

func (c *counted) Finish(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.manifest != nil {
		for _, t := range c.tables {
			got := c.found[t]
			for _, want := range c.manifest.Image.Tables {
				if want.Name == t.Name && t.Kind == rows.Ordinary && got != want.Rows {
					return fail.New(fail.Mismatch, "verify the backup; restore an older one meanwhile",
						"restore table %s: %d rows arrived, but %d were backed up", t, got, want.Rows)
				}
			}
		}
	}
	return c.Target.Finish(ctx)
}

// Expect passes on what the target below wants to know; see [rows.Expecter].
func (c *counted) Expect(parts []rows.Part) {
	if e, ok := c.Target.(rows.Expecter); ok {
		e.Expect(parts)
	}
}
