package envelope_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

const phrase = "correct horse"

// payload is n bytes that compress about as a fixture does.
func payload(n int) []byte {
	random := mrand.New(mrand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `{"model": "shop.book", "pk": %d, "fields": {"title": "%x", "price": "%d.00"}}`+"\n", i, random.Uint64(), random.IntN(100))
	}
	return b.Bytes()[:n]
}

// run gives input to a program and returns what it writes. GNUPGHOME is a folder of the test's own.
func run(t testing.TB, input []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), servers.Program(t, name), args...)
	var out, talk bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &talk
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &talk)
	}
	return out.Bytes()
}

// TestMain gives gpg a home of its own, and ends the agent that it starts there.
func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "gpg") // its socket's name must be short
	if err != nil {
		panic(err)
	}
	os.Setenv("GNUPGHOME", home)
	code := m.Run()
	if out, err := exec.Command("gpgconf", "--kill", "all").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "gpgconf --kill all: %v\n%s", err, out)
	}
	os.RemoveAll(home)
	os.Exit(code)
}

// gpg runs gpg with the passphrase.
func gpg(t testing.TB, input []byte, args ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "phrase")
	if err := os.WriteFile(file, []byte(phrase), 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, input, "gpg", append([]string{"--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase-file", file}, args...)...)
}

// write wraps data.
func write(t testing.TB, data []byte, o envelope.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := envelope.Writer(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	for part := range bytes.SplitAfterSeq(data, []byte("\n")) { // in pieces of any size
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read unwraps to the end.
func read(r io.Reader, keys envelope.Keys) ([]byte, envelope.Info, error) {
	in, info, err := envelope.Reader(r, keys)
	if err != nil {
		return nil, info, err
	}
	data, err := io.ReadAll(in)
	if cerr := in.Close(); err == nil {
		err = cerr
	}
	return data, info, err
}

// A keyring is one key of each kind and the files that hold their secret halves.
type keyring struct {
	x25519, hybrid, ssh string // recipients
	keys                envelope.Keys
}

func newKeyring(t testing.TB) keyring {
	t.Helper()
	var k keyring
	dir := t.TempDir()
	add := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k.keys.Identities = append(k.keys.Identities, file)
	}
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	h, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	k.x25519, k.hybrid = x.Recipient().String(), h.Recipient().String()
	add("age.txt", fmt.Sprintf("# two keys\n%s\n\n%s\n", x, h))
	public, text := sshKey(t)
	k.ssh = public
	add("id_ed25519", text)
	k.keys.AgePassphrase, k.keys.GPGPassphrase = envelope.Given(phrase), envelope.Given(phrase)
	return k
}

// sshKey makes an SSH key as ssh-keygen writes it: the public line, and the private file.
func sshKey(t testing.TB) (public, private string) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	str := func(parts ...[]byte) []byte {
		var b []byte
		for _, p := range parts {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
		}
		return b
	}
	line := str([]byte("ssh-ed25519"), pub)
	secret := append(bytes.Repeat([]byte{1, 2, 3, 4}, 2), str([]byte("ssh-ed25519"), pub, priv, nil)...)
	for i := byte(1); len(secret)%8 != 0; i++ {
		secret = append(secret, i)
	}
	file := append([]byte("openssh-key-v1\x00"), str([]byte("none"), []byte("none"), nil)...)
	file = append(append(file, 0, 0, 0, 1), str(line, secret)...)
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(line) + " test", string(pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: file}))
}

// ageEncrypt is the age program's work, by its library.
func ageEncrypt(t testing.TB, data []byte, armored bool, to ...age.Recipient) []byte {
	t.Helper()
	var b bytes.Buffer
	var out io.WriteCloser = nopCloser{&b}
	if armored {
		out = agearmor.NewWriter(&b)
	}
	w, err := age.Encrypt(out, to...)
	if err == nil {
		_, err = w.Write(data)
	}
	for _, c := range []io.Closer{w, out} {
		if err == nil {
			err = c.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func scryptTo(t testing.TB, work int) age.Recipient {
	t.Helper()
	r, err := age.NewScryptRecipient(phrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(work)
	return r
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// kindIs fails unless err has the kind that is meant, and tells no secret.
func kindIs(t testing.TB, err error, want fail.Kind) {
	t.Helper()
	if err == nil || fail.KindOf(err) != want {
		t.Errorf("got %v (%v), want %v", err, fail.KindOf(err), want)
	} else if strings.Contains(err.Error(), phrase) || strings.Contains(err.Error(), "AGE-SECRET-KEY-1") {
		t.Errorf("the error tells a secret: %v", err)
	}
}
