package sqltext_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/engine/mysql"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/sqltext"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

var mariaNoise = regexp.MustCompile(`(?m)^-- (Host|Dump completed|MariaDB dump).*\n`)

// mariaDump is what mariadb-dump says of a database.
func mariaDump(t *testing.T, m *servers.MySQLServer, url string) []string {
	t.Helper()
	name := url[strings.LastIndex(url, "/")+1:]
	text := run(t, m.Command("mysqldump", "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary", "--skip-extended-insert", "--single-transaction", "--skip-dump-date", name), nil)
	return strings.Split(strings.ReplaceAll(mariaNoise.ReplaceAllString(text, ""), name, "DB"), "\n")
}

func mysqlEverything(t *testing.T, m *servers.MySQLServer) string {
	t.Helper()
	db := m.CreateDatabase(t)
	sql, err := os.ReadFile("../../engine/mysql/testdata/everything.sql")
	if err != nil {
		t.Fatal(err)
	}
	m.SQL(t, db, string(sql))
	return db
}

func TestWrite_mysql(t *testing.T) {
	m := servers.MariaDB(t)
	db := mysqlEverything(t, m)
	v, err := mysql.Open(t.Context(), db, mysql.Options{PartBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	want := mariaDump(t, m, db)
	var files [2][]byte
	for i, tt := range []struct {
		name string
		v    rows.View
	}{{"live", v}, {"stored", store(t, v)}} {
		t.Run(tt.name, func(t *testing.T) {
			var file bytes.Buffer
			sum, err := sqltext.Write(t.Context(), tt.v, &file, sqltext.WriteOptions{Owner: true, Clean: true})
			if err != nil {
				t.Fatal(err)
			}
			files[i] = file.Bytes()
			to := m.CreateDatabase(t)
			name := to[strings.LastIndex(to, "/")+1:]
			for range 2 { // into an empty database, and over what is there
				run(t, m.Command("mysql", "--comments", name), file.Bytes())
				if diff := cmp.Diff(want, mariaDump(t, m, to)); diff != "" {
					t.Fatalf("%.4000s", diff)
				}
			}
			c, err := sqltext.Check(t.Context(), bytes.NewReader(file.Bytes()))
			if err != nil || c.State != sqltext.Complete || c.Engine != "mysql" || c.Writer != "holdfast" || c.Rows != sum.Rows || c.Version != v.Schema().Origin.Version {
				t.Errorf("check: %+v %v; %d rows were written", c, err, sum.Rows)
			}
			c, err = sqltext.Check(t.Context(), bytes.NewReader(file.Bytes()[:file.Len()/2]))
			if err != nil || c.State != sqltext.Truncated {
				t.Errorf("check of half a file: %+v %v", c, err)
			}
		})
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the file of the stored database is another than that of the live one")
	}
	t.Run("without_owners_nobody_is_named", func(t *testing.T) {
		var file bytes.Buffer
		if _, err := sqltext.Write(t.Context(), v, &file, sqltext.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if s := file.String(); strings.Contains(s, "DEFINER=") || strings.Contains(s, "\nDROP ") || !strings.Contains(s, "CREATE  PROCEDURE") && !strings.Contains(s, "CREATE PROCEDURE") {
			t.Errorf("DEFINER %t, DROP %t", strings.Contains(s, "DEFINER="), strings.Contains(s, "\nDROP "))
		}
	})
	t.Run("damaged_rows_and_definitions_are_errors", func(t *testing.T) {
		s := store(t, v)
		for key, data := range s.data {
			if strings.HasPrefix(key, "byte_types") {
				s.data[key] = bytes.Replace(data, []byte(`\\x0`), []byte(`\\x'`), 1)
			}
		}
		if _, err := sqltext.Write(t.Context(), s, &bytes.Buffer{}, sqltext.WriteOptions{}); fail.KindOf(err) != fail.Damaged {
			t.Errorf("got %v", err)
		}
		s = store(t, v)
		post := s.native["schema/post-data.sql"]
		post.Data = post.Data[:len(post.Data)-20]
		if _, err := sqltext.Write(t.Context(), s, &bytes.Buffer{}, sqltext.WriteOptions{}); fail.KindOf(err) != fail.Damaged {
			t.Errorf("got %v", err)
		}
	})
}
