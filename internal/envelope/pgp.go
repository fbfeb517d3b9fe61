package envelope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// openPGP decrypts a message that a passphrase opens. Its content is proven when it has been read to the end.
// in tells whether what holds the message was read to its end.
func openPGP(r io.Reader, in *eofSpy, keys Keys) (io.Reader, error) {
	head, phrases, err := sessionKeys(r)
	if err != nil {
		return nil, err
	}
	if phrases == 0 {
		return nil, fail.New(fail.Unsupported, "decrypt it first: gpg --decrypt FILE", "decrypt with OpenPGP: it is encrypted to a key, and only passphrases can be used here")
	}
	phrase, err := ask(keys.GPGPassphrase, "decrypt with OpenPGP")
	if err != nil {
		return nil, err
	}
	asked := false
	md, err := openpgp.ReadMessage(io.MultiReader(bytes.NewReader(head), r), nil, func([]openpgp.Key, bool) ([]byte, error) {
		if asked {
			return nil, ErrPassphrase
		}
		asked = true
		return []byte(phrase.Reveal()), nil
	}, &packet.Config{MaxDecompressedMessageSize: nil})
	switch {
	case err == nil:
		return md.UnverifiedBody, nil
	case asked && !in.end:
		// OpenPGP has no check of a passphrase itself: with a wrong one, the message reads as noise.
		return nil, fail.Wrap(fail.Password, ErrPassphrase, "if the passphrase is right, the file was altered", "decrypt with OpenPGP")
	}
	return nil, err
}

const (
	maxKeyPackets = 64
	maxKeyPacket  = 16 << 10
	maxArgonExp   = 17 // 2^17 KiB are 128 MiB
	maxArgonTurns = 16
)

// sessionKeys reads the packets before an encrypted message, and counts those that a passphrase opens. It refuses
// those that ask for more memory than a backup has: the library would try.
func sessionKeys(r io.Reader) (read []byte, phrases int, err error) {
	var buf bytes.Buffer
	r = io.TeeReader(r, &buf)
	for range maxKeyPackets {
		tag, size, err := packetHeader(r)
		if err != nil {
			return nil, 0, err
		}
		if tag != 1 && tag != 3 && tag != 10 && tag != 21 { // neither a key, nor a marker, nor padding
			return buf.Bytes(), phrases, nil
		}
		if size < 0 || size > maxKeyPacket {
			return nil, 0, errors.New("a key packet is too long")
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, 0, noEOF(err)
		}
		if tag == 3 {
			phrases++
			if err := checkPhrase(body); err != nil {
				return nil, 0, err
			}
		}
	}
	return nil, 0, errors.New("it has too many keys")
}

// checkPhrase refuses a packet whose way from a passphrase to a key needs too much memory.
func checkPhrase(body []byte) error {
	at := map[byte]int{4: 2, 5: 3, 6: 5} // where the way is described, by the packet's version
	if len(body) == 0 || at[body[0]] == 0 {
		return errors.New("unknown version of a key packet")
	}
	way := body[min(at[body[0]], len(body)):]
	if len(way) == 0 || way[0] != 4 { // Argon2
		return nil
	}
	if len(way) < 20 || way[19] > maxArgonExp || way[17] > maxArgonTurns {
		return fail.New(fail.Unsupported, "decrypt it first: gpg --decrypt FILE", "decrypt with OpenPGP: its passphrase needs more than 128 MiB of memory to check")
	}
	return nil
}

// packetHeader reads a packet's kind and length; -1 is a length that isn't told yet.
func packetHeader(r io.Reader) (tag byte, size int64, err error) {
	b := make([]byte, 5)
	read := func(n int) bool {
		if err == nil {
			_, err = io.ReadFull(r, b[:n])
			err = noEOF(err)
		}
		return err == nil
	}
	if !read(1) {
		return 0, 0, err
	}
	first := b[0]
	if first&0x80 == 0 {
		return 0, 0, errors.New("not an OpenPGP packet")
	}
	width := 0
	if first&0x40 == 0 {
		tag = first >> 2 & 0xf
		if width = 1 << (first & 3); width == 8 {
			return tag, -1, nil
		}
	} else {
		tag = first & 0x3f
		if !read(1) {
			return 0, 0, err
		}
		switch l := b[0]; {
		case l < 192:
			return tag, int64(l), nil
		case l < 224:
			if !read(1) {
				return 0, 0, err
			}
			return tag, int64(l-192)<<8 + int64(b[0]) + 192, nil
		case l < 255:
			return tag, -1, nil
		}
		width = 4
	}
	if !read(width) {
		return 0, 0, err
	}
	return tag, int64(binary.BigEndian.Uint32(append(make([]byte, 4-width), b[:width]...))), nil
}

// noEOF makes the end an error, where there must be more.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
