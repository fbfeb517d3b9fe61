package servers

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ServerPrograms returns a folder with initdb and postgres of the server's version that any user of this machine can run: what
// starts servers of its own needs them. Those of another Debian release are copied, or linked, out of it.
func (pg *PG) ServerPrograms(t testing.TB) string {
	t.Helper()
	if pg.in.root == "" {
		return pg.in.bin
	}
	dir, err := os.MkdirTemp("/tmp", "holdfast-programs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin, err := pg.in.unpack(dir)
	if err != nil {
		t.Fatalf("take PostgreSQL %s out of %s: %v", pg.Major, pg.in.root, err)
	}
	return bin
}

var loadedLibrary = regexp.MustCompile(`=> (/\S+) \(`)

// unpack puts the server into dir, with the libraries it needs, and returns the folder of its programs.
func (in installation) unpack(dir string) (string, error) {
	programs := filepath.Join(dir, in.bin) // it finds its other files by where it is
	for _, name := range []string{"initdb", "postgres"} {
		if err := takeOut(in.root, filepath.Join(in.bin, name), dir, filepath.Join(programs, name)); err != nil {
			return "", err
		}
	}
	for _, tree := range []string{filepath.Join(filepath.Dir(in.bin), "lib"), filepath.Join("/usr/share/postgresql", in.major)} {
		if err := linkTree(filepath.Join(in.root, tree), filepath.Join(dir, tree)); err != nil {
			return "", err
		}
	}
	return programs, nil
}

// ServerPrograms returns a folder with a mysqld that any user of this machine can run, as [PG.ServerPrograms] does; "" when it is on the usual paths.
func (m *MySQLServer) ServerPrograms(t testing.TB) string {
	t.Helper()
	root := m.programs.root
	if root == "" {
		return ""
	}
	dir, err := os.MkdirTemp("/tmp", "holdfast-programs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin, share := filepath.Join(dir, "bin"), filepath.Join(dir, "share")
	err = takeOut(root, m.programs.server, dir, filepath.Join(bin, "mysqld"), "--lc-messages-dir="+share, "--character-sets-dir="+filepath.Join(share, "charsets"))
	if err == nil {
		err = linkTree(filepath.Join(root, "usr/share/mysql"), share)
	}
	if err != nil {
		t.Fatalf("take %s out of %s: %v", m.programs.server, root, err)
	}
	return bin
}

// takeOut makes a program of another system run here: it and its libraries are linked into dir, and a script starts it with the arguments that
// it gets and some more.
func takeOut(root, program, dir, script string, more ...string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	loader, err := onlyMatch(filepath.Join(root, "lib*", "ld-linux*.so.*"))
	if err != nil {
		return err
	}
	libs, err := onlyMatch(filepath.Join(root, "usr/lib", "*-linux-gnu"))
	if err != nil {
		return err
	}
	out, err := exec.Command(loader, "--library-path", libs, "--list", filepath.Join(root, program)).Output()
	if err != nil {
		return err
	}
	real := filepath.Join(dir, "real", filepath.Base(program))
	files := map[string]string{filepath.Join(dir, "ld.so"): loader, real: filepath.Join(root, program)}
	for _, m := range loadedLibrary.FindAllStringSubmatch(string(out), -1) {
		files[filepath.Join(dir, "lib", filepath.Base(m[1]))] = m[1]
	}
	for name, from := range files {
		if err := link(from, name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("#!/bin/sh\nexec %[1]s/ld.so --library-path %[1]s/lib --argv0 %[2]s %[3]s \"$@\" %[4]s\n", dir, script, real, strings.Join(more, " "))
	return os.WriteFile(script, []byte(text), 0o755)
}

func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		// Code for compiling queries is large, and not needed.
		if err != nil || d.IsDir() || strings.Contains(path, "/bitcode/") || strings.HasPrefix(d.Name(), "llvmjit") {
			return err
		}
		return link(path, filepath.Join(to, strings.TrimPrefix(path, from)))
	})
}

// link makes another name of a file, or a copy where that can't be.
func link(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}
