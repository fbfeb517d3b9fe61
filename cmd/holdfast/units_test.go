package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
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

// Relative paths begin where the units were made, whatever that folder is called, and a crontab line goes there first.
func TestUnitsOfRelativePaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a $HOME 100% 'x'")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.WriteFile("holdfast.yaml", []byte("repository: repo\ndatabases: {shop: {url: \"sqlite:shop.db\", schedule: \"15 2 * * *\"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	a := &app{stdout: &out, stderr: io.Discard, config: "holdfast.yaml"}
	units, err := a.units([]string{"shop"})
	if err != nil {
		t.Fatal(err)
	}
	doubled := strings.ReplaceAll(dir, "%", "%%")
	for _, want := range []string{"\nWorkingDirectory=" + doubled + "\n", ` "-` + doubled + `/repo"`, `"` + strings.ReplaceAll(doubled, "$", "$$") + `/holdfast.yaml" run shop`} {
		if !strings.Contains(units[0].text, want) {
			t.Errorf("no %q in the unit:\n%s", want, units[0].text)
		}
	}
	if err := a.crontab([]string{"shop"}); err != nil {
		t.Fatal(err)
	}
	line := strings.Split(out.String(), "\n")[1]
	command := strings.ReplaceAll(strings.TrimPrefix(line, "15 2 * * * "), `\%`, "%") // as cron does
	command, _, _ = strings.Cut(command, " && ")
	got, err := exec.Command("sh", "-c", "cd / && "+command+" && pwd").Output()
	if err != nil || strings.TrimSuffix(string(got), "\n") != dir {
		t.Errorf("%s leads to %q, %v; want %q", command, got, err, dir)
	}
}

// A service of systemd's has no $HOME, and finds the key files and options of its user all the same.
func TestFindHome(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"": u.HomeDir, "/elsewhere": "/elsewhere"} {
		t.Setenv("HOME", given)
		findHome()
		if got := os.Getenv("HOME"); got != want {
			t.Errorf("HOME=%q becomes %q, want %q", given, got, want)
		}
	}
}

// What the service can't make itself is told when it is installed; its own crash is no wrong configuration.
func TestInstallSystemd(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "holdfast.yaml")
	text := fmt.Sprintf("repository: %s\ndatabases:\n  shop: {url: \"sqlite:%[1]s/shop.db\", exports: [{format: sql, folder: %[1]s/gone}]}\n", dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := newInstallSystemd(&app{stdout: io.Discard, stderr: &said, config: file})
	cmd.SetArgs([]string{"--dir", dir})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	if got := said.String(); strings.Count(got, "is not there") != 1 || !strings.Contains(got, "warning: "+dir+"/gone is not there") {
		t.Errorf("said:\n%s", got)
	}
	unit, err := os.ReadFile(filepath.Join(dir, "holdfast.service"))
	for _, want := range []string{"RestartPreventExitStatus=2\n", "Environment=GOTRACEBACK=crash\n", "config check\nExecReload=/bin/kill"} {
		if err != nil || !strings.Contains(string(unit), want) {
			t.Errorf("no %q in the unit, %v", want, err)
		}
	}
}

// What is only read by a relative path needs the folder as well: the service finds no password file elsewhere.
func TestUnitsOfRelativeFilesToRead(t *testing.T) {
	for setting, file := range map[string]string{
		"password_file":  "repository: /srv/repo\npassword_file: word\ndatabases: {shop: \"sqlite:/srv/shop.db\"}\n",
		"django_project": "repository: /srv/repo\ndatabases: {shop: {url: \"sqlite:/srv/shop.db\", exports: [{format: json, folder: /srv/files, django_project: site}]}}\n",
		"model_map":      "repository: /srv/repo\ndatabases: {shop: {url: \"sqlite:/srv/shop.db\", exports: [{format: json, folder: /srv/files, model_map: map.json}]}}\n",
		"":               "repository: /srv/repo\npassword_file: /etc/word\ndatabases: {shop: \"sqlite:/srv/shop.db\"}\n",
	} {
		t.Run(setting, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			if err := os.WriteFile("holdfast.yaml", []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			units, err := (&app{stdout: io.Discard, stderr: io.Discard, config: "holdfast.yaml"}).units(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(units[0].text, "\nWorkingDirectory="+dir+"\n"), setting != ""; got != want {
				t.Errorf("a working folder: %v, want %v:\n%s", got, want, units[0].text)
			}
		})
	}
}

// What cron or a timer can't keep to is refused or said: a line that means something else is worse than none.
func TestUnitsSayWhatTheyCannotDo(t *testing.T) {
	for _, c := range []struct {
		schedule, cron, timer string // what the two say on stderr, or as their error
	}{
		{"\"15 2 * * *\"", "", ""},
		{"never", "\"never\" for cron", "\"never\" for a systemd timer"},
		{"{at: \"15 2 * * *\", time_zone: Asia/Tokyo}", "not in Asia/Tokyo", ""},
		{"{at: \"15 2 * * *\", blackout: \"08:00-18:00\"}", "blackouts of shop", "blackouts of shop"},
	} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("holdfast.yaml", []byte("repository: /srv/repo\ndatabases: {shop: {url: \"sqlite:/srv/shop.db\", schedule: "+c.schedule+"}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		said := func(do func(*app) error) string {
			var talk strings.Builder
			err := do(&app{stdout: io.Discard, stderr: &talk, config: "holdfast.yaml"})
			return strings.TrimSpace(talk.String() + errText(err))
		}
		cron := said(func(a *app) error { return a.crontab([]string{"shop"}) })
		timer := said(func(a *app) error { _, err := a.units([]string{"shop"}); return err })
		for got, want := range map[*string]string{&cron: c.cron, &timer: c.timer} {
			if !strings.Contains(*got, want) || (want == "") != (*got == "") {
				t.Errorf("%s: said %q, want %q", c.schedule, *got, want)
			}
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
