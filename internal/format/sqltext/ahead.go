package sqltext

import (
	"cmp"
	"context"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/rows"
)

const (
	chunkBytes  = 256 << 10
	chunksAhead = 32 // of each part that is being read
)

// ahead is the rows of a View, read by several workers and handed on in order. However far a part is from being handed on, no
// more of it than chunksAhead chunks is in memory.
type ahead struct {
	parts []*reading
	slots chan chan []byte // memory for one part in motion: chunks to be filled, nil ones to be made
}

// reading is one part on its way.
type reading struct {
	part   rows.Part
	begun  chan struct{} // closed when free is set
	free   chan []byte   // its slot
	chunks chan []byte   // closed behind the last one
	err    error         // set before chunks is closed
}

// readAhead begins to read all parts of v and calls take, which is to ask for each of them once, in order.
func readAhead(ctx context.Context, v rows.View, jobs int, take func(context.Context, *ahead) error) error {
	a := &ahead{slots: make(chan chan []byte, cmp.Or(jobs, 2))}
	for _, t := range v.Schema().Tables {
		for _, p := range v.Parts(t) {
			a.parts = append(a.parts, &reading{part: p, begun: make(chan struct{}), chunks: make(chan []byte, chunksAhead)})
		}
	}
	for range cap(a.slots) {
		slot := make(chan []byte, chunksAhead)
		for range chunksAhead {
			slot <- nil
		}
		a.slots <- slot
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for _, r := range a.parts { // in order, so that the one which is waited for has a slot
			select {
			case r.free = <-a.slots:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			close(r.begun)
			g.Go(func() error {
				defer close(r.chunks)
				r.err = r.run(ctx, v)
				return r.err
			})
		}
		return nil
	})
	g.Go(func() error { return take(ctx, a) })
	return g.Wait()
}

// run reads the part into chunks.
func (r *reading) run(ctx context.Context, v rows.View) (err error) {
	in, err := v.Read(ctx, r.part)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := in.Close(); err == nil {
			err = cerr
		}
	}()
	for {
		var chunk []byte
		select {
		case chunk = <-r.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if chunk == nil {
			chunk = make([]byte, chunkBytes)
		}
		n, err := io.ReadFull(in, chunk[:chunkBytes])
		r.chunks <- chunk[:n] // as many fit as there are
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// each hands the chunks of a part to use, which must not keep them.
func (a *ahead) each(ctx context.Context, r *reading, use func(chunk []byte) error) error {
	select {
	case <-r.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		select {
		case chunk, ok := <-r.chunks:
			if !ok {
				a.slots <- r.free
				return r.err
			}
			if err := use(chunk); err != nil {
				return err
			}
			r.free <- chunk
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
