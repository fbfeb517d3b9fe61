package repo

import (
	"cmp"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// BenchmarkTiny opens the repository, backs up a few bytes and closes it: what a run costs at least.
func BenchmarkTiny(b *testing.B) {
	r := newRepo(b, InitOptions{})
	i := 0
	for b.Loop() {
		i++
		r, err := Open(b.Context(), r.Location(), testPassword, OpenOptions{})
		if err != nil {
			b.Fatal(err)
		}
		backUp(b, r, strconv.Itoa(i), map[string][]byte{"backup.json": []byte(strconv.Itoa(i))})
		if err := r.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSession is a tiny backup in an open repository.
func BenchmarkSession(b *testing.B) {
	r := newRepo(b, InitOptions{})
	i := 0
	for b.Loop() {
		i++
		backUp(b, r, strconv.Itoa(i), map[string][]byte{"backup.json": []byte(strconv.Itoa(i))})
	}
}

// BenchmarkList2000 opens a repository of 2,000 backups, each from a session of its own, and lists
// it. $HOLDFAST_BENCH_REPO keeps the repository for the next time.
func BenchmarkList2000(b *testing.B) {
	folder := os.Getenv("HOLDFAST_BENCH_REPO")
	if there, err := Exists(b.Context(), cmp.Or(folder, "nowhere")); folder == "" || err != nil || !there {
		folder = make2000(b, cmp.Or(folder, filepath.Join(b.TempDir(), "repository")))
	}
	for b.Loop() {
		r, err := Open(b.Context(), folder, testPassword, OpenOptions{})
		if err != nil {
			b.Fatal(err)
		}
		list, err := r.List(b.Context())
		if err != nil || len(list) != 2000 {
			b.Fatalf("%d backups listed: %v", len(list), err)
		}
		if err := r.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func make2000(b *testing.B, folder string) string {
	if err := Init(b.Context(), folder, testPassword, InitOptions{}); err != nil {
		b.Fatal(err)
	}
	for i := 0; i < 2000; {
		r, err := Open(b.Context(), folder, testPassword, OpenOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for range 50 { // not one by one, which would take twice as long for deriving keys
			backUp(b, r, strconv.Itoa(i), map[string][]byte{"backup.json": []byte(strconv.Itoa(i))})
			i++
		}
		if err := r.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return folder
}

// BenchmarkWrite stores rows through two streams at once, in chunks of 1 MiB.
func BenchmarkWrite(b *testing.B) {
	const size = 256 << 20
	halves := [2][]byte{rowData(1, size/2), rowData(2, size/2)}
	b.SetBytes(size)
	for b.Loop() {
		r := newRepo(b, InitOptions{Compression: os.Getenv("HOLDFAST_BENCH_COMPRESSION")})
		start := cpuTime()
		s, err := r.Begin(b.Context(), "backup")
		if err != nil {
			b.Fatal(err)
		}
		tree := s.NewTree()
		g, ctx := errgroup.WithContext(b.Context())
		var added atomic.Int64
		for i, half := range halves {
			g.Go(func() error {
				st := tree.Create(strconv.Itoa(i), StreamOptions{})
				for chunk := range slices.Chunk(half, 1<<20) {
					if err := st.Append(ctx, chunk); err != nil {
						break
					}
				}
				info, err := st.Close(ctx)
				added.Add(info.NewBytes)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		if _, err := tree.Seal(b.Context(), entry("one")); err != nil {
			b.Fatal(err)
		}
		if err := s.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((cpuTime()-start).Seconds()*float64(1<<30)/size, "cpu-s/GiB")
		b.ReportMetric(float64(added.Load())/size*100, "%stored")
		b.StopTimer()
		if err := os.RemoveAll(r.Location()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rowData returns n bytes of text that compresses like rows do, quickly.
func rowData(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+200)
	for i := int64(0); len(b) < n; i++ {
		b = strconv.AppendInt(b, i, 10)
		b = append(b, "\tcustomer-"...)
		b = strconv.AppendInt(b, rnd.Int64N(5000), 10)
		b = append(b, "@example.com\t"...)
		b = strconv.AppendUint(b, rnd.Uint64()>>16, 16)
		b = append(b, "\t2026-05-"...)
		b = strconv.AppendInt(b, rnd.Int64N(28)+1, 10)
		b = append(b, " 12:00:00+00\t{\"state\": \"shipped\", \"items\": "...)
		b = strconv.AppendInt(b, rnd.Int64N(100), 10)
		b = append(b, "}\t"...)
		b = strconv.AppendInt(b, rnd.Int64N(100000), 10)
		b = append(b, ".50\n"...)
	}
	return b[:n]
}
