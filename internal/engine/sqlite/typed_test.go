package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// exactly copies v with the storage class of each value, and compares them.
func exactly(t *testing.T, v *View, to string) {
	t.Helper()
	defer os.Remove(to)
	target, err := NewRowsTarget(to, RowsTargetOptions{Typed: true})
	must(t, err)
	report, err := rows.Copy(t.Context(), v.Typed(), target, rows.CopyOptions{})
	must(t, err)
	copied, err := OpenView(t.Context(), to)
	must(t, err)
	defer copied.Close()
	again, err := rows.Measure(t.Context(), copied.Typed(), rows.CopyOptions{})
	must(t, err)
	if diff := cmp.Diff(report.Tables(), again.Tables()); diff != "" {
		t.Errorf("a typed copy differs (-read +written):\n%s", diff)
	}
}

// What plain row text gives alike is told apart by the typed one.
func TestTyped_KeepsStorageClasses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	values := []string{"1", "'1'", "1.0", "'1.0'", "x'31'", `'\x31'`, "x''", "''", "'a\tb\\c'", "x'5c783331'", "cast(x'61ff62' as text)", "cast(x'610062' as text)", "NULL", "9e999", "-9e999",
		"9223372036854775807", "-9223372036854775808", "5e-324", "1e300", "'i1'", "'NaN'", "'Infinity'", `'\N'`}
	build(t, path, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b BLOB, c TEXT, d INTEGER, e REAL, f NUMERIC); CREATE TABLE s(id INTEGER PRIMARY KEY, a ANY) STRICT")
	for _, v := range values {
		build(t, path, "INSERT INTO t(a,b,c,d,e,f) VALUES("+strings.Repeat(","+v, 6)[1:]+"); INSERT INTO s(a) VALUES("+v+")")
	}
	v, err := OpenView(t.Context(), path)
	must(t, err)
	defer v.Close()
	exactly(t, v, path+"-exact")
	target, err := NewRowsTarget(path+"-copy", RowsTargetOptions{Typed: true})
	must(t, err)
	_, err = rows.Copy(t.Context(), v.Typed(), target, rows.CopyOptions{})
	must(t, err)
	for _, sql := range []string{"SELECT id, quote(a), quote(b), typeof(c), hex(c), quote(d), quote(e), quote(f) FROM t", "SELECT id, typeof(a), hex(a) FROM s"} {
		if diff := cmp.Diff(query(t, path, sql), query(t, path+"-copy", sql)); diff != "" {
			t.Errorf("%s (-source +copy):\n%s", sql, diff)
		}
	}
}

func TestTyped_RefusesWhatIsNone(t *testing.T) {
	dir := t.TempDir()
	build(t, filepath.Join(dir, "a.db"), "CREATE TABLE t(a)")
	v, err := OpenView(t.Context(), filepath.Join(dir, "a.db"))
	must(t, err)
	defer v.Close()
	for _, text := range []string{"", "i", "i1.5", "q", "b", "bzz", "b\\\\x1", "rx", "5"} {
		target, err := NewRowsTarget(filepath.Join(dir, "b.db"), RowsTargetOptions{Typed: true})
		must(t, err)
		must(t, target.Prepare(t.Context(), v.Schema(), v.Native()))
		_, err = target.Load(t.Context(), rows.Part{Table: v.Schema().Tables[0], Number: 1}, strings.NewReader(text+"\n"))
		wantKind(t, err, fail.Damaged, "storage class")
		must(t, target.Abort(t.Context()))
	}
}
