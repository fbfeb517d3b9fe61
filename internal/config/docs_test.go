package config

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

const (
	beginReference = "<!-- what follows is generated from internal/config by HOLDFAST_UPDATE=1 go test ./internal/config -run TestDocs -->\n\n"
	update         = "HOLDFAST_UPDATE"
)

// What docs/ says of the file is what the types say.
func TestDocs(t *testing.T) {
	same := func(file string, want []byte) {
		t.Helper()
		if os.Getenv(update) != "" {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say (%v): %s=1 go test ./internal/config -run TestDocs", file, err, update)
		}
	}
	same("../../docs/holdfast.schema.json", Schema())
	doc, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(doc), beginReference)
	if !ok {
		t.Fatalf("docs/config.md has no line %q", beginReference)
	}
	same("../../docs/config.md", []byte(head+beginReference+strings.TrimRight(Reference(), "\n")+"\n"))
}

// The example means what its comments say.
func TestExample(t *testing.T) {
	example := "../../examples/holdfast.yaml"
	c, err := Load(example)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Databases) != 3 || c.Databases[0].Objectives.MinCopies != 10 || c.Databases[2].Keep.Daily.String() != "14d" || c.Databases[1].Keep.Hourly.String() != "48h" {
		t.Errorf("the example does not mean what it says: %+v", c)
	}
}
