package envelope

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A zipReader reads the one member of a zip archive as a stream: the directory at the archive's end is not needed to find it, only to
// see that it is the only one.
type zipReader struct {
	in   *bufio.Reader
	r    io.Reader // the member's content
	size uint32    // unpacked so far, modulo 2^32
	sum  hash.Hash32
	want zipSums
	late bool // want comes after the content
}

// zipSums are the checks of a member. Sizes of 4 GiB and more are compared by their lower half.
type zipSums struct{ crc, size uint32 }

const (
	zipLocal     = "PK\x03\x04"
	zipDirectory = "PK\x01\x02"
	zipLate      = "PK\x07\x08"
)

// openZip reads the header of the first member and returns its content and name.
func openZip(in *bufio.Reader) (io.Reader, string, error) {
	h := make([]byte, 30)
	if _, err := io.ReadFull(in, h); err != nil {
		return nil, "", noEOF(err)
	}
	flags, method := binary.LittleEndian.Uint16(h[6:]), binary.LittleEndian.Uint16(h[8:])
	names := make([]byte, int(binary.LittleEndian.Uint16(h[26:]))+int(binary.LittleEndian.Uint16(h[28:])))
	if _, err := io.ReadFull(in, names); err != nil {
		return nil, "", noEOF(err)
	}
	name := string(names[:binary.LittleEndian.Uint16(h[26:])])
	packed, size := binary.LittleEndian.Uint32(h[18:]), binary.LittleEndian.Uint32(h[22:])
	z := &zipReader{in: in, sum: crc32.NewIEEE(), late: flags&8 != 0, want: zipSums{binary.LittleEndian.Uint32(h[14:]), size}}
	const hint = "unpack it first: unzip FILE"
	switch {
	case flags&1 != 0:
		return nil, "", fail.New(fail.Unsupported, hint, "read a zip archive: it is encrypted")
	case method == 8:
		z.r = flate.NewReader(in)
		// Then a length of 0xffffffff stands for one told elsewhere, which needn't be looked up.
		if !z.late && size == 0xffffffff {
			return nil, "", fail.New(fail.Unsupported, hint, "read a zip archive: its member has 4 GiB or more")
		}
	case method == 0 && !z.late && packed != 0xffffffff:
		z.r = io.LimitReader(in, int64(packed))
	default:
		return nil, "", fail.New(fail.Unsupported, hint, "read a zip archive: it is packed in a way that can't be streamed")
	}
	return z, name, nil
}

func (z *zipReader) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	z.sum.Write(p[:n])
	z.size += uint32(n)
	if err == io.EOF {
		err = z.finish()
	}
	return n, err
}

// finish checks the member and that it was the only one, and reads the archive to its end.
func (z *zipReader) finish() error {
	if z.late {
		if err := z.readLate(); err != nil {
			return err
		}
	}
	if got := (zipSums{z.sum.Sum32(), z.size}); got != z.want {
		return errors.New("checksum or length differs")
	}
	sig, err := z.in.Peek(4)
	if err != nil {
		return noEOF(err)
	}
	switch string(sig) {
	case zipLocal:
		return fail.New(fail.Unsupported, "unpack it first: unzip FILE", "read a zip archive: it has several members, and one is expected")
	case zipDirectory:
	default:
		return errors.New("its directory is missing")
	}
	directory, err := io.ReadAll(io.LimitReader(z.in, maxKeyFile+1)) // one entry and the end: small
	switch {
	case err != nil:
		return err
	case len(directory) > maxKeyFile:
		return errors.New("its directory is too large")
	case !bytes.Contains(directory, []byte("PK\x05\x06")):
		return io.ErrUnexpectedEOF
	}
	end := directory[bytes.LastIndex(directory, []byte("PK\x05\x06")):]
	if len(end) < 22 || len(end) < 22+int(binary.LittleEndian.Uint16(end[20:])) {
		return io.ErrUnexpectedEOF
	}
	if len(end) > 22+int(binary.LittleEndian.Uint16(end[20:])) {
		return errors.New("something follows its end")
	}
	return io.EOF
}

// readLate reads the checks that follow the content: perhaps a signature, the sum, and both lengths in four bytes each, or in eight.
func (z *zipReader) readLate() error {
	b, err := z.in.Peek(28)
	if err != nil && (!errors.Is(err, io.EOF) || len(b) < 16) {
		return noEOF(err)
	}
	start := 0
	if string(b[:4]) == zipLate {
		start = 4
	}
	for _, width := range []int{4, 8} {
		next := start + 4 + 2*width
		if next+2 <= len(b) && string(b[next:next+2]) == "PK" {
			z.want = zipSums{binary.LittleEndian.Uint32(b[start:]), binary.LittleEndian.Uint32(b[start+4+width:])}
			_, err = z.in.Discard(next)
			return err
		}
	}
	return errors.New("its checksum is missing")
}
