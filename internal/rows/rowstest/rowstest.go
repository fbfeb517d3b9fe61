// Package rowstest checks that a rows.View keeps its contract. Every engine and format runs it on its own Views.
package rowstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"testing"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// View checks v, which must hold at least one row. It leaves v open.
func View(t *testing.T, v rows.View) {
	t.Helper()
	t.Run("schema_is_the_same_each_time_and_names_are_unique", func(t *testing.T) {
		if first, second := v.Schema(), v.Schema(); first != second {
			t.Error("two calls of Schema give two schemas")
		}
		seen := map[string]bool{}
		for _, table := range v.Schema().Tables {
			if seen[table.String()] {
				t.Errorf("table %s is there twice", table)
			}
			seen[table.String()] = true
		}
		if o := v.Schema().Origin; o.Engine == "" || o.Version == "" || o.Consistency == "" || o.TakenAt.IsZero() {
			t.Errorf("the origin is incomplete: %+v", o)
		}
	})
	t.Run("parts_are_numbered_and_kinds_without_rows_have_none", func(t *testing.T) {
		for _, table := range v.Schema().Tables {
			parts := v.Parts(table)
			for i, p := range parts {
				if p.Table != table || p.Number != i+1 {
					t.Errorf("%s: part %d is numbered %d of %s", table, i+1, p.Number, p.Table)
				}
			}
			if none := table.Kind == rows.Partitioned || table.Kind == rows.MatView || table.Kind == rows.Foreign; none && len(parts) > 0 {
				t.Errorf("%s is of kind %s and has %d parts", table, table.Kind, len(parts))
			}
		}
	})
	t.Run("rows_have_the_stored_columns_and_every_part_ends_with_a_row", func(t *testing.T) { wholeRows(t, v) })
	t.Run("reading_again_and_concurrently_gives_the_same_rows", func(t *testing.T) { sameRows(t, v) })
	t.Run("a_reader_may_be_closed_early", func(t *testing.T) {
		for _, p := range allParts(v) {
			r, err := v.Read(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = r.Read(make([]byte, 1))
			_ = r.Close()
		}
		wholeRows(t, v) // and that spoils nothing
	})
	t.Run("a_cancelled_context_is_an_error_and_no_early_end", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := v.Read(ctx, allParts(v)[0])
		if err != nil {
			return
		}
		defer r.Close()
		if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("native_files_can_be_read", func(t *testing.T) {
		if v.Native() == nil {
			return
		}
		err := fs.WalkDir(v.Native(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				_, err = fs.ReadFile(v.Native(), name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func allParts(v rows.View) (all []rows.Part) {
	for _, table := range v.Schema().Tables {
		all = append(all, v.Parts(table)...)
	}
	return all
}

func read(t *testing.T, v rows.View, p rows.Part) []byte {
	t.Helper()
	r, err := v.Read(t.Context(), p)
	if err != nil {
		t.Errorf("read part %d of %s: %v", p.Number, p.Table, err)
		return nil
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read part %d of %s: %v", p.Number, p.Table, err)
	}
	return data
}

func wholeRows(t *testing.T, v rows.View) {
	t.Helper()
	total := 0
	for _, p := range allParts(v) {
		data := read(t, v, p)
		if len(data) > 0 && data[len(data)-1] != '\n' {
			t.Errorf("part %d of %s ends within a row", p.Number, p.Table)
		}
		columns := len(p.Table.Stored())
		for _, line := range bytes.SplitAfter(data, []byte{'\n'}) {
			if len(line) == 0 {
				continue
			}
			total++
			if _, err := rows.ParseRow(nil, line[:len(line)-1], columns); err != nil {
				t.Errorf("part %d of %s: row %q: %v", p.Number, p.Table, line, err)
				break
			}
		}
	}
	if total == 0 {
		t.Error("the view holds no rows: nothing was checked")
	}
}

func sameRows(t *testing.T, v rows.View) {
	t.Helper()
	first, err := rows.Measure(t.Context(), v, rows.CopyOptions{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			again, err := rows.Measure(t.Context(), v, rows.CopyOptions{Jobs: 3})
			if err != nil {
				t.Error(err)
				return
			}
			want, got := first.Tables(), again.Tables()
			for name, c := range want {
				if got[name] != c {
					t.Errorf("%s: %+v, then %+v", name, c, got[name])
				}
			}
		})
	}
	wg.Wait()
}
