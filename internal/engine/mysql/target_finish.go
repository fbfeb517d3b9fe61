package mysql

import (
	"context"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// finish makes what comes behind the rows.
func (t *Target) finish(ctx context.Context) error {
	if t.opt.DataOnly {
		if err := t.main.exec(ctx, "COMMIT"); err != nil {
			return err
		}
		t.did = untouched
		return nil
	}
	for _, lt := range t.order { // whose parts nobody announced
		if err := t.buildKeys(ctx, t.main, lt); err != nil {
			return fail.Op(err, "table %s", lt.table)
		}
	}
	for _, s := range t.seq {
		if t.opt.Partial && !t.wanted(statement{label: label{Kind: "sequence", Name: s.Name}}) {
			continue
		}
		if err := t.main.exec(ctx, s.sql); err != nil {
			return fail.Op(explainIn(ctx, err), "set sequence %s", s.Name)
		}
	}
	if t.opt.Partial {
		if err := t.swap(ctx); err != nil {
			return err
		}
	}
	for i, s := range t.post {
		t.observe("foreign keys, views, routines, triggers", i, len(t.post))
		if err := t.apply(ctx, s); err != nil {
			return err
		}
	}
	if t.opt.Partial && t.opt.Clean {
		t.checkOthers(ctx)
	}
	return t.checkReferences(ctx)
}

// restores reports whether a table of the database is one of ours.
func (t *Target) restores(table string) bool {
	return slices.ContainsFunc(t.order, func(lt *loadTable) bool {
		return lt.name == table || t.folds && strings.EqualFold(lt.name, table)
	})
}

// checkOthers looks for rows of the tables beside ours that name rows which went with a table that was replaced.
func (t *Target) checkOthers(ctx context.Context) {
	broken, err := t.main.checkForeignKeys(ctx, func(table, parent string) bool { return !t.restores(table) && t.restores(parent) })
	if err != nil {
		t.note("the foreign keys of other tables to those restored could not be checked: %v", explainIn(ctx, err))
	}
	for _, k := range broken {
		t.note("foreign key %s of %s does not hold: there are rows that name none of %s, which was replaced", k.name, k.table, k.parent)
	}
}

// checkReferences looks for rows of another engine that name no other: SQLite may hold such, and the keys were made without a look at the rows. PostgreSQL
// has them where a key was never enforced (NOT VALID), and such a key is left out. What a server of this engine held is restored as it was.
func (t *Target) checkReferences(ctx context.Context) error {
	if t.schema.Origin.Engine == "mysql" {
		return nil
	}
	broken, err := t.main.checkForeignKeys(ctx, func(table, _ string) bool { return t.restores(table) })
	if err != nil {
		return fail.Op(explainIn(ctx, err), "check foreign keys")
	}
	var list []string
	for _, k := range broken {
		if t.schema.Origin.Engine != "postgres" {
			list = append(list, k.String())
			continue
		}
		if err := t.main.exec(ctx, "ALTER TABLE "+quoteIdent(k.table)+" DROP FOREIGN KEY "+quoteIdent(k.name)); err != nil {
			return fail.Op(explainIn(ctx, err), "leave out foreign key %s of %s", k.name, k.table)
		}
		t.note("foreign key %s of %s was left out: there are rows that name none of %s", k.name, k.table, k.parent)
	}
	if len(list) > 0 {
		return fail.New(fail.Incomplete, "mend or delete these rows in the source, or leave the table out", "%s", strings.Join(list, "; "))
	}
	return nil
}

// swap puts the tables of a partial restore into place.
func (t *Target) swap(ctx context.Context) error {
	for _, lt := range t.order {
		if t.opt.Clean {
			if err := t.main.exec(ctx, "DROP TABLE IF EXISTS "+quoteIdent(lt.name)); err != nil {
				return fail.Op(explainIn(ctx, err), "drop table %s", lt.table)
			}
			t.had = "--clean removed the tables that were there, and they are gone; that was"
		}
		if err := t.main.exec(ctx, "RENAME TABLE "+quoteIdent(lt.into)+" TO "+quoteIdent(lt.name)); err != nil {
			return fail.Op(explainIn(ctx, err), "put table %s into place", lt.table)
		}
		lt.into = lt.name
		if len(lt.checks) > 0 {
			if err := t.main.exec(ctx, "ALTER TABLE "+quoteIdent(lt.name)+" "+strings.Join(lt.checks, ", ")); err != nil {
				return fail.Op(explainIn(ctx, err), "make the rules of table %s", lt.table)
			}
		}
	}
	return nil
}

// apply makes one thing that comes behind the rows.
func (t *Target) apply(ctx context.Context, s statement) error {
	if t.opt.Partial && s.Kind != "set" {
		if !t.wanted(s) {
			return nil
		}
		if s.Kind == "foreign key" && !t.parentThere(ctx, s) {
			t.note("foreign key %s of %s was left out: the table it names is not here", s.Name, s.Table)
			return nil
		}
	}
	err := t.main.exec(ctx, t.owned(t.adapt(s.sql)))
	switch {
	case err == nil:
		return nil
	case s.Doubt && !t.gone(err):
		t.note("view %s was broken in the source and was left out: %v", s.Name, err)
		return nil
	case isNumber(err, 1227):
		return fail.Wrap(fail.Denied, err, "restore as a user with SET USER (MariaDB), SET_ANY_DEFINER (MySQL) or SUPER, or with --no-owner", "make %s %s for its definer", s.Kind, s.Name)
	case isNumber(err, 1419):
		return fail.Wrap(fail.Denied, err, "set log_bin_trust_function_creators=1 on the server", "make %s %s", s.Kind, s.Name)
	}
	return fail.Op(t.explainOther(ctx, err), "make %s %s", s.Kind, s.Name)
}

func (t *Target) gone(err error) bool { return cutText(err) != "" }

// parentThere reports whether the table exists that a foreign key names.
func (t *Target) parentThere(ctx context.Context, s statement) bool {
	for _, table := range t.schema.Tables {
		if table.Name != s.Table {
			continue
		}
		for _, k := range table.ForeignKeys {
			if k.Name == s.Name {
				_, err := t.main.one(ctx, "SELECT 1 FROM "+quoteTextForm(k.Table)+" LIMIT 0")
				return err == nil
			}
		}
	}
	return true
}

// quoteTextForm quotes a name that is in the form of rows.Table.String.
func quoteTextForm(name string) string {
	var parts []string
	for len(name) > 0 {
		var part string
		if rest, ok := strings.CutPrefix(name, `"`); ok {
			end := 0
			for end < len(rest) && (rest[end] != '"' || end+1 < len(rest) && rest[end+1] == '"') {
				if rest[end] == '"' {
					end++
				}
				end++
			}
			part, name = strings.ReplaceAll(rest[:min(end, len(rest))], `""`, `"`), strings.TrimPrefix(rest[min(end+1, len(rest)):], ".")
		} else {
			part, name, _ = strings.Cut(name, ".")
		}
		parts = append(parts, quoteIdent(part))
	}
	return strings.Join(parts, ".")
}

// prepareRows begins the transaction of a data-only restore.
func (t *Target) prepareRows(ctx context.Context) error {
	if err := t.main.exec(ctx, "START TRANSACTION"); err != nil {
		return err
	}
	t.did = inTransaction
	for _, table := range t.schema.Tables {
		lt := &loadTable{table: table, name: t.nameOf(table), into: t.nameOf(table), skip: !holdsRows(table), joined: true}
		if lt.skip {
			continue
		}
		if err := t.readFields(ctx, lt); err != nil {
			return err
		}
		row, err := t.main.one(ctx, "SELECT 1 FROM "+quoteIdent(lt.name)+" LIMIT 1")
		if err != nil {
			return err
		}
		if row != nil && !t.opt.Clean {
			return fail.New(fail.Exists, "--clean deletes them first", "table %s holds rows", table)
		}
		if row != nil && !slices.ContainsFunc(t.order, func(o *loadTable) bool { return o.name == lt.name }) {
			if err := t.main.exec(ctx, "DELETE FROM "+quoteIdent(lt.name)); err != nil {
				return fail.Op(explainIn(ctx, err), "empty table %s", table)
			}
		}
		t.tables[table] = lt
		t.order = append(t.order, lt)
	}
	return nil
}
