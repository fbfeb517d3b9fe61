package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// dumpFlags say how a database becomes a file.
type dumpFlags struct {
	opt       wire.DumpOptions
	format    string
	profile   string
	dir       string
	out       string
	name      string
	compress  string
	encrypt   []string
	local     bool
	noClean   bool
	overwrite bool
	models    modelFlags
	source    wire.SourceOptions
}

func (f *dumpFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "json (a Django fixture), jsonl, or sql (default: by the name after -o, else json)")
	fl.StringVar(&f.dir, "output-dir", "backups", "folder for the file, which gets a name with date and time")
	fl.StringVarP(&f.out, "output", "o", "", "write this file instead; - is stdout")
	fl.BoolVar(&f.overwrite, "overwrite", false, "replace the file after -o when it is there")
	fl.BoolVar(&f.local, "local-time", false, "name the file by local time instead of UTC")
	fl.StringVar(&f.compress, "compress", "", "gz, xz or zst (default: by the name after -o)")
	fl.StringArrayVar(&f.encrypt, "encrypt", nil, "age:RECIPIENT (repeatable), age (passphrase), or gpg (passphrase)")
	fl.StringArrayVar(&f.opt.Fixture.Only, "only", nil, "only this app or app.model (repeatable; fixtures)")
	fl.StringArrayVar(&f.opt.Fixture.Exclude, "exclude", nil, "not this app or app.model (repeatable; fixtures)")
	fl.IntVar(&f.opt.Fixture.Indent, "indent", 0, "spaces for each level (json)")
	fl.StringVar(&f.profile, "profile", "portable", "portable (lossless, for loaddata), dumpdata (Django's own bytes), or exact (fixtures)")
	fl.BoolVar(&f.opt.Fixture.NaturalForeign, "natural-foreign", false, "references as natural keys (profile dumpdata)")
	fl.BoolVar(&f.opt.Fixture.NaturalPrimary, "natural-primary", false, "no primary keys where there are natural ones (profile dumpdata)")
	fl.StringVar(&f.opt.Fixture.Django, "django-version", "", "write what this version of Django writes, such as 4.2 (fixtures)")
	fl.BoolVar(&f.opt.Fixture.AllowUnmapped, "allow-unmapped", false, "write tables that no model claims under their own names (fixtures)")
	fl.BoolVar(&f.noClean, "no-clean", false, "no DROP statements (sql)")
	fl.BoolVar(&f.opt.SQL.Owner, "owner", false, "say who owns what (sql)")
	fl.BoolVar(&f.opt.SQL.Privileges, "privileges", false, "grant what was granted (sql)")
	fl.BoolVar(&f.opt.SQL.Inserts, "inserts", false, "rows as INSERT statements (sql)")
	fl.IntVarP(&f.source.Jobs, "jobs", "j", 2, "connections that read rows")
	f.models.add(cmd)
}

// modelFlags tell of a Django project.
type modelFlags struct {
	mapFile string
	project string
	natural []string
}

func (m *modelFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&m.mapFile, "model-map", "", "map that the project made (holdfast inspect --map-script says how)")
	fl.StringVar(&m.project, "django-project", "", "folder of the Django project, whose migrations name models and fields")
	fl.StringArrayVar(&m.natural, "natural-key", nil, "app.model=field,field: a model's natural key (repeatable)")
}

// maxMap limits the map of models; those of large projects have a megabyte.
const maxMap = 64 << 20

func (m *modelFlags) options() (o wire.ModelOptions, err error) {
	o.ProjectDir = m.project
	if m.mapFile != "" {
		if o.Map, err = readLimited(m.mapFile, maxMap); err != nil {
			return o, fail.Wrap(fail.NotFound, err, "", "read the model map")
		}
	}
	for _, n := range m.natural {
		label, fields, ok := strings.Cut(n, "=")
		if !ok || label == "" || fields == "" {
			return o, fail.New(fail.Usage, "write --natural-key shop.tag=slug", "--natural-key %q", n)
		}
		if o.NaturalKeys == nil {
			o.NaturalKeys = map[string][]string{}
		}
		o.NaturalKeys[strings.ToLower(label)] = strings.Split(fields, ",")
	}
	return o, nil
}

func readLimited(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than %s", name, bytesText(most))
	}
	return data, err
}

