package sqltext_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/sqltext"
	"github.com/holdfast-db/holdfast/internal/rows"
)

const (
	pgFile = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.4\n-- Dumped by pg_dump version 15.4\n\nCREATE TABLE public.a (\n    id integer\n);\n\n" +
		"CREATE TABLE public.\"B\" (id integer);\n\nCOPY public.a (id) FROM stdin;\n1\n2\n\\.\n\nINSERT INTO public.\"B\" VALUES (1), ((2)), ('(3);');\nINSERT INTO public.\"B\" SELECT 1;\nINSERT INTO public.\"B\" (id) VALUES (1) ON CONFLICT (id) DO NOTHING;\n"
	pgEnd      = "\n--\n-- PostgreSQL database dump complete\n--\n\n"
	sqliteFile = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE IF NOT EXISTS 't x' (a);\nINSERT INTO \"Big\" VALUES(1,'(;)');\nINSERT INTO sqlite_sequence VALUES('t',1);\n"
	mysqlFile  = "-- MySQL dump 10.13  Distrib 8.0\n/*!40101 SET NAMES utf8 */;\nCREATE TABLE `a` (`id` int);\nINSERT INTO `a` VALUES (1,'it\\'s (x'),(2,\"),(\");\n"
)

func TestCheck(t *testing.T) {
	sqliteTables := []rows.TableRows{{Name: `"t x"`}, {Name: `"Big"`, Rows: 1}}
	pgTables := []rows.TableRows{{Name: "public.a", Rows: 2}, {Name: `public."B"`, Rows: 4}}
	for name, tt := range map[string]struct {
		file   string
		state  sqltext.State
		engine string
		rows   int64
		tables []rows.TableRows
		err    string
	}{
		"postgres":               {pgFile + pgEnd, sqltext.Complete, "postgres", 6, pgTables, ""},
		"postgres_without_end":   {pgFile, sqltext.Truncated, "postgres", 6, pgTables, "the end of the file is missing"},
		"postgres_cut_in_rows":   {pgFile[:strings.Index(pgFile, "2\n\\.")], sqltext.Truncated, "postgres", 1, []rows.TableRows{{Name: "public.a", Rows: 1}, {Name: `public."B"`}}, "line 16: the rows of a COPY have no end"},
		"postgres_no_rows":       {"-- PostgreSQL database dump\nCREATE TABLE a ();\n" + pgEnd, sqltext.NoRows, "postgres", 0, []rows.TableRows{{Name: "a"}}, ""},
		"postgres_more_than_one": {pgFile + pgEnd + pgFile, sqltext.Truncated, "postgres", 12, []rows.TableRows{{Name: "public.a", Rows: 4}, {Name: `public."B"`, Rows: 8}}, "the end of the file is missing"},
		"postgres_with_commands": {pgFile + "\\! id\n" + pgEnd, sqltext.Broken, "postgres", 6, pgTables, "line 22: client command"},
		"sqlite":                 {sqliteFile + "COMMIT;\n", sqltext.Complete, "sqlite", 1, sqliteTables, ""},
		"sqlite_without_end":     {sqliteFile, sqltext.Truncated, "sqlite", 1, sqliteTables, "the end of the file is missing"},
		"sqlite_with_errors":     {sqliteFile + "ROLLBACK; -- due to errors\n", sqltext.Truncated, "sqlite", 1, sqliteTables, "the end of the file is missing"},
		"sqlite_cut_in_a_text":   {sqliteFile + "INSERT INTO x VALUES('a", sqltext.Truncated, "sqlite", 1, sqliteTables, "line 6: a string that begins here has no end"},
		"mysql":                  {mysqlFile + "-- Dump completed on 2024-12-14\n", sqltext.Complete, "mysql", 2, []rows.TableRows{{Name: "a", Rows: 2}}, ""},
		"mysql_without_end":      {mysqlFile, sqltext.Truncated, "mysql", 2, []rows.TableRows{{Name: "a", Rows: 2}}, "the end of the file is missing"},
		"somebody's":             {"INSERT INTO x VALUES (1);", sqltext.Unmarked, "", 1, []rows.TableRows{{Name: "x", Rows: 1}}, ""},
		"nothing":                {"", sqltext.Empty, "", 0, nil, ""},
		"talk":                   {"-- hello\n\n", sqltext.Empty, "", 0, nil, ""},
		"an_archive":             {"PGDMP\x01", sqltext.Broken, "", 0, nil, "line 1: this is no plain SQL"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := sqltext.Check(t.Context(), strings.NewReader(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if res.State != tt.state || res.Engine != tt.engine || res.Rows != tt.rows || res.Bytes != int64(len(tt.file)) || !strings.HasPrefix(res.Err, tt.err) || (tt.err == "") != (res.Err == "") {
				t.Errorf("got %+v", res)
			}
			if diff := cmp.Diff(tt.tables, res.Tables); diff != "" {
				t.Errorf("tables (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("what_reading_met", func(t *testing.T) {
		_, err := sqltext.Check(t.Context(), io.MultiReader(strings.NewReader(pgFile), iotest.ErrReader(errors.New("the disk is gone"))))
		if err == nil || !strings.Contains(err.Error(), "the disk is gone") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cut_off_in_its_compression", func(t *testing.T) {
		res, err := sqltext.Check(t.Context(), io.MultiReader(strings.NewReader(pgFile), iotest.ErrReader(io.ErrUnexpectedEOF)))
		if err != nil || res.State != sqltext.Truncated {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}

// Wherever a file is cut off, it is never called complete.
func TestCheck_cut(t *testing.T) {
	for name, file := range map[string]string{"postgres": pgFile + pgEnd, "sqlite": sqliteFile + "COMMIT;\n", "mysql": mysqlFile + "-- Dump completed on 2024-12-14\n"} {
		t.Run(name, func(t *testing.T) {
			whole := strings.TrimRight(file, "-\n")
			rapid.Check(t, func(t *rapid.T) {
				n := rapid.IntRange(0, len(whole)-len(" on 2024-12-14")-1).Draw(t, "length")
				res, err := sqltext.Check(t.Context(), strings.NewReader(file[:n]))
				if err != nil || res.State == sqltext.Complete {
					t.Fatalf("%q: %+v, %v", file[:n], res, err)
				}
			})
		})
	}
}

// What can't be written whole is no file.
func TestWrite_Err(t *testing.T) {
	table := &rows.Table{Schema: "public", Name: "t", Kind: rows.Ordinary, Columns: []rows.Column{{Name: "a", Type: rows.Text}}}
	for name, tt := range map[string]struct {
		data, engine string
		opt          sqltext.WriteOptions
		kind         fail.Kind
	}{
		"smuggled_command":         {"1\n\\.\n\\! id\n", "postgres", sqltext.WriteOptions{}, fail.Damaged},
		"smuggled_at_the_start":    {"\\.\n\\! id\n", "postgres", sqltext.WriteOptions{}, fail.Damaged},
		"smuggled_across_chunks":   {strings.Repeat("x", 256<<10-1) + "\n\\.\n\\! id\n", "postgres", sqltext.WriteOptions{}, fail.Damaged},
		"smuggled_across_chunks_2": {strings.Repeat("x", 256<<10-2) + "\n\\.\n\\! id\n", "postgres", sqltext.WriteOptions{}, fail.Damaged},
		"smuggled_across_chunks_3": {strings.Repeat("x", 256<<10-3) + "\n\\.\n\\! id\n", "postgres", sqltext.WriteOptions{}, fail.Damaged},
		"last_row_without_end":     {"1\n2", "postgres", sqltext.WriteOptions{}, fail.Damaged},
		"broken_row":               {"1\t2\n", "postgres", sqltext.WriteOptions{Inserts: true}, fail.Damaged},
		"another_engine":           {"1\n", "oracle", sqltext.WriteOptions{}, fail.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			v := &stored{schema: &rows.Schema{Origin: rows.Origin{Engine: tt.engine}, Tables: []*rows.Table{table}},
				parts: map[string][]rows.Part{"public.t": {{Table: table, Number: 1}}}, data: map[string][]byte{"public.t 1": []byte(tt.data)}}
			var b bytes.Buffer
			if _, err := sqltext.Write(t.Context(), v, &b, tt.opt); fail.KindOf(err) != tt.kind || err == nil {
				t.Errorf("got %v, want %v", err, tt.kind)
			}
			if strings.Contains(b.String(), "! id") {
				t.Error("it was written")
			}
		})
	}
}
