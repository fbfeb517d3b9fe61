package envelope

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	agearmor "filippo.io/age/armor"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// maxAgeWork is the strongest passphrase that is tried: 2^18 rounds need 256 MiB, and the age program takes no more.
const maxAgeWork = 18

func openAge(in io.Reader, armored bool, keys Keys) (io.Reader, error) {
	if armored {
		in = agearmor.NewReader(in)
	}
	identities := []age.Identity{phraseIdentity{keys.AgePassphrase}}
	for _, name := range keys.Identities {
		more, err := readIdentities(name)
		if err != nil {
			return nil, err
		}
		identities = append(identities, more...)
	}
	r, err := age.Decrypt(in, identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none) && len(keys.Identities) == 0:
		return nil, fail.Wrap(fail.NotFound, ErrNoIdentity, "name the file of the key with --identity", "decrypt with age")
	case errors.As(err, &none):
		return nil, fail.Wrap(fail.NotFound, ErrIdentity, "name the file of another key with --identity", "decrypt with age")
	}
	return r, err
}

// A phraseIdentity asks for a passphrase when a file needs one.
type phraseIdentity struct{ ask Passphrase }

func (i phraseIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" {
		return nil, age.ErrIncorrectIdentity
	}
	if args := stanzas[0].Args; len(args) == 2 {
		if n, err := strconv.Atoi(args[1]); err == nil && n > maxAgeWork {
			return nil, fail.New(fail.Unsupported, "", "decrypt with age: its passphrase needs more than 256 MiB of memory to check")
		}
	}
	phrase, err := ask(i.ask, "decrypt with age")
	if err != nil {
		return nil, err
	}
	scrypt, err := age.NewScryptIdentity(phrase.Reveal())
	if err != nil {
		return nil, fail.Wrap(fail.Password, err, "", "decrypt with age")
	}
	key, err := scrypt.Unwrap(stanzas)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, fail.Wrap(fail.Password, ErrPassphrase, "", "decrypt with age")
	}
	return key, err
}

// ask returns a passphrase, or an error that says that there is none.
func ask(p Passphrase, doing string) (fail.Secret, error) {
	const hint = "set HOLDFAST_FILE_PASSPHRASE_FILE to a file that holds it"
	if p == nil {
		return "", fail.Wrap(fail.Password, ErrNoPhrase, hint, "%s", doing)
	}
	phrase, err := p()
	if err == nil && phrase == "" {
		err = fail.Wrap(fail.Password, ErrNoPhrase, hint, "%s", doing)
	}
	return phrase, err
}

// readIdentities reads a file of identities. Its errors never quote it.
func readIdentities(name string) ([]age.Identity, error) {
	if strings.HasPrefix(strings.ToUpper(name), "AGE-SECRET-KEY-") {
		return nil, fail.New(fail.Usage, "name a file that holds it: arguments can be seen by others", "decrypt with age: an identity was given in place of a file")
	}
	data, err := readKeyFile(name)
	if err != nil {
		return nil, err
	}
	switch text := strings.TrimSpace(data); {
	case strings.HasPrefix(text, "age-encryption.org/"), strings.HasPrefix(text, agearmor.Header):
		return nil, fail.New(fail.Unsupported, "decrypt it with the age program first, into a file that only you can read", "read identities from %s: the file is itself encrypted", name)
	case strings.HasPrefix(text, "-----BEGIN"):
		identity, err := agessh.ParseIdentity([]byte(data))
		if err != nil {
			return nil, fail.New(fail.Usage, "it must be an Ed25519 or RSA key without a passphrase", "read identities from %s: this SSH key can't be used", name)
		}
		return []age.Identity{identity}, nil
	}
	identities, err := age.ParseIdentities(bytes.NewReader([]byte(data)))
	if err != nil {
		return nil, fail.New(fail.Usage, "it has AGE-SECRET-KEY-1… on a line of its own", "read identities from %s: this is no file of age identities", name)
	}
	return identities, nil
}
