package folder

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A file is there when it is whole, for its owner alone; what was there stays unless it is to be replaced; what a killed run left goes.
func TestAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.json")
	killed, foreign := filepath.Join(dir, ".shop.json.1.partial"), filepath.Join(dir, ".shop.json.gz.1.partial.keep")
	for _, name := range []string{killed, foreign} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write := func(text string, overwrite bool) error {
		a, err := CreateAside(path)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Abort()
		if _, err := a.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		other, err := CreateAside(path) // beside one at work, which stays
		if err != nil {
			t.Fatal(err)
		}
		other.Abort()
		return a.Commit(overwrite)
	}
	content := func() string {
		data, _ := os.ReadFile(path)
		return string(data)
	}
	if err := write("one", false); err != nil || content() != "one" {
		t.Fatalf("%v, %q", err, content())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := write("two", false); fail.KindOf(err) != fail.Exists || content() != "one" {
		t.Errorf("%v, %q", err, content())
	}
	if err := write("three", true); err != nil || content() != "three" {
		t.Errorf("%v, %q", err, content())
	}
	if _, err := CreateAside(filepath.Join(dir, "no", "shop.json")); fail.KindOf(err) != fail.NotFound || fail.HintOf(err) == "" {
		t.Errorf("in no folder: %v", err)
	}
	if got, want := names(t, dir), []string{filepath.Base(foreign), "shop.json"}; !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}
