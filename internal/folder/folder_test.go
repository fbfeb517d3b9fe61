package folder

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
)

var noon = time.Date(2024, 12, 14, 14, 30, 22, 123456789, time.UTC)

// TestMain is also a program that begins a file and waits to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FOLDER_TEST_BEGIN"); dir != "" {
		f, err := Create(dir, Options{Database: "shop", Kind: "json"})
		if err == nil {
			_, err = f.Write(bytes.Repeat([]byte("x"), 1<<20))
		}
		fmt.Println("begun", err)
		select {}
	}
	os.Exit(m.Run())
}

// save writes a file and returns its entry.
func save(t testing.TB, dir, data string, o Options) Entry {
	t.Helper()
	f, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if _, err := f.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	e, err := f.Commit(json.RawMessage(`{"rows": {"books": 2}}`))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func shop(at time.Time) Options {
	return Options{Database: "shop", Kind: "json", Engine: "postgres", Tool: "1.0", Time: at}
}

// names returns what is in a folder.
func names(t testing.TB, dir string) []string {
	t.Helper()
	items, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range items {
		all = append(all, i.Name())
	}
	return all
}

func put(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "backups")
	e := save(t, dir, "[]\n", shop(noon))
	if want := []string{"backup_20241214_143022.json", "backup_20241214_143022.json.meta"}; !slices.Equal(names(t, dir), want) {
		t.Fatalf("got %q", names(t, dir))
	}
	for path, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, e.Path: 0o600, e.Path + ".meta": 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	meta, err := ReadMeta(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if err := json.Compact(&content, meta.Content); err != nil || content.String() != `{"rows":{"books":2}}` {
		t.Errorf("content %s, %v", meta.Content, err)
	}
	meta.Content = nil
	want := Meta{Format: "holdfast-file/1", File: e.Name, CreatedAt: noon, Database: "shop", Kind: "json", Engine: "postgres", Tool: "1.0", Size: 3,
		SHA256: "37517e5f3dc66819f61f5a7bb8ace1921282415f10551d2defa5c3eb0985b570"}
	if diff := cmp.Diff(want, meta); diff != "" {
		t.Error(diff)
	}
	list, err := List(dir)
	if err != nil || len(list) != 1 || list[0] != e || e.State != Good {
		t.Errorf("listed %+v, committed %+v, %v", list, e, err)
	}
	if err := Check(t.Context(), e); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	var got []string
	for _, o := range []Options{
		shop(noon), shop(noon), shop(noon), // one second
		{Database: "shop", Kind: "sql", Time: noon, Envelope: envelope.Options{Compress: "gz"}},
		{Database: "blog", Kind: "json", Time: noon}, // another database: named from here on
		shop(noon.Add(time.Second)),
		{Database: "a/b", Kind: "json", Time: noon}, {Database: "a:b", Kind: "json", Time: noon}, {Database: "../x y", Kind: "json", Time: noon},
		{Database: "20240101_000000", Kind: "json", Time: noon},
		{Database: "shop", Kind: "json", Time: noon.Add(time.Hour), Local: true},
	} {
		e := save(t, dir, "[]", o)
		got = append(got, e.Name)
		if parts, ok := parseName(e.Name); !ok || parts.kind != o.Kind || e.Database != o.Database {
			t.Errorf("%s is read as %+v, %v", e.Name, parts, ok)
		}
	}
	want := []string{"backup_20241214_143022.json", "backup_20241214_143022_2.json", "backup_20241214_143022_3.json", "backup_20241214_143022.sql.gz",
		"backup_blog_20241214_143022.json", "backup_shop_20241214_143023.json", "backup_a-b-c14cdd_20241214_143022.json", "backup_a-b-1f9e16_20241214_143022.json",
		"backup_..-x-y-8e6dd8_20241214_143022.json", "backup_20240101_000000_20241214_143022.json", "backup_shop_" + noon.Add(time.Hour).Local().Format(stampLayout) + ".json"}
	for i := range want { // digests are whatever they are, but never the same
		w, g := want[i], got[i]
		if i >= 6 && i <= 8 {
			w, g = w[:11], g[:11]
		}
		if w != g {
			t.Errorf("got %s, want %s", got[i], want[i])
		}
	}
	if got[6] == got[7] {
		t.Errorf("a/b and a:b share %s", got[6])
	}
	for _, name := range []string{"backup_20241314_143022.json", "backup_20241214.json", "20241214_143022.json", "backup_20241214_143022", "backup_20241214_143022.json.meta", "backup_20241214_143022.json/", "backup_x.json"} {
		if parts, ok := parseName(name); ok {
			t.Errorf("%s is read as %+v", name, parts)
		}
	}
	for database, want := range map[string]string{"shop": "shop", "my_app-2.0": "my_app-2.0"} {
		if got := safeName(database); got != want {
			t.Errorf("%s became %s", database, got)
		}
	}
	for _, database := range []string{"_", "é", "a\x00b", strings.Repeat("x", 300), "a\nb"} {
		if got := safeName(database); len(got) > 100 || strings.ContainsAny(got, "/\x00\n\\") || got == database {
			t.Errorf("%q became %q", database, got)
		}
	}
}

// Files of one second, by many at once: each gets a name of its own, and loses nothing.
func TestTogether(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			f, err := Create(dir, shop(noon))
			if err == nil {
				if _, err = fmt.Fprintf(f, "[%d]", i+100); err == nil {
					_, err = f.Commit(nil)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, err := List(dir)
	if err != nil || len(list) != 16 || len(names(t, dir)) != 32 {
		t.Fatalf("%d entries, %d files, %v", len(list), len(names(t, dir)), err)
	}
	seen := map[string]bool{}
	for _, e := range list {
		data, err := os.ReadFile(e.Path)
		if err != nil || e.State != Good || seen[string(data)] || Check(t.Context(), e) != nil {
			t.Errorf("%+v holds %s, %v", e, data, err)
		}
		seen[string(data)] = true
	}
}

// Where a file can't have two names, a name is still taken once only.
func TestClaim(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "from", "new")
	put(t, dir, "taken", "old")
	if err := claim(dir+"/from", dir+"/taken"); !os.IsExist(err) {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(dir+"/folder", 0o700); err != nil { // folders can't have two names
		t.Fatal(err)
	}
	if err := claim(dir+"/folder", dir+"/taken"); !os.IsExist(err) {
		t.Errorf("got %v", err)
	}
	if err := claim(dir+"/folder", dir+"/free"); err == nil { // nor take that of a file
		t.Error("no error")
	}
	if data, _ := os.ReadFile(dir + "/taken"); string(data) != "old" || slices.Contains(names(t, dir), "free") {
		t.Errorf("%q, %q", data, names(t, dir))
	}
}

func TestAbort(t *testing.T) {
	for _, c := range []string{"", "zst"} {
		dir := t.TempDir()
		o := shop(noon)
		o.Envelope.Compress = c
		f, err := Create(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 3<<20)); err != nil {
			t.Fatal(err)
		}
		f.Abort()
		f.Abort()
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("left %q", got)
		}
		if _, err := f.Commit(nil); err == nil {
			t.Error("Commit after Abort: nil")
		}
	}
	dir := t.TempDir()
	for _, o := range []Options{{}, {Database: "x", Kind: "../json"}, {Database: "x", Kind: "json", Envelope: envelope.Options{Compress: "rar"}}} {
		_, err := Create(dir, o)
		if fail.KindOf(err) != fail.Usage || len(names(t, dir)) != 0 {
			t.Errorf("%+v: %v, left %q", o, err, names(t, dir))
		}
	}
	put(t, dir, "file", "")
	if _, err := Create(dir+"/file", shop(noon)); fail.KindOf(err) != fail.Usage {
		t.Errorf("in a file: %v", err)
	}
}

// What can go wrong in Commit leaves nothing behind.
func TestCommitErrors(t *testing.T) {
	t.Run("content_is_no_json", func(t *testing.T) {
		dir := t.TempDir()
		f, err := Create(dir, shop(noon))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Commit(json.RawMessage("{")); err == nil || len(names(t, dir)) != 0 {
			t.Errorf("%v, left %q", err, names(t, dir))
		}
	})
	t.Run("disk_is_full", func(t *testing.T) {
		dir := t.TempDir()
		f, err := Create(dir, shop(noon))
		if err != nil {
			t.Fatal(err)
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip("this system has no /dev/full")
		}
		defer full.Close()
		f.buf.Reset(full)
		if _, err := f.Write([]byte("[]")); err != nil { // it is in memory yet
			t.Fatal(err)
		}
		if _, err := f.Commit(nil); fail.KindOf(err) != fail.NoSpace || len(names(t, dir)) != 0 {
			t.Errorf("%v, left %q", err, names(t, dir))
		}
	})
	t.Run("name_of_a_foreign_file", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "backup_20241214_143022.json", "theirs")
		put(t, dir, "backup_20241214_143022_2.json.meta", "theirs too")
		if e := save(t, dir, "[]", shop(noon)); e.Name != "backup_20241214_143022_3.json" {
			t.Errorf("got %s", e.Name)
		}
		if data, _ := os.ReadFile(filepath.Join(dir, "backup_20241214_143022.json")); string(data) != "theirs" {
			t.Errorf("it holds %q", data)
		}
	})
}

