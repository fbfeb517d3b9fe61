// Package sqltext is plain SQL files: [Write] makes one of a database or a backup, which the engine's own client (psql,
// sqlite3, mariadb) restores without Holdfast, and [Check] reads one through.
//
// Files are loaded by the engines themselves: postgres.ExecScript, sqlite.ExecScript and mysql.ExecScript.
package sqltext

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// WriteOptions tune a Write. The zero value is a file for an empty database, without owners and rights.
type WriteOptions struct {
	Clean      bool // drop what the file defines first, so that it can be run over an older copy
	IfExists   bool // with Clean: also in a database where some of that is missing
	Owner      bool // say who owns what: the roles must exist
	Privileges bool // grant what was granted
	Inserts    bool // rows as INSERT statements rather than COPY, which other programs understand
	Jobs       int  // parts that are read at once; 0 is 2

	Observer func(rows.Update) // called now and then
}

func (o WriteOptions) names() (list []string) {
	for _, opt := range []struct {
		on   bool
		name string
	}{{o.Clean, "clean"}, {o.Clean && o.IfExists, "if exists"}, {o.Owner, "owner"}, {o.Privileges, "privileges"}, {o.Inserts, "inserts"}} {
		if opt.on {
			list = append(list, opt.name)
		}
	}
	return list
}

// A Summary says what a file holds.
type Summary struct {
	Engine   string           `json:"engine"`
	Version  string           `json:"version,omitempty"`
	Database string           `json:"database"`
	TakenAt  time.Time        `json:"taken_at,omitzero"`
	Tables   []rows.TableRows `json:"tables"`
	Rows     int64            `json:"rows"`
	Bytes    int64            `json:"bytes"` // of the file
	Options  []string         `json:"options,omitempty"`
	Notes    []string         `json:"notes,omitempty"`
}

const writeBuffer = 1 << 20

// Write writes v, a live database or a stored backup, as one SQL file.
//
// For PostgreSQL that is what pg_dump --no-owner --no-privileges gives, or with other options with the like of its options: the definitions
// are pg_dump's own text. «psql -X -v ON_ERROR_STOP=1 -f FILE» restores it. For SQLite it is what «.dump» gives; the options mean nothing there. For MySQL
// and MariaDB it is what mysqldump gives with routines and events, for «mariadb NAME < FILE»; of the options, Clean always says IF EXISTS, Owner
// keeps DEFINER clauses, and the others mean nothing.
// Kinds: Unsupported for other engines, and those of v's and w's errors. After an error w holds a part that Check calls truncated.
func Write(ctx context.Context, v rows.View, w io.Writer, opt WriteOptions) (*Summary, error) {
	origin := &v.Schema().Origin
	sum := &Summary{Engine: origin.Engine, Version: origin.Version, Database: origin.Database, TakenAt: origin.TakenAt}
	out := &output{w: bufio.NewWriterSize(w, writeBuffer)}
	var err error
	d, dumps := v.(rows.Dumper)
	switch {
	case dumps:
		var list []rows.TableRows
		list, err = d.DumpSQL(ctx, out, opt.Observer)
		for _, t := range list {
			sum.add(t.Name, t.Rows)
		}
	case origin.Engine == "postgres":
		sum.Options = opt.names()
		err = writePostgres(ctx, v, out, opt, sum)
	case origin.Engine == "mysql":
		sum.Options = opt.names()
		err = writeMySQL(ctx, v, out, opt, sum)
	default:
		err = fail.New(fail.Unsupported, "", "there is no SQL file of %s here", cmp.Or(origin.Engine, "this engine"))
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		return nil, fail.Op(err, "write %s as SQL", origin.Database)
	}
	sum.Bytes = out.size
	sum.Notes = append(sum.Notes, v.Schema().Origin.Notes...)
	return sum, nil
}

func (s *Summary) add(table string, n int64) {
	s.Rows += n
	if k := len(s.Tables) - 1; k >= 0 && s.Tables[k].Name == table {
		s.Tables[k].Rows += n
		return
	}
	s.Tables = append(s.Tables, rows.TableRows{Name: table, Rows: n})
}

// output counts what is written and keeps the first error.
type output struct {
	w    *bufio.Writer
	size int64
	err  error
}

func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	o.size += int64(n)
	o.err = err
	return n, err
}

func (o *output) text(parts ...string) {
	for _, p := range parts {
		_, _ = io.WriteString(o, p) // kept in err
	}
}

// WriteString implements io.StringWriter.
func (o *output) WriteString(s string) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.WriteString(s)
	o.size += int64(n)
	o.err = err
	return n, err
}

func (o *output) flush() error {
	if o.err == nil {
		o.err = o.w.Flush()
	}
	return o.err
}
