package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// viewConns is how many connections a view reads with, all in the same state of the database.
const viewConns = 4

// A View is an SQLite database as tables of rows. It implements [rows.View].
//
// A live view holds a read transaction until it is closed: in WAL mode writers go on, in the other modes they
// wait. A value travels as what it is stored as, not as what its column was declared to hold: numbers
// in decimal, blobs as \x hex, texts as they are. Text that is not UTF-8 travels as \x hex too, and a note says so.
// Text «1» and the number 1 are the same row text: where the difference matters, use the image, or [View.Typed].
type View struct {
	path   string
	schema *rows.Schema
	tables map[string]*table // by name
	script nativeFS

	src   *source      // of a live view
	cause *readFailure // of a stored one
	conns []*viewConn
	done  func() // forgets a stored one

	mu    sync.Mutex
	next  int             // guarded by mu
	noted map[string]bool // guarded by mu
}

// viewConn is a connection in its read transaction. Readers share it, each with a statement of its own.
type viewConn struct {
	mu   sync.Mutex
	conn *sqlite3.Conn // guarded by mu
}

var _ rows.View = (*View)(nil)

// OpenView opens the live database file at path and freezes it. Kinds of errors are those of [OpenImage].
func OpenView(ctx context.Context, path string) (*View, error) {
	return openView(ctx, path, partBytes)
}

func openView(ctx context.Context, path string, part int64) (*View, error) {
	src, err := openSource(ctx, path, defaultBusyWait)
	if err != nil {
		return nil, err
	}
	v := &View{path: path, src: src, cause: &readFailure{}, done: func() {}}
	p, err := v.freeze(ctx)
	if err == nil {
		err = v.describe(ctx, p, part)
	}
	if err != nil {
		_ = v.Close()
		return nil, sqlError(ctx, err, "open %s", path)
	}
	return v, nil
}

// freeze begins a transaction on several connections, all in the same state, and returns the pages of that state.
func (v *View) freeze(ctx context.Context) (*pages, error) {
	v.conns = []*viewConn{{conn: v.src.conn}}
	for len(v.conns) < viewConns {
		conn, err := dial(ctx, v.src.full, readOnly, 0)
		if err != nil {
			break // fewer do as well; a writer may be waiting for the lock just now
		}
		v.conns = append(v.conns, &viewConn{conn: conn})
	}
	restore := v.interruptible(ctx)
	defer restore()
	if err := begin(v.src.conn); err != nil {
		return nil, err
	}
	mode, err := one(v.src.conn, "PRAGMA journal_mode")
	if err != nil {
		return nil, err
	}
	if mode == "wal" {
		end(v.src.conn)
		if err := v.src.openWAL(); err != nil {
			return nil, err
		}
		return v.src.freezeWAL(ctx, v.beginAll, v.endAll)
	}
	// Nobody writes while the first connection holds its lock, so whoever gets one after it sees the same.
	kept := v.conns[:1]
	for _, c := range v.conns[1:] {
		if begin(c.conn) != nil {
			_ = c.conn.Close()
			continue
		}
		kept = append(kept, c)
	}
	v.conns = kept
	return v.src.wholeFile()
}

// interruptible makes all connections heed ctx until the returned function is called.
func (v *View) interruptible(ctx context.Context) (restore func()) {
	old := make([]context.Context, len(v.conns))
	conns := v.conns
	for i, c := range conns {
		old[i] = c.conn.SetInterrupt(ctx)
	}
	return func() {
		for i, c := range conns {
			c.conn.SetInterrupt(old[i])
		}
	}
}

func (v *View) beginAll() error {
	for _, c := range v.conns {
		if err := begin(c.conn); err != nil {
			v.endAll()
			return err
		}
	}
	return nil
}

func (v *View) endAll() {
	for _, c := range v.conns {
		end(c.conn)
	}
}

// OpenStored opens a stored image without writing a copy: name is that of the database, r gives its
// bytes and may be called concurrently. Kinds: Unsupported and Damaged, and those of r's errors.
func OpenStored(ctx context.Context, name string, r io.ReaderAt, size int64) (*View, error) {
	return openStored(ctx, name, io.NewSectionReader(r, 0, size), partBytes)
}

func openStored(ctx context.Context, name string, r *io.SectionReader, part int64) (*View, error) {
	size := r.Size()
	cache := &blockCache{r: r, size: size}
	h, err := readHeader(cache)
	if err == nil {
		err = h.check(name)
	}
	if err != nil {
		return nil, sqlError(ctx, err, "open the stored %s", name)
	}
	id, v := registerReader(cache, size)
	view := &View{path: name, cause: v.cause, done: func() { vfs.Unregister(id) }}
	for len(view.conns) < viewConns {
		conn, err := v.dial(ctx, id)
		if err != nil {
			_ = view.Close()
			return nil, sqlError(ctx, err, "open the stored %s", name)
		}
		view.conns = append(view.conns, &viewConn{conn: conn})
	}
	p := &pages{file: cache}
	if err = p.measure(view.conns[0].conn); err == nil {
		err = view.describe(ctx, p, part)
	}
	if err != nil {
		_ = view.Close()
		return nil, sqlError(ctx, v.cause.because(err), "open the stored %s", name)
	}
	return view, nil
}

