// Command bench compares Holdfast with the programs people use today, on data that it makes
// itself: the peers and we run in one session, in turn, and what counts is the ratio of the
// medians. `make bench` runs all of it and writes bench/RESULTS.md.
//
//	go run ./bench -only pg-backup,sqlite -runs 5
//	go run ./bench -quick                            # a minute: does everything work?
//	go run ./bench -peers                            # without Holdfast
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// options are the command line's.
type options struct {
	only    []string
	runs    int
	scale   int // of pgbench; 50,000 rows of events for each
	sqlite  int // rows of the SQLite file
	fixture int // rows of each Django model
	mysql   int // rows of the larger MariaDB table
	quick   bool
	peers   bool
	bin     string
	dir     string
	out     string
	major   string
	workers int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A section is one group of measurements, chosen by -only.
type section struct {
	name string
	run  func(*bench, context.Context) error
}

func sections() []section {
	return []section{
		{"pg-backup", (*bench).pgBackup},
		{"pg-size", (*bench).pgSize},
		{"pg-restore", (*bench).pgRestore},
		{"memory", (*bench).memory},
		{"pg-second", (*bench).pgSecond}, // changes the data, so it is PostgreSQL's last
		{"sql-text", (*bench).sqlText},
		{"fixture-dump", (*bench).fixtureDump},
		{"fixture-load", (*bench).fixtureLoad},
		{"mariadb", (*bench).mariaDB},
		{"sqlite", (*bench).sqlite},
		{"restic", (*bench).restic},
	}
}

func parse(args []string) (options, error) {
	var opt options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := fs.String("only", "", "comma list of pg-backup, pg-size, pg-restore, pg-second, memory, sql-text, fixture-dump, fixture-load, mariadb, sqlite, restic (default all)")
	fs.IntVar(&opt.runs, "runs", 3, "how often each program runs")
	fs.IntVar(&opt.scale, "scale", 40, "size of the PostgreSQL data: pgbench's scale")
	fs.IntVar(&opt.sqlite, "sqlite-rows", 2_400_000, "size of the SQLite data")
	fs.IntVar(&opt.fixture, "fixture-rows", 200_000, "size of the Django data")
	fs.IntVar(&opt.mysql, "mariadb-rows", 5_000_000, "size of the MariaDB data")
	fs.BoolVar(&opt.quick, "quick", false, "tiny data, one run, no results written")
	fs.BoolVar(&opt.peers, "peers", false, "run the peers only")
	fs.StringVar(&opt.bin, "bin", "bin/holdfast", "the Holdfast to measure")
	fs.StringVar(&opt.dir, "dir", os.TempDir(), "folder for everything written; some 10 GB")
	fs.StringVar(&opt.out, "out", "bench/RESULTS.md", "where to write the results; only a full run replaces them")
	fs.StringVar(&opt.major, "pg", "15", "PostgreSQL version")
	fs.IntVar(&opt.workers, "jobs", 2, "connections of each program")
	if err := fs.Parse(args); err != nil {
		return opt, err
	}
	if fs.NArg() > 0 {
		return opt, fmt.Errorf("what is %q?", fs.Arg(0))
	}
	if opt.quick {
		opt.runs, opt.scale, opt.sqlite, opt.fixture, opt.mysql = 1, 2, 100_000, 2_000, 50_000
	}
	if *only != "" {
		opt.only = strings.Split(*only, ",")
	}
	for _, name := range opt.only {
		if !slices.ContainsFunc(sections(), func(s section) bool { return s.name == name }) {
			return opt, fmt.Errorf("-only %s: no such part", name)
		}
	}
	bin, err := filepath.Abs(opt.bin)
	opt.bin = bin
	return opt, err
}

func run(ctx context.Context, args []string) (err error) {
	opt, err := parse(args)
	if err != nil {
		return err
	}
	if _, err := os.Stat(opt.bin); err != nil && !opt.peers {
		return fmt.Errorf("%w: run make build first, or use -peers", err)
	}
	dir, err := os.MkdirTemp(opt.dir, "holdfast-bench-")
	if err != nil {
		return err
	}
	b := &bench{opt: opt, dir: dir, peaks: map[string]int64{}}
	defer func() { err = errors.Join(err, b.close()) }()

	// A part that fails must not hide the results of the others.
	var errs []error
	for _, s := range sections() {
		if len(opt.only) > 0 && !slices.Contains(opt.only, s.name) {
			continue
		}
		b.say("== %s", s.name)
		if err := s.run(b, ctx); err != nil {
			b.say("%s: %v", s.name, err)
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	text := b.report(ctx)
	fmt.Print(text)
	if len(errs) == 0 && len(opt.only) == 0 && !opt.quick && !opt.peers {
		errs = append(errs, os.WriteFile(opt.out, []byte(text), 0o644))
	}
	return errors.Join(errs...)
}
