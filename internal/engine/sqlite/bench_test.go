package sqlite

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/holdfast-db/holdfast/internal/image"
)

// benchBytes is about the size of the database of the benchmarks.
const benchBytes = 500 << 20

func benchDatabase(b *testing.B, journal string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "bench.db")
	build(b, path, "PRAGMA journal_mode="+journal+"; PRAGMA synchronous=OFF",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, note TEXT, amount REAL, n INT, b BLOB, maybe TEXT)",
		fmt.Sprintf(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%d)
			INSERT INTO t SELECT x, 'customer number '||x, 'some text with words '||hex(randomblob(40))||' and '||(x*7), x*1.37, x%%1000, randomblob(24),
			CASE WHEN x%%3=0 THEN NULL ELSE 'k'||x END FROM c`, benchBytes/200))
	return path
}

// BenchmarkImage reads a whole database from the page cache, with extents of 1 MiB, and does nothing with it.
func BenchmarkImage(b *testing.B) {
	for _, journal := range []string{"WAL", "DELETE"} {
		b.Run(journal, func(b *testing.B) {
			path := benchDatabase(b, journal)
			for b.Loop() {
				im, err := OpenImage(b.Context(), path, ImageOptions{})
				must(b, err)
				files, err := im.Copy(b.Context(), 1<<20, func(image.Extent) error { return nil })
				must(b, err)
				b.SetBytes(files[0].Size)
				must(b, im.Close())
			}
		})
	}
}

// BenchmarkView reads all rows of a database on one reader. The rate is that of row text.
func BenchmarkView(b *testing.B) {
	path := benchDatabase(b, "WAL")
	v, err := OpenView(b.Context(), path)
	must(b, err)
	defer v.Close()
	for b.Loop() {
		n := int64(0)
		for _, p := range v.Parts(v.Schema().Tables[0]) {
			r, err := v.Read(b.Context(), p)
			must(b, err)
			k, err := io.Copy(io.Discard, r)
			must(b, err)
			must(b, r.Close())
			n += k
		}
		b.SetBytes(n)
	}
}
