// Package envelope compresses and encrypts one stream, and undoes both by what it finds in the stream itself.
//
// What it writes, stock programs read: gzip, xz, zstd, age and gpg. What it reads is untrusted: memory is bounded whatever
// the stream claims (a passphrase of age's needs the most, 256 MiB at its usual strength), and a stream that was cut off or
// altered never ends with a clean io.EOF.
package envelope

import (
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// Options say how a stream is wrapped. The zero value leaves it as it is.
type Options struct {
	Compress string // "", "gz", "xz" or "zst"

	// At most one of these is set.
	Age           []string    // recipients: age1…, ssh-ed25519 …, ssh-rsa …, or a file with one on each line
	AgePassphrase fail.Secret // age with a passphrase
	GPGPassphrase fail.Secret // OpenPGP with a passphrase, AES-256
}

// Encrypted reports whether the stream can't be read without a secret.
func (o Options) Encrypted() bool {
	return len(o.Age) > 0 || o.AgePassphrase != "" || o.GPGPassphrase != ""
}

// Validate refuses options that make no sense. It reads files of recipients.
func (o Options) Validate() error {
	switch o.Compress {
	case "", "gz", "xz", "zst":
	default:
		return fail.New(fail.Usage, "use gz, xz or zst", "compress with %q", o.Compress)
	}
	ways := 0
	for _, set := range []bool{len(o.Age) > 0, o.AgePassphrase != "", o.GPGPassphrase != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		return fail.New(fail.Usage, "choose age recipients, an age passphrase or a gpg passphrase", "encrypt in more than one way")
	}
	_, err := o.recipients()
	return err
}

// Suffix returns what a wrapped file's name ends in, as in ".zst.age"; "" when nothing is done.
func Suffix(o Options) string {
	suffix := ""
	if o.Compress != "" {
		suffix = "." + o.Compress
	}
	switch {
	case o.GPGPassphrase != "":
		suffix += ".gpg"
	case o.Encrypted():
		suffix += ".age"
	}
	return suffix
}

// Writer returns a writer that compresses, then encrypts, into w. The stream is whole when Close returned nil; Close does
// not close w. A writer that is given up without Close leaves a stream that readers refuse, if anything is done to it at all.
func Writer(w io.Writer, o Options) (io.WriteCloser, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	out := &writer{top: w}
	if o.Encrypted() {
		sealed, err := o.encrypt(w)
		if err != nil {
			return nil, err
		}
		out.push(sealed)
	}
	if o.Compress != "" {
		packed, err := compress(out.top, o.Compress)
		if err != nil {
			return nil, fail.Op(err, "compress with %s", o.Compress)
		}
		out.push(packed)
	}
	return out, nil
}

func compress(w io.Writer, how string) (io.WriteCloser, error) {
	switch how {
	case "gz":
		return gzip.NewWriter(w), nil
	case "xz":
		return xz.NewWriter(w)
	}
	// Two blocks at work at most, so that the database and its server get the other processors.
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(2))
}

// A writer is a stack of writers; top is the last that was pushed.
type writer struct {
	top    io.Writer
	layers []io.WriteCloser
	err    error // the first error; it stays
}

func (w *writer) push(layer io.WriteCloser) {
	w.top = layer
	w.layers = append(w.layers, layer)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.top.Write(p)
	w.err = err
	return n, err
}

var errClosed = errors.New("envelope: write after Close")

// Close finishes the layers from the top. After an error of Write it leaves the lower ones unfinished.
func (w *writer) Close() error {
	err := w.err
	for len(w.layers) > 0 {
		last := len(w.layers) - 1
		if cerr := w.layers[last].Close(); err == nil { // zstd's must be closed in any case
			err = cerr
		}
		w.layers = w.layers[:last]
		if err != nil {
			w.layers = nil
		}
	}
	if err == nil {
		w.err = errClosed
		return nil
	}
	w.err = err
	if errors.Is(err, errClosed) {
		return nil
	}
	return err
}
