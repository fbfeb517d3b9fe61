// Package image is the contract of the second way to see a database: as files and pages,
// byte for byte. An [Image] is read into the repository and written back through a
// [Target] of the same engine; unlike rows it never crosses engines.
package image

import (
	"context"
	"time"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// Info describes an image. What depends on the content (Tables, Consistency, Position)
// is complete only after [Image.Copy] returned nil.
type Info struct {
	rows.Origin
	PageSize int          `json:"page_size"`         // bytes
	Tables   []TableCount `json:"tables,omitempty"`  // user tables found in the image
	ModTime  time.Time    `json:"mod_time,omitzero"` // of the source file
	EstBytes int64        `json:"-"`                 // estimated size of all files, for progress; may be 0
}

// TableCount is one table of an image and how many rows it held at that instant.
type TableCount struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

// A File is one file of an image.
type File struct {
	Name string `json:"name"` // slash-separated, relative
	Size int64  `json:"size"` // bytes
}

// An Extent is a run of bytes of one file at a multiple of the unit given to [Image.Copy].
type Extent struct {
	File   string
	Offset int64
	Data   []byte // valid until the callback returns
}

// An Image is a database's files frozen at one instant.
type Image interface {
	// Info describes the image; see [Info] for what is complete when.
	Info() Info

	// Copy hands every byte of every file to put, in extents of unit bytes (the last of
	// a file may be shorter). unit is a multiple of 64 KiB. The same extent may be handed
	// over more than once, when the source changed it meanwhile: the last one counts.
	// When Copy returns nil, the last extents within the returned files' sizes form one
	// consistent state of the database. put is called from one goroutine at a time; its
	// error ends the copy and is returned. Kinds: Locked when the database stays
	// locked, Damaged when it is corrupt, Denied.
	Copy(ctx context.Context, unit int, put func(Extent) error) ([]File, error)

	// Close releases locks and files. It is safe after an error and may be called twice.
	Close() error
}

// A Target receives one image: Prepare, then Writes, then Finish. Until Finish returns nil
// nothing is promised. On error the caller calls Abort, and the target is as it was before
// Prepare, or the error says what was left behind.
type Target interface {
	// Prepare makes room for files. It returns Exists when the target holds data and
	// replacing it was not asked for.
	Prepare(ctx context.Context, info Info, files []File) error
	// Write puts p at offset off of the named file. Writes may come concurrently, in any order.
	Write(ctx context.Context, file string, off int64, p []byte) error
	// Finish checks what was written, by the engine's own means, and puts it in place
	// durably. Mismatch or Damaged when the check finds something.
	Finish(ctx context.Context) error
	// Abort removes what Prepare and Write made. It is called with a context of its own.
	Abort(ctx context.Context) error
}
