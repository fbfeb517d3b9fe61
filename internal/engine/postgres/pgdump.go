package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// dumper is a pg_dump on this machine.
type dumper struct {
	path  string
	text  string // as it says of itself: pg_dump (PostgreSQL) 15.4
	major int
	minor int
}

func (d *dumper) String() string { return d.text }

// binDirs are the folders that are searched besides $PATH.
func binDirs() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql*/bin", "/usr/libexec/postgresql*",
		"/opt/homebrew/opt/postgresql*/bin", "/opt/homebrew/opt/libpq/bin", "/usr/local/opt/postgresql*/bin", "/usr/local/opt/libpq/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		dirs = append(dirs, found...)
	}
	return dirs
}

// findDump finds a pg_dump that can read a server of the major version. Folders that the user named come first. Of
// the others, the server's own version is best, since a newer pg_dump writes settings that only newer servers
// know; else the newest.
func findDump(ctx context.Context, server int, named string) (*dumper, error) {
	var tooOld []string
	for _, dirs := range [][]string{{named}, {os.Getenv("HOLDFAST_PG_BIN")}, binDirs()} {
		var fit []*dumper
		for _, dir := range dirs {
			d, err := probe(ctx, dir, "pg_dump")
			if err != nil {
				return nil, err
			}
			switch {
			case d == nil:
			case d.major < server:
				tooOld = append(tooOld, fmt.Sprintf("%s is version %d", d.path, d.major))
			default:
				fit = append(fit, d)
			}
		}
		if len(fit) > 0 {
			return slices.MaxFunc(fit, func(a, b *dumper) int {
				if (a.major == server) != (b.major == server) {
					return map[bool]int{true: 1, false: -1}[a.major == server]
				}
				return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor))
			}), nil
		}
	}
	why := "there is none in $PATH and the usual folders"
	if len(tooOld) > 0 {
		slices.Sort(tooOld)
		why = strings.Join(slices.Compact(tooOld), ", ")
	}
	return nil, fail.New(fail.Unsupported, fmt.Sprintf("install postgresql-client-%d, or set $HOLDFAST_PG_BIN to its folder, or use --data-only", server),
		"find a pg_dump for PostgreSQL %d: %s", server, why)
}

var programVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)(?:\.(\d+))?`)

// probe asks a program in dir for its version; nil when there is none that runs.
func probe(ctx context.Context, dir, name string) (*dumper, error) {
	if dir == "" {
		return nil, nil
	}
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := filepath.Join(dir, name)
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err()
	}
	m := programVersion.FindSubmatch(out)
	if err != nil || m == nil {
		return nil, nil
	}
	d := &dumper{path: path, text: strings.TrimSpace(string(out))}
	d.major, _ = strconv.Atoi(string(m[1]))
	d.minor, _ = strconv.Atoi(string(m[2]))
	return d, nil
}

// start begins to write the definitions into v.native.
func (d *dumper) start(ctx context.Context, v *View, f *freezer, conninfo string) error {
	for _, section := range []string{"pre-data", "post-data"} {
		temp, err := anonymous()
		if err != nil {
			return fail.Op(err, "make a temporary file for definitions")
		}
		file := v.native.promise("schema/" + section + ".sql")
		file.temp = temp
		out := newSieve(temp, f.without(), v.version)
		if section == "pre-data" && f.objects.state == chosen {
			err = writeObjects(ctx, v.leader, out)
		}
		if err != nil {
			file.settle(temp, 0, err)
			return fail.Op(err, "describe the large objects of %s", v.cfg.Database)
		}
		args := append(d.args(v, f), "--section="+section, conninfo)
		go func() { // nativeFS.close waits for it
			size, err := d.run(ctx, v, args, out)
			file.settle(temp, size, fail.Op(err, "write the definitions (%s) of %s with %s", section, v.cfg.Database, d.path))
		}()
	}
	return nil
}

// anonymous makes a temporary file that is gone when it is closed, whatever happens.
func anonymous() (*os.File, error) {
	f, err := os.CreateTemp("", "holdfast-*.sql")
	if err != nil {
		return nil, err
	}
	if runtime.GOOS == "windows" {
		return f, nil // it would refuse
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *dumper) args(v *View, f *freezer) []string {
	encoding := "UTF8"
	if v.schema.Origin.Encoding == "SQL_ASCII" {
		encoding = "SQL_ASCII"
	}
	args := []string{
		"--snapshot=" + v.snapshot, "--no-password", "--encoding=" + encoding,
		"--lock-wait-timeout=" + strconv.FormatInt(max(1, v.opt.LockWait.Milliseconds()), 10),
	}
	exclude := func(schema, name string) {
		// Inside of double quotes nothing is a wildcard.
		args = append(args, "--exclude-table="+quoteIdent(schema)+"."+quoteIdent(name))
	}
	for _, r := range f.all {
		if r.state == excluded {
			exclude(r.table.Schema, r.table.Name)
		}
	}
	for _, h := range f.views {
		exclude(h.schema, h.name)
	}
	return append(args, "--no-blobs") // see writeObjects
}

// run executes pg_dump and returns how many bytes came through the sieve.
func (d *dumper) run(ctx context.Context, v *View, args []string, out *sieve) (int64, error) {
	cmd := exec.CommandContext(ctx, d.path, append(args[:len(args)-1:len(args)-1], "--dbname="+args[len(args)-1])...)
	cmd.Env = environment(os.Environ(), v.cfg.Password)
	cmd.WaitDelay = cancelWait
	var stderr tail
	cmd.Stdout, cmd.Stderr = out, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if out.err != nil {
		return 0, out.err
	}
	if err != nil {
		return 0, dumpError(err, stderr.text(v.cfg.Password))
	}
	return out.flush()
}

// dumpError gives what pg_dump said a kind.
func dumpError(err error, said string) error {
	kind, hint := fail.Internal, ""
	switch {
	case strings.Contains(said, "lock timeout"), strings.Contains(said, "could not obtain lock"):
		kind, hint = fail.Locked, hintLock
	case strings.Contains(said, "permission denied"):
		kind, hint = fail.Denied, "pg_dump needs the right to read every table that it defines: leave tables out with --exclude-table, or grant pg_read_all_data"
	case strings.Contains(said, "connection to server"), strings.Contains(said, "server closed the connection"), strings.Contains(said, "terminating connection"):
		kind, hint = fail.Unavailable, hintGone
	case strings.Contains(said, "version mismatch"):
		kind = fail.Unsupported
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrPermission):
		kind = fail.Unsupported
	}
	if said == "" {
		said = err.Error()
	}
	return fail.New(kind, hint, "%s", said)
}

// tail keeps the last lines that are written to it.
type tail struct{ buf []byte }

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailBytes; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

// text is the last lines in one, without the password, should it be quoted there.
func (t *tail) text(password string) string {
	lines := strings.Split(strings.TrimSpace(string(bytes.ToValidUTF8(t.buf, []byte("?")))), "\n")
	if len(lines) > 6 {
		lines = lines[len(lines)-6:]
	}
	text := strings.Join(lines, "; ")
	if password != "" {
		text = strings.ReplaceAll(text, password, "[secret]")
	}
	return text
}
