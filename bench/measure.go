package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// bench is one run of the whole program.
type bench struct {
	opt     options
	dir     string
	pg      *servers.PG          // nil until somebody needs it
	my      *servers.MySQLServer // nil until somebody needs it
	django  string               // the folder of the Django project; empty until somebody needs it
	dbFile  string               // the SQLite file; empty until somebody needs it
	results []result
	notes   []string
	first   []sample         // our first backups of «bench», the last of them in the folder «repo»
	dumped  bool             // the folder «dump» is pg_dump's default of «bench»
	peaks   map[string]int64 // most memory that a kind of run of Holdfast took, in bytes
}

// A result is one line of the table: ours against a peer's.
type result struct {
	work, peer, unit  string
	ours, theirs      float64
	oursAll, peersAll []float64 // every run, to show the spread
	target            float64   // the ratio to reach; 0 is none
}

// sample is what one run of a program took.
type sample struct {
	wall time.Duration
	cpu  time.Duration // of the program and the programs it started and waited for
	rss  int64         // largest memory of the program, or of one it waited for: bytes
}

// A contender is one program in a race.
type contender struct {
	name   string
	before func() error                  // not timed
	run    func() *exec.Cmd              // timed
	after  func(run int, s sample) error // not timed
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// race runs the contenders in turn, as often as -runs says, and returns every sample. Turns
// spread what the machine does besides evenly over all.
func (b *bench) race(ctx context.Context, cs ...contender) (map[string][]sample, error) {
	all := map[string][]sample{}
	for n := range b.opt.runs {
		for _, c := range cs {
			if c.before != nil {
				if err := c.before(); err != nil {
					return nil, fmt.Errorf("prepare %s: %w", c.name, err)
				}
			}
			s, err := measure(ctx, c.run())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			b.say("%-28s run %d: %6.2f s wall, %6.2f s cpu, %4d MB", c.name, n+1, s.wall.Seconds(), s.cpu.Seconds(), s.rss>>20)
			all[c.name] = append(all[c.name], s)
			if c.after != nil {
				if err := c.after(n, s); err != nil {
					return nil, fmt.Errorf("after %s: %w", c.name, err)
				}
			}
		}
	}
	return all, nil
}

// measure runs a program to its end.
func measure(ctx context.Context, cmd *exec.Cmd) (sample, error) {
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, output.Bytes())
	}
	s := sample{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = usage.Maxrss << 10 // Linux counts in KiB
	}
	return s, nil
}

// compare adds a line on the time two contenders of a race took.
func (b *bench) compare(work, peer string, ours, theirs []sample, target float64) {
	if len(ours) == 0 || len(theirs) == 0 {
		return
	}
	r := result{work: work, peer: peer, unit: "s", target: target, oursAll: seconds(ours), peersAll: seconds(theirs)}
	r.ours, r.theirs = median(r.oursAll), median(r.peersAll)
	b.results = append(b.results, r)
}

// compareBytes adds a line on bytes stored.
func (b *bench) compareBytes(work, peer string, ours, theirs int64, target float64) {
	b.results = append(b.results, result{work: work, peer: peer, unit: "MB", target: target,
		ours: float64(ours) / 1e6, theirs: float64(theirs) / 1e6})
}

func seconds(all []sample) []float64 {
	list := make([]float64, len(all))
	for i, s := range all {
		list[i] = s.wall.Seconds()
	}
	return list
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// size is the total of the files in a folder, or of one file.
func size(path string) (int64, error) {
	var total int64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// path names a file in the folder of this run.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// removed returns a step that removes what an earlier run left under the names.
func (b *bench) removed(names ...string) func() error {
	return func() error {
		for _, name := range names {
			if err := os.RemoveAll(b.path(name)); err != nil {
				return err
			}
		}
		return nil
	}
}

// command prepares a program in an environment of its own: nobody's configuration or cache.
func (b *bench) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.path("home"), "TMPDIR=" + b.dir, "LC_ALL=C.UTF-8",
		"HOLDFAST_PASSWORD=correct horse battery staple", "RESTIC_PASSWORD=correct horse battery staple"}
	cmd.Dir = b.dir
	return cmd
}

// shell prepares a line of shell in which a failing part fails the whole.
func (b *bench) shell(line string) *exec.Cmd {
	return b.command("bash", "-c", "set -eo pipefail; "+line)
}

// sh runs a line of shell that is not measured.
func (b *bench) sh(line string) error {
	if out, err := b.shell(line).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return nil
}

// holdfast prepares our program on a repository of this run.
func (b *bench) holdfast(repo string, args ...string) *exec.Cmd {
	cmd := b.command(b.opt.bin, append([]string{"--quiet", "--repo", b.path(repo)}, args...)...)
	if b.pg != nil {
		cmd.Env = append(cmd.Env, b.pgEnv()...)
	}
	return cmd
}

// newRepo returns a step that makes a new repository, as restic's and ours both need one.
func (b *bench) newRepo(repo string) func() error {
	return func() error {
		if err := os.RemoveAll(b.path(repo)); err != nil {
			return err
		}
		if out, err := b.holdfast(repo, "init").CombinedOutput(); err != nil {
			return fmt.Errorf("holdfast init: %w\n%s", err, out)
		}
		return nil
	}
}

// remember returns a step that notes the memory a run of Holdfast took.
func (b *bench) remember(kind string) func(int, sample) error {
	return func(_ int, s sample) error {
		b.peaks[kind] = max(b.peaks[kind], s.rss)
		return nil
	}
}

func (b *bench) close() error {
	var err error
	if b.my != nil {
		err = b.my.Close()
	}
	if b.pg != nil {
		err = errors.Join(err, b.pg.Close())
	}
	if rmErr := os.RemoveAll(b.dir); err == nil {
		err = rmErr
	}
	return err
}
