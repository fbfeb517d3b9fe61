package backup

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
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
	warn     func(string)

	changesMu sync.Mutex
	changes   map[string]Change // by group; guarded by changesMu
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
	if warn == nil {
		warn = func(string) {}
	}
	return &Store{repo: r, splitter: rows.NewSplitter([16]byte(key)), now: time.Now, warn: warn}, nil
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

// estimate returns about how many bytes a backup would read; 0 when nobody knows.
func (s *Source) estimate() (n int64) {
	if s.Rows == nil {
		return s.Image.Info().EstBytes
	}
	for _, t := range s.Rows.Schema().Tables {
		n += t.EstBytes
	}
	return n
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
	Note     func(string) // gets what the reader of each backup must know; nil drops it
}

// A Run writes backups in a session of the repository. Small databases share its blobs; nothing is
// listed before Commit.
type Run struct {
	store   *Store
	opt     RunOptions
	session *repo.Session // nil when nothing is pending
	began   time.Time
	pending []Backup
	fresh   int64    // new bytes of pending
	done    []Backup // committed
}

// NewRun begins a run. End it with Commit, and with Abort in any case.
func (s *Store) NewRun(opt RunOptions) *Run { return &Run{store: s, opt: opt} }

// Between backups of one run, what is pending is committed once it is worth it: the next
// database may take hours, and a crash must not cost what is done.
const (
	commitBytes = 64 << 20
	commitAfter = 5 * time.Minute
)

// Backup adds a backup of src to the run. After an error nothing of src remains; what was added before it is
// committed, and the error says so if that fails too. The run can go on with the next database.
func (r *Run) Backup(ctx context.Context, src *Source) (Backup, error) {
	if src.estimate() > commitBytes { // what is done must not depend on what is large
		if err := r.Commit(ctx); err != nil {
			return Backup{}, err
		}
	}
	b, err := r.add(ctx, src)
	if err != nil {
		return Backup{}, r.settle(ctx, err)
	}
	r.pending = append(r.pending, b)
	r.fresh += b.NewBytes
	if r.fresh > commitBytes || r.store.now().Sub(r.began) > commitAfter {
		err = r.Commit(ctx)
	}
	return b, err
}

// settle ends the session after an error, which may have spoiled it, and returns the error.
func (r *Run) settle(ctx context.Context, err error) error {
	if len(r.pending) == 0 || ctx.Err() != nil {
		_ = r.Abort(context.WithoutCancel(ctx))
		return err
	}
	if cerr := r.Commit(ctx); cerr != nil {
		return errors.Join(err, cerr)
	}
	return err
}

func (r *Run) add(ctx context.Context, src *Source) (Backup, error) {
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
	if r.opt.Note != nil {
		for _, n := range m.Origin().Notes {
			r.opt.Note(n)
		}
	}
	return r.seal(ctx, tree, m, newBytes)
}

func (r *Run) backupRows(ctx context.Context, tree *repo.Tree, src *Source, m *Manifest) (int64, error) {
	view := src.Rows
	schema := view.Schema()
	r.opt.Observer.begin(src.Name, src.estimate())
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
	r.opt.Observer.begin(src.Name, src.estimate())
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

// Commit makes the pending backups durable and listed. When it fails none of them is, and the error names them.
func (r *Run) Commit(ctx context.Context) error {
	done, session := r.pending, r.session
	r.session, r.pending, r.fresh = nil, nil, 0
	if session == nil {
		return nil
	}
	if len(done) == 0 {
		return session.Abort(context.WithoutCancel(ctx))
	}
	if err := session.Commit(ctx); err != nil {
		_ = session.Abort(context.WithoutCancel(ctx))
		var names []string
		for _, b := range done {
			names = append(names, b.Name)
		}
		return fail.Op(err, "commit the backup of %s, which is lost", strings.Join(names, ", "))
	}
	r.done = append(r.done, done...)
	return nil
}

// Done returns the backups that the run committed.
func (r *Run) Done() []Backup { return r.done }

// Abort drops what is pending. It does nothing after Commit.
func (r *Run) Abort(ctx context.Context) error {
	if r.session == nil {
		return nil
	}
	session := r.session
	r.session, r.pending, r.fresh = nil, nil, 0
	return session.Abort(ctx)
}
