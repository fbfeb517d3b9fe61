package envelope_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
)

// What Writer makes, stock programs undo, and Reader does.
func TestWriter(t *testing.T) {
	k := newKeyring(t)
	data := payload(300_000)
	unpack := map[string][]string{"gz": {"gzip", "-dc"}, "xz": {"xz", "-dc"}, "zst": {"zstd", "-dcq"}}
	encrypt := map[string]struct {
		opt     envelope.Options
		decrypt func(t *testing.T, b []byte) []byte
	}{
		"plain":          {},
		"age_recipients": {envelope.Options{Age: []string{k.x25519, k.ssh}}, func(t *testing.T, b []byte) []byte { return ageDecrypt(t, b, k) }},
		"age_hybrid":     {envelope.Options{Age: []string{k.hybrid}}, func(t *testing.T, b []byte) []byte { return ageDecrypt(t, b, k) }},
		"age_passphrase": {envelope.Options{AgePassphrase: phrase}, func(t *testing.T, b []byte) []byte { return ageDecrypt(t, b, k) }},
		"gpg": {envelope.Options{GPGPassphrase: phrase}, func(t *testing.T, b []byte) []byte {
			return gpg(t, b, "--decrypt")
		}},
	}
	for name, e := range encrypt {
		for _, c := range []string{"", "gz", "xz", "zst"} {
			if name == "age_passphrase" && c != "zst" {
				continue // one is slow enough: that is what it is for
			}
			t.Run(strings.TrimSuffix(name+"_"+c, "_"), func(t *testing.T) {
				opt := e.opt
				opt.Compress = c
				file := write(t, data, opt)
				if got, info, err := read(bytes.NewReader(file), k.keys); err != nil || !bytes.Equal(got, data) || info.Encrypted != opt.Encrypted() {
					t.Errorf("Reader: %d bytes, %+v, %v", len(got), info, err)
				}
				if e.decrypt != nil {
					file = e.decrypt(t, file)
				}
				if c != "" {
					file = run(t, file, unpack[c][0], unpack[c][1:]...)
				}
				if !bytes.Equal(file, data) {
					t.Errorf("the stock programs give %d bytes that differ", len(file))
				}
			})
		}
	}
}

// What the gpg program sees is AES-256 with an integrity check, and a passphrase at full strength.
func TestGPGStrength(t *testing.T) {
	file := write(t, []byte("x"), envelope.Options{GPGPassphrase: phrase})
	packets := string(gpg(t, file, "--list-packets"))
	for _, want := range []string{"cipher 9", "s2k 3", "hash 8", "count 65011712", "mdc_method: 2"} {
		if !strings.Contains(packets, want) {
			t.Errorf("no %q in\n%s", want, packets)
		}
	}
}

