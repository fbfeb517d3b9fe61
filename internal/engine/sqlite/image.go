package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/image"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// ImageOptions tune how a live file is read. The zero value waits 10 s for a lock.
type ImageOptions struct {
	BusyWait time.Duration // how long to wait for a writer to let go; 0 is 10 s
}

// An Image is a live database file, read page by page. It implements [image.Image].
type Image struct {
	src   *source
	info  image.Info
	batch int // bytes read under one lock
}

var _ image.Image = (*Image)(nil)

// OpenImage opens the database file at path. Kinds of errors: NotFound, Denied, Unsupported when
// it is not a database, Damaged, Locked when it stays locked for opt.BusyWait. A journal that a
// crashed writer left is rolled back, as every reader of the file would do it.
func OpenImage(ctx context.Context, path string, opt ImageOptions) (*Image, error) {
	src, err := openSource(ctx, path, cmp.Or(opt.BusyWait, defaultBusyWait))
	if err != nil {
		return nil, err
	}
	im := &Image{src: src, batch: batchBytes}
	if im.info, err = describe(src); err != nil {
		_ = src.close()
		return nil, sqlError(ctx, err, "open %s", path)
	}
	return im, nil
}

// describe says what is known before a page is copied.
func describe(src *source) (image.Info, error) {
	stat, err := src.file.Stat()
	if err != nil {
		return image.Info{}, err
	}
	origin, err := origin(src.conn, src.path)
	if err != nil {
		return image.Info{}, err
	}
	origin.Database = src.full // two files of one name are two databases
	info := image.Info{Origin: origin, ModTime: stat.ModTime(), EstBytes: stat.Size()}
	err = each(src.conn, "PRAGMA page_size", nil, func(st *sqlite3.Stmt) error {
		info.PageSize = st.ColumnInt(0)
		return nil
	})
	return info, err
}

// origin describes a database that a connection has open.
func origin(conn *sqlite3.Conn, path string) (rows.Origin, error) {
	o := rows.Origin{Engine: "sqlite", Database: DatabaseName(path), TakenAt: time.Now().UTC()}
	if host, err := os.Hostname(); err == nil {
		o.Host = host
	}
	for _, q := range []struct {
		sql string
		dst *string
	}{{"SELECT sqlite_version()", &o.Version}, {"PRAGMA encoding", &o.Encoding}} {
		var err error
		if *q.dst, err = one(conn, q.sql); err != nil {
			return o, err
		}
	}
	for _, name := range []string{"page_size", "auto_vacuum", "application_id", "user_version", "journal_mode"} {
		value, err := one(conn, "PRAGMA "+name)
		if err != nil {
			return o, err
		}
		o.Attributes = append(o.Attributes, rows.Pair{Name: name, Value: value})
	}
	return o, nil
}

// Info describes the image. Tables, Position, Consistency and TakenAt are those of the last Copy.
func (im *Image) Info() image.Info { return im.info }

// Close releases locks and files. It may be called twice.
func (im *Image) Close() error { return im.src.close() }

// Copy hands every page to put; see [image.Image]. In WAL mode each extent comes once. In the other modes
// extents that were changed under way come again.
func (im *Image) Copy(ctx context.Context, unit int, put func(image.Extent) error) ([]image.File, error) {
	if unit <= 0 || unit%65536 != 0 {
		return nil, fail.New(fail.Internal, "", "copy %s: unit of %d bytes is not a multiple of 64 KiB", im.src.path, unit)
	}
	c := &copying{src: im.src, unit: unit, batch: im.batch, name: filepath.Base(im.src.full), put: put}
	defer im.src.conn.SetInterrupt(im.src.conn.SetInterrupt(ctx))
	defer end(im.src.conn)
	err := c.run(ctx)
	if err != nil {
		return nil, sqlError(ctx, err, "copy %s", im.src.path)
	}
	im.info.TakenAt, im.info.Position, im.info.Consistency = c.taken, c.position, c.consistency
	im.info.Tables, im.info.Notes = c.tables, c.notes
	return []image.File{{Name: c.name, Size: c.size}}, nil
}

// A copying is one run of Copy.
type copying struct {
	src   *source
	unit  int
	batch int
	name  string
	put   func(image.Extent) error

	tally       *tally
	size        int64
	taken       time.Time
	position    string
	consistency string
	tables      []image.TableCount
	notes       []string
}

func (c *copying) run(ctx context.Context) error {
	for {
		mode, err := c.mode()
		if err != nil {
			return err
		}
		if mode == "wal" {
			return c.runWAL(ctx)
		}
		switched, err := c.runRollback(ctx)
		if err != nil || !switched {
			return err
		}
	}
}

// mode returns the journal mode that the file has now.
func (c *copying) mode() (string, error) {
	if err := begin(c.src.conn); err != nil {
		return "", err
	}
	defer end(c.src.conn)
	return one(c.src.conn, "PRAGMA journal_mode")
}

// runWAL copies the snapshot of one read transaction.
func (c *copying) runWAL(ctx context.Context) error {
	if err := c.src.openWAL(); err != nil {
		return err
	}
	p, err := c.src.freezeWAL(ctx, func() error { return begin(c.src.conn) }, func() { end(c.src.conn) })
	if err != nil {
		return err
	}
	c.taken = time.Now().UTC()
	c.size, c.tally = p.bytes(), newTally(p.size, p.count)
	c.position = fmt.Sprintf("%x:%d", p.state.salt, p.state.mxFrame)
	if err := c.stream(ctx, p); err != nil {
		return err
	}
	roots, err := readRoots(c.src.conn)
	if err != nil {
		return err
	}
	end(c.src.conn)
	c.consistency = fmt.Sprintf("one read transaction of %s in WAL mode; writers went on", roundTime(time.Since(c.taken)))
	return c.count(roots, p.count)
}

// A root is where the b-tree of a table begins.
type root struct {
	table string
	page  uint32
}

// readRoots lists the tables that have rows of their own. A virtual table has none; those behind it do.
func readRoots(conn *sqlite3.Conn) (roots []root, err error) {
	err = each(conn, "SELECT name, rootpage FROM sqlite_schema WHERE type='table' AND rootpage>0 ORDER BY rowid", nil, func(st *sqlite3.Stmt) error {
		roots = append(roots, root{st.ColumnText(0), uint32(st.ColumnInt64(1))})
		return nil
	})
	return roots, err
}

// count finds the rows of every table in what was copied, of pages pages.
func (c *copying) count(roots []root, pages uint32) error {
	c.tables = nil
	if pages > maxCounted {
		c.notes = append(c.notes, fmt.Sprintf("rows were not counted: more than %d pages", maxCounted))
		return nil
	}
	for _, r := range roots {
		n, err := c.tally.rows(r.page, pages)
		if err != nil {
			return fail.Wrap(fail.Damaged, err, hintDamaged, "table %s", r.table)
		}
		if !isInternal(r.table) {
			table := rows.Table{Name: r.table}
			c.tables = append(c.tables, image.TableCount{Name: table.String(), Rows: n})
		}
	}
	return nil
}

// isInternal reports whether a table is one of SQLite's own.
func isInternal(name string) bool { return len(name) >= 7 && strings.EqualFold(name[:7], "sqlite_") }

func roundTime(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Microsecond)
}
