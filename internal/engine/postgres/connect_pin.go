package postgres

import (
	"context"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// serverPlace remembers which server the first connection reached. A URL may name several hosts, and a name may have
// several addresses; but a snapshot is known to one server only, so all that follow must go there too.
type serverPlace struct {
	mu      sync.Mutex
	network string            // guarded by mu, like the following
	address string            // of the last dial
	hosts   map[string]string // names by the addresses they had
	held    bool
	cfg     *pgx.ConnConfig
}

// pin makes cfg record its connections; see hold.
func pin(cfg *pgx.ConnConfig) *serverPlace {
	p := &serverPlace{hosts: map[string]string{}, cfg: cfg}
	dial, lookup := cfg.DialFunc, cfg.LookupFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		p.mu.Lock()
		if p.held {
			network, address = p.network, p.address
		} else {
			p.network, p.address = network, address
		}
		p.mu.Unlock()
		return dial(ctx, network, address)
	}
	cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		p.mu.Lock()
		held, address := p.held, p.address
		p.mu.Unlock()
		if held {
			if ip, _, err := net.SplitHostPort(address); err == nil {
				return []string{ip}, nil
			}
		}
		found, err := lookup(ctx, host)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, ip := range found {
			p.hosts[ip] = host
		}
		return found, err
	}
	return p
}

// hold leads all further connections to where the last one went.
func (p *serverPlace) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// passed are the parameters of a URL that pg_dump must have as well, to reach the server the same way. libpq takes
// the rest from the environment and the service file, as we did.
var passed = []string{
	"sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "sslnegotiation", "sslcertmode", "sslcompression",
	"ssl_min_protocol_version", "ssl_max_protocol_version", "gssencmode", "krbsrvname", "gsslib", "gssdelegation",
	"channel_binding", "require_auth", "requirepeer", "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
	"tcp_user_timeout", "options", "passfile", "service", "min_protocol_version", "max_protocol_version",
}

// conninfo is a connection string without password for libpq's programs, that leads to the
// place, given the URL that led there first.
func (p *serverPlace) conninfo(text string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	add := func(key, value string) {
		b.WriteString(key + "=" + conninfoQuote(value) + " ")
	}
	if p.network == "unix" {
		add("host", filepath.Dir(p.address))
		add("port", strings.TrimPrefix(filepath.Ext(p.address), "."))
	} else if ip, port, err := net.SplitHostPort(p.address); err == nil {
		host := p.hosts[ip]
		if host == "" {
			host = p.cfg.Host
		}
		add("host", host)
		add("hostaddr", ip)
		add("port", port)
	}
	add("user", p.cfg.User)
	add("dbname", p.cfg.Database)
	add("application_name", appName)
	params := queryOf(text)
	for _, key := range passed {
		if value, ok := params[key]; ok {
			add(key, value)
		}
	}
	return strings.TrimSpace(b.String())
}

// queryOf returns the query parameters of a URL that has been parsed before, so that errors can't happen.
func queryOf(text string) map[string]string {
	_, query, _ := strings.Cut(text, "?")
	if i := strings.LastIndexByte(text, '@'); i > strings.IndexByte(text, '?') {
		_, query, _ = strings.Cut(text[i:], "?") // the first ? was in the password
	}
	params := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		k, err1 := url.PathUnescape(key)
		v, err2 := url.PathUnescape(value)
		switch {
		case err1 != nil || err2 != nil || k == "":
		case k == "ssl" && v == "true":
			params["sslmode"] = "require"
		default:
			params[k] = v
		}
	}
	return params
}

// environment is env without what would lead libpq elsewhere than conninfo does, or is not for other
// programs' eyes, and with the password.
func environment(env []string, password string) []string {
	drop := []string{
		"PGPASSWORD", "PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGDATABASE", "PGAPPNAME",
		"PGCLIENTENCODING", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGTZ", "PGDATESTYLE", "LC_ALL", "LC_MESSAGES", "LANGUAGE",
	}
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(drop, name) || strings.HasPrefix(name, "HOLDFAST_")
	})
	env = append(env, "LC_MESSAGES=C")
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	return env
}
