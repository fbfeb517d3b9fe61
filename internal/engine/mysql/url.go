package mysql

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/holdfast-db/holdfast/internal/fail"
)

const (
	connectTimeout = 30 * time.Second
	hintURL        = "the form is mysql://user@host:3306/database?ssl-mode=verify-identity; percent-encode special characters"
)

// DatabaseName returns the name of the database that url means and the server it is on («db1:3306» or the
// path of a socket), without connecting.
func DatabaseName(url string) (name, host string, err error) {
	cfg, err := parseURL(url)
	if err != nil {
		return "", "", err
	}
	return cfg.DBName, cfg.Addr, nil
}

// parseURL reads a mysql:// or mariadb:// URL with the habits of MySQL's own programs: what it does not say is
// taken from ~/.my.cnf, then from MYSQL_HOST, MYSQL_TCP_PORT, MYSQL_UNIX_PORT and MYSQL_PWD. Errors never show the password.
func parseURL(text string) (*mysql.Config, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "mysql" && u.Scheme != "mariadb" || u.Opaque != "" {
		return nil, fail.New(fail.Usage, hintURL, "read the database URL: it is not a valid mysql:// URL") // err would quote it
	}
	s := &settings{options: map[string]string{}}
	file, explicit := u.Query().Get("defaults-file"), true
	if file == "" {
		if home, err := os.UserHomeDir(); err == nil { // a service may have none
			file, explicit = filepath.Join(home, ".my.cnf"), false
		}
	}
	if file != "" {
		if err := s.readFile(file, explicit); err != nil {
			return nil, err
		}
	}
	if err := s.readURL(u); err != nil {
		return nil, err
	}
	return s.config()
}

// settings are the options of a connection by their names in option files.
type settings struct{ options map[string]string }

func (s *settings) readURL(u *url.URL) error {
	set := func(name, value string) {
		if value != "" {
			s.options[name] = value
		}
	}
	if u.Host != "" { // another server than the file's
		delete(s.options, "socket")
		delete(s.options, "port")
	}
	set("host", u.Hostname())
	set("port", u.Port())
	if u.User != nil {
		set("user", u.User.Username())
		if password, ok := u.User.Password(); ok {
			s.options["password"] = password
		}
	}
	set("database", strings.TrimPrefix(u.Path, "/"))
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail.New(fail.Usage, hintURL, "read the database URL: its parameters are not valid")
	}
	for name, list := range values {
		name = strings.ReplaceAll(name, "_", "-")
		if to, ok := synonyms[name]; ok {
			name = to
		}
		switch {
		case known[name]:
			s.options[name] = list[len(list)-1]
		case name != "charset" && name != "defaults-file": // text always travels as utf8mb4
			return fail.New(fail.Usage, hintURL, "read the database URL: unknown parameter %s", name)
		}
	}
	return nil
}

var synonyms = map[string]string{"unix-socket": "socket", "sslmode": "ssl-mode", "tls": "ssl-mode", "sslrootcert": "ssl-ca", "sslcert": "ssl-cert", "sslkey": "ssl-key"}

var known = map[string]bool{"host": true, "port": true, "socket": true, "user": true, "password": true, "database": true, "protocol": true,
	"ssl-mode": true, "ssl": true, "ssl-ca": true, "ssl-cert": true, "ssl-key": true, "ssl-verify-server-cert": true, "connect-timeout": true}

