package envelope

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
)

// maxArmorHeaders bounds the lines before the text of an armored message. The library's own reader does not.
const maxArmorHeaders = 64

// An armorReader gives the text of an armored OpenPGP message without its frame.
type armorReader struct {
	in   *eofSpy
	line []byte
	err  error
}

// dearmor returns the message inside an armored one. Its checksum says nothing that the message's own doesn't, and is passed over.
func dearmor(in *eofSpy) (io.Reader, error) {
	a := &armorReader{in: in}
	begun := false
	for range maxArmorHeaders {
		line, err := a.next()
		if err != nil {
			return nil, err
		}
		if begun && len(line) == 0 {
			return base64.NewDecoder(base64.StdEncoding, a), nil
		}
		begun = begun || len(line) > 0
	}
	return nil, errors.New("its armor has no text")
}

// next returns a line without the white space around it.
func (a *armorReader) next() ([]byte, error) {
	line, err := a.in.buf.ReadSlice('\n')
	if err == io.EOF {
		a.in.end = true
		if len(line) > 0 {
			err = nil
		}
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		err = errors.New("a line of its armor is too long")
	}
	return bytes.TrimSpace(line), noEOF(err)
}

func (a *armorReader) Read(p []byte) (int, error) {
	for len(a.line) == 0 && a.err == nil {
		line, err := a.next()
		switch {
		case err != nil:
			a.err = err
		case bytes.HasPrefix(line, []byte("-----END PGP MESSAGE-----")):
			a.err = io.EOF
		case len(line) == 5 && line[0] == '=': // the checksum
		default:
			a.line = append(a.line[:0], line...)
		}
	}
	if len(a.line) == 0 {
		return 0, a.err
	}
	n := copy(p, a.line)
	a.line = a.line[n:]
	return n, nil
}
