package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// samples are small files of every kind, with cheap passphrases.
func samples(t testing.TB, data []byte, k keyring) map[string][]byte {
	x25519, err := age.ParseX25519Recipient(k.x25519)
	if err != nil {
		t.Fatal(err)
	}
	symmetric := []string{"--symmetric", "--s2k-count", "65536"}
	return map[string][]byte{
		"gzip":        write(t, data, envelope.Options{Compress: "gz"}),
		"xz":          write(t, data, envelope.Options{Compress: "xz"}),
		"xz_blocks":   run(t, data, "xz", "-c", "--block-size=1000"),
		"zstd":        write(t, data, envelope.Options{Compress: "zst"}),
		"bzip2":       run(t, data, "bzip2", "-c"),
		"zip":         run(t, data, "zip", "-q", "-", "-"),
		"age":         write(t, data, envelope.Options{Age: []string{k.x25519}}),
		"age_armored": ageEncrypt(t, data, true, x25519),
		"age_zstd":    write(t, data, envelope.Options{Compress: "zst", Age: []string{k.x25519}}),
		"gpg":         gpg(t, data, symmetric...),
		"gpg_plain":   gpg(t, data, append(symmetric, "-z0")...),
		"gpg_armored": gpg(t, data, append(symmetric, "--armor")...),
	}
}

// A file that was cut off anywhere never ends well.
func TestCutOff(t *testing.T) {
	k := newKeyring(t)
	data := payload(9000)
	for name, file := range samples(t, data, k) {
		t.Run(name, func(t *testing.T) {
			told := 0
			for n := 1; n < len(file); n += 1 + n/100*7 {
				got, info, err := read(bytes.NewReader(file[:n]), k.keys)
				if err == nil && len(info.Layers) == 0 && n < 12 {
					continue // too little to tell it from text
				}
				if err == nil && name == "gpg_armored" && bytes.Equal(got, data) {
					t.Errorf("%d of %d: no error though its last line is missing", n, len(file))
				}
				if err == nil {
					t.Fatalf("%d of %d: a clean end after %d bytes", n, len(file), len(got))
				}
				if !errors.Is(err, envelope.ErrTruncated) && !errors.Is(err, envelope.ErrAltered) && !errors.Is(err, envelope.ErrPassphrase) {
					t.Fatalf("%d of %d: %v", n, len(file), err)
				}
				kindIs(t, err, fail.Damaged)
				if errors.Is(err, envelope.ErrTruncated) {
					told++
				}
				if !bytes.HasPrefix(data, got) && len(info.Layers) == 1 {
					t.Fatalf("%d of %d: data that was not written", n, len(file))
				}
			}
			if told == 0 {
				t.Error("never told as cut off")
			}
		})
	}
}

// A file that was altered ends with an error, or gives what was written: some bytes of some formats carry nothing.
func TestAltered(t *testing.T) {
	k := newKeyring(t)
	data := payload(3000)
	for name, file := range samples(t, data, k) {
		t.Run(name, func(t *testing.T) {
			refused := 0
			for i := 0; i < len(file); i += 1 + i/100*7 {
				for _, flip := range []byte{1, 0x80} {
					bad := bytes.Clone(file)
					bad[i] ^= flip
					got, info, err := read(bytes.NewReader(bad), k.keys)
					if err != nil {
						refused++
						if errors.Is(err, envelope.ErrAltered) {
							kindIs(t, err, fail.Damaged)
						}
						continue
					}
					if len(info.Layers) == 0 && bytes.Equal(got, bad) && i < 36 {
						continue // no longer what it was
					}
					if !bytes.Equal(got, data) {
						t.Fatalf("byte %d: a clean end with other data", i)
					}
					if info.Encrypted && !strings.HasSuffix(name, "armored") {
						t.Errorf("byte %d: nobody noticed", i)
					}
				}
			}
			if refused < 50 {
				t.Errorf("only %d refused", refused)
			}
			_, _, err := read(bytes.NewReader(append(bytes.Clone(file), "more"...)), k.keys)
			if kindIs(t, err, fail.Damaged); !errors.Is(err, envelope.ErrAltered) && !errors.Is(err, envelope.ErrTruncated) {
				t.Errorf("with more after its end: %v", err)
			}
		})
	}
}

