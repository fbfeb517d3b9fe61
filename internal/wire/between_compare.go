package wire

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// An arrival is a table of the target and the tables whose rows it has.
type arrival struct {
	table   *rows.Table
	sources []*crossed
	shape   shape
	why     string // why values can't be compared; "" when they can
}

// compare reads what was written and compares it with what came, in counts and values.
func (c *crossing) compare(ctx context.Context) (err error) {
	v, err := c.open(ctx)
	if err != nil {
		return fail.Op(err, "read back what was written")
	}
	if c.from == SQLite && c.to == SQLite {
		v = typed(v)
	}
	defer func() {
		if cerr := v.Close(); err == nil && cerr != nil {
			err = fail.Op(cerr, "read back what was written")
		}
	}()
	var list []*arrival
	byTable := map[*rows.Table]*arrival{}
	for _, x := range c.order {
		t := c.destination(v.Schema(), x.to)
		switch {
		case t == nil && x.rows > 0:
			c.compared.Notes = append(c.compared.Notes, fmt.Sprintf("%s: not among the target's tables", x.from))
			continue
		case t == nil:
			continue
		case byTable[t] == nil:
			byTable[t] = &arrival{table: t}
			list = append(list, byTable[t])
			var missing string
			if byTable[t].shape, missing = shapeOf(t, x.forms); missing != "" {
				byTable[t].why = "column " + missing + " has another name there"
				byTable[t].shape = shape{columns: len(t.Stored())}
			}
		}
		byTable[t].sources = append(byTable[t].sources, x)
	}
	var wrong []string
	for _, a := range list {
		diff, err := c.compareTable(ctx, v, a)
		if err != nil {
			return fail.Op(err, "read back what was written")
		}
		if diff != "" {
			wrong = append(wrong, diff)
		}
	}
	if len(wrong) > 0 {
		return fail.New(fail.Mismatch, "don't use the target as it is", "compare what was written with its source: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// compareTable says how a table differs from its source; "" when it does not.
func (c *crossing) compareTable(ctx context.Context, v rows.View, a *arrival) (string, error) {
	var want, got rows.Hash
	var wantRows, gotRows int64
	for _, x := range a.sources {
		want, wantRows = want.Add(x.hash), wantRows+x.rows
	}
	tables := []*rows.Table{a.table}
	if a.table.Kind == rows.Partitioned {
		tables = append(tables, partitions(v.Schema(), a.table)...)
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(c.opt.Jobs, 2))
	for _, t := range tables {
		for _, p := range v.Parts(t) {
			g.Go(func() error {
				n, h, err := readPart(gctx, v, p, a)
				mu.Lock()
				defer mu.Unlock()
				got, gotRows = got.Add(h), gotRows+n
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	c.compared.Tables++
	c.compared.Rows += gotRows
	if a.why != "" {
		c.compared.Notes = append(c.compared.Notes, fmt.Sprintf("values of %s: %s", a.table, a.why))
	} else {
		c.compared.Values++
	}
	switch {
	case gotRows != wantRows:
		return fmt.Sprintf("%s has %d rows, its source has %d", a.table, gotRows, wantRows), nil
	case a.why == "" && got != want:
		return fmt.Sprintf("values of %s differ", a.table), nil
	}
	return "", nil
}

func readPart(ctx context.Context, v rows.View, p rows.Part, a *arrival) (n int64, h rows.Hash, err error) {
	r, err := v.Read(ctx, p)
	if err != nil {
		return 0, h, err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	s := a.shape
	if p.Table != a.table { // a partition, whose columns may stand in another order
		var list []namedForm
		stored := a.table.Stored()
		for i, at := range a.shape.places {
			list = append(list, namedForm{stored[at].Name, a.shape.forms[i]})
		}
		s, _ = shapeOf(p.Table, list)
	}
	in := newRowReader(r, s, nil)
	if _, err := io.Copy(io.Discard, in); err != nil {
		return 0, h, err
	}
	count, err := in.raw.Count()
	return count.Rows, in.sum, err
}

// partitions returns the tables below a partitioned one.
func partitions(s *rows.Schema, root *rows.Table) (list []*rows.Table) {
	for _, t := range s.Tables {
		if t.Parent == root.String() {
			list = append(append(list, t), partitions(s, t)...)
		}
	}
	return list
}

// destination finds the table that has the rows of a table of the adapted schema; nil when there is none.
func (c *crossing) destination(target *rows.Schema, t *rows.Table) *rows.Table {
	if t.Kind == rows.MatView || t.Kind == rows.Foreign {
		return nil
	}
	if c.from == c.to {
		if c.to == MySQL || c.to == SQLite {
			return byName(target, "", t.Name)
		}
		return target.Table(t.String())
	}
	if c.to == Postgres {
		return byName(target, "public", t.Name)
	}
	return byName(target, "", rootOf(c.schema, t).Name)
}

// byName finds a table by schema (any when "") and name, if need be with other capitals.
func byName(s *rows.Schema, schema, name string) (near *rows.Table) {
	for _, t := range s.Tables {
		if schema != "" && t.Schema != schema {
			continue
		}
		if t.Name == name {
			return t
		}
		if strings.EqualFold(t.Name, name) {
			near = t
		}
	}
	return near
}