func newDump(a *app) *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "dump [DATABASE]",
		Short: "Write a database to a portable file: Django fixture or SQL",
		Long: `Writes a database, as it is at one instant, to a file that other programs read: a fixture for Django's loaddata
and holdfast load, or SQL for psql, sqlite3 or mariadb. Without -o the file goes to backups/backup_DATE_TIME.EXT, mode 0600, and a sidecar
.meta beside it says what it holds. No repository is needed. An existing file is never overwritten.

Models and fields are found out from the database itself; holdfast inspect DATABASE --models shows how. Where that is not
enough, name the project's folder or a map of its models.

The passphrase of --encrypt age or gpg comes from $HOLDFAST_FILE_PASSPHRASE, $HOLDFAST_FILE_PASSPHRASE_FILE or a prompt.`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			db, err := a.database(list)
			if err != nil {
				return err
			}
			if err := f.check(cmd); err != nil {
				return err
			}
			view, err := wire.OpenDump(cmd.Context(), db, f.opt.Format, f.source)
			if err != nil {
				return fail.Op(err, "dump %s", shortName(db))
			}
			defer view.Close()
			if f.name == "" {
				f.name, _ = wire.Name(db)
			}
			return a.dump(cmd.Context(), view, f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.name, "name", "", "what the database is called in the folder (default: its own name)")
	return cmd
}

