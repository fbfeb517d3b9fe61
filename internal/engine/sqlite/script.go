package sqlite

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// scriptName is the file of definitions in a view's Native.
const scriptName = "schema.sql"

// script returns all definitions as SQL that sqlite3 takes: tables, indexes, views, triggers, each in the order
// in which they were made.
func script(conn *sqlite3.Conn, o *rows.Origin) (nativeFS, error) {
	var sql strings.Builder
	for _, name := range []string{"page_size", "auto_vacuum", "application_id", "user_version"} {
		fmt.Fprintf(&sql, "PRAGMA %s=%s;\n", name, o.Attribute(name))
	}
	fmt.Fprintf(&sql, "PRAGMA encoding='%s';\n", o.Encoding)
	const query = `SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema
		WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
		ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid`
	err := each(conn, query, nil, func(st *sqlite3.Stmt) error {
		text := st.ColumnText(4)
		if st.ColumnText(0) == "table" && st.ColumnInt64(3) == 0 {
			// To run CREATE VIRTUAL TABLE would make the tables behind it, which are defined here as well.
			fmt.Fprintf(&sql, "PRAGMA writable_schema=ON;\nINSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',%s,%s,0,%s);\nPRAGMA writable_schema=OFF;\n",
				literal(st.ColumnText(1)), literal(st.ColumnText(2)), literal(text))
			return nil
		}
		sql.WriteString(text)
		if strings.Contains(text[strings.LastIndexByte(text, '\n')+1:], "--") {
			sql.WriteByte('\n') // the last line ends in a comment
		}
		sql.WriteString(";\n")
		return nil
	})
	return nativeFS(sql.String()), err
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// nativeFS is a folder with one file, scriptName, whose content it is.
type nativeFS string

// Open opens the folder or the file.
func (f nativeFS) Open(name string) (fs.File, error) {
	switch {
	case !fs.ValidPath(name):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case name == ".":
		return &nativeDir{nativeInfo{".", 0}, []fs.DirEntry{fs.FileInfoToDirEntry(nativeInfo{scriptName, int64(len(f))})}}, nil
	case name == scriptName:
		return &nativeFile{nativeInfo{scriptName, int64(len(f))}, strings.NewReader(string(f))}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

type nativeFile struct {
	nativeInfo
	*strings.Reader
}

func (f *nativeFile) Stat() (fs.FileInfo, error) { return f.nativeInfo, nil }
func (f *nativeFile) Close() error               { return nil }
func (f *nativeFile) Size() int64                { return f.nativeInfo.size }

type nativeDir struct {
	nativeInfo
	rest []fs.DirEntry
}

func (d *nativeDir) Stat() (fs.FileInfo, error) { return d.nativeInfo, nil }
func (d *nativeDir) Close() error               { return nil }
func (d *nativeDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: fs.ErrInvalid}
}

// ReadDir lists what was not listed yet; see [fs.ReadDirFile].
func (d *nativeDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	list := d.rest[:n]
	d.rest = d.rest[n:]
	return list, nil
}

type nativeInfo struct {
	name string
	size int64
}

func (i nativeInfo) Name() string       { return path.Base(i.name) }
func (i nativeInfo) Size() int64        { return i.size }
func (i nativeInfo) IsDir() bool        { return i.name == "." }
func (i nativeInfo) ModTime() time.Time { return time.Time{} }
func (i nativeInfo) Sys() any           { return nil }

// Mode is read-only.
func (i nativeInfo) Mode() fs.FileMode {
	if i.IsDir() {
		return fs.ModeDir | 0o500
	}
	return 0o400
}
