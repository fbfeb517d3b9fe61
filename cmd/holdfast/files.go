package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/envelope"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/folder"
	"github.com/holdfast-db/holdfast/internal/retain"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/wire"
)

// isPath reports whether an argument means a file or folder of portable backups rather than a backup or database of the
// repository: it holds a slash, is there, or ends like such a file.
func isPath(arg string) bool {
	if strings.ContainsRune(arg, filepath.Separator) {
		return true
	}
	ends := []string{"json", "jsonl", "sql", "gz", "xz", "zst", "age", "gpg"}
	if ext := extensions(arg); len(ext) > 0 && slices.Contains(ends, ext[len(ext)-1]) {
		return true
	}
	_, err := os.Stat(arg)
	return err == nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// listFolder lists portable files, newest first.
func (a *app) listFolder(dir string) error {
	list, err := folder.List(dir)
	if err != nil {
		return err
	}
	if a.json {
		for _, e := range list {
			if err := a.object(e); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		a.say("No backup files in %s.", dir)
		return nil
	}
	return a.table(func(w io.Writer) {
		fmt.Fprintln(w, "FILE\tDATABASE\tKIND\tTAKEN\tSIZE\tSTATE")
		for _, e := range list {
			state := string(e.State)
			if e.Shrunken(0) {
				state += ", shrunken"
			}
			if e.Problem != "" {
				state += ": " + e.Problem
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", plain(e.Name), plain(orDash(e.Database)), orDash(e.Kind), timeText(e.Time), bytesText(e.Size), plain(state))
		}
	})
}

// fileResult is what --json prints of a verified file.
type fileResult struct {
	File    string           `json:"file"`
	OK      bool             `json:"ok"`
	Format  string           `json:"format,omitempty"`
	State   string           `json:"state"` // complete, truncated, empty, no rows, shrunken, …
	Rows    int64            `json:"rows"`
	Size    int64            `json:"size"`
	Tables  []rows.TableRows `json:"tables,omitempty"`
	Problem string           `json:"problem,omitempty"`
	Notes   []string         `json:"notes,omitempty"`
}

// verifyFiles parses files, and those of folders, to their ends.
func (a *app) verifyFiles(ctx context.Context, paths []string, keys envelope.Keys) error {
	var errs []error
	for _, p := range paths {
		if !isFolder(p) {
			file, err := newest(p)
			if err == nil {
				err = a.verifyFile(ctx, fileEntry(file), keys)
			}
			errs = append(errs, err)
			continue
		}
		list, err := folder.List(p)
		if err != nil {
			return err
		}
		n := 0
		for _, e := range list {
			if e.State == folder.Partial || e.State == folder.Orphan {
				continue
			}
			n++
			errs = append(errs, a.verifyFile(ctx, e, keys))
		}
		if n == 0 {
			errs = append(errs, fail.New(fail.NotFound, "holdfast dump makes one", "no backup file in %s", p))
		}
	}
	var bad []error
	for _, err := range errs {
		if fail.KindOf(err) == fail.Interrupted {
			return err
		}
		if err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) < 2 {
		return errors.Join(bad...)
	}
	// A missing key is no damage.
	kind := fail.KindOf(bad[0])
	if slices.ContainsFunc(bad, func(err error) bool { return fail.KindOf(err) == fail.Damaged }) {
		kind = fail.Damaged
	}
	hint := fail.HintOf(bad[0])
	if slices.ContainsFunc(bad, func(err error) bool { return fail.HintOf(err) != hint }) {
		hint = "look at each of them" // that of one would be read as one for all
	}
	return fail.Wrap(kind, errors.Join(bad...), hint, "%d files are not as they should be", len(bad))
}

// fileEntry finds what a file's folder knows of it.
func fileEntry(path string) folder.Entry {
	if list, err := folder.List(filepath.Dir(path)); err == nil {
		for _, e := range list {
			if e.Name == filepath.Base(path) {
				e.Path = path
				return e
			}
		}
	}
	e := folder.Entry{Name: filepath.Base(path), Path: path, State: folder.Foreign}
	if info, err := os.Stat(path); err == nil {
		e.Size = info.Size()
	}
	return e
}

func (a *app) verifyFile(ctx context.Context, e folder.Entry, keys envelope.Keys) error {
	r := fileResult{File: e.Path, Size: e.Size}
	check, err := readFile(ctx, e, keys)
	if fail.KindOf(err) == fail.Interrupted {
		return err
	}
	if check != nil {
		r.Format, r.State, r.Rows, r.Tables, r.Notes = check.Format, check.State, check.Rows, check.Tables, check.Notes
	}
	switch {
	case e.State == folder.Empty:
		r.State = "empty"
	case e.State == folder.Truncated:
		r.State = "truncated"
	case errors.Is(err, envelope.ErrTruncated):
		r.State = "truncated"
	case r.State == "" && fail.KindOf(err) == fail.Damaged:
		r.State = "damaged"
	case r.State == "":
		r.State = "unreadable"
	case err == nil && e.Shrunken(0):
		r.State = "shrunken"
		err = fail.New(fail.Mismatch, "look at what is missing before you rely on it", "%s of %s, less than half of the file before it (%s)", bytesText(e.Size), plain(e.Name), bytesText(e.Previous))
	case err == nil && r.Rows == 0:
		err = fail.New(fail.Mismatch, "is it the right database?", "there is not one row in it")
	}
	r.OK = err == nil
	if err != nil {
		r.Problem = err.Error()
		err = fail.Op(err, "verify %s", plain(e.Path))
	}
	if a.json {
		return errors.Join(err, a.object(r))
	}
	mark := "ok"
	if !r.OK {
		mark = "BAD"
	}
	fmt.Fprintf(a.stdout, "%s  %s  %s, %s in %s\n", mark, plain(e.Path), r.State, plural(r.Rows, "row"), plural(int64(len(r.Tables)), map[bool]string{true: "table", false: "model"}[r.Format == string(wire.SQL)]))
	if !a.quiet {
		for _, t := range r.Tables {
			fmt.Fprintf(a.stdout, "    %s  %s\n", plain(t.Name), countText(t.Rows))
		}
	}
	return err
}

// readFile compares a file with its sidecar, and parses it to its end.
func readFile(ctx context.Context, e folder.Entry, keys envelope.Keys) (*wire.FileCheck, error) {
	switch e.State {
	case folder.Empty:
		return nil, fail.New(fail.Damaged, "", "the file is empty")
	case folder.Good:
		if err := folder.Check(ctx, e); err != nil {
			return nil, err
		}
	}
	r, _, err := openFile(e.Path, keys)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	check, err := wire.CheckFile(ctx, r)
	if err != nil {
		return nil, err
	}
	if check.Err == nil && (e.State == folder.Truncated || e.State == folder.Changed || e.State == folder.Unclear) {
		return check, fail.New(fail.Damaged, "", "%s: %s", e.State, e.Problem)
	}
	return check, check.Err
}

// pruneFolder removes old portable files.
func (a *app) pruneFolder(ctx context.Context, dir string, policy retain.Policy, dryRun bool) error {
	verdicts, err := folder.Prune(ctx, dir, policy, folder.PruneOptions{DryRun: dryRun, State: retain.State{Now: time.Now()}})
	if err != nil && verdicts == nil {
		return err
	}
	removed := 0
	for _, v := range verdicts {
		if !v.Keep {
			removed++
		}
		if a.json {
			if err := a.object(fileDecision{v.Name, v.Database, v.Keep, v.Reason()}); err != nil {
				return err
			}
		}
	}
	if a.json {
		return err
	}
	terr := a.table(func(w io.Writer) {
		for _, v := range verdicts {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", map[bool]string{true: "keep", false: "remove"}[v.Keep], plain(v.Name), timeText(v.Time), plain(v.Reason()))
		}
	})
	if err := errors.Join(err, terr); err != nil {
		return err
	}
	verb := "removed"
	if dryRun {
		verb = "would be removed; nothing was changed"
	}
	_, err = fmt.Fprintf(a.stdout, "%s of %d %s.\n", plural(int64(removed), "file"), len(verdicts), verb)
	return err
}

// fileDecision is what --json prints for each file of a prune.
type fileDecision struct {
	File     string `json:"file"`
	Database string `json:"database"`
	Keep     bool   `json:"keep"`
	Reason   string `json:"reason"`
}
