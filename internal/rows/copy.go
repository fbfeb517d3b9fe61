package rows

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// CopyOptions tune a Copy. The zero value copies everything with two workers, unobserved.
type CopyOptions struct {
	Jobs     int          // parts in motion at once; 0 is 2
	Tables   []*Table     // only these tables of the View's Schema; nil is all
	Observer func(Update) // called now and then, from several goroutines
}

// An Update is news of a running Copy.
type Update struct {
	Table *Table
	Bytes int64 // of row text moved since the last update of this part
	Rows  int64 // of the part, once it is Done
	Done  bool  // the part is complete
}

// PartReport is what one part held.
type PartReport struct {
	Part Part
	Count
}

// Report is what a Copy moved: counts and hashes by part, in the View's order.
type Report struct {
	Parts []PartReport
}

// Tables adds the parts up by table (text form).
func (r Report) Tables() map[string]Count {
	sums := make(map[string]Count)
	for _, p := range r.Parts {
		name := p.Part.Table.String()
		sums[name] = sums[name].Add(p.Count)
	}
	return sums
}

// Total adds all parts up.
func (r Report) Total() (c Count) {
	for _, p := range r.Parts {
		c = c.Add(p.Count)
	}
	return c
}

// abortTimeout limits the clean-up after an error, whose cause may be a dead server.
const abortTimeout = 2 * time.Minute

// Copy moves the rows of v into t: Prepare, the parts largest first on opt.Jobs workers, Finish.
// On any error it calls t.Abort, and returns that error joined with Abort's.
func Copy(ctx context.Context, v View, t Target, opt CopyOptions) (Report, error) {
	report, err := copyParts(ctx, v, t, opt)
	if err != nil {
		actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		return Report{}, join(err, t.Abort(actx))
	}
	return report, nil
}

// join keeps the kind and hint of the first error in front.
func join(err, abort error) error {
	if abort == nil {
		return err
	}
	return fail.Wrap(fail.KindOf(err), errors.Join(err, abort), fail.HintOf(err), "clean up after an error")
}

func copyParts(ctx context.Context, v View, t Target, opt CopyOptions) (Report, error) {
	schema := v.Schema()
	tables := opt.Tables
	if tables == nil {
		tables = schema.Tables
	} else {
		some := *schema
		some.Tables = tables
		schema = &some
	}
	if err := t.Prepare(ctx, schema, v.Native()); err != nil {
		return Report{}, err
	}
	var report Report
	for _, table := range tables {
		for _, p := range v.Parts(table) {
			report.Parts = append(report.Parts, PartReport{Part: p})
		}
	}
	if e, ok := t.(Expecter); ok {
		parts := make([]Part, len(report.Parts))
		for i := range parts {
			parts[i] = report.Parts[i].Part
		}
		e.Expect(parts)
	}
	// Largest first: a large part begun last would keep one worker busy while the others idle. Parts of
	// about the same size alternate between tables: two writers of one table wait for each other when it grows.
	order := make([]int, len(report.Parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		pa, pb := report.Parts[a].Part, report.Parts[b].Part
		return cmp.Or(cmp.Compare(pb.Bytes>>24, pa.Bytes>>24), cmp.Compare(pa.Number, pb.Number))
	})
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(opt.Jobs, 2))
	for _, i := range order {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			report.Parts[i].Count, err = copyPart(gctx, v, t, report.Parts[i].Part, opt.Observer)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Report{}, err
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	if err := t.Finish(ctx); err != nil {
		return Report{}, err
	}
	return report, nil
}

func copyPart(ctx context.Context, v View, t Target, p Part, observe func(Update)) (c Count, err error) {
	if err := ctx.Err(); err != nil {
		return c, err
	}
	r, err := v.Read(ctx, p)
	if err != nil {
		return c, err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	if observe == nil {
		return t.Load(ctx, p, r)
	}
	w := &watched{r: r, table: p.Table, observe: observe}
	if c, err = t.Load(ctx, p, w); err == nil {
		observe(Update{Table: p.Table, Bytes: w.since, Rows: c.Rows, Done: true})
	}
	return c, err
}

// watched reports what is read through it, about once a megabyte.
type watched struct {
	r       io.Reader
	table   *Table
	observe func(Update)
	since   int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.since += int64(n); w.since >= 1<<20 {
		w.observe(Update{Table: w.table, Bytes: w.since})
		w.since = 0
	}
	return n, err
}
