package rows

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// A Merge says how rows go into a table that exists and may hold others.
type Merge struct {
	Table   *Table   // as the View of the same database describes it
	Columns []string // what the row text carries, in this order
	Key     []string // the columns that find a row which is there already; empty: every row is new
	Replace bool     // delete all rows first
	Fresh   []string // columns of Table that are left to their defaults when a row is new (a serial key)

	// Set makes each group of rows with equal values of these columns complete: rows of a group that was
	// loaded, and which were not loaded themselves, are deleted. A loaded row whose Columns other than Set
	// are all NULL only names its group, which may so become empty. Key is then all of Columns.
	Set []string
}

// A Merged is what a Merge did, or in a dry run would have done, in rows.
type Merged struct {
	Merge    *Merge `json:"-"`
	Inserted int64  `json:"inserted"`
	Changed  int64  `json:"changed"`
	Same     int64  `json:"same"` // there already, and equal
	Deleted  int64  `json:"deleted"`
}

// A Merger puts rows into tables that exist, in one transaction: Begin, Loads one after the other, then
// Finish. Unlike a [Target] it makes no tables. Row text is what a View of the same engine gives for the
// same columns. Until Finish returns nil nothing is promised; Abort leaves the database as it was.
type Merger interface {
	// Begin opens the transaction and keeps other writers away from the tables of the plan. The order of
	// the plan is free: references may point forward, back, to themselves and in circles.
	Begin(ctx context.Context, plan []*Merge) error

	// Load takes rows for one merge of the plan. It may be called several times for one merge. Two rows
	// with one key are an error that names the key. An error about one row has a *[RowError] in its chain where the
	// engine says which row it is.
	Load(ctx context.Context, m *Merge, r io.Reader) (Count, error)

	// Finish merges, checks every foreign key of and to the merged tables, sets sequences and counters of
	// the merged tables behind their greatest values, and commits; when dry it does all that can be undone, and
	// undoes it. The result has one entry for each merge of the plan, in order. A broken reference is a *[Violations].
	Finish(ctx context.Context, dry bool) ([]Merged, error)

	// Abort undoes everything. It is called at most once and not after a nil Finish.
	Abort(ctx context.Context) error
}

// A RowError is why one row of a Load was not taken.
type RowError struct {
	Row int64 // its number in what that Load read, from 1
	Err error
}

func (e *RowError) Error() string { return e.Err.Error() }
func (e *RowError) Unwrap() error { return e.Err }

// A Violation is a kind of broken reference: rows of Table whose Columns name a row of References that is not there.
type Violation struct {
	Table      *Table
	Columns    []string
	References string // text form of the referenced table
	To         []string
	Count      int64       // of such rows
	Examples   []BrokenRow // a few of them
}

// A BrokenRow is one row of a Violation, as text: its primary key and the values that find nothing.
type BrokenRow struct {
	Key    []string
	Values []string
}

// Violations is the error of a Merger whose rows don't fit together. It lists each broken foreign key once.
type Violations struct{ List []Violation }

func (v *Violations) Error() string {
	var b strings.Builder
	for i, x := range v.List {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%d rows of %s name %s that are not in %s", x.Count, x.Table, strings.Join(x.Columns, ", "), x.References)
		if len(x.Examples) > 0 {
			e := x.Examples[0]
			fmt.Fprintf(&b, " (row %s: %s)", strings.Join(e.Key, ", "), strings.Join(e.Values, ", "))
		}
	}
	return b.String()
}
