// Package rows is the contract of the first way to see a database: as tables of rows,
// frozen at one instant. A [View] is such a database, a [Target] receives one, and [Copy]
// moves rows between them: backup, restore, dump and load are all that one motion.
//
// Rows travel as row text: PostgreSQL's COPY text format with fixed settings. One row a
// line; columns separated by tabs; NULL is \N; backslash, tab, newline and carriage return
// are escaped (\\ \t \n \r, also \b \f \v); UTF-8; ISO dates, UTC, bytes as \x hex (the
// backslash itself escaped), the shortest float that reads back the same. A newline byte
// therefore always ends a row. A row of a table without columns is an empty line.
package rows

import (
	"fmt"
	"strings"
	"time"
)

// Origin says where a View or an image came from and what it can promise.
type Origin struct {
	Engine      string    `json:"engine"`               // "postgres", "sqlite", …
	Version     string    `json:"version"`              // of the server or library, as it gives it
	Database    string    `json:"database"`             // its name there
	Host        string    `json:"host,omitempty"`       // "db1:5432", a socket, or the machine of a file
	Encoding    string    `json:"encoding,omitempty"`   // of the database; row text is UTF-8 whatever it says
	TakenAt     time.Time `json:"taken_at"`             // the instant at which the rows are frozen
	Position    string    `json:"position,omitempty"`   // that instant in the engine's log (LSN, WAL frame)
	Consistency string    `json:"consistency"`          // in words: how one instant was had
	Notes       []string  `json:"notes,omitempty"`      // what the reader of a backup must know
	Tools       string    `json:"tools,omitempty"`      // program that wrote the definitions
	Attributes  []Pair    `json:"attributes,omitempty"` // engine settings needed to make the database again (locale, …)
}

