package rows

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"

	"github.com/zeebo/xxh3"
)

// Hash is a hash of a multiset of rows: the sum, modulo 2^128, of the XXH3-128 of each row's
// text without its newline. It does not depend on the order of rows, and the hash of a table
// is the sum of its parts'. It finds accidents; it does not stand up to somebody who chooses
// rows to deceive it. Against that the repository authenticates what it stores.
type Hash struct{ Hi, Lo uint64 }

// Add returns the hash of both multisets together.
func (h Hash) Add(o Hash) Hash {
	lo, carry := bits.Add64(h.Lo, o.Lo, 0)
	hi, _ := bits.Add64(h.Hi, o.Hi, carry)
	return Hash{hi, lo}
}

// String returns 32 hexadecimal digits.
func (h Hash) String() string { return fmt.Sprintf("%016x%016x", h.Hi, h.Lo) }

// MarshalText returns what String does.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(b []byte) error {
	var raw [16]byte
	if n, err := hex.Decode(raw[:], b); err != nil || n != len(raw) || len(b) != 32 {
		return fmt.Errorf("row hash %q: want 32 hexadecimal digits", b)
	}
	h.Hi, h.Lo = be64(raw[:8]), be64(raw[8:])
	return nil
}

func be64(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// HashRow returns the hash of one row, given without its newline.
func HashRow(row []byte) Hash {
	u := xxh3.Hash128(row)
	return Hash{u.Hi, u.Lo}
}

// Count is what was seen of some rows.
type Count struct {
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"` // of row text, newlines included
	Hash  Hash  `json:"hash"`
}

// Add returns both counts together.
func (c Count) Add(o Count) Count {
	return Count{c.Rows + o.Rows, c.Bytes + o.Bytes, c.Hash.Add(o.Hash)}
}

// A Counter counts row text that is written to it in pieces of any length.
// The zero value is ready to use.
type Counter struct {
	count Count
	long  *xxh3.Hasher // the row so far, when it began in an earlier piece
	open  bool
}

// Write never fails.
func (c *Counter) Write(p []byte) (int, error) {
	n := len(p)
	c.count.Bytes += int64(n)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			c.more(p)
			break
		}
		if c.open {
			c.more(p[:end])
			u := c.long.Sum128()
			c.count.Hash = c.count.Hash.Add(Hash{u.Hi, u.Lo})
			c.open = false
		} else {
			c.count.Hash = c.count.Hash.Add(HashRow(p[:end]))
		}
		c.count.Rows++
		p = p[end+1:]
	}
	return n, nil
}

func (c *Counter) more(p []byte) {
	if !c.open {
		if c.long == nil {
			c.long = xxh3.New()
		}
		c.long.Reset()
		c.open = true
	}
	c.long.Write(p)
}

// Count returns what was counted, or an error when the last row has no end.
func (c *Counter) Count() (Count, error) {
	if c.open {
		return c.count, fmt.Errorf("row %d has no end: %w", c.count.Rows+1, io.ErrUnexpectedEOF)
	}
	return c.count, nil
}
