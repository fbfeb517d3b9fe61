package folder

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/retain"
)

func day(n int) Options { return shop(noon.AddDate(0, 0, n)) }

// edit changes a file in place.
func edit(t *testing.T, path string, change func(string) string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(data))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// zoo fills a folder with a file in each state; the newest is good.
func zoo(t *testing.T) (string, map[string]State) {
	dir := t.TempDir()
	want := map[string]State{}
	add := func(n int, state State, change func(path string)) {
		e := save(t, dir, "[1, 2, 3]", day(n))
		change(e.Path)
		want[e.Name] = state
	}
	add(9, Good, func(string) {})
	add(8, Truncated, func(p string) { edit(t, p, func(s string) string { return s[:4] }) })
	add(7, Changed, func(p string) { edit(t, p, func(s string) string { return s + " " }) })
	add(6, Empty, func(p string) { edit(t, p, func(s string) string { return "" }) })
	add(5, Foreign, func(p string) { os.Remove(p + ".meta") })
	add(4, Unclear, func(p string) { edit(t, p+".meta", func(s string) string { return s[:len(s)/2] }) })
	add(3, Unclear, func(p string) {
		edit(t, p+".meta", func(s string) string { return strings.Replace(s, "backup_", "backup_x_", 1) })
	})
	add(2, Unclear, func(p string) { edit(t, p+".meta", func(s string) string { return "{}" }) })
	add(1, Newer, func(p string) {
		edit(t, p+".meta", func(s string) string { return strings.Replace(s, "file/1", "file/2", 1) })
	})
	add(0, Good, func(string) {})
	add(-1, "", func(p string) { os.Remove(p) })
	delete(want, "backup_20241213_143022.json")
	want["backup_20241213_143022.json.meta"] = Orphan
	put(t, dir, partPrefix+"1"+partSuffix, "")
	want[partPrefix+"1"+partSuffix] = Partial
	put(t, dir, "backup_blog_20241101_000000.sql.gz", "theirs")
	want["backup_blog_20241101_000000.sql.gz"] = Foreign
	for _, other := range []string{"README", "backup.json", "backup_20241214_143022.json~", "backup_1.json.meta"} {
		put(t, dir, other, "other")
	}
	if err := os.Mkdir(filepath.Join(dir, "backup_20241014_143022.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "backup_20241015_143022.json")); err != nil {
		t.Fatal(err)
	}
	return dir, want
}

func TestList(t *testing.T) {
	dir, want := zoo(t)
	list, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range list {
		if e.State != want[e.Name] || (e.Problem == "") != (e.State == Good) || e.Path != filepath.Join(dir, e.Name) {
			t.Errorf("%+v, want %q", e, want[e.Name])
		}
		if i > 0 && e.Time.After(list[i-1].Time) {
			t.Errorf("%s comes after %s", e.Name, list[i-1].Name)
		}
		kind := fail.KindOf(Check(t.Context(), e))
		switch {
		case e.State == Good && Check(t.Context(), e) != nil, (e.State == Truncated || e.State == Changed || e.State == Empty) != (kind == fail.Damaged), e.State == Foreign && kind != fail.Unsupported:
			t.Errorf("Check of %s %s: %v", e.State, e.Name, Check(t.Context(), e))
		}
		delete(want, e.Name)
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
	if _, err := List(dir + "/missing"); fail.KindOf(err) != fail.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestCheckReadsAll(t *testing.T) {
	e := save(t, t.TempDir(), "[1, 2, 3]", day(0))
	edit(t, e.Path, func(s string) string { return strings.Replace(s, "2", "9", 1) })
	if list, err := List(filepath.Dir(e.Path)); err != nil || list[0].State != Good {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := Check(t.Context(), e); fail.KindOf(err) != fail.Damaged || !strings.Contains(err.Error(), "altered") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Check(ctx, e); fail.KindOf(err) != fail.Interrupted {
		t.Errorf("got %v", err)
	}
}

func TestShrunken(t *testing.T) {
	dir := t.TempDir()
	for i, n := range []int{100, 60, 29, 200} {
		save(t, dir, strings.Repeat("x", n), day(i))
	}
	blog := day(9)
	blog.Database = "blog"
	save(t, dir, "x", blog)
	sql := day(10)
	sql.Kind = "sql"
	save(t, dir, "x", sql)
	list, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		if e.Shrunken(0) {
			got = append(got, e.Name)
		}
	}
	if want := []string{"backup_20241216_143022.json"}; !slices.Equal(got, want) {
		t.Errorf("shrunken: %q", got)
	}
	if e := list[4]; !e.Shrunken(0.7) || e.Previous != 100 {
		t.Errorf("%+v", e)
	}
}

func TestLatest(t *testing.T) {
	dir, _ := zoo(t)
	for database, want := range map[string]string{"": "backup_20241223_143022.json", "shop": "backup_20241223_143022.json", "blog": "backup_blog_20241101_000000.sql.gz"} {
		if e, err := Latest(dir, database); err != nil || e.Name != want {
			t.Errorf("%q: %s, %v", database, e.Name, err)
		}
	}
	if _, err := Latest(dir, "other"); fail.KindOf(err) != fail.NotFound {
		t.Errorf("got %v", err)
	}
	blog := day(-100)
	blog.Database = "my blog"
	e := save(t, dir, "[]", blog)
	if _, err := Latest(dir, ""); fail.KindOf(err) != fail.Usage || !strings.Contains(err.Error(), "shop, my blog") {
		t.Errorf("got %v", err)
	}
	if got, err := Latest(dir, "my blog"); err != nil || got.Name != e.Name {
		t.Errorf("%s, %v", got.Name, err)
	}
	if _, err := Latest(t.TempDir(), ""); fail.KindOf(err) != fail.NotFound {
		t.Errorf("got %v", err)
	}
}

// A dry run decides what the run does; what isn't ours stays.
func TestPrune(t *testing.T) {
	dir, want := zoo(t)
	before := names(t, dir)
	policy := retain.Policy{Daily: retain.Limit{Count: 1}}
	dry, err := Prune(t.Context(), dir, policy, PruneOptions{DryRun: true})
	if err != nil || !slices.Equal(names(t, dir), before) {
		t.Fatalf("a dry run left %q, %v", names(t, dir), err)
	}
	var gone []string
	for _, v := range dry {
		if v.Reason() == "" {
			t.Errorf("%s: no reason", v.Name)
		}
		if !v.Keep {
			gone = append(gone, v.Name)
		} else if want[v.Name] != Good && !strings.HasPrefix(v.Reason(), "not touched: ") {
			t.Errorf("%s: %s", v.Name, v.Reason())
		}
	}
	if w := []string{"backup_20241214_143022.json", "backup_20241213_143022.json.meta"}; !slices.Equal(gone, w) {
		t.Fatalf("would remove %q", gone)
	}
	real, err := Prune(t.Context(), dir, policy, PruneOptions{})
	if err != nil || len(real) != len(dry) {
		t.Fatal(err)
	}
	for i := range real {
		if real[i].Entry != dry[i].Entry || real[i].Keep != dry[i].Keep || real[i].Reason() != dry[i].Reason() {
			t.Errorf("decided %+v, said %+v", real[i], dry[i])
		}
	}
	left := slices.DeleteFunc(before, func(n string) bool {
		return n == "backup_20241214_143022.json" || n == "backup_20241214_143022.json.meta" || n == "backup_20241213_143022.json.meta"
	})
	if got := names(t, dir); !slices.Equal(got, left) {
		t.Errorf("left %q, want %q", got, left)
	}
	if _, err := Prune(t.Context(), dir, retain.Policy{}, PruneOptions{}); fail.KindOf(err) != fail.Usage {
		t.Errorf("without a policy: %v", err)
	}
}

func TestPruneKeepsTheNewestGood(t *testing.T) {
	dir := t.TempDir()
	var all []Entry
	for n := range 4 {
		all = append(all, save(t, dir, "[1, 2, 3]", day(n)))
	}
	other := day(-9)
	other.Kind = "sql"
	save(t, dir, "sql", other)
	for _, e := range all[2:] { // damage that only reading tells
		edit(t, e.Path, func(s string) string { return strings.Replace(s, "2", "9", 1) })
	}
	verdicts, err := Prune(t.Context(), dir, retain.Policy{Last: 1}, PruneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, v := range verdicts {
		if v.Keep {
			kept = append(kept, strings.TrimPrefix(v.Name, "backup_202412"))
		}
	}
	if want := []string{"17_143022.json", "16_143022.json", "15_143022.json", "05_143022.sql"}; !slices.Equal(kept, want) {
		t.Errorf("kept %q", kept)
	}
}

func TestPruneRefuses(t *testing.T) {
	dir := t.TempDir()
	for n := range 3 {
		save(t, dir, "[]", day(n))
	}
	for _, s := range []retain.State{{Incomplete: "why"}, {Failed: map[string]string{Entry{Database: "shop", Kind: "json"}.Group(): "why"}}} {
		verdicts, err := Prune(t.Context(), dir, retain.Policy{Last: 1}, PruneOptions{State: s})
		if err != nil || len(names(t, dir)) != 6 || !verdicts[2].Refused {
			t.Errorf("%+v, %v", verdicts, err)
		}
	}
	// A clock that went back makes all of them from the future: nothing goes.
	if _, err := Prune(t.Context(), dir, retain.Policy{Last: 1}, PruneOptions{State: retain.State{Now: noon.Add(-time.Hour)}}); err != nil || len(names(t, dir)) != 6 {
		t.Errorf("left %q, %v", names(t, dir), err)
	}
}

// After a crash between file and sidecar, the rest is removed by the next prune, and nothing is in the way meanwhile.
func TestPruneAfterCrash(t *testing.T) {
	dir := t.TempDir()
	e := save(t, dir, "[]", day(0))
	save(t, dir, "[]", day(1))
	if err := os.Remove(e.Path); err != nil {
		t.Fatal(err)
	}
	if again := save(t, dir, "[]", day(0)); again.Name != "backup_20241214_143022_2.json" {
		t.Errorf("got %s", again.Name)
	}
	if _, err := Prune(t.Context(), dir, retain.Policy{Last: 5}, PruneOptions{}); err != nil || len(names(t, dir)) != 4 {
		t.Errorf("left %q, %v", names(t, dir), err)
	}
}
