package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/wire"
)

type loadFlags struct {
	opt    wire.LoadOptions
	to     string
	keys   keyFlags
	models modelFlags
}

// keyFlags open encrypted files.
type keyFlags struct{ identities []string }

func (k *keyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&k.identities, "identity", nil, "file of an age identity or SSH key that opens the file (repeatable; also $HOLDFAST_AGE_IDENTITY)")
}

func (k *keyFlags) keys(ctx context.Context) envelope.Keys {
	keys := envelope.Keys{Identities: k.identities}
	if id := os.Getenv("HOLDFAST_AGE_IDENTITY"); id != "" && len(keys.Identities) == 0 {
		keys.Identities = []string{id}
	}
	ask := func() (fail.Secret, error) { return filePassphrase(ctx, false) }
	keys.AgePassphrase, keys.GPGPassphrase = ask, ask
	return keys
}

func newLoad(a *app) *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:   "load FILE --to DATABASE",
		Short: "Load a portable file into a database",
		Long: `Loads a fixture (of holdfast dump, of Django's dumpdata, json or jsonl) or SQL (of holdfast dump, pg_dump, sqlite3 .dump, mysqldump) into
a database, compressed or encrypted as it may be; - is stdin. FILE may be a folder of dumps: then its newest good one; of one
with several databases FOLDER/latest:DATABASE.

A fixture needs tables that exist (manage.py migrate). It goes in as one transaction: rows whose key is there are changed, others
are inserted, and none is deleted unless --flush empties the tables of the fixture's models first. Content types and permissions
are matched by name, so that their ids may differ. Foreign keys are checked at the end; on any error the database is as it was.
SQL is one transaction too, but for MySQL and MariaDB, which commit at each definition: load such a file into a new database.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error { return a.load(cmd.Context(), list[0], f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.to, "to", "", "the database to load into (default $DATABASE_URL)")
	fl.StringArrayVar(&f.opt.Fixture.Only, "only", nil, "only this app or app.model (repeatable; fixtures)")
	fl.StringArrayVar(&f.opt.Fixture.Exclude, "exclude", nil, "not this app or app.model (repeatable; fixtures)")
	fl.BoolVar(&f.opt.Fixture.WithReferences, "with-references", false, "with --only: also the rows that chosen ones name and the database lacks")
	fl.BoolVar(&f.opt.Fixture.Flush, "flush", false, "delete all rows of the file's models first")
	fl.BoolVarP(&f.opt.Fixture.DryRun, "dry-run", "n", false, "only say what would be inserted, changed and left")
	fl.BoolVar(&f.opt.NoTransaction, "no-transaction", false, "run each statement by itself (sql)")
	f.keys.add(cmd)
	f.models.add(cmd)
	return cmd
}

// newest returns the path of the file that is meant: of a folder, of FOLDER/latest and of FOLDER/latest:DATABASE the
// newest good one.
func newest(name string) (string, error) {
	info, err := os.Stat(name)
	dir, database := name, ""
	switch base, of, _ := strings.Cut(filepath.Base(name), ":"); {
	case err == nil && !info.IsDir() || name == "-":
		return name, nil
	case err != nil && base == "latest" && isFolder(filepath.Dir(name)):
		dir, database = filepath.Dir(name), of
	case err != nil:
		return name, nil // opening it says what is wrong
	}
	e, err := folder.Latest(dir, database)
	return e.Path, err
}

// openFile opens a portable file or stdin, and takes off what it is wrapped in.
func openFile(name string, keys envelope.Keys) (r io.ReadCloser, meta *folder.Meta, err error) {
	if name == "-" {
		r, _, err = envelope.Reader(os.Stdin, keys)
		return r, nil, fail.Op(err, "read stdin")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, folder.Classify(err, "read %s", name)
	}
	if m, err := folder.ReadMeta(name); err == nil {
		meta = &m
	}
	r, _, err = envelope.Reader(f, keys)
	if err != nil {
		f.Close()
		return nil, nil, fail.Op(err, "read %s", name)
	}
	return &wrappedFile{r, f}, meta, nil
}

type wrappedFile struct {
	io.ReadCloser
	file *os.File
}

func (w *wrappedFile) Close() error {
	return cmp.Or(w.ReadCloser.Close(), w.file.Close())
}

func (a *app) load(ctx context.Context, name string, f loadFlags) error {
	if f.to == "" {
		f.to = os.Getenv("DATABASE_URL")
	}
	if f.to == "" {
		return fail.New(fail.Usage, "holdfast load FILE --to DATABASE", "no target is named")
	}
	a.warnOfPasswords([]string{f.to})
	var err error
	if f.to, err = a.resolve(f.to); err != nil {
		return err
	}
	if f.opt.Models, err = f.models.options(); err != nil {
		return err
	}
	if name, err = newest(name); err != nil {
		return err
	}
	r, meta, err := openFile(name, f.keys.keys(ctx))
	if err != nil {
		return err
	}
	defer r.Close()
	if meta != nil {
		f.opt.Sidecar = meta.Content
	}
	f.opt.Fixture.NaturalKeys = f.opt.Models.NaturalKeys
	f.opt.Fixture.Warn = a.warn
	p := a.newProgress()
	defer p.stop()
	f.opt.Fixture.Observer = func(u wire.LoadUpdate) { p.count(u.Step, u.Rows, u.Total) }
	done, err := wire.Load(ctx, r, f.to, f.opt)
	p.stop()
	if err != nil {
		return fail.Op(err, "load %s into %s", loadName(name), shortName(f.to))
	}
	return a.loaded(done, name, f)
}

func (a *app) loaded(done *wire.Loaded, name string, f loadFlags) error {
	if done.SQL != nil {
		for _, n := range done.SQL.Notes {
			a.warn(n)
		}
		if a.json {
			return a.object(done.SQL)
		}
		return a.loadedSQL(done.SQL, name, f)
	}
	x := done.Fixture
	if a.json {
		return a.object(x)
	}
	var in, ch, same, del int64
	err := a.table(func(w io.Writer) {
		fmt.Fprintln(w, "MODEL\tINSERTED\tCHANGED\tSAME\tDELETED")
		line := func(name string, i, c, s, d int64) {
			in, ch, same, del = in+i, ch+c, same+s, del+d
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", plain(name), countText(i), countText(c), countText(s), countText(d))
		}
		for _, m := range x.Models {
			line(m.Model, m.Inserted, m.Changed, m.Same, m.Deleted)
			for _, p := range m.M2M {
				line("  "+m.Model+"."+p.Field, p.Inserted, p.Changed, p.Same, p.Deleted)
			}
		}
	})
	if err != nil {
		return err
	}
	verb := "Loaded"
	tail := ""
	if x.DryRun {
		verb, tail = "Would load", "; nothing was changed"
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s (%s) into %s: %s inserted, %s changed, %s left as they were, %s deleted%s.\n", verb, loadName(name), plural(x.Objects, "object"), shortName(f.to),
		countText(in), countText(ch), countText(same), countText(del), tail)
	return err
}

// loadName is what a loaded file is called.
func loadName(name string) string {
	if name == "-" {
		return "stdin"
	}
	return plain(name)
}

func (a *app) loadedSQL(x *wire.LoadedSQL, name string, f loadFlags) error {
	var total int64
	for _, t := range x.Tables {
		total += t.Rows
	}
	verb, tail := "Ran", ""
	if x.DryRun {
		verb, tail = "Would run", "; nothing was changed"
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s (%s) on %s: %s into %s%s.\n", verb, loadName(name), plural(x.Statements, "statement"), shortName(f.to), plural(total, "row"), plural(int64(len(x.Tables)), "table"), tail)
	return err
}
