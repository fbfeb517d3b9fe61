package wire

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/fixture/models"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A crossing is the Target of a copy between two databases, of one engine or of two: it tells the engine's own Target what tables should
// be there, says what is left behind, converts values, and at the end reads everything back and compares it.
type crossing struct {
	target   rows.Target
	from, to string
	omits    func(*rows.Schema) []string // what the target leaves out
	open     func(context.Context) (rows.View, error)
	opt      TargetOptions

	schema *rows.Schema // as the target is to have it
	tables map[*rows.Table]*crossed
	order  []*crossed

	omitted  []string
	finished bool
	compared backup.Comparison

	mu    sync.Mutex
	noted []string // guarded by mu
}

// A crossed is a table on its way.
type crossed struct {
	from, to *rows.Table
	convert  []converter
	decode   []decoder
	forms    []namedForm
	shape    shape

	mu   sync.Mutex
	rows int64     // guarded by mu
	hash rows.Hash // guarded by mu
}

var (
	_ rows.Target   = (*crossing)(nil)
	_ rows.Expecter = (*crossing)(nil)
)

// Prepare makes the tables. What can't be carried over is told before anything is touched.
func (c *crossing) Prepare(ctx context.Context, s *rows.Schema, native fs.FS) error {
	graph, err := c.models(ctx)
	if err != nil {
		return err
	}
	c.tables = map[*rows.Table]*crossed{}
	adapted := *s
	adapted.Tables = nil
	c.schema = &adapted
	// Tables that are there already may have other types.
	exact := c.from == c.to && (c.to == SQLite || !c.opt.Partial && !c.opt.DataOnly)
	for _, t := range s.Tables {
		to, convert := adapt(t, c.from, c.to, graph)
		x := &crossed{from: t, to: to, convert: convert}
		if c.from == SQLite && c.to != SQLite {
			x.decode = c.decoders(to)
		}
		c.tables[t], c.order = x, append(c.order, x)
		adapted.Tables = append(adapted.Tables, to)
	}
	if c.from != c.to {
		c.omit(losses(s, c.from, c.to))
		c.omit(rename(&adapted, c.from, c.to, graph))
		c.omit(prune(&adapted, c.to))
	}
	for _, x := range c.order {
		x.forms = formsOf(x.to, c.from, c.to, exact)
		x.shape, _ = shapeOf(x.to, x.forms)
	}
	c.omit(c.omits(&adapted))
	if c.from != c.to {
		if c.omit(looseSequences(s, c.omitted)); native != nil && !c.opt.DataOnly {
			objects, err := objectsOf(c.from, native)
			if err != nil {
				return err
			}
			c.omit(objects)
		}
	}
	return c.target.Prepare(ctx, &adapted, native)
}

// omit tells of what is left behind.
func (c *crossing) omit(list []string) {
	for _, what := range list {
		if !slices.Contains(c.omitted, what) {
			c.omitted = append(c.omitted, what)
			if c.opt.Omit != nil {
				c.opt.Omit(what)
			}
		}
	}
}

// models finds out what the tables mean to a Django project, when that makes a difference.
func (c *crossing) models(ctx context.Context) (*models.Graph, error) {
	if c.opt.Source == nil || c.to == c.from {
		return nil, nil
	}
	if told := c.opt.Models.ProjectDir != "" || len(c.opt.Models.Map) > 0; !told && byName(c.opt.Source.Schema(), "", "django_migrations") == nil {
		return nil, nil
	}
	return models.Build(ctx, c.opt.Source, c.opt.Models)
}

// Expect passes on what will come.
func (c *crossing) Expect(parts []rows.Part) {
	e, ok := c.target.(rows.Expecter)
	if !ok {
		return
	}
	theirs := slices.Clone(parts)
	for i := range theirs {
		theirs[i].Table = c.tables[theirs[i].Table].to
	}
	e.Expect(theirs)
}

// Load converts a part on its way. The count is of the rows that came, also of those that are left behind.
func (c *crossing) Load(ctx context.Context, p rows.Part, r io.Reader) (rows.Count, error) {
	x := c.tables[p.Table]
	if x == nil {
		return rows.Count{}, fail.New(fail.Internal, "", "load %s: not in the schema", p.Table)
	}
	in := newRowReader(r, x.shape, x.convert)
	in.decode, in.table = x.decode, x.from
	p.Table = x.to
	if _, err := c.target.Load(ctx, p, in); err != nil {
		if in.failed != nil { // which the target only passes on, in more words
			err = fail.Op(in.failed, "copy %s", x.from)
		}
		return rows.Count{}, err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return rows.Count{}, fail.Op(err, "read %s", x.from)
	}
	count, err := in.raw.Count()
	if err != nil {
		return rows.Count{}, fail.Wrap(fail.Damaged, err, "", "read %s", x.from)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rows += count.Rows
	x.hash = x.hash.Add(in.sum)
	return count, nil
}

// Finish completes the target, reads it back and compares. After a Mismatch everything is in its place all the same.
func (c *crossing) Finish(ctx context.Context) error {
	if err := c.target.Finish(ctx); err != nil {
		return err
	}
	c.finished = true
	if c.opt.SchemaOnly {
		return nil
	}
	return c.compare(ctx)
}

// Abort undoes what Prepare and Load did. What the target has finished stays, for whoever wants to see how it differs.
func (c *crossing) Abort(ctx context.Context) error {
	if c.finished {
		return nil
	}
	return c.target.Abort(ctx)
}

// Notes returns what the target has to say.
func (c *crossing) Notes() (notes []string) {
	if n, ok := c.target.(interface{ Notes() []string }); ok {
		notes = n.Notes()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(slices.Clone(c.noted), notes...)
}

// note keeps what is to be said of values, once.
func (c *crossing) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.noted, text) {
		c.noted = append(c.noted, text)
	}
}

