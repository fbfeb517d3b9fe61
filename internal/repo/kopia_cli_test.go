package repo

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// TestStockKopia shows that backups can be had back without this program.
func TestStockKopia(t *testing.T) {
	for _, compression := range []string{"", "zstd", "s2", "none"} {
		t.Run("compression "+compression, func(t *testing.T) {
			r := newRepo(t, InitOptions{Compression: compression})
			r.segment = 3 << 20 // so that the larger file gets an index of indexes
			files := sampleFiles()
			id, _ := backUp(t, r, "one", files)

			k := servers.ConnectKopia(t, r.Location(), testPassword.Reveal())
			if out := k.Run(t, "snapshot", "list", "--all", "--tags=name:one"); !strings.Contains(out, "holdfast@db1:/test/one") {
				t.Errorf("kopia lists: %s", out)
			}
			target := filepath.Join(t.TempDir(), "restored")
			k.Run(t, "snapshot", "restore", id.String(), target)
			for name, want := range files {
				got, err := os.ReadFile(filepath.Join(target, name))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("kopia restores %s: %d bytes of %d, %v", name, len(got), len(want), err)
				}
			}
			k.Run(t, "snapshot", "verify", "--verify-files-percent=100")
			k.Run(t, "content", "verify", "--full")
			// And what it did to the repository does not harm us.
			checkFiles(t, r, id, files)
		})
	}
}
