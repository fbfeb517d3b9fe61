package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// The units are good by systemd's own judgement, whatever the schedule, and let SQLite write beside its file.
func TestUnits(t *testing.T) {
	analyze := servers.Program(t, "systemd-analyze")
	for i, when := range []string{"15 2 * * *", "0 2,8-18 * * 1-5", "*/20 * * * *", "@daily", "@every 6h", "Mon..Fri *-*-* 08..18:00", "weekly"} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "holdfast.yaml")
			text := fmt.Sprintf("repository: %s/repo with space\ntime_zone: Europe/Berlin\ndatabases:\n  shop: {url: \"sqlite:%s/data/shop.db\", schedule: %q, exports: [{format: sql, folder: /srv/100%%}]}\n", dir, dir, when)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			a := &app{stdout: io.Discard, stderr: io.Discard, config: file}
			args := []string{"verify", "--man=no"}
			for _, list := range [][]string{nil, {"shop"}} {
				units, err := a.units(list)
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range units {
					if strings.HasSuffix(u.name, ".service") && !strings.HasPrefix(u.name, "holdfast-alert") && !strings.Contains(u.text, "-"+dir+"/data") {
						t.Errorf("%s may not write to %s/data:\n%s", u.name, dir, u.text)
					}
					path := filepath.Join(dir, u.name)
					if err := os.WriteFile(path, []byte(u.text), 0o600); err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(u.name, "@") {
						args = append(args, path)
					}
				}
			}
			out, err := exec.Command(analyze, args...).CombinedOutput()
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, dir) || strings.Contains(line, "holdfast") {
					t.Error(strings.TrimSpace(line))
				}
			}
			if err != nil && !t.Failed() {
				t.Errorf("systemd-analyze: %v\n%s", err, out)
			}
		})
	}
}
