package rows

import (
	"context"
	"io"
)

// A Dumper is a View that writes its own SQL file, since its row text does not say all that such a file must: SQLite's,
// where each value has a type of its own.
type Dumper interface {
	// DumpSQL writes all definitions and rows of the View, and returns the number of rows of each table, in order.
	DumpSQL(ctx context.Context, w io.Writer, observe func(Update)) ([]TableRows, error)
}

// TableRows is a table by name, and its rows.
type TableRows struct {
	Name string `json:"name"` // as [Table.String] has it
	Rows int64  `json:"rows"`
}