// A Pair is a named value.
type Pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Attribute returns the named attribute, or "".
func (o *Origin) Attribute(name string) string {
	for _, p := range o.Attributes {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Schema is the portable description of a database.
type Schema struct {
	Origin    Origin     `json:"origin"`
	Tables    []*Table   `json:"tables"`
	Sequences []Sequence `json:"sequences,omitempty"`
}

// Table finds a table by its text form (see [Table.String]); nil when there is none.
func (s *Schema) Table(name string) *Table {
	for _, t := range s.Tables {
		if t.String() == name {
			return t
		}
	}
	return nil
}

// Kind tells what holds the rows.
type Kind string

// The kinds of tables. All but Definition and LargeObjects hold rows of their own.
const (
	Ordinary     Kind = "table"
	Partitioned  Kind = "partitioned"   // rows are in its partitions; has no parts
	MatView      Kind = "matview"       // rows are computed again at restore; has no parts
	Foreign      Kind = "foreign"       // rows live elsewhere; has no parts
	LargeObjects Kind = "large objects" // rows (id, offset, bytes) of PostgreSQL's large objects
)

// Table describes one table. Fields that only one engine needs are in Native.
type Table struct {
	Schema      string       `json:"schema,omitempty"`
	Name        string       `json:"name"`
	Kind        Kind         `json:"kind"`
	Columns     []Column     `json:"columns"` // in row text order first; see Column.Generated
	PrimaryKey  []string     `json:"primary_key,omitempty"`
	Unique      [][]string   `json:"unique,omitempty"`
	Indexes     []Index      `json:"indexes,omitempty"`
	ForeignKeys []ForeignKey `json:"foreign_keys,omitempty"`
	Parent      string       `json:"parent,omitempty"`    // partitioned or inherited table it belongs to
	Extension   string       `json:"extension,omitempty"` // owning extension: definition comes with it, Filter picks the rows
	Filter      string       `json:"filter,omitempty"`    // condition on rows, in the engine's SQL
	LoadInto    string       `json:"load_into,omitempty"` // load rows through this table (hash partitions on enums)
	Native      []Pair       `json:"native,omitempty"`    // anything else the engine wants back
	Comment     string       `json:"comment,omitempty"`
	EstRows     int64        `json:"-"` // estimates, for order and progress
	EstBytes    int64        `json:"-"`
}

// String returns the table's name as people write it: schema.name, with each part in
// double quotes when it is not a plain lower-case identifier.
func (t *Table) String() string {
	if t.Schema == "" {
		return quoteOdd(t.Name)
	}
	return quoteOdd(t.Schema) + "." + quoteOdd(t.Name)
}

// Stored returns the columns that row text carries: all but the generated ones, in order.
func (t *Table) Stored() []Column {
	stored := make([]Column, 0, len(t.Columns))
	for _, c := range t.Columns {
		if !c.Generated {
			stored = append(stored, c)
		}
	}
	return stored
}

// Few joins names for a message, the first of them when there are many: "a, b and 7 more".
func Few(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func quoteOdd(s string) string {
	plain := s != ""
	for i, r := range s {
		if !(r == '_' || r >= 'a' && r <= 'z' || i > 0 && (r >= '0' && r <= '9' || r == '$')) {
			plain = false
		}
	}
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// Type is a column's type in words that every engine knows.
type Type string

// The portable types. Other marks a type that only its own engine understands; its values
// still travel as text.
const (
	Bool      Type = "bool"
	Int       Type = "int" // any integer, Size in bits
	Float     Type = "float"
	Decimal   Type = "decimal"
	Text      Type = "text"
	Bytes     Type = "bytes"
	Date      Type = "date"
	Time      Type = "time"
	Timestamp Type = "timestamp"   // without time zone
	Instant   Type = "timestamptz" // a point in time
	Interval  Type = "interval"
	UUID      Type = "uuid"
	JSON      Type = "json"
	Enum      Type = "enum"
	Array     Type = "array"
	Any       Type = "any" // SQLite: each value has its own type
	Other     Type = "other"
)

// Column describes one column.
type Column struct {
	Name      string `json:"name"`
	Type      Type   `json:"type"`
	Native    string `json:"native"`         // the engine's own name of the type, with its modifiers
	Size      int    `json:"size,omitempty"` // bits of an int or float, most characters of a text; 0 unknown
	NotNull   bool   `json:"not_null,omitempty"`
	Default   string `json:"default,omitempty"`   // the engine's expression
	Identity  string `json:"identity,omitempty"`  // "always" or "default"
	Generated bool   `json:"generated,omitempty"` // computed from other columns: not in row text

	// What another engine needs to make such a column.
	Scale   int      `json:"scale,omitempty"`   // digits behind the point of a decimal, whose Size is all its digits
	Literal *string  `json:"literal,omitempty"` // Default as row text without escapes, when it is a constant other than NULL
	Values  []string `json:"values,omitempty"`  // of an enum, in order
	Comment string   `json:"comment,omitempty"`
}

// Index describes one index that is no primary key. Definition is the engine's SQL.
type Index struct {
	Name       string   `json:"name"`
	Unique     bool     `json:"unique,omitempty"`
	Definition string   `json:"definition"`
	Columns    []string `json:"columns,omitempty"` // when it is over whole columns and all rows, so that every engine can make it
}

// ForeignKey describes one foreign key. Table is the referenced table's text form.
type ForeignKey struct {
	Name       string   `json:"name"`
	Columns    []string `json:"columns"`
	Table      string   `json:"table"`
	References []string `json:"references"`
	Deferrable bool     `json:"deferrable,omitempty"`
	OnDelete   string   `json:"on_delete,omitempty"` // "cascade", "set null", "set default", "restrict"; "" is no action
	OnUpdate   string   `json:"on_update,omitempty"`
}

// Sequence is a sequence and its value at the snapshot.
type Sequence struct {
	Schema string `json:"schema,omitempty"`
	Name   string `json:"name"`
	Table  string `json:"table,omitempty"` // text form of the table whose column owns it
	Column string `json:"column,omitempty"`
	Last   int64  `json:"last"`
	Called bool   `json:"called"` // whether Last has been handed out
}
