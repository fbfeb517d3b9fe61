package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is the whole result as Markdown.
func (b *bench) report(ctx context.Context) string {
	var w strings.Builder
	fmt.Fprintf(&w, "# Benchmark results\n\nMade by `make bench` on %s, of commit %s. A ratio is the median of ours divided by the median of\n"+
		"the peer's; smaller is better. All programs ran in turn on the same machine, server and data, each %s;\n"+
		"behind a median is the range of all its runs.\n\n",
		time.Now().UTC().Format("2006-01-02"), first(ctx, "git", "describe", "--always", "--dirty"), times(b.opt.runs))
	w.WriteString("| work | peer | ours | peer's | ratio | target | reached |\n|---|---|---:|---:|---:|---:|---|\n")
	for _, r := range b.results {
		w.WriteString(r.line())
	}
	w.WriteString("\n")
	for _, kind := range slices.Sorted(maps.Keys(b.peaks)) {
		b.note("Most memory in any run of %s: %d MB (target: 400 MB, whatever the size).", kind, b.peaks[kind]>>20)
	}
	for _, n := range b.notes {
		fmt.Fprintf(&w, "- %s\n", n)
	}
	w.WriteString("\n## Machine and versions\n\n")
	for _, line := range b.machine(ctx) {
		fmt.Fprintf(&w, "- %s\n", line)
	}
	w.WriteString("\n## How it is measured\n\n" +
		"Wall time from start to exit of the program, in seconds; bytes are those of the files it leaves. PostgreSQL runs with its default\n" +
		"settings (fsync on) and 512 MB of shared buffers. Data are warm in memory, no cache is dropped, and the repository of a first backup\n" +
		"is new. Preparations (an empty database or repository, a checkpoint) are not timed. The data come from bench/data.go and are the same in every run.\n" +
		"Memory is ru_maxrss: of the process itself, or of a program it started and waited for where that took more.\n")
	return w.String()
}

// line is one row of the table.
func (r result) line() string {
	ratio := r.ours / r.theirs
	target, reached := "", ""
	if r.target > 0 {
		target, reached = fmt.Sprintf("%.2f", r.target), "yes"
		if ratio > r.target {
			reached = "**no**"
		}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %.2f | %s | %s |\n", r.work, r.peer,
		value(r.ours, r.unit, r.oursAll), value(r.theirs, r.unit, r.peersAll), ratio, target, reached)
}

// value is a median with the range of all runs.
func value(v float64, unit string, all []float64) string {
	if len(all) < 2 {
		return fmt.Sprintf("%.2f %s", v, unit)
	}
	low, high := all[0], all[0]
	for _, x := range all {
		low, high = min(low, x), max(high, x)
	}
	return fmt.Sprintf("%.2f %s (%.2f–%.2f)", v, unit, low, high)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (b *bench) machine(ctx context.Context) []string {
	lines := []string{
		fmt.Sprintf("%s, %s cores, %s of memory", field(ctx, "Model name:", "lscpu"), first(ctx, "nproc"), memory(ctx)),
		"Linux " + first(ctx, "uname", "-r"),
		first(ctx, "go", "version"),
	}
	if b.pg != nil {
		lines = append(lines, first(ctx, filepath.Join(b.pg.BinDir(), "pg_dump"), "--version"))
	}
	lines = append(lines, "sqlite3 "+first(ctx, "sqlite3", "--version"), strings.Trim(first(ctx, "zstd", "--version"), "* "),
		first(ctx, "gpg", "--version"), first(ctx, "restic", "version"))
	if !b.opt.peers {
		lines = append(lines, first(ctx, b.opt.bin, "version"))
	}
	return lines
}

// first is the first line of what a program prints.
func first(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return name + ": " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// field is the rest of the line that begins with key.
func field(ctx context.Context, key, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), key); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "unknown processor"
}

func memory(ctx context.Context) string {
	var kb int
	if _, err := fmt.Sscan(field(ctx, "MemTotal:", "cat", "/proc/meminfo"), &kb); err != nil {
		return "?"
	}
	return fmt.Sprintf("%d GB", (kb+512*1024)/1024/1024)
}
