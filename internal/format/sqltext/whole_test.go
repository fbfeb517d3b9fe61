package sqltext_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/sqltext"
)

func TestWhole(t *testing.T) {
	const mysqlEnd = "\n-- Dump completed on 2024-12-14\n"
	for name, tt := range map[string]struct {
		file  string
		whole bool
	}{
		"postgres":                      {pgFile + pgEnd, true},
		"postgres_without_end":          {pgFile, false},
		"postgres_with_windows_lines":   {strings.ReplaceAll(pgFile+pgEnd, "\n", "\r\n"), true},
		"postgres_with_more_behind":     {pgFile + pgEnd + "ANALYZE;\n", true},
		"postgres_cut_in_the_end":       {pgFile + pgEnd[:len(pgEnd)-12], false},
		"sqlite":                        {sqliteFile + "COMMIT;\n", true},
		"sqlite_without_last_line_end":  {sqliteFile + "COMMIT;", true},
		"sqlite_with_more_on_the_line":  {sqliteFile + "DELETE FROM t; COMMIT;\n", true},
		"sqlite_without_end":            {sqliteFile, false},
		"sqlite_whose_writer_failed":    {sqliteFile + "ROLLBACK; -- due to errors\n", false},
		"sqlite_without_transaction":    {"PRAGMA foreign_keys=OFF;\nINSERT INTO t VALUES (1);\n", true},
		"mysql":                         {mysqlFile + mysqlEnd, true},
		"mysql_without_end":             {mysqlFile, false},
		"mysql_behind_a_sandbox_mark":   {"/*M!999999\\- enable the sandbox mode */ \n" + mysqlFile, false},
		"no_mark_at_the_start":          {"INSERT INTO t VALUES (1);\n", true},
		"a_mark_far_behind_is_data":     {strings.Repeat("-- x\n", 4000) + pgFile, true},
		"long_lines":                    {pgFile + strings.Repeat("x", 1<<17) + pgEnd, true},
		"the_end_behind_text_is_no_end": {pgFile + "SELECT '" + strings.TrimSpace(pgEnd)[3:37] + "';\n", false},
	} {
		for how, r := range map[string]io.Reader{"at once": strings.NewReader(tt.file), "by bytes": iotest.OneByteReader(strings.NewReader(tt.file)), "with its end": iotest.DataErrReader(strings.NewReader(tt.file))} {
			got, err := io.ReadAll(sqltext.Whole(r))
			if string(got) != tt.file || (err == nil) != tt.whole || err != nil && fail.KindOf(err) != fail.Damaged {
				t.Errorf("%s %s: got %d of %d bytes and %v, want whole %v", name, how, len(got), len(tt.file), err, tt.whole)
			}
		}
	}
}