// describe reads the schema and works out parts of about part bytes.
func (v *View) describe(ctx context.Context, p *pages, part int64) error {
	conn := v.conns[0].conn
	defer conn.SetInterrupt(conn.SetInterrupt(ctx))
	origin, err := origin(conn, v.path)
	if err != nil {
		return err
	}
	origin.TakenAt = time.Now().UTC()
	switch {
	case v.src == nil:
		origin.Consistency = "stored image"
	case p.state.pageSize != 0:
		origin.Position = fmt.Sprintf("%x:%d", p.state.salt, p.state.mxFrame)
		origin.Consistency = "one read transaction in WAL mode; writers go on"
	default:
		origin.Consistency = "one read lock; writers wait"
	}
	r := &schemaReader{conn: conn, pages: p, part: part}
	if v.schema, v.tables, err = r.read(); err != nil {
		return err
	}
	v.schema.Origin = origin
	v.schema.Origin.Notes = r.notes
	if v.script, err = script(conn, &origin); err != nil {
		return err
	}
	return nil
}

// Schema describes the tables. Tables behind a virtual table (FTS5's and others' own) are tables like any other; the
// virtual table itself is of kind Foreign and has no parts.
func (v *View) Schema() *rows.Schema { return v.schema }

// Native returns schema.sql: the definitions in the order in which SQLite takes them.
func (v *View) Native() fs.FS { return v.script }

// Parts returns ranges of rowids; see [rows.View].
func (v *View) Parts(t *rows.Table) []rows.Part {
	info := v.tables[t.Name]
	if info == nil || t.Kind != rows.Ordinary {
		return nil
	}
	parts := make([]rows.Part, 0, len(info.cuts)+1)
	for i := range len(info.cuts) + 1 {
		b := bounds{}
		if i > 0 {
			b.after = &info.cuts[i-1]
		}
		if i < len(info.cuts) {
			b.upTo = &info.cuts[i]
		}
		parts = append(parts, rows.Part{Table: t, Number: i + 1, Bounds: b.String(), Bytes: t.EstBytes / int64(len(info.cuts)+1)})
	}
	return parts
}

// Read returns the rows of a part, in the order of the table's b-tree. Kinds: Damaged, Unavailable.
func (v *View) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	return v.read(ctx, p, false)
}

func (v *View) read(ctx context.Context, p rows.Part, typed bool) (io.ReadCloser, error) {
	info := v.tables[p.Table.Name]
	if info == nil || info.virtual {
		return nil, fail.New(fail.NotFound, "", "read %s: no such table", p.Table)
	}
	b, err := parseBounds(p.Bounds)
	if err == nil && b != (bounds{}) && info.rowid == "" {
		err = errors.New("the table has no rowid to cut at")
	}
	if err != nil {
		return nil, fail.Wrap(fail.Internal, err, "", "read %s", p.Table)
	}
	if typed {
		exact := *info
		exact.typed = true
		info = &exact
	}
	return v.start(ctx, info, b)
}

// Typed returns the same database in row text that keeps what each value is stored as: before each value stands [StoredInt] or another
// such letter. It is for copies that go on at once; nothing that is kept is written like this. To close it closes v.
func (v *View) Typed() rows.View { return typedView{v} }

type typedView struct{ *View }

func (v typedView) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	return v.read(ctx, p, true)
}

// start opens a reader on the connection whose turn it is.
func (v *View) start(ctx context.Context, t *table, b bounds) (io.ReadCloser, error) {
	v.mu.Lock()
	c := v.conns[v.next%len(v.conns)]
	v.next++
	v.mu.Unlock()
	r, err := v.open(ctx, c, t, b)
	if err != nil {
		name := rows.Table{Name: t.name}
		return nil, sqlError(ctx, v.cause.because(err), "read %s", &name)
	}
	return r, nil
}

// note adds to the view's notes, once.
func (v *View) note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.noted[text] {
		return
	}
	if v.noted == nil {
		v.noted = make(map[string]bool)
	}
	v.noted[text] = true
	v.schema.Origin.Notes = append(v.schema.Origin.Notes, text)
}

// Close ends the transaction and closes the files. Readers must be closed before. It may be called twice.
func (v *View) Close() error {
	var errs []error
	for _, c := range v.conns {
		if v.src == nil || c.conn != v.src.conn {
			end(c.conn)
			errs = append(errs, c.conn.Close())
		}
	}
	v.conns = nil
	if v.src != nil {
		errs = append(errs, v.src.close())
	}
	v.done()
	return errors.Join(errs...)
}
