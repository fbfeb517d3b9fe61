package envelope

import (
	"bufio"
	"errors"
	"io"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// An xzGuard passes an xz file on and refuses one that asks for too large a dictionary, which the decoder would allocate. It walks
// the file's structure: streams of blocks, blocks of LZMA2 chunks. It also knows where a file may end.
type xzGuard struct {
	in     *bufio.Reader
	next   func() (int64, error) // looks at what comes and returns how many bytes to pass; sets the next step
	pass   int64                 // bytes to pass before the next step
	err    error                 // what was wrong; it stays
	check  int64                 // length of a block's checksum
	packed int64                 // bytes of this block's chunks
	fields uint64                // numbers to come in the index
	index  int64                 // bytes of the index
}

func newXZGuard(in *bufio.Reader) *xzGuard {
	g := &xzGuard{in: in}
	g.next = g.stream
	return g
}

func (g *xzGuard) Read(p []byte) (int, error) {
	for g.pass == 0 && g.err == nil && len(p) > 0 {
		g.pass, g.err = g.next()
	}
	if g.err != nil || len(p) == 0 {
		return 0, g.err
	}
	n, err := g.in.Read(p[:min(int64(len(p)), g.pass)])
	g.pass -= int64(n)
	g.err = noEOF(err)
	return n, g.err
}

// broken returns what is wrong with the structure; an early end is the decoder's to tell.
func (g *xzGuard) broken() error {
	if g.err == io.EOF {
		return nil
	}
	return g.err
}

// look returns the next n bytes without passing them.
func (g *xzGuard) look(n int) ([]byte, error) {
	b, err := g.in.Peek(n)
	return b, noEOF(err)
}

var errXZ = errors.New("its structure is not xz's")

// stream expects a stream, padding of four zeros between streams, or the end.
func (g *xzGuard) stream() (int64, error) {
	b, err := g.in.Peek(1)
	if err != nil {
		return 0, err // io.EOF is fine here
	}
	if b[0] == 0 {
		return 4, nil
	}
	if b, err = g.look(12); err != nil {
		return 0, err
	}
	if string(b[:6]) != "\xfd7zXZ\x00" || b[6] != 0 || b[7] > 15 {
		return 0, errXZ
	}
	g.check = [...]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[b[7]]
	g.next = g.block
	return 12, nil
}

// block expects a block's header, or the index.
func (g *xzGuard) block() (int64, error) {
	b, err := g.look(1)
	if err != nil {
		return 0, err
	}
	if b[0] == 0 {
		g.fields, g.index, g.next = 0, 1, g.indexCount
		return 1, nil
	}
	if b, err = g.look((int(b[0]) + 1) * 4); err != nil {
		return 0, err
	}
	size, flags, rest := int64(len(b)), b[1], b[2:]
	for range int(flags>>6&1) + int(flags>>7) { // lengths, which may be told
		_, rest = number(rest)
	}
	if flags&3 != 0 || len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 {
		return 0, fail.New(fail.Unsupported, "the xz program can unpack it first", "read xz data: it uses a filter other than LZMA2")
	}
	bits := rest[2]
	if bits > 40 || (2|uint64(bits&1))<<(bits/2+11) > maxWindow {
		return 0, fail.New(fail.Unsupported, "the xz program can unpack it first", "read xz data: its dictionary is larger than %d MiB", maxWindow>>20)
	}
	g.packed, g.next = 0, g.chunk
	return size, nil
}

// chunk expects a chunk of LZMA2, or the end of the block.
func (g *xzGuard) chunk() (int64, error) {
	b, err := g.look(1)
	if err != nil {
		return 0, err
	}
	control, n := b[0], int64(0)
	switch {
	case control == 0:
		g.next = g.block
		return 1 + (4-(g.packed+1)%4)%4 + g.check, nil
	case control <= 2: // not packed
		if b, err = g.look(3); err != nil {
			return 0, err
		}
		n = 3 + int64(b[1])<<8 + int64(b[2]) + 1
	case control >= 0x80:
		if b, err = g.look(5); err != nil {
			return 0, err
		}
		n = 5 + int64(b[3])<<8 + int64(b[4]) + 1
		if control >= 0xc0 { // new properties
			n++
		}
	default:
		return 0, errXZ
	}
	g.packed += n
	return n, nil
}

// indexCount expects how many records the index has; each is two numbers.
func (g *xzGuard) indexCount() (int64, error) {
	records, n, err := g.number()
	g.fields, g.next = 2*records, g.indexField
	return n, err
}

func (g *xzGuard) indexField() (int64, error) {
	if g.fields == 0 { // padding, checksum and the stream's footer
		g.next = g.stream
		return (4-g.index%4)%4 + 4 + 12, nil
	}
	g.fields--
	_, n, err := g.number()
	return n, err
}

// number looks at a number of the index and returns its length too.
func (g *xzGuard) number() (uint64, int64, error) {
	for n := 1; n <= 9; n++ {
		b, err := g.look(n)
		if err != nil {
			return 0, 0, err
		}
		if b[n-1]&0x80 == 0 {
			value, _ := number(b)
			g.index += int64(n)
			return value, int64(n), nil
		}
	}
	return 0, 0, errXZ
}

// number reads a number of up to nine bytes, seven bits in each, and returns what follows.
func number(b []byte) (value uint64, rest []byte) {
	for i, c := range b {
		value |= uint64(c&0x7f) << (7 * min(i, 9))
		if c&0x80 == 0 {
			return value, b[i+1:]
		}
	}
	return value, nil
}
