package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"sync"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// drillFile reads a portable file to its end, then loads it somewhere safe.
func (a *app) drillFile(ctx context.Context, name string, f drillFlags) error {
	name, err := newest(name)
	if err != nil {
		return err
	}
	if err := a.drillNewest(ctx, name, f); err != nil {
		return fail.Op(err, "drill %s", plain(name))
	}
	return nil
}

func (a *app) drillNewest(ctx context.Context, name string, f drillFlags) error {
	keys := f.keys.keys(ctx) // the file is read three times, and its passphrase asked for once
	keys.AgePassphrase, keys.GPGPassphrase = sync.OnceValues(keys.AgePassphrase), sync.OnceValues(keys.GPGPassphrase)
	models, err := f.models.options()
	if err != nil {
		return err
	}
	check, err := readFile(ctx, fileEntry(name), keys)
	if err != nil {
		return err
	}
	opt := wire.FileDrillOptions{ScratchOptions: f.opt, Expect: f.drill.Expect, Models: models}
	var meta folder.Meta
	if m, err := folder.ReadMeta(name); err == nil {
		meta, opt.Sidecar = m, m.Content
	}
	open := func() (io.ReadCloser, error) {
		r, _, err := openFile(name, keys)
		return r, err
	}
	drill := func(schema rows.View) error {
		opt.Schema = schema
		done, err := wire.DrillFile(ctx, open, check, opt)
		if err != nil {
			return err
		}
		return a.drilledFile(name, check, done)
	}
	if check.Format == string(wire.SQL) {
		if f.schema != "" {
			return fail.New(fail.Usage, "leave it out: SQL holds its own definitions", "--schema-from with an SQL file")
		}
		return drill(nil)
	}
	return a.withSchema(ctx, f, meta.Database, drill)
}

// drilledFile prints what was found.
func (a *app) drilledFile(name string, check *wire.FileCheck, d wire.FileDrill) error {
	if a.json {
		if err := a.object(d); err != nil {
			return err
		}
		return d.Err()
	}
	for _, n := range d.Notes {
		a.warn(n)
	}
	for _, f := range d.Findings {
		fmt.Fprintf(a.stdout, "%s: %s\n", plain(name), plain(f))
	}
	if err := a.answers(d.Expected); err != nil {
		return err
	}
	if err := d.Err(); err != nil {
		return err
	}
	what, how := "table", "counted"
	if check.Format != string(wire.SQL) {
		what, how = "model", "counted and compared"
	}
	_, err := fmt.Fprintf(a.stdout, "Drilled %s: loaded in %s, %s in %s %s, all well.\n", plain(name), secondsText(d.Restore), plural(d.Rows, "row"), plural(int64(d.Tables), what), how)
	return err
}

// backupName is what a backup is named by.
var backupName = regexp.MustCompile(`^(latest(:.*)?|[0-9a-f]{4,})$`)

const hintSchema = "--schema-from DATABASE, whose definitions are copied, or --schema-from BACKUP"

// withSchema opens what a fixture's tables are copied from: what the user named, or the newest backup of the file's database.
func (a *app) withSchema(ctx context.Context, f drillFlags, database string, fn func(rows.View) error) error {
	from := f.schema
	if from == "" {
		if _, err := a.location(); err != nil {
			return fail.New(fail.Usage, hintSchema, "a fixture holds no tables to load it into, and no repository is named that has a backup of its database")
		}
		if from = "latest"; database != "" {
			from += ":" + database
		}
	} else {
		db, err := a.resolve(from)
		if err != nil {
			return err
		}
		if db != from || isPath(db) || !backupName.MatchString(db) {
			view, err := wire.SchemaOf(ctx, db, wire.SourceOptions{Jobs: f.drill.Jobs})
			if err != nil {
				return fail.Op(err, "read the definitions of %s", shortName(db))
			}
			defer view.Close()
			return fn(view)
		}
	}
	opened := false
	err := a.withStore(ctx, func(s *backup.Store) error {
		b, err := s.Find(ctx, from)
		if err != nil {
			return err
		}
		view, err := wire.Stored(ctx, s, b)
		if err != nil {
			return fail.Op(err, "read the definitions of backup %s", b.ID.Short())
		}
		defer view.Close()
		opened = true
		a.say("The tables are those of backup %s (%s of %s).", b.ID.Short(), plain(b.Name), timeText(b.TakenAt))
		return fn(view)
	})
	switch kind := fail.KindOf(err); {
	case opened || f.schema != "":
	case kind == fail.NotFound || kind == fail.NoRepository || kind == fail.Usage:
		return fail.Wrap(fail.Usage, err, hintSchema, "a fixture holds no tables to load it into")
	}
	return err
}
