package sqlite

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// streamed is how much is read at once where no lock matters.
const streamed = 4 << 20

// stream puts all of p, reading ahead while the last batch is put.
func (c *copying) stream(ctx context.Context, p *pages) error {
	off := int64(0)
	return c.pipe(ctx, max(streamed/c.unit, 1), func(_ context.Context, b *batch) (more bool, err error) {
		b.off = off
		for len(b.buf)+c.unit <= cap(b.buf) && off < c.size {
			if err := c.read(p, b, off); err != nil {
				return false, err
			}
			off += int64(b.sizes[len(b.sizes)-1])
		}
		c.tally.see(b.buf, b.off)
		return off < c.size, nil
	})
}

// read appends the extent at off to b.
func (c *copying) read(p *pages, b *batch, off int64) error {
	n := int(min(int64(c.unit), p.bytes()-off))
	at := len(b.buf)
	b.buf = b.buf[:at+n]
	b.sizes = append(b.sizes, n)
	return p.readAt(b.buf[at:], off)
}

// pipe calls fill until there is no more, and puts what it filled in, the two at the same time.
func (c *copying) pipe(ctx context.Context, extents int, fill func(context.Context, *batch) (bool, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	free, full := make(chan *batch, 2), make(chan *batch)
	for range cap(free) {
		free <- &batch{buf: make([]byte, 0, extents*c.unit)}
	}
	g.Go(func() error {
		defer close(full)
		for more := true; more; {
			var b *batch
			select {
			case b = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			b.buf, b.sizes, b.wanted = b.buf[:0], b.sizes[:0], b.wanted[:0]
			var err error
			if more, err = fill(ctx, b); err != nil {
				return err
			}
			select {
			case full <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	g.Go(func() error {
		for b := range full {
			if err := c.putBatch(ctx, b); err != nil {
				return err
			}
			free <- b
		}
		return nil
	})
	return g.Wait()
}
