package wire

import (
	"io"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// What is refused is named by its key, wherever the key's column stands, and whoever refuses it.
func TestRowReader_NamesTheRow(t *testing.T) {
	table := &rows.Table{Name: "t", Kind: rows.Ordinary, PrimaryKey: []string{"id", "k"},
		Columns: []rows.Column{{Name: "k", Type: rows.Text}, {Name: "v", Type: rows.Decimal, Size: 5, Scale: 2}, {Name: "id", Type: rows.Int}}}
	x := &crossed{decode: (&crossing{}).decoders(table), convert: []converter{nil, checker(&table.Columns[1], SQLite, MySQL), nil}}
	for name, line := range map[string]string{"decoder": "tkey\tttext\ti34\n", "converter": "tkey\tf1.234\ti34\n"} {
		in := newRowReader(strings.NewReader(line), shape{columns: 3}, x.convert)
		in.decode, in.table = x.decode, table
		_, err := io.Copy(io.Discard, in)
		if err == nil || !strings.Contains(err.Error(), "column v of the row with k = key, id = 34:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
