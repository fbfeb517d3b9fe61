package repo

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// stockKopia is the kopia command, built from the very module this program links.
type stockKopia struct {
	path   string
	config string
	env    []string
}

var kopiaBuild struct {
	sync.Mutex
	path string
	err  error
}

// buildKopia builds the stock kopia command once for all tests. It builds inside the module's
// own folder, with kopia's go.mod, so that it is what kopia released and our go.sum stays as it is.
func buildKopia(t testing.TB) string {
	t.Helper()
	kopiaBuild.Lock()
	defer kopiaBuild.Unlock()
	if kopiaBuild.path == "" && kopiaBuild.err == nil {
		kopiaBuild.path, kopiaBuild.err = runKopiaBuild()
	}
	if kopiaBuild.err != nil {
		t.Fatalf("build the stock kopia command: %v", kopiaBuild.err)
	}
	return kopiaBuild.path
}

func runKopiaBuild() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kopia/kopia").Output()
	if err != nil {
		return "", err
	}
	out := filepath.Join(scratch, "kopia")
	build := exec.Command("go", "-C", strings.TrimSpace(string(dir)), "build", "-tags", "nohtmlui", "-o", out, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if msg, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(msg)))
	}
	return out, nil
}

// connectKopia connects the stock command to a repository in a folder.
func connectKopia(t testing.TB, folder string) stockKopia {
	t.Helper()
	home := t.TempDir()
	k := stockKopia{path: buildKopia(t), config: filepath.Join(home, "repository.config")}
	k.env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "KOPIA_PASSWORD="+testPassword.Reveal(), "KOPIA_CHECK_FOR_UPDATES=false")
	k.run(t, "repository", "connect", "filesystem", "--path="+folder)
	return k
}

// run runs a kopia command and returns what it prints on stdout.
func (k stockKopia) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := k.try(args...)
	if err != nil {
		t.Fatalf("kopia %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (k stockKopia) try(args ...string) (string, error) {
	cmd := exec.Command(k.path, append([]string{"--config-file=" + k.config, "--log-dir=" + filepath.Dir(k.config), "--no-progress"}, args...)...)
	cmd.Env = k.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", errors.Join(err, errors.New(stderr.String()))
	}
	return stdout.String(), nil
}

// TestStockKopia shows that backups can be had back without this program.
func TestStockKopia(t *testing.T) {
	for _, compression := range []string{"", "zstd", "s2", "none"} {
		t.Run("compression "+compression, func(t *testing.T) {
			r := newRepo(t, InitOptions{Compression: compression})
			r.segment = 3 << 20 // so that the larger file gets an index of indexes
			files := sampleFiles()
			id, _ := backUp(t, r, "one", files)

			k := connectKopia(t, r.Location())
			if out := k.run(t, "snapshot", "list", "--all", "--tags=name:one"); !strings.Contains(out, "holdfast@db1:/test/one") {
				t.Errorf("kopia lists: %s", out)
			}
			target := filepath.Join(t.TempDir(), "restored")
			k.run(t, "snapshot", "restore", id.String(), target)
			for name, want := range files {
				got, err := os.ReadFile(filepath.Join(target, name))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("kopia restores %s: %d bytes of %d, %v", name, len(got), len(want), err)
				}
			}
			k.run(t, "snapshot", "verify", "--verify-files-percent=100")
			k.run(t, "content", "verify", "--full")
			// And what it did to the repository does not harm us.
			checkFiles(t, r, id, files)
		})
	}
}
