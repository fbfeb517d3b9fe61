package envelope

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// What is wrong with a stream. Errors of [Reader] and of its Read wrap one of these where it applies,
// below the [fail.Kind] that is named.
var (
	ErrTruncated  = errors.New("the file is cut off")                                     // Damaged
	ErrAltered    = errors.New("the file is damaged or was altered")                      // Damaged
	ErrPassphrase = errors.New("wrong passphrase")                                        // Password
	ErrNoPhrase   = errors.New("it is encrypted with a passphrase, and none was given")   // Password
	ErrIdentity   = errors.New("none of the given identities opens it")                   // NotFound
	ErrNoIdentity = errors.New("it is encrypted to recipients, and no identity is given") // NotFound
	ErrTooDeep    = errors.New("too many layers")                                         // Unsupported
)

// Keys open what is encrypted. The zero value opens nothing that is.
type Keys struct {
	Identities    []string   // files: of age identities, or SSH private keys
	AgePassphrase Passphrase // asked at most once, and only when a stream needs it
	GPGPassphrase Passphrase // likewise
}

// A Passphrase returns a secret when it is needed, from a prompt or from memory. nil: there is none.
type Passphrase func() (fail.Secret, error)

// Given returns a Passphrase that is known. An empty secret is none.
func Given(s fail.Secret) Passphrase {
	if s == "" {
		return nil
	}
	return func() (fail.Secret, error) { return s, nil }
}

// Info says what a stream was wrapped in.
type Info struct {
	Layers    []string // from the outside: gzip, xz, zstd, bzip2, zip, age, openpgp
	Encrypted bool
	Member    string // the name inside a zip archive
}

const (
	maxLayers = 4        // as in .gz.age.gpg and one to spare
	maxWindow = 64 << 20 // how far back zstd and xz may refer: xz -9, zstd --ultra -21
	peek      = 64       // bytes that tell a format
	bufSize   = 64 << 10
)

// Reader undoes what r was wrapped in, layer by layer, as its content says. What is nothing it knows is returned as it is.
//
// Only when Read returned io.EOF was the stream whole. What age protects is authentic as it is read; what OpenPGP protects is
// proven at the end only: until io.EOF the data may be forged, so act on none of it for good. An empty stream is whole.
// Errors of r come through as they are. Close releases memory and does not close r.
func Reader(r io.Reader, keys Keys) (io.ReadCloser, Info, error) {
	var info Info
	stack := &reader{}
	stack.push(r)
	for {
		head, err := stack.buf.Peek(peek)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, info, errors.Join(err, stack.Close())
		}
		f, found := detect(head)
		if !found {
			err = cutOff(head)
		} else if len(info.Layers) == maxLayers {
			err = fail.Wrap(fail.Unsupported, ErrTooDeep, "unpack it by hand", "open a file of %v and more", info.Layers)
		} else {
			err = stack.open(f, keys, &info)
		}
		if err != nil {
			return nil, info, errors.Join(err, stack.Close())
		}
		if !found {
			return stack, info, nil
		}
	}
}

// A reader is a stack of decoders.
type reader struct {
	src    *source       // what the last decoder gives
	buf    *bufio.Reader // over src
	closes []func()
}

func (r *reader) push(top io.Reader) {
	r.src = &source{r: top}
	r.buf = bufio.NewReaderSize(r.src, bufSize)
}

func (r *reader) Read(p []byte) (int, error) { return r.buf.Read(p) }

func (r *reader) Close() error {
	for _, f := range r.closes {
		f()
	}
	r.closes = nil
	return nil
}

// open puts a decoder on the stack.
func (r *reader) open(f format, keys Keys, info *Info) error {
	d := &decoder{name: f.name, src: r.src, rest: r.buf, spaces: f.armored}
	info.Layers = append(info.Layers, f.name)
	var err error
	switch f.name {
	case "gzip":
		d.r, err = gzip.NewReader(r.buf)
	case "zstd":
		var z *zstd.Decoder
		z, err = zstd.NewReader(r.buf, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			d.r = z
			r.closes = append(r.closes, z.Close)
		}
	case "xz":
		guard := newXZGuard(r.buf)
		d.rest = guard
		d.r, err = xz.NewReader(guard)
		d.broken = guard.broken
	case "bzip2":
		d.r = bzip2.NewReader(r.buf)
	case "zip":
		d.r, info.Member, err = openZip(r.buf)
	case "age":
		info.Encrypted = true
		d.r, err = openAge(r.buf, f.armored, keys)
	case "openpgp":
		info.Encrypted = true
		spy := &eofSpy{buf: r.buf}
		d.cut = spy.sawEnd
		var message io.Reader = spy
		if f.armored {
			if message, err = dearmor(spy); err != nil {
				break
			}
			d.rest = io.MultiReader(message, d.rest)
		}
		d.r, err = openPGP(message, spy, keys)
	}
	if err != nil {
		return d.explain(err)
	}
	r.push(d)
	return nil
}

// A source remembers what went wrong below a decoder.
type source struct {
	r   io.Reader
	err error // never io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// An eofSpy remembers that a decoder came to the end of what is below.
type eofSpy struct {
	buf *bufio.Reader
	end bool
}

func (s *eofSpy) Read(p []byte) (int, error) {
	n, err := s.buf.Read(p)
	s.end = s.end || err == io.EOF
	return n, err
}

func (s *eofSpy) sawEnd() bool { return s.end }

// A decoder is one layer. Its errors are complete: they say what is wrong, and have a kind.
type decoder struct {
	name   string
	r      io.Reader
	src    *source      // below r
	rest   io.Reader    // what must be at its end when r is
	spaces bool         // white space may follow
	broken func() error // what a guard below r found wrong; may be nil
	cut    func() bool  // whether an error of r means that its input ended too early; may be nil
	done   error
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.done != nil {
		return 0, d.done
	}
	n, err := d.r.Read(p)
	if err == io.EOF { // a wrapped one is no end
		d.done = d.finish()
	} else if err != nil {
		d.done = d.explain(err)
	}
	return n, d.done
}

// finish reads what is below to its end, which is where that proves itself.
func (d *decoder) finish() error {
	b := make([]byte, 512)
	for {
		n, err := d.rest.Read(b)
		if extra := b[:n]; len(extra) > 0 && !(d.spaces && len(bytes.TrimSpace(extra)) == 0) {
			return d.explain(errors.New("something follows its end"))
		}
		if err == io.EOF {
			return io.EOF
		}
		if err != nil {
			return d.explain(err)
		}
	}
}

// explain says what err means. What went wrong below explains what went wrong here.
func (d *decoder) explain(err error) error {
	if d.src.err != nil {
		return d.src.err
	}
	if d.broken != nil && d.broken() != nil {
		err = d.broken()
	}
	var known *fail.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrUnknownDictionary):
		return fail.Wrap(fail.Unsupported, err, "the zstd program can unpack it first", "read zstd data")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), d.cut != nil && d.cut():
		return fail.Wrap(fail.Damaged, ErrTruncated, "", "read %s data", d.name)
	}
	return fail.Wrap(fail.Damaged, fmt.Errorf("%w: %w", ErrAltered, err), "", "read %s data", d.name)
}
