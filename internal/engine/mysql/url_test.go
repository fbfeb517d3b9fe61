package mysql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
)

func TestDatabaseName(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, key := range []string{"MYSQL_PWD", "MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT"} {
		t.Setenv(key, "")
	}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(home, ".my.cnf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		rule, url, file, env string
		name, host           string
		user, password       string
	}{
		{rule: "all_in_the_url", url: "mysql://u%40x:p%3Aw%2F%25@db1:3307/shop", name: "shop", host: "db1:3307", user: "u@x", password: "p:w/%"},
		{rule: "the_other_scheme", url: "mariadb://u@db1/shop", name: "shop", host: "db1:3306", user: "u"},
		{rule: "a_socket", url: "mysql://u:p@/shop?socket=/run/x.sock", name: "shop", host: "/run/x.sock", user: "u", password: "p"},
		{rule: "an_option_file", url: "mysql:///shop", file: "[mysqld]\nuser=no\n[client]\nuser = me # a comment\npassword=\"a#b \\\"c\\\\\"\nhost=db2\nport=3308\nunknown=1\n[mysql]\nuser=other\n", name: "shop", host: "db2:3308", user: "me", password: `a#b "c\`},
		{rule: "the_url_wins_over_the_file", url: "mysql://you@db3/shop", file: "[client]\nuser=me\npassword=secret\nsocket=/run/y.sock\nport=3309\n", name: "shop", host: "db3:3306", user: "you", password: "secret"},
		{rule: "the_file_wins_over_the_environment", url: "mysql://u@db1/shop", file: "[client]\npassword=file\n", env: "env", name: "shop", host: "db1:3306", user: "u", password: "file"},
		{rule: "the_environment", url: "mysql://u@db1/shop", env: "env", name: "shop", host: "db1:3306", user: "u", password: "env"},
		{rule: "an_address_of_ip_6", url: "mysql://u@[::1]:3310/shop?charset=utf8mb4", name: "shop", host: "[::1]:3310", user: "u"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			write(c.file)
			t.Setenv("MYSQL_PWD", c.env)
			name, host, err := DatabaseName(c.url)
			if err != nil || name != c.name || host != c.host {
				t.Fatalf("got %s, %s, %v", name, host, err)
			}
			cfg, err := parseURL(c.url)
			if err != nil || cfg.User != c.user || cfg.Passwd != c.password {
				t.Errorf("got user %q, password %q, %v", cfg.User, cfg.Passwd, err)
			}
		})
	}
	t.Run("encrypts_connections_to_other_machines", func(t *testing.T) {
		write("")
		for url, want := range map[string]string{"mysql://u@db1/x": "maybe", "mysql://u@127.0.0.1/x": "no", "mysql://u@db1/x?ssl-mode=DISABLED": "no", "mysql://u@db1/x?ssl-mode=REQUIRED": "yes", "mysql://u@db1/x?tls=true": "verified", "mysql://u@127.0.0.1/x?ssl_mode=VERIFY_IDENTITY": "verified"} {
			cfg, err := parseURL(url)
			got := "no"
			switch {
			case err != nil:
				t.Error(err)
			case cfg.TLS == nil:
			case !cfg.TLS.InsecureSkipVerify:
				got = "verified"
			case cfg.AllowFallbackToPlaintext:
				got = "maybe"
			default:
				got = "yes"
			}
			if got != want {
				t.Errorf("%s: got %s, want %s", url, got, want)
			}
		}
	})
	t.Run("errors_hide_the_password", func(t *testing.T) {
		for _, url := range []string{"mysql://u:s3cret@db1", "mysql://u:s3cret@db1:port/x", "mysql://u:s3cret@db1/x?nix=1", "mysql:u:s3cret", "postgres://u:s3cret@h/x", "mysql://u:s3cret@h/x?ssl-mode=nix", "mysql://u:s3cret@h/x?ssl-ca=/no/such/file", "mysql://u:s3cret@h/x?defaults-file=/no/such/file", "mysql://u:s3cret@h/x?connect-timeout=soon"} {
			_, _, err := DatabaseName(url)
			if fail.KindOf(err) != fail.Usage || strings.Contains(err.Error()+fail.HintOf(err), "s3cret") {
				t.Errorf("%s: got %v of kind %v", url, err, fail.KindOf(err))
			}
		}
	})
}

func TestServer(t *testing.T) {
	for text, want := range map[string]server{
		"10.11.6-MariaDB-0+deb12u1-log": {maria: true, number: 101106}, "5.5.5-10.6.12-MariaDB": {maria: true, number: 100612}, "8.0.36": {number: 80036}, "8.4.0-commercial": {number: 80400}, "what": {},
	} {
		want.version = text
		if got := parseVersion(text); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}
