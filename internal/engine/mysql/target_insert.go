package mysql

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strconv"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// insertBatch is about how long an INSERT is.
const insertBatch = 512 << 10

// insertRows loads rows where the server allows no LOAD DATA LOCAL. All are one transaction,
// unless the table's loads are part of another.
func insertRows(ctx context.Context, s *session, lt *loadTable, r io.Reader) (stored int64, err error) {
	row, err := s.one(ctx, "SELECT @@max_allowed_packet")
	if err != nil {
		return 0, err
	}
	packet, _ := strconv.Atoi(row[0].s)
	own := !lt.joined
	if own {
		if err := s.exec(ctx, "START TRANSACTION"); err != nil {
			return 0, err
		}
	}
	var names []string
	for _, f := range lt.fields {
		if !f.drop {
			names = append(names, f.column)
		}
	}
	b := inserter{s: s, into: lt, head: "INSERT INTO " + quoteIdent(lt.into) + " (" + quoteIdents(names) + ") VALUES ", fields: lt.fields, packet: packet}
	in := bufio.NewReaderSize(r, 256<<10)
	for err == nil {
		var line []byte
		line, err = readLine(in)
		if err == nil {
			err = b.add(ctx, line)
		}
	}
	switch err {
	case io.EOF:
		err = b.flush(ctx)
	case io.ErrUnexpectedEOF:
		err = fail.Wrap(fail.Damaged, err, "", "read row text")
	}
	switch {
	case err != nil && own:
		_ = s.exec(context.WithoutCancel(ctx), "ROLLBACK")
	case err == nil && own:
		err = s.exec(ctx, "COMMIT")
	}
	return b.stored, err
}

// readLine returns the next row without its newline.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		long := bytes.Clone(line)
		line, err = in.ReadBytes('\n')
		line = append(long, line...)
	}
	if err == io.EOF && len(line) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return bytes.TrimSuffix(line, []byte{'\n'}), err
}

// inserter gathers rows for INSERTs.
type inserter struct {
	s      *session
	into   *loadTable
	head   string
	fields []field
	packet int
	sql    []byte
	values []rows.Value
	rows   int64 // in sql
	before int64 // in earlier statements
	empty  int64 // values of enums in sql
	stored int64
}

func (b *inserter) add(ctx context.Context, line []byte) (err error) {
	if b.values, err = rows.ParseRow(b.values[:0], line, len(b.fields)); err != nil {
		return fail.Wrap(fail.Damaged, err, "", "read row text")
	}
	if len(b.sql) == 0 {
		b.sql = append(b.sql, b.head...)
	} else {
		b.sql = append(b.sql, ',')
	}
	b.sql = append(b.sql, '(')
	first := true
	for i := range b.values {
		if b.fields[i].drop {
			continue
		}
		if !first {
			b.sql = append(b.sql, ',')
		}
		first = false
		if b.fields[i].enum && !b.values[i].IsNull && len(b.values[i].Text) == 0 {
			b.empty++
		}
		if b.sql, err = b.fields[i].literal(b.sql, b.values[i]); err != nil {
			return err
		}
	}
	b.sql = append(b.sql, ')')
	b.rows++
	if len(b.sql) >= min(insertBatch, b.packet/4) {
		return b.flush(ctx)
	}
	return nil
}

func (b *inserter) flush(ctx context.Context) error {
	if len(b.sql) == 0 {
		return nil
	}
	if b.packet > 0 && len(b.sql) >= b.packet {
		return fail.New(fail.Unsupported, hintPacket, "a row takes %d bytes, the server allows %d", len(b.sql), b.packet)
	}
	n, err := b.s.affect(ctx, string(b.sql))
	before, empty := b.before, b.empty
	b.sql, b.stored, b.before, b.rows, b.empty = b.sql[:0], b.stored+n, b.before+b.rows, 0, 0
	if err != nil {
		return rowError(err, err.Error(), before)
	}
	return warnings(ctx, b.s, b.into, before, empty) // the next INSERT forgets them
}