// OpenPGP proves itself at the end: until then data comes, then the error.
func TestPGPErrorComesLast(t *testing.T) {
	data := payload(500_000)
	file := write(t, data, envelope.Options{GPGPassphrase: phrase})
	file[len(file)-1] ^= 1 // of the checksum
	got, _, err := read(bytes.NewReader(file), envelope.Keys{GPGPassphrase: envelope.Given(phrase)})
	kindIs(t, err, fail.Damaged)
	if !errors.Is(err, envelope.ErrAltered) || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	got, _, err = read(bytes.NewReader(file[:len(file)/2]), envelope.Keys{GPGPassphrase: envelope.Given(phrase)})
	if !errors.Is(err, envelope.ErrTruncated) || !bytes.HasPrefix(data, got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What can't be read here is told apart from damage.
func TestUnsupported(t *testing.T) {
	data := payload(2000)
	deep := data
	for range 5 {
		deep = write(t, deep, envelope.Options{Compress: "gz"})
	}
	dir := t.TempDir()
	run(t, nil, "sh", "-c", fmt.Sprintf("cd %s && echo a >a && echo b >b && zip -q two.zip a b && zip -qP x locked.zip a", dir))
	two, locked := run(t, nil, "cat", dir+"/two.zip"), run(t, nil, "cat", dir+"/locked.zip")
	toKey := []byte("\x85\x00\x10\x03" + strings.Repeat("k", 15) + "\xd2\x10" + strings.Repeat("e", 16))
	for name, file := range map[string][]byte{"five_layers": deep, "zip_of_two": two, "zip_encrypted": locked, "gpg_to_a_key": toKey,
		"xz_filter": run(t, data, "xz", "-c", "--x86", "--lzma2")} {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(bytes.NewReader(file), envelope.Keys{GPGPassphrase: envelope.Given("x")})
			kindIs(t, err, fail.Unsupported)
			if fail.HintOf(err) == "" {
				t.Errorf("no way out: %v", err)
			}
		})
	}
}

// A few bytes can't make the reader take a lot of memory.
func TestMemory(t *testing.T) {
	argon := "\x8c\x26\x04\x09\x04" + strings.Repeat("s", 16) + "\x01\x01\x1f" + strings.Repeat("k", 16) + "\xd2\x14\x01" + strings.Repeat("e", 19)
	headers := "-----BEGIN PGP MESSAGE-----\n" + strings.Repeat("Comment: "+strings.Repeat("x", 1000)+"\n", 50_000)
	line := "-----BEGIN PGP MESSAGE-----\n\n" + strings.Repeat("A", 50<<20)
	for name, test := range map[string]struct {
		file []byte
		kind fail.Kind
	}{
		"xz":         {run(t, []byte("x"), "xz", "-c", "--lzma2=dict=1GiB"), fail.Unsupported},
		"xz_later":   {append(run(t, []byte("x"), "xz", "-c"), run(t, []byte("x"), "xz", "-c", "--lzma2=dict=1GiB")...), fail.Unsupported},
		"zstd":       {run(t, payload(1000), "sh", "-c", "cat | zstd -cq --long=27"), fail.Unsupported},
		"argon":      {[]byte(argon), fail.Unsupported},
		"pgp_header": {[]byte(headers), fail.Damaged},
		"pgp_line":   {[]byte(line), fail.Damaged},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := read(bytes.NewReader(test.file), envelope.Keys{GPGPassphrase: envelope.Given("x")})
			runtime.ReadMemStats(&after)
			kindIs(t, err, test.kind)
			if used := after.TotalAlloc - before.TotalAlloc; used > 24<<20 {
				t.Errorf("took %d MiB", used>>20)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	k := newKeyring(f)
	for _, file := range samples(f, payload(600), k) {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if bytes.Contains(file, []byte("scrypt")) {
			t.Skip("slow by intent")
		}
		if _, info, err := read(bytes.NewReader(file), envelope.Keys{GPGPassphrase: envelope.Given("x")}); err == nil && info.Encrypted {
			t.Error("decrypted without a key")
		} else if err != nil && fail.KindOf(err) == fail.Internal {
			t.Errorf("an error of no kind: %v", err)
		}
	})
}
