package mysql

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/rows/rowstest"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// certificate writes a key and a certificate for 127.0.0.1 where the server can read them.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "holdfast-tls-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestView_Encrypted(t *testing.T) {
	for _, flavour := range servers.MySQLFlavours() {
		t.Run(flavour, func(t *testing.T) { testViewEncrypted(t, flavour) })
	}
}

func testViewEncrypted(t *testing.T, flavour string) {
	cert, key := certificate(t)
	m := servers.OwnMySQL(t, flavour, servers.MySQLOptions{Files: []string{cert, key}, Settings: []string{"ssl-cert=$FOLDER/cert.pem", "ssl-key=$FOLDER/key.pem", "ssl-ca=$FOLDER/cert.pem"}})
	db := everything(t, m)
	plain := open(t, db, Options{})
	want, err := rows.Measure(t.Context(), plain, rows.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"?ssl-mode=required", "?ssl-mode=verify-identity&ssl-ca=" + cert, "?ssl-mode=verify-ca&ssl-ca=" + cert} {
		v := open(t, db+query, Options{})
		got, err := rows.Measure(t.Context(), v, rows.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Tables(), got.Tables()); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
		if s := <-v.idle; s.tap != nil {
			t.Errorf("%s: the connection is not encrypted", query)
		} else {
			v.idle <- s
		}
	}
	t.Run("keeps_the_contract", func(t *testing.T) { rowstest.View(t, open(t, db+"?ssl-mode=required", Options{})) })
	t.Run("refuses_a_stranger", func(t *testing.T) {
		_, err := Open(t.Context(), db+"?ssl-mode=verify-identity", Options{})
		if fail.KindOf(err) != fail.Denied {
			t.Errorf("got %v", err)
		}
	})
	t.Run("over_a_socket", func(t *testing.T) {
		got, err := rows.Measure(t.Context(), open(t, m.SocketURL(db), Options{}), rows.CopyOptions{})
		if diff := cmp.Diff(want.Tables(), got.Tables()); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
}

// TestView_LongRows reads rows that are longer than a packet of the protocol.
func TestView_LongRows(t *testing.T) {
	for _, flavour := range servers.MySQLFlavours() {
		t.Run(flavour, func(t *testing.T) { testViewLongRows(t, flavour) })
	}
}

func testViewLongRows(t *testing.T, flavour string) {
	m := servers.OwnMySQL(t, flavour, servers.MySQLOptions{Settings: []string{"max-allowed-packet=128M"}})
	db := m.CreateDatabase(t)
	m.SQL(t, db, `CREATE TABLE t (id int PRIMARY KEY, x longtext, b longblob, n int, f float);
		INSERT INTO t VALUES (1, repeat('a\t', 9000000), repeat(x'00ff', 9000000), 5, 0.5), (2, NULL, repeat('x', 16777215 - 20), NULL, 1.5), (3, repeat('y', 2000000), NULL, 7, NULL), (4, '', '', 1, 1);`)
	v := open(t, db, Options{})
	var want bytes.Buffer
	want.WriteString("1\t" + strings.Repeat(`a\t`, 9000000) + "\t" + `\\x` + strings.Repeat("00ff", 9000000) + "\t5\t0.5\n")
	want.WriteString("2\t\\N\t" + `\\x` + strings.Repeat("78", 16777215-20) + "\t\\N\t1.5\n")
	want.WriteString("3\t" + strings.Repeat("y", 2000000) + "\t\\N\t7\t\\N\n4\t\t\\\\x\t1\t1\n")
	if got := text(t, v, "t"); got != want.String() {
		t.Errorf("got %d bytes, want %d", len(got), want.Len())
	}
	to := m.CreateDatabase(t)
	_, report := restore(t, v, to, TargetOptions{})
	got, err := rows.Measure(t.Context(), open(t, to, Options{}), rows.CopyOptions{})
	if diff := cmp.Diff(report.Tables(), got.Tables()); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestLoader compares with a reader that takes rows apart as a whole, however the text comes in pieces.
func TestLoader(t *testing.T) {
	undo := strings.NewReplacer(`\\`, `\`, `\0`, "\x00", `\t`, "\t", `\n`, "\n", `\r`, "\r", `\b`, "\b")
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "columns")
		fields := make([]field, n)
		for i := range fields {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 1:
				fields[i].hex = true
			case 2:
				fields[i].conv = func(dst, text []byte) ([]byte, error) { return append(append(dst, '<'), text...), nil }
			}
		}
		var src []byte
		var want [][]string
		for range rapid.IntRange(0, 5).Draw(t, "rows") {
			var row []string
			for i := range fields {
				if i > 0 {
					src = append(src, '\t')
				}
				value := rapid.SliceOf(rapid.SampledFrom([]byte("\x00\t\n\r\b\f\v\\xN\xffé"))).Draw(t, "value")
				switch {
				case rapid.IntRange(0, 4).Draw(t, "null") == 0:
					src, row = append(src, rows.Null...), append(row, "NULL")
				case fields[i].hex && rapid.Bool().Draw(t, "bytes"):
					src, row = rows.AppendBytes(src, value), append(row, "="+string(value))
				case fields[i].conv != nil:
					src, row = rows.AppendText(src, value), append(row, "=<"+string(value))
				case fields[i].hex && bytes.HasPrefix(value, []byte(`\x`)): // which would be read as bytes
					src, row = append(src, 'a'), append(row, "=a")
				default:
					src, row = rows.AppendText(src, value), append(row, "="+string(value))
				}
			}
			src, want = append(src, '\n'), append(want, row)
		}
		out, err := io.ReadAll(newLoader(iotest.OneByteReader(bytes.NewReader(src)), fields))
		whole, err2 := io.ReadAll(newLoader(bytes.NewReader(src), fields))
		if err != nil || err2 != nil || !bytes.Equal(out, whole) {
			t.Fatalf("%q: %v, %v: %q or %q", src, err, err2, out, whole)
		}
		var got [][]string
		for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), "\n") {
			if len(out) == 0 {
				break
			}
			var row []string
			for f := range strings.SplitSeq(line, "\t") {
				if f == `\N` {
					row = append(row, "NULL")
				} else {
					row = append(row, "="+undo.Replace(f))
				}
			}
			got = append(got, row)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q gives %q: %s", src, out, diff)
		}
	})
	for _, bad := range []string{"a\n", "a\tb\tc\n", "\\\\x0\tb\n", "\\\\xzz\tb\n", "x\ta\\\n"} {
		if _, err := io.ReadAll(newLoader(strings.NewReader(bad), []field{{hex: true}, {}})); fail.KindOf(err) != fail.Damaged {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
