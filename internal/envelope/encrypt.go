package envelope

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ProtonMail/go-crypto/openpgp/s2k"

	"github.com/holdfast-db/holdfast/internal/fail"
)

const (
	// ageWork is the strength of an age passphrase: 2^17 rounds of scrypt, half of what the age program takes,
	// because they need 128 MiB and a backup's whole process has 200 MB.
	ageWork = 17
	// gpgCount is the strength of a gpg passphrase: as many bytes are hashed as OpenPGP can say, which is gpg's own limit.
	gpgCount = 65011712
	// maxKeyFile bounds files of recipients and identities.
	maxKeyFile = 1 << 20
)

func (o Options) encrypt(w io.Writer) (io.WriteCloser, error) {
	if o.GPGPassphrase != "" {
		sealed, err := openpgp.SymmetricallyEncrypt(w, []byte(o.GPGPassphrase.Reveal()), &openpgp.FileHints{IsBinary: true}, &packet.Config{
			DefaultCipher:          packet.CipherAES256,
			DefaultCompressionAlgo: packet.CompressionNone, // done already, by what the user chose
			S2KConfig:              &s2k.Config{S2KMode: s2k.IteratedSaltedS2K, S2KCount: gpgCount},
		})
		return sealed, fail.Op(err, "encrypt with a gpg passphrase")
	}
	recipients, err := o.recipients()
	if err != nil {
		return nil, err
	}
	sealed, err := age.Encrypt(w, recipients...)
	return sealed, fail.Op(err, "encrypt with age")
}

// recipients returns whom age encrypts to; none when age is not asked for.
func (o Options) recipients() ([]age.Recipient, error) {
	if o.AgePassphrase != "" {
		r, err := age.NewScryptRecipient(o.AgePassphrase.Reveal())
		if err != nil {
			return nil, fail.Wrap(fail.Usage, err, "", "encrypt with an age passphrase")
		}
		r.SetWorkFactor(ageWork)
		return []age.Recipient{r}, nil
	}
	var all []age.Recipient
	for _, text := range o.Age {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, err
		}
		all = append(all, r...)
	}
	return all, nil
}

const recipientHint = "a recipient is age1…, ssh-ed25519 …, ssh-rsa … or a file with one on each line"

// parseRecipient reads one recipient, or a file of them.
func parseRecipient(text string) ([]age.Recipient, error) {
	text = strings.TrimSpace(text)
	if isRecipient(text) {
		r, err := parseOne(text)
		return []age.Recipient{r}, err
	}
	if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") { // never shown: it is in the wrong place already
		return nil, fail.New(fail.Usage, "age-keygen -y prints the recipient of an identity", "encrypt with age: this is an identity, the secret half of a key, not a recipient")
	}
	data, err := readKeyFile(text)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail.New(fail.Usage, recipientHint, "encrypt with age: %q is neither a recipient nor a file", text)
	} else if err != nil {
		return nil, err
	}
	var all []age.Recipient
	lines := bufio.NewScanner(strings.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !isRecipient(line) {
			return nil, fail.New(fail.Usage, recipientHint, "encrypt with age: %s, line %d: not a recipient", text, n)
		}
		r, err := parseOne(line)
		if err != nil {
			return nil, fail.Op(err, "%s, line %d", text, n)
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fail.Wrap(fail.Usage, err, recipientHint, "read recipients from %s", text)
	}
	if len(all) == 0 {
		return nil, fail.New(fail.Usage, recipientHint, "encrypt with age: there is no recipient in %s", text)
	}
	return all, nil
}

func isRecipient(text string) bool {
	return strings.HasPrefix(text, "age1") || strings.HasPrefix(text, "ssh-")
}

func parseOne(text string) (r age.Recipient, err error) {
	switch {
	case strings.HasPrefix(text, "ssh-"):
		r, err = agessh.ParseRecipient(text)
	case strings.HasPrefix(text, "age1pq1"):
		r, err = age.ParseHybridRecipient(text)
	default:
		r, err = age.ParseX25519Recipient(text)
	}
	return r, fail.Wrap(fail.Usage, err, recipientHint, "encrypt with age: recipient %q", text)
}

// readKeyFile reads a small file of keys.
func readKeyFile(name string) (string, error) {
	f, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fail.Wrap(fail.NotFound, err, "", "read keys")
	case errors.Is(err, fs.ErrPermission):
		return "", fail.Wrap(fail.Denied, err, "", "read keys")
	case err != nil:
		return "", fail.Op(err, "read keys")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		return "", fail.New(fail.Usage, "", "read keys from %s: more than %d bytes: not a file of keys", name, maxKeyFile)
	}
	return string(data), fail.Op(err, "read keys")
}
