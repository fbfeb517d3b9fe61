package mysql

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// object is something in a database that has a name of its own.
type object struct{ kind, name string }

// inventory lists what a database holds. Keys and triggers belong to their tables.
func (t *Target) inventory(ctx context.Context, s *session) (found []object, err error) {
	add := func(row []cell) error {
		o := object{row[0].s, row[1].s}
		switch o.kind {
		case "BASE TABLE", "SYSTEM VERSIONED", "SYSTEM VIEW":
			o.kind = "TABLE"
		}
		found = append(found, o)
		return nil
	}
	for _, query := range []string{
		"SELECT 'EVENT', event_name FROM information_schema.events WHERE event_schema = database()",
		"SELECT table_type, table_name FROM information_schema.tables WHERE table_schema = database() AND table_type <> 'TEMPORARY' ORDER BY table_type = 'SEQUENCE', table_type = 'VIEW' DESC, table_name",
		"SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = database() AND routine_type <> 'PACKAGE BODY'",
	} {
		if err := s.each(ctx, query, add); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// inWords names a few of the objects.
func inWords(found []object) string {
	var names []string
	for i, o := range found {
		if i == 5 {
			names = append(names, fmt.Sprintf("%d more", len(found)-i))
			break
		}
		names = append(names, strings.ToLower(o.kind)+" "+o.name)
	}
	return strings.Join(names, ", ")
}

// wipe drops objects, and says how many. Foreign keys are not checked in its session.
func (t *Target) wipe(ctx context.Context, s *session, found []object) (dropped int, err error) {
	for i, o := range found {
		t.observe("clean", i, len(found))
		mode := "''"
		if o.kind == "PACKAGE" {
			mode = "'ORACLE'" // no other one knows what a package is
		}
		err := s.exec(ctx, "SET SESSION sql_mode = "+mode)
		if err == nil {
			err = s.exec(ctx, "DROP "+o.kind+" IF EXISTS "+quoteIdent(o.name))
		}
		if err != nil {
			return i, fail.Op(explainIn(ctx, err), "drop %s %s", strings.ToLower(o.kind), o.name)
		}
	}
	return len(found), s.exec(ctx, loadSettings)
}

// emptyAgain drops whatever a failed restore has made.
func (t *Target) emptyAgain(ctx context.Context) error {
	s, err := t.session(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := t.alone(ctx, s, abortWait); err != nil {
		return err
	}
	defer t.release(ctx, s)
	found, err := t.inventory(ctx, s)
	if err != nil {
		return err
	}
	_, err = t.wipe(ctx, s, found)
	return err
}

// dropAdded drops the tables of a failed partial restore, which still have names of their own.
func (t *Target) dropAdded(ctx context.Context) error {
	s, err := t.session(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	for _, lt := range t.order {
		if err := s.exec(ctx, "DROP TABLE IF EXISTS "+quoteIdent(lt.into)); err != nil {
			return err
		}
	}
	return nil
}

// dropDatabase removes the database that Prepare created.
func (t *Target) dropDatabase(ctx context.Context) error {
	s, err := connect(ctx, t.cfg, false)
	if err != nil {
		return err
	}
	defer s.close()
	if err := t.alone(ctx, s, abortWait); err != nil {
		return err
	}
	defer t.release(ctx, s)
	return s.exec(ctx, "DROP DATABASE IF EXISTS "+quoteIdent(t.cfg.DBName))
}
