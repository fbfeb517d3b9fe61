package main

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// pgEnv leads everybody's libpq to the server, so that no password is on a command line.
func (b *bench) pgEnv() []string {
	u, err := url.Parse(b.pg.URL(""))
	if err != nil {
		panic("bench: the server's own URL: " + err.Error())
	}
	password, _ := u.User.Password()
	return []string{"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=" + u.User.Username(), "PGPASSWORD=" + password}
}

func (b *bench) pgTool(name string, args ...string) *exec.Cmd {
	cmd := b.command(filepath.Join(b.pg.BinDir(), name), args...)
	cmd.Env = append(cmd.Env, b.pgEnv()...)
	return cmd
}

// pgURL names a database without its password.
func (b *bench) pgURL(db string) string { return "postgres://" + b.pg.Addr() + "/" + db }

func (b *bench) jobs() string { return strconv.Itoa(b.opt.workers) }

// pgDump dumps «bench» to a name in our folder.
func (b *bench) pgDump(to, kind string, args ...string) contender {
	return contender{
		name:   "pg_dump " + kind,
		before: b.removed(to),
		run:    func() *exec.Cmd { return b.pgTool("pg_dump", append(args, "-f", b.path(to), "bench")...) },
	}
}

// usualDump is what most people run; the restores need it too.
func (b *bench) usualDump() contender {
	c := b.pgDump("dump", "-Fd gzip", "-Fd", "-j"+b.jobs())
	c.after = func(int, sample) error { b.dumped = true; return nil }
	return c
}

const (
	kindBackup  = "backup of the PostgreSQL data"
	kindRestore = "restore of the PostgreSQL data"
)

// ourBackup is a first backup into a new repository.
func (b *bench) ourBackup() contender {
	return contender{
		name:   "holdfast backup",
		before: b.newRepo("repo"),
		run:    func() *exec.Cmd { return b.holdfast("repo", "backup", "--jobs", b.jobs(), b.pgURL("bench")) },
		after: func(n int, s sample) error {
			b.first = append(b.first, s)
			return b.remember(kindBackup)(n, s)
		},
	}
}

// ready makes sure that the database is there, and a first backup of it in «repo».
func (b *bench) ready(ctx context.Context) error {
	if err := b.postgres(ctx); err != nil || b.opt.peers || len(b.first) > 0 {
		return err
	}
	_, err := b.race(ctx, b.ourBackup())
	return err
}

func (b *bench) ours(c ...contender) []contender {
	if b.opt.peers {
		return nil
	}
	return c
}

func (b *bench) pgBackup(ctx context.Context) error {
	if err := b.postgres(ctx); err != nil {
		return err
	}
	gzip, raw := b.usualDump(), b.pgDump("dump.raw", "-Fd -Z0", "-Fd", "-Z0", "-j"+b.jobs())
	our := b.ourBackup()
	got, err := b.race(ctx, append(b.ours(our), raw, gzip)...)
	if err != nil {
		return err
	}
	work := "PostgreSQL backup: compressed, encrypted, deduplicated"
	b.compare(work, "`pg_dump -Fd -j2` (gzip)", got[our.name], got[gzip.name], 0.45)
	b.compare(work, "`pg_dump -Fd -j2 -Z0` (nothing compressed)", got[our.name], got[raw.name], 1.5)
	return b.removed("dump.raw")()
}

// pgSize compares what is stored. One run: neither has luck in it.
func (b *bench) pgSize(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	if _, err := measure(ctx, b.pgDump("dump.fc", "-Fc", "-Fc").run()); err != nil {
		return err
	}
	theirs, err := size(b.path("dump.fc"))
	if err != nil {
		return err
	}
	b.say("pg_dump -Fc stored %d MB", theirs/1e6)
	if b.opt.peers {
		return nil
	}
	ours, err := size(b.path("repo"))
	if err != nil {
		return err
	}
	b.compareBytes("PostgreSQL backup: bytes stored", "`pg_dump -Fc`", ours, theirs, 1.1)
	return b.removed("dump.fc")()
}

