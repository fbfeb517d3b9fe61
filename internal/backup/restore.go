package backup

import (
	"context"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A Destination is where a backup goes: exactly one of Rows and Image is set.
type Destination struct {
	Rows  rows.Target
	Image image.Target
	View  rows.View // of an image that goes into Rows: its tables
}

// RestoreOptions tune a restore.
type RestoreOptions struct {
	Jobs       int            // concurrent loads; 0 is 2
	Tables     rows.Selection // of rows; the zero value is all
	SchemaOnly bool           // definitions, no rows
	DataOnly   bool           // rows, no definitions
	Observer   Observer
}

// Restored is what a restore did.
type Restored struct {
	Backup  Backup   `json:"backup"`
	Tables  int      `json:"tables"`
	Rows    int64    `json:"rows"`
	Bytes   int64    `json:"bytes"`
	Seconds float64  `json:"seconds"`
	Notes   []string `json:"notes,omitempty"` // what the user should know though it worked

	Omitted  []string    `json:"omitted,omitempty"`  // what another engine could not take over, by name
	Compared *Comparison `json:"compared,omitempty"` // when what was written was read back
}

// A Comparison says how far a target was read back and compared with its source.
type Comparison struct {
	Tables int      `json:"tables"` // whose rows were counted
	Rows   int64    `json:"rows"`   // that they have
	Values int      `json:"values"` // of these, whose values were compared too
	Notes  []string `json:"notes,omitempty"`
}

// noter is a target that has something to say after it finished.
type noter interface{ Notes() []string }

// crosser is a target between engines.
type crosser interface {
	Omitted() []string
	Compared() Comparison
}

// Restore writes backup b to dest. What arrives is compared with what was backed up: a difference
// is an error of kind Mismatch. After an error dest is as it was, or the error says what is left there.
func (s *Store) Restore(ctx context.Context, b Backup, dest Destination, opt RestoreOptions) (Restored, error) {
	start := s.now()
	release, err := s.repo.Hold(ctx, "restore")
	if err != nil {
		return Restored{}, err
	}
	defer release()
	tree, m, err := s.open(ctx, b)
	if err != nil {
		return Restored{}, err
	}
	done := Restored{Backup: b}
	var target any = dest.Rows
	switch {
	case m.Kind == KindRows && dest.Rows != nil:
		err = s.restoreRows(ctx, tree, m, dest.Rows, opt, &done)
	case m.Kind == KindImage && dest.Rows != nil && dest.View != nil:
		err = s.restoreImageRows(ctx, tree, m, dest, opt, &done)
	case m.Kind == KindImage && dest.Image != nil:
		target = dest.Image
		err = s.restoreImage(ctx, tree, m, dest.Image, opt, &done)
	default:
		err = fail.New(fail.Unsupported, "restore to the engine that was backed up", "restore a backup of %s to another engine", b.Engine)
	}
	if err != nil {
		return Restored{}, err
	}
	if n, ok := target.(noter); ok {
		done.Notes = n.Notes()
	}
	if c, ok := target.(crosser); ok {
		compared := c.Compared()
		done.Omitted, done.Compared = c.Omitted(), &compared
		done.Tables, done.Rows = compared.Tables, compared.Rows // what is there now: some tables may stay behind, or become one
	}
	done.Seconds = s.now().Sub(start).Round(time.Millisecond).Seconds()
	return done, nil
}

func (s *Store) restoreRows(ctx context.Context, tree *repo.SnapshotFS, m *Manifest, target rows.Target, opt RestoreOptions, done *Restored) error {
	stored := newStoredView(tree, m)
	tables, err := selectTables(m.Schema, opt.Tables)
	if err != nil {
		return err
	}
	if m.DataOnly && !opt.DataOnly {
		return fail.New(fail.Incomplete, "make the tables first and restore with --data-only", "restore backup %s: it was taken with --data-only and holds no definitions", done.Backup.ID.Short())
	}
	var view rows.View = stored
	switch {
	case opt.SchemaOnly:
		view = definitionsOnly{stored}
	case opt.DataOnly:
		stored.native = nil
	}
	var total int64
	var paths []string
	for _, t := range tables {
		for _, p := range view.Parts(t) {
			total += p.Bytes
			paths = append(paths, p.Bounds)
		}
	}
	if err := s.allThere(ctx, done.Backup, tree, paths); err != nil {
		return err
	}
	opt.Observer.begin(m.Name, total)
	report, err := rows.Copy(ctx, view, checked{target, stored.stored}, rows.CopyOptions{Jobs: opt.Jobs, Tables: tables, Observer: opt.Observer.update})
	if err != nil {
		return err
	}
	sum := report.Total()
	done.Tables, done.Rows, done.Bytes = len(tables), sum.Rows, sum.Bytes
	return nil
}

// definitionsOnly is a stored view whose tables have no rows.
type definitionsOnly struct{ *storedView }

func (definitionsOnly) Parts(*rows.Table) []rows.Part { return nil }

// selectTables picks tables of s; a pattern that fits none is an error.
func selectTables(s *rows.Schema, sel rows.Selection) ([]*rows.Table, error) {
	m, err := sel.Matcher()
	if err != nil {
		return nil, fail.Wrap(fail.Usage, err, "", "choose tables")
	}
	var tables []*rows.Table
	for _, t := range s.Tables {
		if m.Match(t.Schema, t.Name) {
			tables = append(tables, t)
		}
	}
	if unused := m.Unused(); len(unused) > 0 {
		return nil, fail.New(fail.NotFound, "holdfast show lists the tables of a backup", "the backup holds no table %s", strings.Join(unused, ", "))
	}
	return tables, nil
}

func (s *Store) restoreImage(ctx context.Context, tree *repo.SnapshotFS, m *Manifest, target image.Target, opt RestoreOptions, done *Restored) (err error) {
	if !opt.Tables.Empty() || opt.SchemaOnly || opt.DataOnly {
		return fail.New(fail.Unsupported, "restore the whole file elsewhere and copy from it", "restore backup %s in part: it is an image of a whole file", done.Backup.ID.Short())
	}
	var total int64
	var paths []string
	for _, f := range m.Files {
		total += f.Size
		paths = append(paths, ImageDir+"/"+f.Name)
	}
	if err := s.allThere(ctx, done.Backup, tree, paths); err != nil {
		return err
	}
	opt.Observer.begin(m.Name, total)
	if err := target.Prepare(ctx, *m.Image, m.Files); err != nil {
		return err
	}
	if err := s.writeImage(ctx, tree, m, target, opt); err != nil {
		actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if aerr := target.Abort(actx); aerr != nil {
			return fail.Wrap(fail.KindOf(err), err, fail.HintOf(err), "restore, and then clean up (%v)", aerr)
		}
		return err
	}
	done.Rows, done.Bytes, done.Tables = done.Backup.Rows, total, len(m.Image.Tables)
	return nil
}

func (s *Store) writeImage(ctx context.Context, tree *repo.SnapshotFS, m *Manifest, target image.Target, opt RestoreOptions) error {
	for _, f := range m.Files {
		name := ImageDir + "/" + f.Name
		info, err := fs.Stat(tree, name)
		if err != nil {
			return err
		}
		if info.Size() != f.Size {
			return fail.New(fail.Damaged, "verify the backup", "read %s: %d bytes are stored, %d were backed up", f.Name, info.Size(), f.Size)
		}
		chunks, err := tree.Chunks(ctx, name)
		if err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(max(opt.Jobs, 2))
		for _, c := range chunks {
			if gctx.Err() != nil {
				break
			}
			g.Go(func() error {
				data, err := s.repo.ReadChunk(gctx, c)
				if err != nil {
					return fail.Op(err, "read %s at byte %d", f.Name, c.Offset)
				}
				opt.Observer.update(rows.Update{Bytes: int64(len(data))})
				return target.Write(gctx, f.Name, c.Offset, data)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return target.Finish(ctx)
}

// allThere returns Damaged when chunks of files of the backup are known to be missing. It reads none of them, but it is done
// before the target is touched: a target that was emptied for a backup that can't come back is two losses.
func (s *Store) allThere(ctx context.Context, b Backup, tree *repo.SnapshotFS, paths []string) error {
	faults, err := s.repo.CheckStructure(ctx)
	if err != nil {
		return fail.Op(err, "look whether backup %s is all there", b.ID.Short())
	}
	missing := map[string]string{} // chunk → why
	for i, f := range faultsOf(faults) {
		for _, c := range faults[i].Contents {
			missing[c] = f.String()
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, name := range paths {
		chunks, err := tree.Chunks(ctx, name)
		if err != nil {
			return err
		}
		for _, c := range chunks {
			if why := missing[c.ID]; why != "" {
				return fail.New(fail.Damaged, "holdfast verify names what is damaged; restore other tables with --table, or an older backup",
					"%s can't be read, and nothing was touched: %s", name, why)
			}
		}
	}
	return nil
}
