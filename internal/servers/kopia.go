package servers

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Kopia is the stock kopia command, connected to a repository.
type Kopia struct {
	path   string
	config string
	env    []string
}

var kopiaBuild struct {
	sync.Mutex
	path string
	err  error
}

// ConnectKopia builds the stock kopia command, once a process, from the very module that Holdfast links, and connects it to
// the repository in a folder.
func ConnectKopia(t testing.TB, folder, password string) *Kopia {
	t.Helper()
	kopiaBuild.Lock()
	if kopiaBuild.path == "" && kopiaBuild.err == nil {
		kopiaBuild.path, kopiaBuild.err = buildKopia()
	}
	path, err := kopiaBuild.path, kopiaBuild.err
	kopiaBuild.Unlock()
	if err != nil {
		t.Fatalf("build the stock kopia command: %v", err)
	}
	home := t.TempDir()
	k := &Kopia{path: path, config: filepath.Join(home, "repository.config")}
	k.env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "KOPIA_PASSWORD="+password, "KOPIA_CHECK_FOR_UPDATES=false")
	k.Run(t, "repository", "connect", "filesystem", "--path="+folder)
	return k
}

// buildKopia builds inside the module's own folder, with kopia's go.mod, so that it is what kopia released and our
// go.sum stays as it is. The program is kept for later processes, since a build takes minutes.
func buildKopia() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kopia/kopia").Output()
	if err != nil {
		return "", err
	}
	source := strings.TrimSpace(string(dir))
	cache := filepath.Join(CacheDir(), filepath.Base(source))
	out := filepath.Join(cache, "kopia")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// Several test processes may build at once: each builds aside, and the rename is atomic.
	aside, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(aside)
	build := exec.Command("go", "-C", source, "build", "-tags", "nohtmlui", "-o", filepath.Join(aside, "kopia"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if msg, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(msg)))
	}
	return out, os.Rename(filepath.Join(aside, "kopia"), out)
}

// Run runs a kopia command and returns what it prints on stdout.
func (k *Kopia) Run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(k.path, append([]string{"--config-file=" + k.config, "--log-dir=" + filepath.Dir(k.config), "--no-progress"}, args...)...)
	cmd.Env = k.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kopia %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