func newExport(a *app) *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "export BACKUP",
		Short: "Write a stored backup to a portable file",
		Long: `Writes a backup from the repository as a fixture or SQL, as holdfast dump does with a live database: the
format is chosen when a backup is read, not when it is taken.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withStore(ctx, func(s *backup.Store) error {
				b, err := s.Find(ctx, list[0])
				if err != nil {
					return err
				}
				view, err := wire.Stored(ctx, s, b)
				if err != nil {
					return fail.Op(err, "export %s", b.ID.Short())
				}
				defer view.Close()
				f.name = b.Name
				return a.dump(ctx, view, f)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// database returns the database that the command line or the environment names.
func (a *app) database(list []string) (string, error) {
	if len(list) > 0 {
		a.warnOfPasswords(list)
		return a.resolve(list[0])
	}
	if db := os.Getenv("DATABASE_URL"); db != "" {
		return db, nil
	}
	return "", fail.New(fail.Usage, "name one, or export DATABASE_URL", "no database is named")
}

// check completes the options from each other.
func (f *dumpFlags) check(cmd *cobra.Command) (err error) {
	if err := checkJobs(f.source.Jobs); err != nil {
		return err
	}
	f.opt.SQL.Jobs, f.opt.Fixture.Jobs = f.source.Jobs, f.source.Jobs
	ext := extensions(f.out)
	if f.format == "" {
		f.format = string(wire.JSON)
		if len(ext) > 0 && slices.Contains(wire.Formats(), wire.Format(ext[0])) {
			f.format = ext[0]
		}
	}
	f.opt.Format = wire.Format(f.format)
	if !slices.Contains(wire.Formats(), f.opt.Format) {
		return fail.New(fail.Usage, "use json, jsonl or sql", "--format %q", f.format)
	}
	if f.compress == "" {
		for _, c := range []string{"gz", "xz", "zst"} {
			if slices.Contains(ext, c) {
				f.compress = c
			}
		}
	}
	if len(f.encrypt) == 0 && (slices.Contains(ext, "age") || slices.Contains(ext, "gpg")) {
		return fail.New(fail.Usage, "add --encrypt age:RECIPIENT or --encrypt gpg", "%s is the name of an encrypted file", f.out)
	}
	if err := f.checkPairs(cmd); err != nil {
		return err
	}
	f.opt.SQL.Clean, f.opt.SQL.IfExists = !f.noClean, !f.noClean
	if f.opt.Fixture.Profile, err = wire.ParseProfile(f.profile); err != nil {
		return err
	}
	f.opt.Models, err = f.models.options()
	return err
}

// Flags that mean something for one kind of file only.
var (
	fixtureFlags = []string{"only", "exclude", "indent", "profile", "natural-foreign", "natural-primary", "django-version", "allow-unmapped", "model-map", "django-project", "natural-key"}
	sqlFlags     = []string{"no-clean", "owner", "privileges", "inserts"}
	folderFlags  = []string{"output-dir", "local-time", "name"}
)

// checkPairs refuses flags that would be ignored.
func (f *dumpFlags) checkPairs(cmd *cobra.Command) error {
	given := func(names []string) string {
		i := slices.IndexFunc(names, cmd.Flags().Changed)
		if i < 0 {
			return ""
		}
		return "--" + names[i]
	}
	if flag := given(fixtureFlags); flag != "" && f.opt.Format == wire.SQL {
		hint := "it is for fixtures: leave it out, or dump --format json"
		if flag == "--only" || flag == "--exclude" {
			hint = "dump --format json, or back up with --include-table"
		}
		return fail.New(fail.Usage, hint, "%s with --format sql", flag)
	}
	if flag := given(sqlFlags); flag != "" && f.opt.Format != wire.SQL {
		return fail.New(fail.Usage, "it is for --format sql", "%s with --format %s", flag, f.format)
	}
	if flag := given(folderFlags); flag != "" && f.out != "" && flag != "--name" {
		return fail.New(fail.Usage, "leave one of them out: -o names the file itself", "%s with -o %s", flag, f.out)
	}
	switch indent := f.opt.Fixture.Indent; {
	case indent < 0 || indent > 80:
		return fail.New(fail.Usage, "use a number of spaces, such as 2", "--indent %d", indent)
	case indent > 0 && f.opt.Format == wire.JSONL:
		return fail.New(fail.Usage, "use --format json", "--indent with --format jsonl, which has an object a line")
	}
	if f.overwrite && (f.out == "" || f.out == "-") {
		return fail.New(fail.Usage, "add -o FILE; a file in a folder has a new name each time", "--overwrite without -o")
	}
	return nil
}

// extensions are the parts of a file's name behind its first dot.
func extensions(name string) []string {
	parts := strings.Split(filepath.Base(name), ".")
	if len(parts) < 2 {
		return nil
	}
	return parts[1:]
}

// envelope returns how the file is wrapped. It may ask for a passphrase.
func (f *dumpFlags) envelope(ctx context.Context) (o envelope.Options, err error) {
	o.Compress = f.compress
	for _, e := range f.encrypt {
		switch kind, to, named := strings.Cut(e, ":"); {
		case kind == "age" && named && to != "":
			o.Age = append(o.Age, to)
		case e == "age":
			o.AgePassphrase, err = newPassphrase(ctx)
		case e == "gpg":
			o.GPGPassphrase, err = newPassphrase(ctx)
		default:
			return o, fail.New(fail.Usage, "use age:RECIPIENT, age, or gpg", "--encrypt %q", e)
		}
		if err != nil {
			return o, err
		}
	}
	return o, o.Validate()
}

// dumpResult is what --json prints of a dump.
type dumpResult struct {
	File     string    `json:"file"` // "-" is stdout
	Database string    `json:"database"`
	Format   string    `json:"format"`
	TakenAt  time.Time `json:"taken_at"`
	Tables   int       `json:"tables"`
	Rows     int64     `json:"rows"`
	Size     int64     `json:"size"`
	Seconds  float64   `json:"seconds"`
	Notes    []string  `json:"notes,omitempty"`
}

func (a *app) dump(ctx context.Context, view rows.View, f dumpFlags) error {
	start := time.Now()
	env, err := f.envelope(ctx)
	if err != nil {
		return err
	}
	p := a.newProgress()
	defer p.stop()
	if f.out != "-" { // a dump on a terminal is its own progress
		f.observe(p, view.Schema())
	}
	origin := view.Schema().Origin
	r := dumpResult{Database: f.name, Format: f.format, TakenAt: origin.TakenAt}
	var done *wire.Dumped
	switch {
	case f.out == "-":
		r.File = "-"
		if terminal(a.stdout) && (env.Encrypted() || env.Compress != "") {
			return fail.New(fail.Usage, "redirect it to a file", "a terminal can't show what is compressed or encrypted")
		}
		done, r.Size, err = dumpTo(ctx, view, sink{a.stdout, "stdout"}, env, f.opt)
	case f.out != "":
		r.File = f.out
		done, r.Size, err = dumpFile(ctx, view, f, env)
	default:
		var e folder.Entry
		done, e, err = dumpFolder(ctx, view, f, env)
		r.File, r.Size = e.Path, e.Size
	}
	if err != nil {
		return fail.Op(err, "dump %s", plain(f.name))
	}
	p.stop()
	r.Tables, r.Rows, r.Seconds = done.Tables, done.Rows, time.Since(start).Round(time.Millisecond).Seconds()
	for _, n := range done.Notes {
		a.warn(n)
	}
	out := a.stdout
	if f.out == "-" {
		out = a.stderr // stdout is the dump
	}
	if a.json {
		r.Notes = done.Notes
		return (&app{stdout: out}).object(r)
	}
	if f.out == "-" && a.quiet {
		return nil
	}
	what := "model"
	if f.opt.Format == wire.SQL {
		what = "table"
	}
	_, err = fmt.Fprintf(out, "%s  %s  %s in %s, %s in %s\n", plain(r.File), plain(f.name), plural(r.Rows, "row"), plural(int64(r.Tables), what), bytesText(r.Size), secondsText(r.Seconds))
	return err
}

// observe shows how the dump goes on.
func (f *dumpFlags) observe(p *progress, s *rows.Schema) {
	var n, bytes int64
	for _, t := range s.Tables {
		n += t.EstRows
		bytes += t.EstBytes
	}
	if f.opt.Format != wire.SQL {
		f.opt.Fixture.Observer = p.counter(plain(f.name), n)
	} else if o := p.observer(); o.Begin != nil {
		o.Begin(plain(f.name), bytes)
		f.opt.SQL.Observer = o.Update
	}
}
