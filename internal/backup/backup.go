package backup

import (
	"context"
	"encoding/json"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
	"github.com/holdfast-db/holdfast/internal/repo"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// Store is an open repository of backups.
type Store struct {
	repo     *repo.Repo
	splitter *rows.Splitter
	now      func() time.Time
}

// Init creates a repository. Kinds: Exists, NoSpace, Denied, Usage.
func Init(ctx context.Context, location string, password fail.Secret, opt repo.InitOptions) error {
	return repo.Init(ctx, location, password, opt)
}

// Open opens a repository. warn gets what the user should know though it worked; nil drops it.
func Open(ctx context.Context, location string, password fail.Secret, warn func(string)) (*Store, error) {
	r, err := repo.Open(ctx, location, password, repo.OpenOptions{Warn: warn})
	if err != nil {
		return nil, err
	}
	key, err := r.DeriveKey("holdfast splitter 1", 16)
	if err != nil {
		_ = r.Close(ctx)
		return nil, fail.Op(err, "derive the splitter's key")
	}
	return &Store{repo: r, splitter: rows.NewSplitter([16]byte(key)), now: time.Now}, nil
}

// Close releases the repository.
func (s *Store) Close(ctx context.Context) error { return s.repo.Close(ctx) }

// A Source is a database ready to be backed up: exactly one of Rows and Image is set.
type Source struct {
	Name      string // what the user calls it
	Rows      rows.View
	Image     image.Image
	Selection rows.Selection // what Rows was restricted to, for the record
	DataOnly  bool           // Rows has no definitions
}

// Close releases the database.
func (s *Source) Close() error {
	if s.Rows != nil {
		return s.Rows.Close()
	}
	return s.Image.Close()
}

// An Observer hears how the work goes on. Either function may be nil; Update is called from several goroutines.
type Observer struct {
	Begin  func(name string, bytes int64) // the work and its estimated size in bytes; 0 is unknown
	Update func(rows.Update)              // Table is nil for images
}

func (o Observer) begin(name string, n int64) {
	if o.Begin != nil {
		o.Begin(name, n)
	}
}

func (o Observer) update(u rows.Update) {
	if o.Update != nil {
		o.Update(u)
	}
}

// RunOptions tune a Run.
type RunOptions struct {
	Jobs     int    // concurrent readers of one database; 0 is 2
	Version  string // of Holdfast, for the record
	Observer Observer
}

// A Run writes backups in a session of the repository. Small databases share its blobs; nothing is
// listed before Commit.
type Run struct {
	store   *Store
	opt     RunOptions
	session *repo.Session // nil when nothing is pending
	began   time.Time
	pending []Backup
	fresh   int64 // new bytes of pending
}

// NewRun begins a run. End it with Commit, and with Abort in any case.
func (s *Store) NewRun(opt RunOptions) *Run { return &Run{store: s, opt: opt} }

// Between backups of one run, what is pending is committed once it is worth it: the next
// database may take hours, and a crash must not cost what is done.
const (
	commitBytes = 64 << 20
	commitAfter = 5 * time.Minute
)

// Backup adds a backup of src to the run. On error nothing of src remains; the run goes on.
func (r *Run) Backup(ctx context.Context, src *Source) (Backup, error) {
	if r.session == nil {
		session, err := r.store.repo.Begin(ctx, "backup")
		if err != nil {
			return Backup{}, err
		}
		r.session, r.began = session, r.store.now()
	}
	m := &Manifest{Format: FormatVersion, Holdfast: r.opt.Version, Name: src.Name, Started: r.store.now().UTC(), Selection: src.Selection, DataOnly: src.DataOnly}
	tree := r.session.NewTree()
	var newBytes int64
	var err error
	if src.Rows != nil {
		newBytes, err = r.backupRows(ctx, tree, src, m)
	} else {
		newBytes, err = r.backupImage(ctx, tree, src, m)
	}
	if err != nil {
		return Backup{}, err
	}
	b, err := r.seal(ctx, tree, m, newBytes)
	if err != nil {
		return Backup{}, err
	}
	r.pending = append(r.pending, b)
	r.fresh += b.NewBytes
	if r.fresh > commitBytes || r.store.now().Sub(r.began) > commitAfter {
		_, err = r.Commit(ctx)
	}
	return b, err
}

func (r *Run) backupRows(ctx context.Context, tree *repo.Tree, src *Source, m *Manifest) (int64, error) {
	view := src.Rows
	schema := view.Schema()
	var est int64
	for _, t := range schema.Tables {
		est += t.EstBytes
	}
	r.opt.Observer.begin(src.Name, est)
	target := &storeTarget{tree: tree, splitter: r.store.splitter}
	var report rows.Report
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return target.storeNative(gctx, view.Native()) })
	g.Go(func() (err error) {
		report, err = rows.Copy(gctx, view, target, rows.CopyOptions{Jobs: r.opt.Jobs, Observer: r.opt.Observer.update})
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	m.Kind, m.Schema = KindRows, schema
	files := make([]rows.PartFile, len(report.Parts))
	for i, p := range report.Parts {
		m.Parts = append(m.Parts, Part{Table: p.Part.Table.String(), Number: p.Part.Number, Path: target.path(p.Part), Count: p.Count})
		files[i] = rows.PartFile{Part: p.Part, Path: target.path(p.Part)}
	}
	if s, ok := view.(rows.Scripter); ok && !src.DataOnly {
		name, script := s.RecoveryScript(files)
		info, err := tree.WriteFile(ctx, name, script)
		if err != nil {
			return 0, fail.Op(err, "store %s", name)
		}
		m.Script = name
		target.added(info)
	}
	return target.newBytes, nil
}

func (r *Run) backupImage(ctx context.Context, tree *repo.Tree, src *Source, m *Manifest) (int64, error) {
	r.opt.Observer.begin(src.Name, src.Image.Info().EstBytes)
	files, newBytes, err := storeImage(ctx, tree, src.Image, func(n int) { r.opt.Observer.update(rows.Update{Bytes: int64(n)}) })
	if err != nil {
		return 0, err
	}
	info := src.Image.Info() // complete only now
	m.Kind, m.Image, m.Files = KindImage, &info, files
	return newBytes, nil
}

// seal writes backup.json and the snapshot that makes the tree a backup.
func (r *Run) seal(ctx context.Context, tree *repo.Tree, m *Manifest, newBytes int64) (Backup, error) {
	m.Ended = r.store.now().UTC()
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return Backup{}, fail.Op(err, "encode %s", ManifestName)
	}
	info, err := tree.WriteFile(ctx, ManifestName, data)
	if err != nil {
		return Backup{}, fail.Op(err, "store %s", ManifestName)
	}
	o := m.Origin()
	entry := repo.Entry{
		Host: o.Host, Path: "/" + o.Engine + "/" + escapeName(o.Host) + "/" + escapeName(o.Database),
		Started: m.Started, Ended: m.Ended, Labels: m.labels(newBytes + info.NewBytes),
	}
	entry.ID, err = tree.Seal(ctx, entry)
	if err != nil {
		return Backup{}, fail.Op(err, "seal the backup")
	}
	return backupOf(entry), nil
}

// Commit makes the pending backups durable and listed, and returns them. When it fails none of them is.
func (r *Run) Commit(ctx context.Context) ([]Backup, error) {
	if r.session == nil {
		return nil, nil
	}
	done := r.pending
	session := r.session
	r.session, r.pending, r.fresh = nil, nil, 0
	if len(done) == 0 {
		return nil, session.Abort(ctx)
	}
	if err := session.Commit(ctx); err != nil {
		_ = session.Abort(context.WithoutCancel(ctx))
		return nil, fail.Op(err, "commit %d backups", len(done))
	}
	return done, nil
}

// Abort drops what is pending. It does nothing after Commit.
func (r *Run) Abort(ctx context.Context) error {
	if r.session == nil {
		return nil
	}
	session := r.session
	r.session, r.pending, r.fresh = nil, nil, 0
	return session.Abort(ctx)
}