func (s *settings) config() (*mysql.Config, error) {
	get := func(name, env string) string { return cmp.Or(s.options[name], os.Getenv(env)) }
	cfg := mysql.NewConfig()
	cfg.User = s.options["user"]
	if me, err := user.Current(); cfg.User == "" && err == nil {
		cfg.User = me.Username
	}
	cfg.Passwd = get("password", "MYSQL_PWD")
	if cfg.DBName = s.options["database"]; cfg.DBName == "" {
		return nil, fail.New(fail.Usage, hintURL, "read the database URL: it names no database")
	}
	cfg.Timeout = connectTimeout
	if text := s.options["connect-timeout"]; text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fail.New(fail.Usage, "", "read the database URL: connect-timeout is not a number of seconds")
		}
		cfg.Timeout = time.Duration(n) * time.Second
	}
	host, port, socket := get("host", "MYSQL_HOST"), get("port", "MYSQL_TCP_PORT"), s.options["socket"]
	if s.options["host"] == "" || s.options["host"] == "localhost" && s.options["port"] == "" {
		socket = cmp.Or(socket, os.Getenv("MYSQL_UNIX_PORT"))
	}
	if tcp := s.options["protocol"] == "tcp"; socket == "" && !tcp && (host == "" || host == "localhost") && port == "" {
		socket = usualSocket() // where MySQL's own programs look, too
	}
	if socket != "" && s.options["protocol"] != "tcp" {
		cfg.Net, cfg.Addr = "unix", socket
	} else {
		cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(cmp.Or(host, "127.0.0.1"), cmp.Or(port, "3306"))
	}
	cfg.MaxAllowedPacket = 1 << 30 // the greatest a server can have; memory is taken as needed
	cfg.Logger = &mysql.NopLogger{}
	cfg.Params = map[string]string{}
	return cfg, s.secure(cfg)
}

func usualSocket() string {
	for _, path := range []string{"/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"} {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			return path
		}
	}
	return ""
}

// secure sets up TLS. Without a word about it a connection to another machine is encrypted if the server
// can, as MySQL's programs have it; on this machine that would only cost time.
func (s *settings) secure(cfg *mysql.Config) error {
	mode := strings.ReplaceAll(strings.ToLower(s.options["ssl-mode"]), "_", "-")
	if mode == "" {
		mode = s.defaultMode(cfg)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} // until a mode says otherwise
	host, _, _ := net.SplitHostPort(cfg.Addr)
	switch mode {
	case "disabled", "disable", "false", "off", "0":
		return nil
	case "preferred", "prefer":
		cfg.AllowFallbackToPlaintext = true
	case "required", "require", "skip-verify":
	case "verify-ca":
		t.VerifyConnection = func(c tls.ConnectionState) error { return verifyChain(t.RootCAs, c) }
	case "verify-identity", "verify-full", "true", "on", "1":
		t.InsecureSkipVerify, t.ServerName = false, host
	default:
		return fail.New(fail.Usage, "disabled, preferred, required, verify-ca or verify-identity", "read the database URL: unknown ssl-mode %q", mode)
	}
	if path := s.options["ssl-ca"]; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return fail.Wrap(fail.Usage, err, "", "read ssl-ca")
		}
		if t.RootCAs = x509.NewCertPool(); !t.RootCAs.AppendCertsFromPEM(pem) {
			return fail.New(fail.Usage, "", "read ssl-ca %s: it holds no certificate", path)
		}
	}
	if cert := s.options["ssl-cert"]; cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, cmp.Or(s.options["ssl-key"], cert))
		if err != nil {
			return fail.Wrap(fail.Usage, err, "", "read ssl-cert and ssl-key")
		}
		t.Certificates = []tls.Certificate{pair}
	}
	cfg.TLS = t
	return nil
}

func (s *settings) defaultMode(cfg *mysql.Config) string {
	_, verify := s.options["ssl-verify-server-cert"]
	host, _, _ := net.SplitHostPort(cfg.Addr)
	ip := net.ParseIP(host)
	switch {
	case verify:
		return "verify-identity"
	case s.options["ssl-ca"] != "":
		return "verify-ca"
	case s.options["ssl"] != "" && s.options["ssl"] != "0":
		return "required"
	case cfg.Net == "unix", host == "localhost", ip != nil && ip.IsLoopback():
		return "disabled"
	}
	return "preferred"
}

// verifyChain checks a server's certificate, but not its name.
func verifyChain(roots *x509.CertPool, c tls.ConnectionState) error {
	opt := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range c.PeerCertificates[1:] {
		opt.Intermediates.AddCert(cert)
	}
	_, err := c.PeerCertificates[0].Verify(opt)
	return err
}