// A run that is killed leaves a partial file, and the next run removes it; one that is at work keeps its own.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	begin := func() (*exec.Cmd, string) {
		before := names(t, dir)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "FOLDER_TEST_BEGIN="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "begun <nil>\n" {
			t.Fatalf("%q, %v", line, err)
		}
		for _, name := range names(t, dir) {
			if !slices.Contains(before, name) {
				return cmd, name
			}
		}
		t.Fatal("nothing was begun")
		return nil, ""
	}
	first, left := begin()
	second, alive := begin()
	defer func() { second.Process.Kill(); second.Wait() }()
	first.Process.Kill()
	first.Wait()
	list, err := List(dir)
	if err != nil || len(list) != 2 || list[0].State != Partial {
		t.Fatalf("%+v, %v", list, err)
	}
	save(t, dir, "[]", shop(noon))
	if got := names(t, dir); slices.Contains(got, left) || !slices.Contains(got, alive) || len(got) != 3 {
		t.Errorf("left %q; %s was killed and %s is alive", got, left, alive)
	}
}

// The sidecar of an encrypted file tells nothing of what it holds.
func TestEncrypted(t *testing.T) {
	dir := t.TempDir()
	o := shop(noon)
	o.Envelope = envelope.Options{Compress: "zst", GPGPassphrase: "correct horse"}
	e := save(t, dir, "[secret]", o)
	if e.Name != "backup_20241214_143022.json.zst.gpg" || !e.Encrypted || Check(t.Context(), e) != nil {
		t.Errorf("%+v", e)
	}
	data, err := os.ReadFile(e.Path + ".meta")
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if want := []string{"created_at", "database", "encrypted", "file", "format", "kind", "sha256", "size"}; !slices.Equal(keys, want) {
		t.Errorf("it has %q", keys)
	}
	f, err := os.Open(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, _, err := envelope.Reader(f, envelope.Keys{GPGPassphrase: envelope.Given("correct horse")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, err := bufio.NewReader(r).ReadString(']'); text != "[secret]" {
		t.Errorf("%q, %v", text, err)
	}
}
