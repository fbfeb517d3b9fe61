package postgres

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// clearPG takes what libpq would read from the environment away for the test.
func clearPG(t *testing.T) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOLDFAST_TEST_CACHE", servers.CacheDir()) // which is found by $HOME
	t.Setenv("HOME", t.TempDir())
}

func TestDatabaseName(t *testing.T) {
	clearPG(t)
	for _, test := range []struct{ url, name, host string }{
		{"postgres://u:p@db1/shop", "shop", "db1:5432"},
		{"postgresql://u@db1:6000/a%2Fb?sslmode=require", "a/b", "db1:6000"},
		{"postgres://u@[::1]/x", "x", "[::1]:5432"},
		{"postgres://u@h1:1,h2:2/x", "x", "h1:1"},
		{"postgres://joe@db1", "joe", "db1:5432"},
		{"postgres://joe:p%3Fw@db1?sslmode=disable", "joe", "db1:5432"},
		{"postgres:///x?host=/run/pg&port=7&user=u", "x", "/run/pg/.s.PGSQL.7"},
	} {
		name, host, err := DatabaseName(test.url)
		if err != nil || name != test.name || host != test.host {
			t.Errorf("%s: %q on %q, %v, want %q on %q", test.url, name, host, err, test.name, test.host)
		}
	}
	t.Run("follows_the_environment", func(t *testing.T) {
		t.Setenv("PGHOST", "elsewhere")
		t.Setenv("PGDATABASE", "stock")
		name, host, err := DatabaseName("")
		if err != nil || name != "stock" || host != "elsewhere:5432" {
			t.Errorf("%q on %q, %v", name, host, err)
		}
	})
}

func TestParseURL_NeverShowsPasswords(t *testing.T) {
	clearPG(t)
	for _, bad := range []string{
		"postgres://u:hunter2@h:port/x", "postgres://u:hunter2@h/x?sslmode=what", "postgres://u:hunter2/x@h:5432:z/x", "postgres://u:%zzhunter2@h/x",
		"postgres://h/x?password=hunter2&port=x", "postgres://u:hunter2@h/x?connect_timeout=hunter2", "host=h password=hunter2", "mysql://u:hunter2@h/x",
		"postgres://u@h/x?hunter2", "postgres://u:hunter2@[h/x",
	} {
		_, err := parseURL(bad)
		if err == nil {
			t.Errorf("%s was read", bad)
			continue
		}
		wantFail(t, err, fail.Usage)
		if text := fmt.Sprintf("%v %+v %s", err, err, fail.HintOf(err)); strings.Contains(text, "hunter2") {
			t.Errorf("the error shows the password: %s", text)
		}
	}
}

