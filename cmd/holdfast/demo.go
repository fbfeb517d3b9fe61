package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// The sample database: a small shop, and what happens to it.
const (
	demoSchema = `
create table customers (id integer primary key, name text not null, email text not null unique, joined text not null);
create table orders (id integer primary key, customer integer not null references customers (id), total numeric not null, placed text not null, note text);
create index orders_by_customer on orders (customer);
with recursive n (i) as (select 1 union all select i + 1 from n where i < 5000)
  insert into customers select i, 'Customer ' || i, 'customer' || i || '@example.com', date('2024-01-01', '+' || (i % 365) || ' days') from n;
with recursive n (i) as (select 1 union all select i + 1 from n where i < 60000)
  insert into orders select i, 1 + (i * 7919) % 5000, round((i * 37 % 50000) / 100.0, 2), datetime('2024-01-01', '+' || i || ' minutes'), hex(randomblob(20)) from n;`
	demoWork   = `insert into orders select 60000 + row_number() over (), customer, total, datetime(placed, '+50 days'), 'again' from orders where customer <= 16;`
	demoDamage = `update customers set email = 'oops' || id where id > 100; delete from orders where id % 3 = 0;`
)

func newDemo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo [FOLDER]",
		Short: "Back up, damage, compare and restore a sample database",
		Long:  "Shows the main job on a sample SQLite database in FOLDER (default: a new temporary folder), which must be empty or not exist.",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			dir, err := demoFolder(list)
			if err != nil {
				return err
			}
			teller := *a
			if a.json { // the story is for people
				teller.stdout, teller.json = io.Discard, false
			}
			d := &demo{app: &teller, dir: dir, db: filepath.Join(dir, "shop.sqlite3"), restored: filepath.Join(dir, "shop-restored.sqlite3")}
			if err := d.run(cmd.Context()); err != nil || !a.json {
				return fail.Op(err, "demo in %s", dir)
			}
			return a.object(map[string]string{"folder": dir, "repository": d.repo(), "key_file": d.key()})
		},
	}
}

func demoFolder(list []string) (string, error) {
	if len(list) == 0 {
		dir, err := os.MkdirTemp("", "holdfast-demo-")
		return dir, fail.Wrap(fail.Denied, err, "", "make a folder for the demo")
	}
	entries, err := os.ReadDir(list[0])
	if err == nil && len(entries) > 0 {
		return "", fail.New(fail.Exists, "name a folder that does not exist yet", "demo in %s: the folder holds files", list[0])
	}
	return list[0], fail.Wrap(fail.Denied, os.MkdirAll(list[0], 0o700), "", "make a folder for the demo")
}

type demo struct {
	*app
	dir, db, restored string
}

func (d *demo) step(format string, args ...any) {
	fmt.Fprintf(d.stdout, "\n== "+format+"\n", args...)
}

func (d *demo) repo() string { return filepath.Join(d.dir, "backups") }
func (d *demo) key() string  { return filepath.Join(d.dir, "backups.key") }

// command shows what the user would type.
func (d *demo) command(format string, args ...any) {
	fmt.Fprintf(d.stdout, "$ "+format+"\n", args...)
}

func (d *demo) run(ctx context.Context) error {
	repo, key := d.repo(), d.key()
	d.step("A sample shop: 5,000 customers, 60,000 orders")
	if err := wire.ExecSQLite(ctx, d.db, demoSchema); err != nil {
		return err
	}
	d.command("holdfast init --repo %s", repo)
	password, err := makeKeyFile(key)
	if err != nil {
		return err
	}
	if err := backup.Init(ctx, repo, password, backup.InitOptions{}); err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "Created repository %s; its key is in %s.\n", repo, key)
	s, err := backup.Open(ctx, repo, password, d.warn)
	if err != nil {
		return err
	}
	defer s.Close(context.WithoutCancel(ctx))
	if err := d.story(ctx, s); err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "\nEverything is in %s. Go on from here:\n  export HOLDFAST_REPO=%s HOLDFAST_PASSWORD_FILE=%s\n  %s list\n  %[4]s show latest\n", d.dir, repo, key, os.Args[0])
	return nil
}

