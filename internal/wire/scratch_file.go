package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/engine/postgres"
	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// FileDrill is what a drill of a portable file found.
type FileDrill struct {
	Tables   int      `json:"tables"` // compared
	Rows     int64    `json:"rows"`
	Restore  float64  `json:"restore_seconds"`
	Findings []string `json:"findings,omitempty"`
}

// DrillFile loads SQL that check read before into a scratch place, compares the numbers of rows, and runs the engine's own checks.
// What it finds is a result. Kind: Unsupported, for fixtures, which hold no tables.
func DrillFile(ctx context.Context, r io.Reader, check *FileCheck, opt ScratchOptions) (d FileDrill, err error) {
	scratch, db, err := scratchFor(ctx, check, opt)
	if err != nil {
		return d, err
	}
	defer func() {
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		err = errors.Join(err, fail.Op(scratch.Drop(dctx), "remove what the drill loaded"))
	}()
	start := time.Now()
	if _, err := Load(ctx, r, db, LoadOptions{}); err != nil {
		return d, err
	}
	d.Restore = time.Since(start).Round(time.Millisecond).Seconds()
	view, err := scratch.View(ctx)
	if err != nil {
		return d, err
	}
	defer view.Close()
	report, err := rows.Measure(ctx, view, rows.CopyOptions{Jobs: 2})
	if err != nil {
		return d, fail.Op(err, "read what was loaded")
	}
	got, want := map[string]int64{}, map[string]int64{}
	for name, c := range report.Tables() {
		got[wholeTable(view.Schema(), name)] += c.Rows
	}
	for _, t := range check.Tables {
		want[wholeTable(view.Schema(), t.Name)] += t.Rows
	}
	for _, name := range sortedKeys(want) {
		d.Tables++
		d.Rows += got[name]
		if got[name] != want[name] {
			d.Findings = append(d.Findings, fmt.Sprintf("table %s has %d rows, %d are in the file", name, got[name], want[name]))
		}
	}
	found, err := scratch.Check(ctx)
	d.Findings = append(d.Findings, found...)
	return d, err
}

// wholeTable returns the table that a partition is of: files name either for its rows.
func wholeTable(s *rows.Schema, name string) string {
	for _, t := range s.Tables {
		if t.String() != name || t.Parent == "" {
			continue
		}
		if slices.ContainsFunc(s.Tables, func(up *rows.Table) bool { return up.String() == t.Parent && up.Kind == rows.Partitioned }) {
			return wholeTable(s, t.Parent)
		}
	}
	return name
}

// scratchFor makes a place for what a file holds, and returns its URL as well.
func scratchFor(ctx context.Context, check *FileCheck, opt ScratchOptions) (backup.Scratch, string, error) {
	given := opt.To != "" && opt.To != "auto"
	switch {
	case check.Format != string(SQL):
		return nil, "", fail.New(fail.Unsupported, "holdfast load FILE --to DATABASE --dry-run loads it into a database with its tables (manage.py migrate), and takes it back",
			"drill a fixture: it holds no tables to load it into")
	case check.Engine == SQLite && !given:
		s, err := sqliteScratch(ctx)
		if err != nil {
			return nil, "", err
		}
		return s, "sqlite:" + s.(*scratchFile).path, nil
	case check.Engine == Postgres && given:
		s, err := postgresScratch(ctx, opt)
		if err != nil {
			return nil, "", err
		}
		return s, s.(*scratchDatabase).db, nil
	case check.Engine == Postgres:
		server, err := postgres.StartScratch(ctx, postgres.MajorOf(check.Version), "")
		if err != nil {
			return nil, "", err
		}
		s := &scratchDatabase{drop: func(context.Context) error { return server.Stop() }}
		if s.db, _, err = postgres.CreateScratch(ctx, server.URL("postgres"), scratchName()); err != nil {
			return nil, "", errors.Join(err, server.Stop())
		}
		return s, s.db, nil
	}
	return nil, "", fail.New(fail.Unsupported, "load it into a database of yours: holdfast load", "drill SQL of %q", check.Engine)
}
