package rows

import (
	"context"
	"io"
	"io/fs"
)

// A Part is a range of one table's rows that can be read and loaded on its own.
type Part struct {
	Table  *Table
	Number int    // from 1, in the table's order
	Bounds string // what the View needs to find the range; its own business
	Bytes  int64  // estimated size, for order and progress
}

// A View is a set of tables frozen at one instant. Its methods may be called concurrently.
type View interface {
	// Schema describes the tables. The result is the same on each call and must not be
	// changed; Origin.Notes is complete once every part was read.
	Schema() *Schema

	// Parts returns ranges that together are all rows of table, each row once, in order.
	// None for a kind without rows of its own. A table of the view that is empty has one part.
	Parts(table *Table) []Part

	// Read returns the row text of one part. The reader ends with io.EOF only when every row of
	// the part was delivered; a cut connection is an error (fail.Unavailable), never an early end.
	// The caller closes it, also after an error; closing early ends the work behind it.
	Read(ctx context.Context, p Part) (io.ReadCloser, error)

	// Native holds definitions that only the same engine understands; nil when there are
	// none. Opening a file may wait until it has been produced, and fail with what went wrong.
	Native() fs.FS

	// Close ends the view. Readers must be closed before. It may be called twice.
	Close() error
}

// A Scripter is a View that can write a script with which the engine's own client rebuilds
// the database from a folder of definitions and row files, without Holdfast.
type Scripter interface {
	// RecoveryScript returns the name and content of the script. files are all parts with
	// their paths in the folder.
	RecoveryScript(files []PartFile) (name string, script []byte)
}

// A Sorter is a View that can read the rows of a table in an order.
type Sorter interface {
	// ReadSorted returns row text with the given columns, perhaps generated ones, of all rows of table, ordered
	// as the engine itself compares the columns of by (its collation; NULLs where its ORDER BY puts them).
	// A name in by with a minus sign in front is descending. The reader is that of Read.
	ReadSorted(ctx context.Context, table *Table, columns, by []string) (io.ReadCloser, error)
}

// A PartFile is a part stored as a file of row text.
type PartFile struct {
	Part Part
	Path string // slash-separated, relative to the backup's root
}

// A Target receives one View: Prepare, then any number of concurrent Loads, then Finish.
// Until Finish returns nil nothing is promised. On error the caller calls Abort and the target
// is as it was before Prepare, or the error of Abort says what was left behind.
type Target interface {
	// Prepare makes room for the tables of s; native is the View's Native, perhaps nil.
	// It returns fail.Exists, having changed nothing, when data is in the way.
	Prepare(ctx context.Context, s *Schema, native fs.FS) error

	// Load stores one part's rows, read from r to its end, and returns what it counted on
	// the way. It may be called concurrently for different parts, also of one table.
	Load(ctx context.Context, p Part, r io.Reader) (Count, error)

	// Finish completes the work (indexes, constraints, commit). After nil the data is durable.
	Finish(ctx context.Context) error

	// Abort undoes what Prepare and Load did. It gets a context of its own, since the
	// first one may be cancelled. It is called at most once and not after a nil Finish.
	Abort(ctx context.Context) error
}

// An Expecter is a Target that wants to know the parts before they come. Copy calls Expect between
// Prepare and the first Load, with all parts that it will load.
type Expecter interface {
	Expect(parts []Part)
}
