package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/image"
)

// unit is the extent size of most tests.
const unit = 64 << 10

// TestMain runs a child's work instead of the tests when a test started this binary as another process.
func TestMain(m *testing.M) {
	if work := os.Getenv("HOLDFAST_SQLITE_CHILD"); work != "" {
		if err := child(work, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// open opens a database to write to, for tests.
func open(path string) (*sqlite3.Conn, error) {
	conn, err := sqlite3.OpenFlags(path, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE)
	if err != nil {
		return nil, err
	}
	return conn, conn.Exec("PRAGMA busy_timeout=20000; PRAGMA foreign_keys=OFF")
}

// build makes a database by running SQL.
func build(t testing.TB, path string, sql ...string) {
	t.Helper()
	conn, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range sql {
		if err := conn.Exec(s); err != nil {
			t.Fatalf("%.200s: %v", s, err)
		}
	}
}

// query returns the first column of a query's rows, joined with newlines.
func query(t testing.TB, path, sql string) string {
	t.Helper()
	conn, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out []byte
	if err := each(conn, sql, nil, func(st *sqlite3.Stmt) error {
		out = append(append(out, st.ColumnText(0)...), '\n')
		return nil
	}); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return string(bytes.TrimSuffix(out, []byte("\n")))
}

// copied is an image in memory.
type copied struct {
	info  image.Info
	data  []byte
	puts  int
	bytes int64
}

// copyImage copies the database at path with extents of unit bytes.
func copyImage(t testing.TB, path string, unit int) copied {
	t.Helper()
	c, err := tryCopy(t.Context(), path, unit)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryCopy(ctx context.Context, path string, unit int) (c copied, err error) {
	im, err := OpenImage(ctx, path, ImageOptions{})
	if err != nil {
		return c, err
	}
	return drain(ctx, im, unit)
}

// drain copies im and closes it.
func drain(ctx context.Context, im *Image, unit int) (c copied, err error) {
	defer im.Close()
	files, err := im.Copy(ctx, unit, func(e image.Extent) error {
		if need := int(e.Offset) + len(e.Data); need > len(c.data) {
			c.data = append(c.data, make([]byte, need-len(c.data))...)
		}
		copy(c.data[e.Offset:], e.Data)
		c.puts++
		c.bytes += int64(len(e.Data))
		return nil
	})
	if err != nil {
		return c, err
	}
	if len(files) != 1 || int64(len(c.data)) < files[0].Size {
		return c, fmt.Errorf("files %v, but %d bytes", files, len(c.data))
	}
	c.data = c.data[:files[0].Size]
	c.info = im.Info()
	return c, im.Close()
}

// write stores an image as a file, to be opened on its own.
func (c copied) write(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, c.data, 0o600); err != nil {
		t.Fatal(err)
	}
}
