package mysql

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// stub is a view of text: what another engine might give.
type stub struct {
	schema *rows.Schema
	text   map[string]string // of a table by its text form
	fail   string            // the table whose rows end with an error
}

var errStub = errors.New("the source broke")

func (v *stub) Schema() *rows.Schema { return v.schema }
func (v *stub) Native() fs.FS        { return nil }
func (v *stub) Close() error         { return nil }

func (v *stub) Parts(t *rows.Table) []rows.Part {
	if t.Kind != rows.Ordinary {
		return nil
	}
	return []rows.Part{{Table: t, Number: 1, Bytes: int64(len(v.text[t.String()]))}}
}

func (v *stub) Read(_ context.Context, p rows.Part) (io.ReadCloser, error) {
	var r io.Reader = strings.NewReader(v.text[p.Table.String()])
	if p.Table.String() == v.fail {
		r = io.MultiReader(r, broken{})
	}
	return io.NopCloser(r), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errStub }

// breaking is a view of this engine whose rows of one table end with an error.
type breaking struct {
	*View
	table string
}

func (v *breaking) Read(ctx context.Context, p rows.Part) (io.ReadCloser, error) {
	r, err := v.View.Read(ctx, p)
	if err != nil || p.Table.Name != v.table {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(r, broken{}), r}, nil
}
