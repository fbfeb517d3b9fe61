package repo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/kopia/kopia/repo/compression"
)

// registerZstd replaces kopia's zstd compressors by blockZstd, once.
var registerZstd = sync.OnceFunc(func() {
	for name, level := range map[compression.Name]zstd.EncoderLevel{
		"zstd-fastest": zstd.SpeedFastest,
		"zstd":         zstd.SpeedDefault,
	} {
		was := compression.ByName[name]
		c, err := newBlockZstd(was, level)
		if err != nil {
			panic(fmt.Sprintf("repo: make a zstd encoder: %v", err)) // its options are constants
		}
		compression.ByName[name] = c
		compression.ByHeaderID[was.HeaderID()] = c
	}
})

// blockZstd compresses a chunk in one piece. kopia's own compressor of the same name uses the
// streaming encoder, which starts goroutines for every chunk and copies through its window;
// in one piece the same algorithm needs less processor time. What it writes is the same format,
// with the same header, so the stock kopia command reads it.
type blockZstd struct {
	compression.Compressor // kopia's own, which decompresses
	encoder                *zstd.Encoder
	buffers                sync.Pool // of *blockBuffers
}

type blockBuffers struct {
	in  bytes.Buffer
	out []byte
}

func newBlockZstd(was compression.Compressor, level zstd.EncoderLevel) (*blockZstd, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)+2), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &blockZstd{Compressor: was, encoder: e, buffers: sync.Pool{New: func() any { return new(blockBuffers) }}}, nil
}

func (c *blockZstd) Compress(output io.Writer, input io.Reader) error {
	b := c.buffers.Get().(*blockBuffers)
	defer c.buffers.Put(b)
	b.in.Reset()
	if _, err := b.in.ReadFrom(input); err != nil {
		return err
	}
	b.out = binary.BigEndian.AppendUint32(b.out[:0], uint32(c.HeaderID()))
	b.out = c.encoder.EncodeAll(b.in.Bytes(), b.out)
	_, err := output.Write(b.out)
	return err
}
