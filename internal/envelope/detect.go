package envelope

import (
	"bytes"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A format is what a stream is wrapped in.
type format struct {
	name    string
	armored bool // as text
}

// magics are what streams begin with. Armored ones may follow white space.
var magics = [...]struct {
	bytes string
	format
}{
	{"\x1f\x8b\x08", format{name: "gzip"}},
	{"\xfd7zXZ\x00", format{name: "xz"}},
	{"\x28\xb5\x2f\xfd", format{name: "zstd"}},
	{"PK\x03\x04", format{name: "zip"}},
	{"age-encryption.org/", format{name: "age"}},
	{"-----BEGIN AGE ENCRYPTED FILE-----", format{name: "age", armored: true}},
	{"-----BEGIN PGP MESSAGE-----", format{name: "openpgp", armored: true}},
}

// detect tells a format by a stream's first bytes.
func detect(head []byte) (format, bool) {
	text := bytes.TrimLeft(head, " \t\r\n")
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.bytes)) || m.armored && bytes.HasPrefix(text, []byte(m.bytes)) {
			return m.format, true
		}
	}
	switch {
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")): // a skippable frame, which parallel zstd programs write first
		return format{name: "zstd"}, true
	case len(head) >= 10 && string(head[:3]) == "BZh" && head[3] >= '1' && head[3] <= '9' &&
		(string(head[4:10]) == "1AY&SY" || string(head[4:10]) == "\x17rE8P\x90"): // a block, or the end of an empty file
		return format{name: "bzip2"}, true
	}
	return format{name: "openpgp"}, isPGP(head)
}

// isPGP tells the start of an OpenPGP message that is encrypted: a session key packet, of a version there is.
func isPGP(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	body := 2 // where the packet's content begins
	switch head[0] {
	case 0xc1, 0xc3: // new header, keyed or with a passphrase
		if head[1] >= 192 {
			body = 3
		}
	case 0x84, 0x8c: // old header with a length of one byte
	case 0x85, 0x8d: // of two
		body = 3
	default:
		return false
	}
	version, keyed := head[body], head[0] == 0xc1 || head[0] < 0x88
	if keyed {
		return version == 3 || version == 6
	}
	return version >= 4 && version <= 6
}

// cutOff is an error when head, a whole stream, is nothing but the start of a format's first bytes. Of those that
// could be text, a few letters are not enough to tell.
func cutOff(head []byte) error {
	for _, m := range magics {
		least := 5
		if m.bytes[0] >= 0x80 || m.bytes[0] < ' ' {
			least = 1
		}
		if len(head) >= least && len(head) < len(m.bytes) && strings.HasPrefix(m.bytes, string(head)) {
			return fail.Wrap(fail.Damaged, ErrTruncated, "", "read %s data", m.name)
		}
	}
	return nil
}