func (b *bench) pgRestore(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	if !b.dumped {
		if _, err := b.race(ctx, b.usualDump()); err != nil {
			return err
		}
	}
	empty := func() error {
		for _, sql := range []string{"DROP DATABASE IF EXISTS restored WITH (FORCE)", "CREATE DATABASE restored TEMPLATE template0", "CHECKPOINT"} {
			if _, err := b.pg.Query("postgres", sql); err != nil {
				return err
			}
		}
		return nil
	}
	peer := contender{name: "pg_restore", before: empty,
		run: func() *exec.Cmd { return b.pgTool("pg_restore", "-j"+b.jobs(), "-d", "restored", b.path("dump")) }}
	our := contender{name: "holdfast restore", before: empty, after: b.remember(kindRestore),
		run: func() *exec.Cmd {
			return b.holdfast("repo", "restore", "latest", "--jobs", b.jobs(), "--to", b.pgURL("restored"))
		}}
	got, err := b.race(ctx, append(b.ours(our), peer)...)
	if err != nil {
		return err
	}
	b.compare("PostgreSQL restore, with indexes and keys", "`pg_restore -j2` of the `-Fd` dump", got[our.name], got[peer.name], 0.95)
	_, err = b.pg.Query("postgres", "DROP DATABASE restored WITH (FORCE)")
	return err
}

// pgSecond measures the second backup of data that has changed a little. Each run starts from
// a copy of the repository as the first backup left it.
func (b *bench) pgSecond(ctx context.Context) error {
	if b.opt.peers {
		return nil
	}
	if err := b.ready(ctx); err != nil {
		return err
	}
	base, err := size(b.path("repo"))
	if err != nil {
		return err
	}
	variants := []struct {
		name            string
		change          func() error
		targetB, target float64
	}{
		{"1 % of the rows changed, mostly recent ones", b.changeRecent, 0.12, 0.75},
		{"1 % of the rows changed, every hundredth", b.changeScattered, 0, 0},
	}
	for _, v := range variants {
		if err := v.change(); err != nil {
			return err
		}
		second, added, err := b.secondBackup(ctx)
		if err != nil {
			return err
		}
		b.compareBytes("PostgreSQL second backup, "+v.name+": new bytes", "our first", added, base, v.targetB)
		b.compare("PostgreSQL second backup, "+v.name, "our first", second, b.first, v.target)
		// The next variant changes data on top, so it starts from here.
		if err := b.removed("repo")(); err != nil {
			return err
		}
		if err := os.Rename(b.path("repo2"), b.path("repo")); err != nil {
			return err
		}
	}
	b.first = nil // what is in the database now has been backed up before
	return nil
}

// secondBackup backs up into copies of «repo», leaves the last one as «repo2», and returns how
// many bytes it added.
func (b *bench) secondBackup(ctx context.Context) (all []sample, added int64, err error) {
	before, err := size(b.path("repo"))
	if err != nil {
		return nil, 0, err
	}
	c := contender{
		name:   "holdfast backup (second)",
		before: func() error { return b.sh("rm -rf repo2 && cp -a repo repo2") },
		run:    func() *exec.Cmd { return b.holdfast("repo2", "backup", "--jobs", b.jobs(), b.pgURL("bench")) },
		after:  b.remember(kindBackup),
	}
	got, err := b.race(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	after, err := size(b.path("repo2"))
	return got[c.name], after - before, err
}

// memory measures our peak at a quarter of the size; the other parts measure it at the whole.
func (b *bench) memory(ctx context.Context) error {
	if b.opt.peers {
		return nil
	}
	if err := b.ready(ctx); err != nil {
		return err
	}
	if _, err := b.makeDatabase(ctx, "quarter", max(b.opt.scale/4, 1)); err != nil {
		return err
	}
	if err := b.newRepo("repo.quarter")(); err != nil {
		return err
	}
	type step struct {
		kind, repo string
		args       []string
	}
	steps := []step{
		{kindBackup + ", a quarter of it", "repo.quarter", []string{"backup", b.pgURL("quarter")}},
		{kindRestore + ", a quarter of it", "repo.quarter", []string{"restore", "latest", "--create", "--to", b.pgURL("memory")}},
	}
	if b.peaks[kindRestore] == 0 { // with -only
		steps = append(steps, step{kindRestore, "repo", []string{"restore", "latest", "--create", "--to", b.pgURL("memory2")}})
	}
	for _, s := range steps {
		one, err := measure(ctx, b.holdfast(s.repo, append(s.args, "--jobs", b.jobs())...))
		if err != nil {
			return err
		}
		if err := b.remember(s.kind)(0, one); err != nil {
			return err
		}
		b.say("%s: %d MB", s.kind, one.rss>>20)
	}
	_, err := b.pg.Query("postgres", "DROP DATABASE IF EXISTS memory; DROP DATABASE IF EXISTS memory2; DROP DATABASE quarter")
	return err
}
