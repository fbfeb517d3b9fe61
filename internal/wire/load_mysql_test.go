package wire

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/sqltext"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A file of a backup loads into an empty database and over a copy, and the rows are the backup's.
func TestLoad_mysqlSQL(t *testing.T) {
	source := newPlace(t, MySQL)
	text, err := os.ReadFile("../engine/mysql/testdata/everything.sql")
	if err != nil {
		t.Fatal(err)
	}
	source.sql(t, string(text))
	s := newStore(t)
	v, err := Stored(t.Context(), s, backUp(t, s, source.url))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var file bytes.Buffer
	dumped, err := Dump(t.Context(), v, &file, DumpOptions{Format: SQL, SQL: sqltext.WriteOptions{Clean: true}})
	if err != nil {
		t.Fatal(err)
	}
	report, err := rows.Measure(t.Context(), v, rows.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	target := newPlace(t, MySQL)
	for range 2 {
		done, err := Load(t.Context(), bytes.NewReader(file.Bytes()), target.url, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var total int64
		for _, c := range done.SQL.Tables {
			total += c.Rows
		}
		if total != dumped.Rows || len(done.SQL.Notes) != 1 {
			t.Errorf("%d of %d rows, notes %q", total, dumped.Rows, done.SQL.Notes)
		}
		got, err := View(t.Context(), target.url)
		if err != nil {
			t.Fatal(err)
		}
		again, err := rows.Measure(t.Context(), got, rows.CopyOptions{})
		got.Close()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(report.Tables(), again.Tables()); diff != "" {
			t.Fatal(diff)
		}
	}
	const objects = "SELECT (SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = database()), (SELECT count(*) FROM information_schema.routines WHERE routine_schema = database()), (SELECT count(*) FROM information_schema.views WHERE table_schema = database()), (SELECT count(*) FROM information_schema.referential_constraints WHERE constraint_schema = database())"
	if diff := cmp.Diff(source.sql(t, objects), target.sql(t, objects)); diff != "" {
		t.Error(diff)
	}
	opt := LoadOptions{}
	opt.Fixture.DryRun = true
	empty := newPlace(t, MySQL)
	if _, err := Load(t.Context(), bytes.NewReader(file.Bytes()), empty.url, opt); fail.KindOf(err) != fail.Usage || !strings.Contains(err.Error(), "dry run") {
		t.Errorf("a dry run: %v", err)
	}
	if got := empty.sql(t, "SHOW TABLES"); got != "" {
		t.Errorf("after a dry run: %s", got)
	}
	pg := newPlace(t, Postgres)
	if _, err := Load(t.Context(), bytes.NewReader(file.Bytes()), pg.url, LoadOptions{}); fail.KindOf(err) != fail.Unsupported {
		t.Errorf("into PostgreSQL: %v", err)
	}
}
