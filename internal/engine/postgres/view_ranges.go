package postgres

import (
	"context"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// What a table read in the order of an integer key is cut into, so that several connections sort and send at once.
const (
	rangeBytes  = 4 << 20             // of table in one range, about
	rangesFrom  = 4 * rangeBytes      // smaller tables are read by one connection
	mostRanges  = 100_000             // of one table
	blockSize   = 256 << 10           // bytes handed over at once
	blocksAhead = 8 << 20 / blockSize // that one range may be ahead of its turn
	rangesAhead = 2                   // ranges for each connection that may be ahead
)

// ranges returns conditions that cut a table into ranges of its key, in order; nil when that can't be or isn't worth it.
func (v *View) ranges(ctx context.Context, t *rows.Table, by []string) ([]string, error) {
	if v.opt.Jobs < 2 || len(by) != 1 || t.Kind != rows.Ordinary || t.EstBytes < rangesFrom || !slices.Equal(t.PrimaryKey, by) {
		return nil, nil
	}
	i := slices.IndexFunc(t.Columns, func(c rows.Column) bool { return c.Name == by[0] })
	if i < 0 || t.Columns[i].Type != rows.Int {
		return nil, nil
	}
	low, high, err := v.keyBounds(ctx, t, by[0])
	if err != nil || low == nil {
		return nil, err
	}
	key := "t." + quoteIdent(by[0])
	n := min(t.EstBytes/rangeBytes, mostRanges)
	step := new(big.Int).Sub(high, low)
	step.Add(step.Div(step, big.NewInt(n)), big.NewInt(1))
	var list []string
	for from := low; from.Cmp(high) <= 0; {
		to := new(big.Int).Add(from, step)
		cond := fmt.Sprintf("%s >= %s", key, from)
		if len(list) == 0 {
			cond = "true"
		}
		if to.Cmp(high) <= 0 {
			cond += fmt.Sprintf(" AND %s < %s", key, to)
		}
		list = append(list, cond)
		from = to
	}
	return list, nil
}

// keyBounds returns the least and the greatest key, by two looks at its index; nil for a table without rows.
func (v *View) keyBounds(ctx context.Context, t *rows.Table, key string) (low, high *big.Int, err error) {
	r, err := v.openSorted(ctx, t, lockSQL(t)+fmt.Sprintf("COPY (SELECT min(%[1]s), max(%[1]s) FROM ONLY %[2]s) TO STDOUT", quoteIdent(key), quoteTable(t)))
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, err
	}
	a, b, _ := strings.Cut(strings.TrimSpace(string(text)), "\t")
	if a == rows.Null {
		return nil, nil, nil
	}
	l, err1 := strconv.ParseInt(a, 10, 64)
	h, err2 := strconv.ParseInt(b, 10, 64)
	if err1 != nil || err2 != nil {
		return nil, nil, nil // a type with another idea of order: read by one connection
	}
	return big.NewInt(l), big.NewInt(h), nil
}

// rangeReader reads ranges of a table with several connections and gives their rows one after the other.
type rangeReader struct {
	ranges []*keyRange
	cancel context.CancelFunc
	work   sync.WaitGroup
	ahead  chan struct{} // one for each range that was begun and not yet read: a slow reader must not have the table in memory
	free   chan []byte   // blocks to be used again
	block  []byte        // the one being read
	rest   []byte        // of it
	err    error
}

type keyRange struct {
	sql    string
	blocks chan []byte
	err    error // once blocks is closed
}

func (v *View) readRanges(ctx context.Context, t *rows.Table, queries []string) io.ReadCloser {
	rr := &rangeReader{free: make(chan []byte, v.opt.Jobs*blocksAhead), ahead: make(chan struct{}, v.opt.Jobs*rangesAhead)}
	ctx, rr.cancel = context.WithCancel(ctx)
	todo := make(chan *keyRange, len(queries))
	for _, sql := range queries {
		k := &keyRange{sql: sql, blocks: make(chan []byte, blocksAhead)}
		rr.ranges = append(rr.ranges, k)
		todo <- k
	}
	close(todo)
	for range v.opt.Jobs {
		rr.work.Go(func() {
			for {
				select {
				case rr.ahead <- struct{}{}:
				case <-ctx.Done(): // fetch gives what is left this error
				}
				k, ok := <-todo // in order, so that the first one open is always being read
				if !ok {
					return
				}
				k.err = rr.fetch(ctx, v, t, k)
				close(k.blocks)
			}
		})
	}
	return rr
}

// fetch reads one range as far ahead of its turn as its blocks go.
func (rr *rangeReader) fetch(ctx context.Context, v *View, t *rows.Table, k *keyRange) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := v.openSorted(ctx, t, k.sql)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		var block []byte
		select {
		case block = <-rr.free:
		default:
			block = make([]byte, blockSize)
		}
		n, err := io.ReadFull(r, block)
		if n > 0 {
			select {
			case k.blocks <- block[:n]:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

func (rr *rangeReader) Read(p []byte) (int, error) {
	for len(rr.rest) == 0 && rr.err == nil {
		if rr.block != nil {
			select {
			case rr.free <- rr.block[:blockSize]:
			default:
			}
			rr.block = nil
		}
		if len(rr.ranges) == 0 {
			rr.err = io.EOF
			break
		}
		block, ok := <-rr.ranges[0].blocks
		if !ok {
			rr.err = rr.ranges[0].err
			rr.ranges = rr.ranges[1:]
			select {
			case <-rr.ahead:
			default: // what was given up took none
			}
			continue
		}
		rr.block, rr.rest = block, block
	}
	if len(rr.rest) == 0 {
		return 0, rr.err
	}
	n := copy(p, rr.rest)
	rr.rest = rr.rest[n:]
	return n, nil
}

func (rr *rangeReader) Close() error {
	rr.cancel()
	rr.work.Wait()
	rr.rest, rr.ranges = nil, nil
	if rr.err == nil {
		rr.err = io.ErrClosedPipe
	}
	return nil
}
