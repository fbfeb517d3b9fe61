package wire

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// notOntoItself refuses to empty the database that is to be copied. Servers are compared by where they listen: one on this machine that is
// reached through a socket is taken for any other one on it, when both have a database of the name.
func notOntoItself(ctx context.Context, source *rows.Origin, to string) error {
	engine, _, err := split(to)
	if err != nil || engine != source.Engine || engine == SQLite { // a file is replaced as a whole, or is in use
		return err
	}
	v, err := View(ctx, to)
	if err != nil {
		return nil // there is none yet, or Prepare will say what is wrong
	}
	target := v.Schema().Origin
	if err := v.Close(); err != nil {
		return fail.Op(err, "look at %s", target.Database)
	}
	if target.Database == source.Database && sameServer(ctx, source.Host, target.Host) {
		return fail.New(fail.Usage, "copy into another database", "copy database %s on %s: --clean would empty it, and it is what is to be copied", source.Database, source.Host)
	}
	return nil
}

// sameServer reports whether two addresses, each host:port or the path of a socket, may be those of one server.
func sameServer(ctx context.Context, a, b string) bool {
	if a == b {
		return true
	}
	if isSocket(a) || isSocket(b) {
		if isSocket(a) && isSocket(b) {
			return realPath(a) == realPath(b)
		}
		if isSocket(a) {
			a = b
		}
		host, _, err := net.SplitHostPort(a)
		return err != nil || slices.Contains(addresses(ctx, host), thisMachine)
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB {
		return false
	}
	ours := addresses(ctx, hostA)
	return slices.ContainsFunc(addresses(ctx, hostB), func(address string) bool { return slices.Contains(ours, address) })
}

func isSocket(host string) bool { return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") }

// realPath follows the links on the way to a socket: /var/run is /run.
func realPath(path string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// thisMachine stands for all addresses of the machine.
const thisMachine = "this machine"

// addresses returns those of a host; it itself when they can't be found.
func addresses(ctx context.Context, host string) []string {
	list, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		list = []string{host}
	}
	name, _ := os.Hostname()
	own, _ := net.InterfaceAddrs()
	for i, address := range list {
		ip := net.ParseIP(address)
		isOwn := slices.ContainsFunc(own, func(a net.Addr) bool {
			n, ok := a.(*net.IPNet)
			return ok && ip != nil && n.IP.Equal(ip)
		})
		if isOwn || ip != nil && ip.IsLoopback() || host == name || host == "localhost" {
			list[i] = thisMachine
		}
	}
	return list
}
