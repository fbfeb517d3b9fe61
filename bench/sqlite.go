package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// wordsJSON is the vocabulary as a JSON array, for SQLite.
func wordsJSON() string {
	list := strings.Split(strings.Trim(words, "{}"), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic("bench: " + err.Error())
	}
	return string(text)
}

// gpg with a passphrase and without asking, from a key ring of its own.
const gpg = "gpg --homedir home --batch --yes --pinentry-mode loopback --passphrase-file passphrase --symmetric"

// pipe is what a careful administrator has in cron.
func (b *bench) pipe(name, options string) contender {
	return contender{
		name:   name,
		before: b.removed("copy", "copy.zst.gpg"),
		run: func() *exec.Cmd {
			return b.shell("sqlite3 app.sqlite3 '.backup copy' && zstd -q -1 -c copy | " + gpg + options + " -o copy.zst.gpg")
		},
	}
}

func (b *bench) ourSQLite(before func() error) contender {
	return contender{
		name:   "holdfast backup",
		before: before,
		run:    func() *exec.Cmd { return b.holdfast("repo", "backup", "--jobs", b.jobs(), b.dbFile) },
		after:  b.remember("backup of the SQLite file"),
	}
}

func (b *bench) sqlite(ctx context.Context) error {
	if err := b.sqliteFile(); err != nil {
		return err
	}
	// The first gpg after a boot starts an agent, which takes a second to calibrate itself.
	if err := b.sh("mkdir -p -m 700 home && echo correct horse > passphrase && " + gpg + " -o warm passphrase && sqlite3 app.sqlite3 '.backup copy'"); err != nil {
		return err
	}
	plain, quick := b.pipe("sqlite3 | zstd | gpg", ""), b.pipe("sqlite3 | zstd | gpg -z0", " -z 0")
	first := b.ourSQLite(b.newRepo("repo"))
	again := b.ourSQLite(nil) // into the repository that first has filled
	again.name = "holdfast backup, unchanged"
	got, err := b.race(ctx, append(b.ours(first, again), plain, quick)...)
	if err != nil {
		return err
	}
	const peer = "`sqlite3 .backup`, then `zstd -1` piped into `gpg --symmetric`"
	b.compare("SQLite first backup", peer, got[first.name], got[plain.name], 0.5)
	b.compare("SQLite first backup", peer+" `-z 0`, which keeps gpg from compressing again", got[first.name], got[quick.name], 0.5)
	b.compare("SQLite backup, nothing changed", peer, got[again.name], got[plain.name], 0.1)
	b.compare("SQLite backup, nothing changed", peer+" `-z 0`", got[again.name], got[quick.name], 0.1)
	return errors.Join(b.sh("gpgconf --homedir home --kill all"), b.removed("copy", "copy.zst.gpg", "repo")())
}

func (b *bench) restic(ctx context.Context) error {
	if err := b.sqliteFile(); err != nil {
		return err
	}
	// Making the copy that restic reads is not counted against it.
	if err := b.sh("rm -f copy && sqlite3 app.sqlite3 '.backup copy'"); err != nil {
		return err
	}
	peer := contender{
		name:   "restic backup",
		before: func() error { return b.sh("rm -rf restic && restic -q init -r restic") },
		run:    func() *exec.Cmd { return b.command("restic", "-q", "-r", "restic", "backup", "copy") },
	}
	first := b.ourSQLite(b.newRepo("repo"))
	got, err := b.race(ctx, append(b.ours(first), peer)...)
	if err != nil {
		return err
	}
	b.compare("SQLite first backup", "`restic backup` of a `.backup` copy, without the making of the copy", got[first.name], got[peer.name], 0.8)
	for name, repo := range map[string]string{"ours": "repo", "restic's": "restic"} {
		if b.opt.peers && repo == "repo" {
			continue
		}
		n, err := size(b.path(repo))
		if err != nil {
			return fmt.Errorf("size of the repository: %w", err)
		}
		b.say("%s repository: %d MB", name, n/1e6)
	}
	return b.removed("copy", "repo", "restic")()
}
