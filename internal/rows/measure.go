package rows

import (
	"context"
	"io"
	"io/fs"
)

// Measure reads every row of v and returns what it counted: two Views with equal counts and hashes for
// each table hold the same rows, whatever their order.
func Measure(ctx context.Context, v View, opt CopyOptions) (Report, error) {
	return Copy(ctx, v, discard{}, opt)
}

// discard is a Target that counts and forgets.
type discard struct{}

func (discard) Prepare(context.Context, *Schema, fs.FS) error { return nil }
func (discard) Finish(context.Context) error                  { return nil }
func (discard) Abort(context.Context) error                   { return nil }

func (discard) Load(_ context.Context, _ Part, r io.Reader) (Count, error) {
	var c Counter
	if _, err := io.CopyBuffer(struct{ io.Writer }{&c}, r, make([]byte, readSize)); err != nil {
		return Count{}, err
	}
	return c.Count()
}