func (d *demo) story(ctx context.Context, s *backup.Store) error {
	d.step("Back it up; then after some work once more: a full backup that costs an increment")
	if _, err := d.backUp(ctx, s); err != nil {
		return err
	}
	if err := wire.ExecSQLite(ctx, d.db, demoWork); err != nil {
		return err
	}
	b, err := d.backUp(ctx, s)
	if err != nil {
		return err
	}
	d.step("Disaster: somebody forgets a WHERE")
	d.command("sqlite3 shop.sqlite3 \"%s\"", demoDamage)
	if err := wire.ExecSQLite(ctx, d.db, demoDamage); err != nil {
		return err
	}
	if same, err := d.compare(ctx, s, b, d.db); err != nil || same {
		return orFail(err, "the damage does not show")
	}
	d.step("Restore the backup beside it, and compare")
	d.command("holdfast restore latest:shop --to %s", d.restored)
	if err := d.restore(ctx, s, b); err != nil {
		return err
	}
	if same, err := d.compare(ctx, s, b, d.restored); err != nil || !same {
		return orFail(err, "what was restored differs from the backup")
	}
	d.step("Read every byte of both backups back")
	d.command("holdfast verify --all")
	list, err := s.List(ctx)
	if err != nil {
		return err
	}
	v, err := s.Verify(ctx, list, backup.VerifyOptions{Version: version})
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "%s verified, %s read, all well.\n", plural(int64(v.Backups), "backup"), bytesText(v.Bytes))
	d.command("holdfast list")
	return d.list(ctx, s, nil)
}

func orFail(err error, text string) error {
	if err != nil {
		return err
	}
	return fail.New(fail.Mismatch, "please report this", "%s", text)
}

func (d *demo) backUp(ctx context.Context, s *backup.Store) (backup.Backup, error) {
	d.command("holdfast backup %s", d.db)
	run := s.NewRun(backup.RunOptions{Version: version})
	defer func() { _ = run.Abort(context.WithoutCancel(ctx)) }()
	b, err := backupOne(ctx, run, d.db, wire.SourceOptions{})
	if err != nil {
		return b, err
	}
	if err := run.Commit(ctx); err != nil {
		return b, err
	}
	return b, d.printBackup(b)
}

func (d *demo) restore(ctx context.Context, s *backup.Store, b backup.Backup) error {
	dest, err := wire.Destination(d.restored, b.Engine, wire.TargetOptions{})
	if err != nil {
		return err
	}
	_, err = s.Restore(ctx, b, dest, backup.RestoreOptions{})
	return err
}

// compare prints, table by table, whether a live database holds the rows of a backup.
func (d *demo) compare(ctx context.Context, s *backup.Store, b backup.Backup, db string) (same bool, err error) {
	stored, err := wire.Stored(ctx, s, b)
	if err != nil {
		return false, err
	}
	defer stored.Close()
	live, err := wire.View(ctx, db)
	if err != nil {
		return false, err
	}
	defer live.Close()
	want, err := rows.Measure(ctx, stored, rows.CopyOptions{})
	if err != nil {
		return false, err
	}
	got, err := rows.Measure(ctx, live, rows.CopyOptions{})
	if err != nil {
		return false, err
	}
	same = true
	counts := got.Tables()
	err = d.table(func(w io.Writer) {
		fmt.Fprintf(w, "TABLE\tIN THE BACKUP\tIN %s\t\n", filepath.Base(db))
		for _, t := range stored.Schema().Tables {
			a, b := want.Tables()[t.String()], counts[t.String()]
			verdict := "equal"
			if a != b {
				verdict, same = "DIFFERENT", false
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t, plural(a.Rows, "row"), plural(b.Rows, "row"), verdict)
		}
	})
	return same, err
}
