package repo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/object"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// What is read back may have been written by anything that knows the password.

func FuzzParse(f *testing.F) {
	good := formatCopy{Magic: formatCopyMagic, Version: 1, Blobs: map[string][]byte{formatBlob: []byte("x")}}
	good.Sum = good.sum()
	data, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := parseFormatCopy(data); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"stream":"kopia:directory","entries":[{"name":"a","type":"f","obj":"k00112233445566778899aabbccddeeff"}],"summary":null}`))
	f.Add([]byte(`{"stream":"kopia:directory","entries":[null]}`))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseFormatCopy(data); err == nil && c.Sum != c.sum() {
			t.Error("a copy with a wrong sum was taken")
		}
		if _, err := parseManifests(data); err != nil {
			_ = err.Error()
		}
		entries, err := parseFolder(data)
		for name := range entries {
			if err == nil && (name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00")) {
				t.Errorf("a folder with the entry %q was taken", name)
			}
		}
		_, _, _ = parseChunkID(string(data))
		_ = replaced(data, data)
	})
}

func TestHostileIndexes(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, InitOptions{})
	s, err := r.Begin(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort(ctx)
	chunk, _, err := s.putContent(ctx, contentKind{}, noise(1, 100))
	if err != nil {
		t.Fatal(err)
	}
	one := object.DirectObjectID(chunk)
	store := func(data string) object.ID {
		t.Helper()
		cid, _, err := s.putContent(ctx, contentKind{prefix: "x"}, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		oid, err := object.ParseID("I" + cid.String())
		if err != nil {
			t.Fatal(err)
		}
		return oid
	}
	index := func(entries ...object.IndirectObjectEntry) object.ID {
		t.Helper()
		data, err := json.Marshal(indirectObject{indirectStream, entries})
		if err != nil {
			t.Fatal(err)
		}
		return store(string(data))
	}
	deep := index(object.IndirectObjectEntry{Length: 100, Object: one})
	for range maxDepth + 1 {
		deep = index(object.IndirectObjectEntry{Length: 100, Object: deep})
	}
	objects := map[string]object.ID{
		"no entries":         index(),
		"not an index":       store("null"),
		"not JSON":           store("\xff"),
		"a gap":              index(object.IndirectObjectEntry{Start: 10, Length: 100, Object: one}),
		"a negative length":  index(object.IndirectObjectEntry{Length: -100, Object: one}),
		"a huge length":      index(object.IndirectObjectEntry{Length: 1 << 62, Object: one}),
		"too much":           index(object.IndirectObjectEntry{Length: 100, Object: one}, object.IndirectObjectEntry{Start: 100, Length: 100, Object: one}),
		"too little":         index(object.IndirectObjectEntry{Length: 50, Object: one}),
		"a wrong length":     index(object.IndirectObjectEntry{Length: 60, Object: one}, object.IndirectObjectEntry{Start: 60, Length: 40, Object: one}),
		"no object":          index(object.IndirectObjectEntry{Length: 100}),
		"indexes, very deep": deep,
	}
	tree := s.NewTree()
	for name, oid := range objects {
		if err := tree.addFile(name, oid, 100); err != nil {
			t.Fatal(err)
		}
	}
	id, err := tree.Seal(ctx, entry("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	stored, err := r.Tree(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for name := range objects {
		chunks, err := stored.Chunks(ctx, name)
		if err == nil && len(chunks) > 0 {
			_, err = r.ReadChunk(ctx, chunks[0])
		}
		if fail.KindOf(err) != fail.Damaged {
			t.Errorf("%s: got %v, want Damaged", name, err)
		}
	}
}