func TestConninfo(t *testing.T) {
	clearPG(t)
	for _, test := range []struct{ url, network, address, want string }{
		{"postgres://u:p%3Fw%26x@db1:6/s'h\\op?options=-c%20a%3D%27b%27&password=pw2&target_session_attrs=any&application_name=z&keepalives=1", "tcp", "10.0.0.1:6",
			`host='db1' hostaddr='10.0.0.1' port='6' user='u' dbname='s\'h\\op' application_name='holdfast' keepalives='1' options='-c a=\'b\''`},
		{"postgres://u:a?sslmode=disable@db1/x", "tcp", "10.0.0.1:5432", `host='db1' hostaddr='10.0.0.1' port='5432' user='u' dbname='x' application_name='holdfast'`},
		{"postgres:///x?host=/run/p.g&port=7&user=u", "unix", "/run/p.g/.s.PGSQL.7", `host='/run/p.g' port='7' user='u' dbname='x' application_name='holdfast'`},
	} {
		cfg, err := parseURL(test.url)
		if err != nil {
			if strings.Contains(test.url, "a?sslmode") { // the driver may refuse it altogether
				continue
			}
			t.Fatal(err)
		}
		p := pin(cfg)
		p.network, p.address = test.network, test.address
		if got := p.conninfo(test.url); got != test.want {
			t.Errorf("%s:\n%s, want\n%s", test.url, got, test.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{`a"b`: `"a""b"`, "": `""`, "A\n": "\"A\n\""} {
		if got := quoteIdent(in); got != want {
			t.Errorf("identifier %q is %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"it's": "'it''s'", `a\'b`: `E'a\\''b'`, "": "''"} {
		if got := quoteLiteral(in); got != want {
			t.Errorf("literal %q is %s, want %s", in, got, want)
		}
	}
}

func TestSetClause(t *testing.T) {
	for in, want := range map[string]string{
		`work_mem=7MB`:                      `SET "work_mem" TO '7MB'`,
		`my.x=a'b=c\`:                       `SET "my"."x" TO E'a''b=c\\'`,
		`search_path="$user", "a ""b,c", d`: `SET "search_path" TO '$user', 'a "b,c', 'd'`,
		`search_path=""`:                    `SET "search_path" TO ''`,
		`search_path=`:                      `SET "search_path" TO ''`,
	} {
		if got := setClause(in); got != want {
			t.Errorf("%s gives\n%s, want\n%s", in, got, want)
		}
	}
}

func TestSieve(t *testing.T) {
	const text = "SET transaction_timeout = 0;\nSET x = 1;\n--\n-- Name: a b a_fkey; Type: FK CONSTRAINT; Schema: s; Owner: o\n--\n\nALTER TABLE\n  x;\n\n\n--\n" +
		"-- Name: a b a_fkey; Type: FK CONSTRAINT; Schema: t; Owner: o\n--\n\nALTER;\n\nend without newline"
	const want = "SET x = 1;\n--\n-- Name: a b a_fkey; Type: FK CONSTRAINT; Schema: t; Owner: o\n--\n\nALTER;\n\nend without newline"
	for size := 1; size < len(text); size += 7 {
		var b bytes.Buffer
		s := newSieve(&b, (&freezer{dangling: []danglingKey{{"s", "a\nb", "a_fkey"}}}).without(), 16)
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		n, err := s.flush()
		if err != nil || int(n) != b.Len() {
			t.Errorf("%d bytes, %v, want %d", n, err, b.Len())
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("in pieces of %d (-want +got):\n%s", size, diff)
		}
	}
}

// certificate makes a certificate that signs itself for 127.0.0.1.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// useTLS makes the server speak TLS with a new certificate.
func useTLS(t *testing.T, pg *servers.PG) (cert []byte) {
	t.Helper()
	cert, key := certificate(t)
	pg.SQL(t, "postgres", fmt.Sprintf(`SELECT lo_from_bytea(1, '\x%s'), lo_from_bytea(2, '\x%s');
		SELECT lo_export(1, 'server.crt'), lo_export(2, 'server.key');
		COPY (SELECT 1) TO PROGRAM 'chmod 600 server.key'; SELECT lo_unlink(oid) FROM pg_largeobject_metadata;`, hex.EncodeToString(cert), hex.EncodeToString(key)))
	pg.SQL(t, "postgres", `ALTER SYSTEM SET ssl = on`)
	pg.SQL(t, "postgres", `SELECT pg_reload_conf()`)
	return cert
}

// way is one way to say where the server is.
type way struct {
	name, url, ssl string
	env            map[string]string
}

func testWay(t *testing.T, pg *servers.PG, way way) {
	for k, v := range way.env {
		t.Setenv(k, v)
	}
	v := openView(t, pg, way.url, Options{Tables: rows.Selection{Include: []string{"big"}}})
	for _, p := range v.Parts(tableOf(t, v, "public.big")) {
		if got := len(lines(readPart(t, v, p))); got != 60000 {
			t.Errorf("read %d rows", got)
		}
	}
	if _, err := fs.ReadFile(v.Native(), "schema/post-data.sql"); err != nil {
		t.Error(err)
	}
	var ssl string
	r, err := v.reader(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer v.discard(r)
	if err := r.conn.QueryRow(t.Context(), `SELECT CASE WHEN ssl THEN 'on' ELSE 'off' END FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&ssl); err != nil || ssl != way.ssl {
		t.Errorf("TLS is %s, %v, want %s", ssl, err, way.ssl)
	}
}

// Everything libpq understands must lead all connections to the server, those of pg_dump included.
func TestOpen_Ways(t *testing.T) {
	for _, major := range servers.PostgresVersions() {
		t.Run("postgres"+major, func(t *testing.T) {
			clearPG(t)
			pg := servers.OwnPostgres(t, major, servers.Options{})
			cert := useTLS(t, pg)
			raw := pg.CreateDatabase(t)
			pg.SQL(t, raw, bigTable)
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			name, _, err := DatabaseName(raw)
			if err != nil {
				t.Fatal(err)
			}
			password, _ := u.User.Password()
			host, port, _ := net.SplitHostPort(pg.Addr())
			dir := t.TempDir()
			write := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			root := write("root.crt", string(cert))
			escaped := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password)
			pass := write("pass", fmt.Sprintf("%s:%s:%s:postgres:%s\nlocalhost:%s:*:postgres:%s\n", host, port, name, escaped, port, escaped))
			service := write("service", fmt.Sprintf("[shop]\nhost=%s\nport=%s\ndbname=%s\nuser=postgres\nsslmode=require\n", host, port, name))
			without := *u
			without.User = url.User("postgres")
			for _, way := range []way{
				{"password_in_the_URL_and_TLS", raw + "?sslmode=verify-full&sslrootcert=" + url.QueryEscape(root), "on", nil},
				{"without_TLS", raw + "?sslmode=disable", "off", nil},
				{"socket", pg.SocketURL(name), "off", nil},
				{"PGPASSWORD", without.String() + "?sslmode=prefer", "on", map[string]string{"PGPASSWORD": password}},
				{"password_file", without.String(), "on", map[string]string{"PGPASSFILE": pass}},
				{"service_file", "postgres://?service=shop", "on", map[string]string{"PGPASSFILE": pass, "PGSERVICEFILE": service}},
				{"environment_alone", "", "on", map[string]string{"PGHOST": host, "PGPORT": port, "PGDATABASE": name, "PGUSER": "postgres", "PGPASSWORD": password, "PGSSLMODE": "verify-ca", "PGSSLROOTCERT": root}},
				{"second_of_two_hosts", strings.Replace(raw, host+":"+port, "127.0.0.1:1,"+host+":"+port, 1) + "?sslmode=verify-full&sslrootcert=" + url.QueryEscape(root), "on", nil},
			} {
				t.Run(way.name, func(t *testing.T) { testWay(t, pg, way) })
			}
		})
	}
}
