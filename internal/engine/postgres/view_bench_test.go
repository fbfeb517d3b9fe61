package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// BenchmarkView reads a pgbench database of scale 10 in three ways, over TCP and the socket.
func BenchmarkView(b *testing.B) {
	majors := servers.PostgresVersions()
	pg := servers.Postgres(b, majors[0])
	url := pg.CreateDatabase(b)
	name, _, err := DatabaseName(url)
	if err != nil {
		b.Fatal(err)
	}
	if out, err := pg.Command("pgbench", "-i", "-q", "-s", "10", name).CombinedOutput(); err != nil {
		b.Fatalf("pgbench: %v\n%s", err, out)
	}
	for _, way := range []struct{ name, url string }{{"tcp", url}, {"socket", pg.SocketURL(name)}} {
		b.Run(way.name, func(b *testing.B) {
			b.Run("ours", func(b *testing.B) { benchOurs(b, way.url) })
			b.Run("CopyTo", func(b *testing.B) { benchDriver(b, way.url) })
		})
	}
	b.Run("two_jobs", func(b *testing.B) { benchJobs(b, url) })
	b.Run("pg_dump-Fd-j2-Z0", func(b *testing.B) {
		for i := range b.N {
			dir := filepath.Join(b.TempDir(), string(rune('a'+i%26)))
			cmd := pg.Command("pg_dump", "-Fd", "-j2", "-Z0", "-f", dir, "-d", name, "--no-sync")
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("pg_dump: %v\n%s", err, out)
			}
			b.StopTimer()
			os.RemoveAll(dir)
			b.StartTimer()
		}
	})
}

const benchCopy = "COPY public.pgbench_accounts TO STDOUT"

// ownCPU reports the processor time that this process, the client, spends on a megabyte.
func ownCPU(b *testing.B) (report func(bytes int64)) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	return func(bytes int64) {
		b.ReportMetric(float64((used()-start).Microseconds())/(float64(bytes)*float64(b.N)/1e6), "client-µs/MB")
	}
}

func benchOurs(b *testing.B, url string) {
	report, n := ownCPU(b), int64(0)
	defer func() { report(n) }()
	conn, buf, p := benchConn(b, url), make([]byte, wireBuffer), make([]byte, 256<<10)
	for b.Loop() {
		r, err := openCopy(context.Background(), conn, benchCopy, buf)
		if err != nil {
			b.Fatal(err)
		}
		n = 0
		for err == nil {
			var k int
			k, err = r.Read(p)
			n += int64(k)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

func benchDriver(b *testing.B, url string) {
	report, n := ownCPU(b), int64(0)
	defer func() { report(n) }()
	conn := benchConn(b, url)
	for b.Loop() {
		// What a reader gets at the least: the rows gathered in its buffer.
		var w gather
		if _, err := conn.CopyTo(context.Background(), &w, benchCopy); err != nil {
			b.Fatal(err)
		}
		n = w.n
		b.SetBytes(n)
	}
}

// gather collects rows in a buffer of 256 KiB.
type gather struct {
	buf bytes.Buffer
	n   int64
}

func (g *gather) Write(p []byte) (int, error) {
	if g.buf.Len()+len(p) > 256<<10 {
		g.buf.Reset()
	}
	g.n += int64(len(p))
	return g.buf.Write(p)
}

func benchJobs(b *testing.B, url string) {
	report, n := ownCPU(b), int64(0)
	defer func() { report(n) }()
	for b.Loop() {
		v, err := Open(context.Background(), url, Options{DataOnly: true, PartPages: 2048})
		if err != nil {
			b.Fatal(err)
		}
		var g errgroup.Group
		g.SetLimit(2)
		sizes := make(chan int64, 1000)
		for _, t := range v.Schema().Tables {
			for _, p := range v.Parts(t) {
				g.Go(func() error { return benchPart(v, p, sizes) })
			}
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		close(sizes)
		n = 0
		for k := range sizes {
			n += k
		}
		b.SetBytes(n)
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPart(v *View, p rows.Part, sizes chan<- int64) error {
	r, err := v.Read(context.Background(), p)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
	sizes <- n
	if err != nil {
		return err
	}
	return r.Close()
}

func benchConn(b *testing.B, url string) *pgconn.PgConn {
	cfg, err := parseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := connect(context.Background(), cfg, "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.Background()) })
	return conn.PgConn()
}

// BenchmarkOpen describes a database of 10,000 tables with an index, a key and a sequence each.
func BenchmarkOpen(b *testing.B) {
	pg := servers.Postgres(b, servers.PostgresVersions()[0])
	url := pg.CreateDatabase(b)
	for i := range 20 { // one transaction can't hold locks on all of them
		pg.SQL(b, url, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('CREATE TABLE t%%s (id serial PRIMARY KEY, a text DEFAULT %%L, b timestamptz NOT NULL, c numeric(10, 2), d jsonb)', i, 'x');
		END LOOP; END $$`, i*500, i*500+499))
	}
	for b.Loop() {
		v, err := Open(context.Background(), url, Options{DataOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		if n := len(v.Schema().Tables); n != 10000 {
			b.Fatalf("%d tables", n)
		}
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
