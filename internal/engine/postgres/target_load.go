package postgres

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// load copies one part through a session.
func load(ctx context.Context, s *session, p rows.Part, r io.Reader) (rows.Count, error) {
	if p.Table.Kind == rows.LargeObjects {
		return loadObjects(ctx, s, r)
	}
	if err := s.setReplica(ctx, p.Table.Extension != ""); err != nil {
		return rows.Count{}, err
	}
	return copyIn(ctx, s, copySQL(p.Table), r)
}

// setReplica turns triggers and checks of foreign keys off, where the role may, or on again.
// They are there before the rows only in tables that extensions bring along.
func (s *session) setReplica(ctx context.Context, on bool) error {
	if s.replica == on {
		return nil
	}
	role := "origin"
	if on {
		role = "replica"
	}
	err := s.exec(ctx, "SET session_replication_role = "+role)
	if isState(err, "42501") {
		return nil
	}
	s.replica = on && err == nil
	return err
}

// copySQL returns the COPY statement that takes a table's row text.
func copySQL(t *rows.Table) string {
	into := quoteTable(t)
	if t.LoadInto != "" {
		into = loadInto(t)
	}
	stored := t.Stored()
	if len(stored) == 0 {
		return "COPY " + into + " FROM STDIN"
	}
	list := make([]string, len(stored))
	for i, c := range stored {
		list[i] = quoteIdent(c.Name)
	}
	return "COPY " + into + " (" + strings.Join(list, ", ") + ") FROM STDIN"
}

// loadInto quotes the table through which rows are loaded; t has its text form, in which a key word
// may be bare.
func loadInto(t *rows.Table) string {
	if q, ok := qualifiedAt(tokens(t.LoadInto), 0); ok {
		return q.String()
	}
	return quoteIdent(t.LoadInto)
}

// copyIn streams row text from r to its end and compares the server's count with ours.
func copyIn(ctx context.Context, s *session, sql string, r io.Reader) (rows.Count, error) {
	src := &countedReader{r: r}
	tag, err := s.conn.PgConn().CopyFrom(ctx, src, sql)
	count, cerr := src.end()
	switch {
	case src.err != nil: // the reason, of which the server's error is the consequence
		return count, src.err
	case err != nil:
		return count, err
	case cerr != nil:
		return count, fail.Wrap(fail.Damaged, cerr, "", "read row text")
	case tag.RowsAffected() != count.Rows:
		return count, fail.New(fail.Mismatch, "", "%d rows were sent, the server stored %d", count.Rows, tag.RowsAffected())
	}
	return count, nil
}

// countedReader counts what is read through it. The driver reads on a goroutine that it leaves alone
// after an error of the server; end waits for a read under way and allows no more.
type countedReader struct {
	r io.Reader

	mu      sync.Mutex
	counter rows.Counter // guarded by mu
	err     error        // of r; guarded by mu until end
	ended   bool         // guarded by mu
}

// Read fills p as far as r has data at once in reach, so that the server gets large messages.
func (c *countedReader) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, io.ErrClosedPipe
	}
	n, err := c.r.Read(p)
	_, _ = c.counter.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	} else if err != nil {
		err = io.EOF // the driver compares
	}
	return n, err
}

func (c *countedReader) end() (rows.Count, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	return c.counter.Count()
}

// objectBatch is how many bytes of large objects' row text are sent before the server's answer is
// waited for.
const objectBatch = 4 << 20

// loadObjects writes rows (oid, offset, bytes) into large objects. The objects were created with the
// definitions; one that was not is created here.
func loadObjects(ctx context.Context, s *session, r io.Reader) (rows.Count, error) {
	var counter rows.Counter
	in := bufio.NewReaderSize(io.TeeReader(r, &counter), 256<<10)
	var batch []objectPiece
	size, eof := 0, false
	for !eof {
		line, err := in.ReadBytes('\n')
		if eof = errors.Is(err, io.EOF); err != nil && !eof {
			return rows.Count{}, err
		}
		if len(line) > 0 && !eof {
			piece, err := parseObject(bytes.TrimSuffix(line, []byte{'\n'}))
			if err != nil {
				return rows.Count{}, err
			}
			batch = append(batch, piece)
			size += len(line)
		}
		if size >= objectBatch || eof {
			if err := putObjects(ctx, s, batch); err != nil {
				return rows.Count{}, err
			}
			batch, size = batch[:0], 0
		}
	}
	c, err := counter.Count()
	return c, fail.Wrap(fail.Damaged, err, "", "read row text")
}

// objectPiece is one row of the large objects' pseudo table.
type objectPiece struct{ oid, offset, data string }

func parseObject(line []byte) (objectPiece, error) {
	values, err := rows.ParseRow(nil, line, 3)
	if err != nil {
		return objectPiece{}, fail.Wrap(fail.Damaged, err, "", "read row text")
	}
	p := objectPiece{string(values[0].Text), string(values[1].Text), string(values[2].Text)}
	_, oerr := strconv.ParseUint(p.oid, 10, 32)
	_, ferr := strconv.ParseUint(p.offset, 10, 63)
	if oerr != nil || ferr != nil || values[2].IsNull || !strings.HasPrefix(p.data, `\x`) {
		return objectPiece{}, fail.New(fail.Damaged, "", "row text %.40q is no piece of a large object", line)
	}
	return p, nil
}

// putObjects writes pieces in one transaction, in one round trip.
func putObjects(ctx context.Context, s *session, batch []objectPiece) error {
	if len(batch) == 0 {
		return nil
	}
	seen := map[string]bool{}
	var missing strings.Builder
	for _, p := range batch {
		if !seen[p.oid] {
			seen[p.oid] = true
			if missing.Len() > 0 {
				missing.WriteByte(',')
			}
			missing.WriteString(p.oid)
		}
	}
	p := s.conn.PgConn().StartPipeline(ctx)
	p.SendQueryParams(fmt.Sprintf(`SELECT pg_catalog.lo_create(o) FROM pg_catalog.unnest('{%s}'::pg_catalog.oid[]) o
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid = o)`, missing.String()), nil, nil, nil, nil)
	for _, piece := range batch {
		p.SendQueryParams(`SELECT pg_catalog.lo_put($1::pg_catalog.oid, $2::pg_catalog.int8, $3::pg_catalog.bytea)`,
			[][]byte{[]byte(piece.oid), []byte(piece.offset), []byte(piece.data)}, nil, nil, nil)
	}
	p.SendPipelineSync()
	err := p.Flush()
	if err == nil {
		err = pipelineResult(p)
	}
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	return err
}
