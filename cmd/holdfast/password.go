package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// findPassword returns the repository's password from the first place that has one: $HOLDFAST_PASSWORD,
// $HOLDFAST_PASSWORD_FILE, $HOLDFAST_PASSWORD_COMMAND, the systemd credential, the key file that init made, the terminal.
func findPassword(ctx context.Context, location string) (fail.Secret, error) {
	p, err := givenPassword(ctx)
	if err != nil || p != "" {
		return p, err
	}
	key, err := keyFile(location)
	if err == nil {
		if p, err = readPassword(key); err == nil {
			return p, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && key != "" {
		return "", err
	}
	if p, err := promptPassword("Password of " + location + ": "); err != nil || p != "" {
		return p, err
	}
	return "", fail.New(fail.Password, "export HOLDFAST_PASSWORD_FILE=FILE (or HOLDFAST_PASSWORD); holdfast init makes a key file there when it creates a repository",
		"no password for %s: none is set and there is no key file %s", location, key)
}

// givenPassword returns the password that the environment gives, or "".
func givenPassword(ctx context.Context) (fail.Secret, error) {
	if p := os.Getenv("HOLDFAST_PASSWORD"); p != "" {
		return fail.Secret(p), nil
	}
	if name := os.Getenv("HOLDFAST_PASSWORD_FILE"); name != "" {
		return readPassword(name)
	}
	if command := os.Getenv("HOLDFAST_PASSWORD_COMMAND"); command != "" {
		return commandPassword(ctx, command, "$HOLDFAST_PASSWORD_COMMAND")
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		p, err := readPassword(filepath.Join(dir, "holdfast-password"))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return p, err
	}
	return "", nil
}

// commandPassword runs a command that prints the password; name says where it stands.
func commandPassword(ctx context.Context, command, name string) (fail.Secret, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	p := strings.TrimRight(string(out), "\r\n")
	if err == nil && p == "" {
		err = errors.New("it printed nothing")
	}
	return fail.Secret(p), fail.Wrap(fail.Password, err, "", "run %s", name)
}

func readPassword(name string) (fail.Secret, error) {
	data, err := os.ReadFile(name)
	p := strings.TrimRight(string(data), "\r\n")
	if err == nil && p == "" {
		err = errors.New("the file is empty")
	}
	return fail.Secret(p), fail.Wrap(fail.Password, err, "", "read the password")
}

func promptPassword(prompt string) (fail.Secret, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", nil
	}
	// The prompt goes to the terminal, so that it is neither data nor lost in a redirection.
	tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return "", nil
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	p, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(tty)
	return fail.Secret(p), fail.Wrap(fail.Password, err, "", "read the password from the terminal")
}

// keyFile returns where the key of a repository is kept for this user.
func keyFile(location string) (string, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fail.Wrap(fail.Password, err, "set HOLDFAST_PASSWORD_FILE", "find the folder for key files")
	}
	abs, err := filepath.Abs(location)
	if err != nil {
		return "", fail.Wrap(fail.Internal, err, "", "find %s", location)
	}
	// The name says which repository it is for; the hash keeps equal last parts apart.
	sum := sha256.Sum256([]byte(abs))
	base := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, filepath.Base(abs))
	return filepath.Join(config, "holdfast", "keys", base[:min(len(base), 60)]+"-"+hex.EncodeToString(sum[:4])+".key"), nil
}

// makeKeyFile writes a new random key (256 bits) to a new file, mode 0600, and returns it.
func makeKeyFile(name string) (fail.Secret, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", fail.Wrap(fail.Internal, err, "", "make a key")
	}
	key := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", fail.Wrap(fail.Denied, err, "set HOLDFAST_PASSWORD_FILE to a file that can be written", "make the folder of the key file")
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", fail.Wrap(fail.Exists, err, "it belongs to an earlier repository at the same place: move it away, or use it by HOLDFAST_PASSWORD_FILE", "make a key file")
	}
	if err != nil {
		return "", fail.Wrap(fail.Denied, err, "", "make a key file")
	}
	_, err = f.WriteString(key + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fail.Wrap(fail.NoSpace, err, "", "write the key file")
	}
	return fail.Secret(key), nil
}

// filePassphrase returns the passphrase of a portable file, from $HOLDFAST_FILE_PASSPHRASE, the file that
// $HOLDFAST_FILE_PASSPHRASE_FILE names, or the terminal; twice is for a new one.
func filePassphrase(_ context.Context, twice bool) (fail.Secret, error) {
	if p := os.Getenv("HOLDFAST_FILE_PASSPHRASE"); p != "" {
		return fail.Secret(p), nil
	}
	if name := os.Getenv("HOLDFAST_FILE_PASSPHRASE_FILE"); name != "" {
		return readPassword(name)
	}
	p, err := promptPassword("Passphrase of the file: ")
	if err == nil && p != "" && twice {
		var again fail.Secret
		if again, err = promptPassword("Once more: "); err == nil && again != p {
			err = fail.New(fail.Password, "", "the two passphrases differ")
		}
	}
	return p, err
}

// newPassphrase is filePassphrase for a file that is being made.
func newPassphrase(ctx context.Context) (fail.Secret, error) {
	p, err := filePassphrase(ctx, true)
	if err == nil && p == "" {
		err = fail.New(fail.Password, "export HOLDFAST_FILE_PASSPHRASE_FILE=FILE", "no passphrase for the file")
	}
	return p, err
}