// Omitted and Compared are for the report of a restore.
func (c *crossing) Omitted() []string           { return c.omitted }
func (c *crossing) Compared() backup.Comparison { return c.compared }

// CopyOptions tune a Copy.
type CopyOptions struct {
	Target   TargetOptions
	Tables   rows.Selection
	LockWait time.Duration
	Observer backup.Observer
}

// Copied is what a Copy did.
type Copied struct {
	From     string             `json:"from"` // engines
	To       string             `json:"to"`
	TakenAt  time.Time          `json:"taken_at"`
	Tables   int                `json:"tables"`
	Rows     int64              `json:"rows"`
	Bytes    int64              `json:"bytes"`
	Seconds  float64            `json:"seconds"`
	Omitted  []string           `json:"omitted,omitempty"`
	Compared *backup.Comparison `json:"compared,omitempty"`
	Notes    []string           `json:"notes,omitempty"`
}

// Copy copies a live database, as it is at one instant, into another one of any engine.
func Copy(ctx context.Context, from, to string, opt CopyOptions) (*Copied, error) {
	start := time.Now()
	view, notes, err := openWhole(ctx, from, to, SourceOptions{Jobs: opt.Target.Jobs, LockWait: opt.LockWait})
	if err != nil {
		return nil, err
	}
	defer view.Close()
	s := view.Schema()
	tables, err := choose(s, opt.Tables)
	if err != nil {
		return nil, err
	}
	if opt.Target.Clean {
		if err := notOntoItself(ctx, &s.Origin, from, to); err != nil {
			return nil, err
		}
	}
	opt.Target.Partial, opt.Target.Source = !opt.Tables.Empty(), view
	c, err := newCrossing(to, s.Origin.Engine, opt.Target)
	if err != nil {
		return nil, err
	}
	var size int64
	for _, t := range tables {
		for _, p := range view.Parts(t) {
			size += p.Bytes
		}
	}
	if opt.Observer.Begin != nil {
		opt.Observer.Begin(s.Origin.Database, size)
	}
	report, err := rows.Copy(ctx, typed(view), c, rows.CopyOptions{Jobs: opt.Target.Jobs, Tables: tables, Observer: opt.Observer.Update})
	if err != nil {
		return nil, err
	}
	sum, count := report.Total(), len(tables)
	if c.from != c.to { // tables may stay behind, or become one
		count, sum.Rows = c.compared.Tables, c.compared.Rows
	}
	return &Copied{
		From: c.from, To: c.to, TakenAt: s.Origin.TakenAt, Tables: count, Rows: sum.Rows, Bytes: sum.Bytes, Omitted: c.omitted, Compared: &c.compared,
		Notes: slices.Concat(notes, s.Origin.Notes, c.Notes()), Seconds: time.Since(start).Round(time.Millisecond).Seconds(),
	}, nil
}

// choose picks tables; a pattern that fits none is an error.
func choose(s *rows.Schema, sel rows.Selection) ([]*rows.Table, error) {
	m, err := sel.Matcher()
	if err != nil {
		return nil, fail.Wrap(fail.Usage, err, "", "choose tables")
	}
	tables := []*rows.Table{}
	for _, t := range s.Tables {
		if m.Match(t.Schema, t.Name) {
			tables = append(tables, t)
		}
	}
	if unused := m.Unused(); len(unused) > 0 {
		return nil, fail.New(fail.NotFound, "", "the database has no table %s", strings.Join(unused, ", "))
	}
	return tables, nil
}

// looseSequences names the sequences that number no column.
func looseSequences(s *rows.Schema, told []string) (list []string) {
	for _, q := range s.Sequences {
		name := (&rows.Table{Schema: q.Schema, Name: q.Name}).String()
		if q.Table == "" && !slices.ContainsFunc(told, func(o string) bool { return o == "sequence "+name }) {
			list = append(list, fmt.Sprintf("sequence %s", name))
		}
	}
	return list
}
