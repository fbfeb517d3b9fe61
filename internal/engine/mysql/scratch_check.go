package mysql

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// CreateScratch creates a database for a while on a server, named after ours, and returns its URL and what drops it.
func CreateScratch(ctx context.Context, server, name string) (db string, drop func(context.Context) error, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", nil, fail.New(fail.Usage, "write mysql://user@host", "the server for scratch databases is no URL")
	}
	u.Path = "/" + name
	cfg, err := parseURL(u.String())
	if err != nil {
		return "", nil, err
	}
	run := func(ctx context.Context, what, sql string) error {
		s, err := connect(ctx, cfg, false)
		if err == nil {
			defer s.close()
			err = explainIn(ctx, s.exec(ctx, sql))
		}
		return fail.Op(err, "%s the scratch database %s", what, name)
	}
	if err := run(ctx, "create", "CREATE DATABASE "+quoteIdent(name)+" CHARACTER SET utf8mb4"); err != nil {
		return "", nil, err
	}
	return u.String(), func(ctx context.Context) error {
		return run(ctx, "drop", "DROP DATABASE IF EXISTS "+quoteIdent(name))
	}, nil
}

// CheckDatabase looks for what a restore may have done wrong without a word: tables and indexes that the server finds fault with, and rows that break
// a foreign key, since those are made without a look at the rows. Each finding is one text.
func CheckDatabase(ctx context.Context, db string) (findings []string, err error) {
	cfg, err := parseURL(db)
	if err != nil {
		return nil, err
	}
	s, err := connect(ctx, cfg, true)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if findings, err = s.checkTables(ctx); err != nil {
		return nil, fail.Op(explainIn(ctx, err), "check tables")
	}
	broken, err := s.checkForeignKeys(ctx, nil)
	if err != nil {
		return nil, fail.Op(explainIn(ctx, err), "check foreign keys")
	}
	for _, k := range broken {
		findings = append(findings, k.String())
	}
	return findings, nil
}

func (s *session) checkTables(ctx context.Context) (findings []string, err error) {
	tables, err := s.all(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY 1")
	if err != nil {
		return nil, err
	}
	for _, row := range tables {
		err := s.each(ctx, "CHECK TABLE "+quoteIdent(row[0].s), func(r []cell) error {
			kind, text := strings.ToLower(r[2].s), r[3].s
			if kind == "error" || kind == "warning" || kind == "status" && text != "OK" && text != "Table is already up to date" {
				findings = append(findings, fmt.Sprintf("table %s: %s", row[0].s, text))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return findings, nil
}

// A brokenKey is a foreign key with rows that break it.
type brokenKey struct{ name, table, parent string }

func (k *brokenKey) String() string {
	return fmt.Sprintf("foreign key %s of %s: there are rows that name none of %s", k.name, k.table, k.parent)
}

// checkForeignKeys looks for rows without the row that they name, in the tables that are wanted; nil is all.
func (s *session) checkForeignKeys(ctx context.Context, wanted func(table, parent string) bool) (broken []brokenKey, err error) {
	type key struct {
		brokenKey
		columns, references []string
	}
	var keys []*key
	err = s.each(ctx, `SELECT constraint_name, table_name, referenced_table_name, column_name, referenced_column_name, ordinal_position FROM information_schema.key_column_usage
		WHERE table_schema = database() AND referenced_table_schema = database() ORDER BY table_name, constraint_name, ordinal_position`, func(r []cell) error {
		if r[5].s == "1" {
			keys = append(keys, &key{brokenKey: brokenKey{name: r[0].s, table: r[1].s, parent: r[2].s}})
		}
		k := keys[len(keys)-1]
		k.columns, k.references = append(k.columns, "c."+quoteIdent(r[3].s)), append(k.references, "p."+quoteIdent(r[4].s))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if wanted != nil && !wanted(k.table, k.parent) {
			continue
		}
		var same, there []string
		for i, c := range k.columns {
			same, there = append(same, c+" = "+k.references[i]), append(there, c+" IS NOT NULL")
		}
		row, err := s.one(ctx, fmt.Sprintf("SELECT 1 FROM %s c LEFT JOIN %s p ON %s WHERE %s AND %s IS NULL LIMIT 1", quoteIdent(k.table), quoteIdent(k.parent),
			strings.Join(same, " AND "), strings.Join(there, " AND "), k.references[0]))
		if err != nil {
			return nil, fail.Op(explainIn(ctx, err), "%s of %s", k.name, k.table)
		}
		if row != nil {
			broken = append(broken, k.brokenKey)
		}
	}
	return broken, nil
}

// QueryValue runs one query that only reads and returns the first value of its first row as text; null is «null».
func QueryValue(ctx context.Context, db, sql string) (string, error) {
	cfg, err := parseURL(db)
	if err != nil {
		return "", err
	}
	s, err := connect(ctx, cfg, true)
	if err != nil {
		return "", err
	}
	defer s.close()
	if err := s.exec(ctx, "SET SESSION TRANSACTION READ ONLY"); err != nil {
		return "", explainIn(ctx, err)
	}
	row, err := s.one(ctx, sql)
	switch {
	case err != nil:
		return "", explainIn(ctx, err)
	case len(row) == 0:
		return "no row", nil
	case row[0].null:
		return "null", nil
	}
	return row[0].s, nil
}