func ageDecrypt(t *testing.T, b []byte, k keyring) []byte {
	t.Helper()
	var all []age.Identity
	text, err := os.ReadFile(k.keys.Identities[0])
	if err == nil {
		all, err = age.ParseIdentities(bytes.NewReader(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	scrypt, err := age.NewScryptIdentity(phrase)
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(b), append(all, scrypt)...)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What stock programs make, Reader undoes.
func TestReader(t *testing.T) {
	k := newKeyring(t)
	data := payload(300_000)
	half := data[:len(data)/2]
	ssh, err := agessh.ParseRecipient(k.ssh)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := age.ParseX25519Recipient(k.x25519)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "book.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	symmetric := []string{"--symmetric", "--s2k-count", "65536"}
	for name, test := range map[string]struct {
		make func(t *testing.T) []byte
		want string
	}{
		"plain": {func(t *testing.T) []byte { return data }, ""},
		"gzip":  {func(t *testing.T) []byte { return run(t, data, "gzip", "-c9") }, "gzip"},
		"gzip_twice_over": {func(t *testing.T) []byte {
			return append(run(t, half, "gzip", "-c"), run(t, data[len(half):], "gzip", "-c")...)
		}, "gzip"},
		"bzip2":      {func(t *testing.T) []byte { return run(t, data, "bzip2", "-c") }, "bzip2"},
		"xz":         {func(t *testing.T) []byte { return run(t, data, "xz", "-c") }, "xz"},
		"xz_largest": {func(t *testing.T) []byte { return run(t, data, "xz", "-9ec") }, "xz"},
		"xz_many_blocks": {func(t *testing.T) []byte {
			return run(t, data, "xz", "-c", "-T2", "--block-size=20000", "--check=sha256")
		}, "xz"},
		"xz_no_check": {func(t *testing.T) []byte { return run(t, data, "xz", "-c", "--check=none") }, "xz"},
		"xz_twice_over": {func(t *testing.T) []byte {
			return append(append(run(t, half, "xz", "-c"), 0, 0, 0, 0), run(t, data[len(half):], "xz", "-c", "--check=crc32")...)
		}, "xz"},
		"xz_of_noise": {func(t *testing.T) []byte { return run(t, run(t, data, "gzip", "-c"), "xz", "-c") }, "xz gzip"},
		"zstd":        {func(t *testing.T) []byte { return run(t, data, "zstd", "-cq19") }, "zstd"},
		"zstd_twice_over": {func(t *testing.T) []byte {
			return append(run(t, half, "zstd", "-cq"), run(t, data[len(half):], "zstd", "-cq", "--no-check")...)
		}, "zstd"},
		"zstd_skip_frame": {func(t *testing.T) []byte {
			return append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00size"), run(t, data, "zstd", "-cq")...)
		}, "zstd"},
		"zip": {func(t *testing.T) []byte {
			run(t, nil, "zip", "-qj", dir+"/a.zip", dir+"/book.json")
			b, _ := os.ReadFile(dir + "/a.zip")
			return b
		}, "zip"},
		"zip_not_packed": {func(t *testing.T) []byte {
			run(t, nil, "zip", "-0qj", dir+"/b.zip", dir+"/book.json")
			b, _ := os.ReadFile(dir + "/b.zip")
			return b
		}, "zip"},
		"zip_as_a_stream": {func(t *testing.T) []byte { return run(t, data, "zip", "-q", "-", "-") }, "zip"},
		"age":             {func(t *testing.T) []byte { return ageEncrypt(t, data, false, x25519) }, "age"},
		"age_ssh":         {func(t *testing.T) []byte { return ageEncrypt(t, data, false, ssh) }, "age"},
		"age_armored":     {func(t *testing.T) []byte { return ageEncrypt(t, data, true, x25519) }, "age"},
		"age_passphrase":  {func(t *testing.T) []byte { return ageEncrypt(t, data, true, scryptTo(t, 10)) }, "age"},
		"gpg":             {func(t *testing.T) []byte { return gpg(t, data, symmetric...) }, "openpgp"},
		"gpg_armored":     {func(t *testing.T) []byte { return gpg(t, data, append(symmetric, "--armor")...) }, "openpgp"},
		"gpg_after_space": {func(t *testing.T) []byte {
			return append([]byte("\r\n \n"), gpg(t, data, append(symmetric, "--armor")...)...)
		}, "openpgp"},
		"gpg_not_packed": {func(t *testing.T) []byte { return gpg(t, data, append(symmetric, "-z0", "--cipher-algo", "AES128")...) }, "openpgp"},
		"gpg_bzip2":      {func(t *testing.T) []byte { return gpg(t, data, append(symmetric, "--compress-algo", "bzip2")...) }, "openpgp"},
		"all_over_each_oth": {func(t *testing.T) []byte {
			return gpg(t, ageEncrypt(t, run(t, data, "xz", "-c"), false, x25519), symmetric...)
		}, "openpgp age xz"},
		"armor_in_armor": {func(t *testing.T) []byte {
			return ageEncrypt(t, gpg(t, data, append(symmetric, "--armor")...), true, x25519)
		}, "age openpgp"},
	} {
		t.Run(name, func(t *testing.T) {
			file := test.make(t)
			got, info, err := read(bytes.NewReader(file), k.keys)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
			}
			if layers := strings.Join(info.Layers, " "); layers != test.want || info.Encrypted != (strings.Contains(layers, "age") || strings.Contains(layers, "pgp")) {
				t.Errorf("info %+v, want %q", info, test.want)
			}
			if strings.HasPrefix(name, "zip") && info.Member != "book.json" && info.Member != "-" {
				t.Errorf("member %q", info.Member)
			}
			// Whoever stops reading early gets no end.
			in, _, err := envelope.Reader(bytes.NewReader(file), k.keys)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if _, err := io.ReadFull(in, make([]byte, 1000)); err != nil {
				t.Error(err)
			}
			// What goes wrong below comes through, with its own kind.
			broken := fail.New(fail.Unavailable, "", "the network went away")
			_, _, err = read(io.MultiReader(bytes.NewReader(file[:len(file)/2]), failing{broken}), k.keys)
			if !errors.Is(err, broken) || fail.KindOf(err) != fail.Unavailable {
				t.Errorf("a failing reader below: got %v", err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestPlainTextPasses(t *testing.T) {
	for _, text := range []string{"", "[", "[]", "-- PostgreSQL dump\n", "---", "é", "Ã\x04", "BZ", "BZh is a word", "PK", "age", "age is a column", "\x84", "\xc3\xa9t\xc3\xa9", strings.Repeat("(", 100)} {
		got, info, err := read(strings.NewReader(text), envelope.Keys{})
		if err != nil || string(got) != text || len(info.Layers) != 0 {
			t.Errorf("%q: got %q, %+v, %v", text, got, info, err)
		}
	}
}

func TestOptions(t *testing.T) {
	k := newKeyring(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, test := range map[string]struct {
		opt    envelope.Options
		suffix string
	}{
		"nothing":             {envelope.Options{}, ""},
		"gz":                  {envelope.Options{Compress: "gz"}, ".gz"},
		"file_of_recipients":  {envelope.Options{Compress: "zst", Age: []string{file("ok", "# us\n\n"+k.x25519+"\n  "+k.ssh+"\n")}}, ".zst.age"},
		"passphrase":          {envelope.Options{AgePassphrase: "x"}, ".age"},
		"gpg":                 {envelope.Options{Compress: "xz", GPGPassphrase: "x"}, ".xz.gpg"},
		"!compression":        {envelope.Options{Compress: "bz2"}, ""},
		"!two_ways":           {envelope.Options{AgePassphrase: "x", GPGPassphrase: "y"}, ""},
		"!recipient_and_gpg":  {envelope.Options{Age: []string{k.x25519}, GPGPassphrase: "y"}, ""},
		"!identity":           {envelope.Options{Age: []string{"AGE-SECRET-KEY-1QQQ"}}, ""},
		"!no_file":            {envelope.Options{Age: []string{"/nonexistent"}}, ""},
		"!broken_recipient":   {envelope.Options{Age: []string{k.x25519[:40]}}, ""},
		"!broken_ssh":         {envelope.Options{Age: []string{"ssh-rsa AAAA"}}, ""},
		"!empty_recipient":    {envelope.Options{Age: []string{""}}, ""},
		"!file_without_any":   {envelope.Options{Age: []string{file("none", "# nobody\n")}}, ""},
		"!file_of_identities": {envelope.Options{Age: []string{k.keys.Identities[0]}}, ""},
		"!plugin":             {envelope.Options{Age: []string{"age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"}}, ""},
	} {
		t.Run(strings.TrimPrefix(name, "!"), func(t *testing.T) {
			if strings.HasPrefix(name, "!") {
				w, err := envelope.Writer(io.Discard, test.opt)
				kindIs(t, err, fail.Usage)
				if w != nil {
					t.Error("a writer and an error")
				}
				return
			}
			if got := envelope.Suffix(test.opt); got != test.suffix {
				t.Errorf("suffix %q, want %q", got, test.suffix)
			}
			if err := test.opt.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Keys that don't fit: each case has its own error.
func TestKeys(t *testing.T) {
	k, other := newKeyring(t), newKeyring(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	data := []byte("secret rows")
	toKey := write(t, data, envelope.Options{Age: []string{k.x25519}})
	toPhrase := ageEncrypt(t, data, false, scryptTo(t, 10))
	toGPG := write(t, data, envelope.Options{Compress: "gz", GPGPassphrase: phrase})
	wrong := envelope.Given("wrong")
	stop := func() (fail.Secret, error) { return "", fail.New(fail.Interrupted, "", "the prompt was closed") }
	for name, test := range map[string]struct {
		file []byte
		keys envelope.Keys
		kind fail.Kind
		is   error
	}{
		"age_without_identity":       {toKey, envelope.Keys{AgePassphrase: wrong}, fail.NotFound, envelope.ErrNoIdentity},
		"age_other_identity":         {toKey, other.keys, fail.NotFound, envelope.ErrIdentity},
		"age_without_passphrase":     {toPhrase, envelope.Keys{Identities: k.keys.Identities}, fail.Password, envelope.ErrNoPhrase},
		"age_wrong_passphrase":       {toPhrase, envelope.Keys{AgePassphrase: wrong}, fail.Password, envelope.ErrPassphrase},
		"age_prompt_closed":          {toPhrase, envelope.Keys{AgePassphrase: stop}, fail.Interrupted, nil},
		"age_identity_file_missing":  {toKey, envelope.Keys{Identities: []string{dir + "/missing"}}, fail.NotFound, nil},
		"age_identity_file_is_other": {toKey, envelope.Keys{Identities: []string{file("text", "AGE-SECRET-KEY-1 is what it should be\n")}}, fail.Usage, nil},
		"age_identity_encrypted":     {toKey, envelope.Keys{Identities: []string{file("sealed", string(ageEncrypt(t, data, true, scryptTo(t, 10))))}}, fail.Unsupported, nil},
		"age_identity_as_argument":   {toKey, envelope.Keys{Identities: []string{"AGE-SECRET-KEY-1QQQQ"}}, fail.Usage, nil},
		"age_ssh_key_is_broken":      {toKey, envelope.Keys{Identities: []string{file("pem", "-----BEGIN OPENSSH PRIVATE KEY-----\n")}}, fail.Usage, nil},
		"age_too_much_work":          {bytes.Replace(toPhrase, []byte(" 10\n"), []byte(" 22\n"), 1), k.keys, fail.Unsupported, nil},
		"gpg_without_passphrase":     {toGPG, envelope.Keys{AgePassphrase: wrong}, fail.Password, envelope.ErrNoPhrase},
		"gpg_empty_passphrase":       {toGPG, envelope.Keys{GPGPassphrase: func() (fail.Secret, error) { return "", nil }}, fail.Password, envelope.ErrNoPhrase},
		"gpg_wrong_passphrase":       {toGPG, envelope.Keys{GPGPassphrase: wrong}, fail.Password, envelope.ErrPassphrase},
		"gpg_prompt_closed":          {toGPG, envelope.Keys{GPGPassphrase: stop}, fail.Interrupted, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := read(bytes.NewReader(test.file), test.keys)
			kindIs(t, err, test.kind)
			if test.is != nil && !errors.Is(err, test.is) || len(got) > 0 {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	t.Run("asked_only_when_needed", func(t *testing.T) {
		got, _, err := read(bytes.NewReader(toKey), envelope.Keys{Identities: slices.Concat(other.keys.Identities, k.keys.Identities), AgePassphrase: stop, GPGPassphrase: stop})
		if err != nil || !bytes.Equal(got, data) {
			t.Error(err)
		}
	})
	if envelope.Given("") != nil {
		t.Error("an empty secret is a passphrase")
	}
}

// Errors of the writer below reach the caller, wherever they happen, and stay.
func TestWriterErrors(t *testing.T) {
	data := payload(200_000)
	k := newKeyring(t)
	for _, opt := range []envelope.Options{{}, {Compress: "gz"}, {Compress: "xz"}, {Compress: "zst"}, {Age: []string{k.x25519}}, {Compress: "zst", Age: []string{k.x25519}}} {
		t.Run("x"+envelope.Suffix(opt), func(t *testing.T) {
			whole, done := int64(len(write(t, data, opt))), false
			for room := int64(0); !done; room += whole/7 + 1 {
				if room > whole {
					room, done = whole+1000, true
				}
				full := errors.New("the disk is full")
				w, err := envelope.Writer(&limited{room, full}, opt)
				if err == nil {
					if _, err = w.Write(data); err == nil && opt.Compress == "" && opt.Age == nil {
						err = w.Close()
					} else if cerr := w.Close(); err == nil {
						err = cerr
					} else if cerr == nil {
						t.Errorf("Close after a failed Write: nil")
					}
				}
				if done != (err == nil) || err != nil && !errors.Is(err, full) {
					t.Errorf("room for %d of %d: got %v", room, whole, err)
				}
				if done {
					if _, err := w.Write(data); err == nil {
						t.Error("Write after Close: nil")
					}
					if err := w.Close(); err != nil {
						t.Errorf("Close twice: %v", err)
					}
				}
			}
		})
	}
}

type limited struct {
	room int64
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.room -= int64(len(p)); l.room < 0 {
		return 0, l.err
	}
	return len(p), nil
}
