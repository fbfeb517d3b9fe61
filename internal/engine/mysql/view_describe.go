package mysql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// describer reads the server's catalog, right after the snapshot was taken.
type describer struct {
	*View
	s      *session
	schema *rows.Schema
	tables map[string]*rows.Table // by name
	create map[string]*tableSQL   // how each table was made
	all    bool                   // no table was left out

	collations map[[2]string]string // of text columns, by table and column
}

// transactional are the engines whose rows a snapshot freezes.
var transactional = map[string]bool{"InnoDB": true, "ROCKSDB": true, "TokuDB": true}

// elsewhere are the engines whose rows are in other tables, on other servers or nowhere.
var elsewhere = map[string]bool{"MRG_MYISAM": true, "MRG_MyISAM": true, "FEDERATED": true, "SPIDER": true, "CONNECT": true, "BLACKHOLE": true, "S3": true, "OQGRAPH": true}

func (d *describer) describe(ctx context.Context, origin rows.Origin) (*rows.Schema, error) {
	d.schema = &rows.Schema{Origin: origin}
	d.tables, d.create, d.collations = map[string]*rows.Table{}, map[string]*tableSQL{}, map[[2]string]string{}
	for _, step := range []func(context.Context) error{
		d.readDatabase, d.readTables, d.readColumns, d.readKeys, d.readForeignKeys, d.readCreate, d.readCounters, d.checkRights,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return d.schema, nil
}

func (d *describer) readDatabase(ctx context.Context) error {
	row, err := d.s.one(ctx, "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name = database()")
	if err != nil {
		return err
	}
	if row == nil {
		return fail.New(fail.NotFound, "", "the database is not there")
	}
	lower, err := d.s.one(ctx, "SELECT @@lower_case_table_names")
	if err != nil {
		return err
	}
	flavour := "mysql"
	if d.s.maria {
		flavour = "mariadb"
	}
	o := &d.schema.Origin
	o.Encoding = row[0].s
	o.Attributes = []rows.Pair{{Name: "character_set", Value: row[0].s}, {Name: "collation", Value: row[1].s},
		{Name: "lower_case_table_names", Value: lower[0].s}, {Name: "flavour", Value: flavour}}
	return nil
}

func (d *describer) readTables(ctx context.Context) error {
	match, err := d.opt.Tables.Matcher()
	if err != nil {
		return fail.Wrap(fail.Usage, err, "", "select tables")
	}
	var loose []string // tables that the snapshot does not freeze
	d.all = true
	err = d.s.each(ctx, `SELECT table_name, engine, table_rows, data_length, table_comment, create_options, table_type, table_collation FROM information_schema.tables
		WHERE table_schema = database() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY binary table_name`, func(row []cell) error {
		if !match.Match(d.cfg.DBName, row[0].s) {
			d.all = false
			return nil
		}
		t := &rows.Table{Name: row[0].s, Kind: rows.Ordinary, Comment: row[4].s}
		t.EstRows, _ = strconv.ParseInt(row[2].s, 10, 64)
		t.EstBytes, _ = strconv.ParseInt(row[3].s, 10, 64)
		engine := row[1].s
		if elsewhere[engine] {
			t.Kind = rows.Foreign
		} else if !transactional[engine] {
			loose = append(loose, fmt.Sprintf("%s (%s)", t, cmp.Or(engine, "no engine")))
		}
		t.Native = []rows.Pair{{Name: "engine", Value: engine}, {Name: "collation", Value: row[7].s}}
		if strings.Contains(row[5].s, "partitioned") {
			t.Native = append(t.Native, rows.Pair{Name: "partitioned", Value: "yes"})
		}
		if row[6].s == "SYSTEM VERSIONED" {
			d.note("table %s: rows as they are now, without the history of its versions", t)
		}
		d.tables[t.Name] = t
		d.schema.Tables = append(d.schema.Tables, t)
		return nil
	})
	if err != nil {
		return err
	}
	if unused := match.Unused(); len(unused) > 0 {
		return fail.New(fail.NotFound, "", "no table fits %s", strings.Join(unused, ", "))
	}
	if len(loose) > 0 {
		d.note("no snapshot freezes these tables, each is as it was when it was read: %s", strings.Join(loose, ", "))
	}
	return nil
}

func (d *describer) note(format string, args ...any) {
	d.schema.Origin.Notes = append(d.schema.Origin.Notes, fmt.Sprintf(format, args...))
}

// number reads a catalog's number; NULL, and what is too large to matter, is 0.
func number(c cell) int {
	n, err := strconv.ParseInt(c.s, 10, 32)
	if err != nil {
		return 0
	}
	return int(n)
}

func (d *describer) readColumns(ctx context.Context) error {
	json := map[[2]string]bool{}
	if d.s.maria {
		err := d.s.each(ctx, `SELECT table_name, constraint_name, check_clause FROM information_schema.check_constraints
			WHERE constraint_schema = database() AND level = 'Column'`, func(row []cell) error {
			json[[2]string{row[0].s, row[1].s}] = row[2].s == "json_valid("+quoteIdent(row[1].s)+")"
			return nil
		})
		if err != nil {
			return err
		}
	}
	return d.s.each(ctx, `SELECT table_name, column_name, data_type, column_type, character_maximum_length, numeric_precision, numeric_scale,
		character_set_name, collation_name, is_nullable, column_default, extra, generation_expression, column_comment
		FROM information_schema.columns WHERE table_schema = database() ORDER BY table_name, ordinal_position`, func(row []cell) error {
		t := d.tables[row[0].s]
		if t == nil {
			return nil
		}
		r := rawColumn{
			name: row[1].s, data: strings.ToLower(row[2].s), native: row[3].s, length: number(row[4]), precision: number(row[5]), scale: number(row[6]),
			charset: row[7].s, collation: row[8].s, nullable: row[9].s == "YES", def: row[10], extra: row[11].s, expression: row[12].s,
			comments: row[13].s, isJSON: json[[2]string{row[0].s, row[1].s}],
		}
		t.Columns = append(t.Columns, r.portable(d.s.maria))
		d.collations[[2]string{t.Name, r.name}] = r.collation
		return nil
	})
}

func (d *describer) readKeys(ctx context.Context) error {
	type key struct {
		unique, plain bool
		columns       []string
	}
	keys, order := map[[2]string]*key{}, [][2]string{}
	expression := "NULL"
	if !d.s.maria {
		expression = "expression"
	}
	err := d.s.each(ctx, `SELECT table_name, index_name, non_unique, column_name, sub_part, index_type, `+expression+`
		FROM information_schema.statistics WHERE table_schema = database() ORDER BY table_name, index_name, seq_in_index`, func(row []cell) error {
		id := [2]string{row[0].s, row[1].s}
		k := keys[id]
		if k == nil {
			k = &key{unique: row[2].s == "0", plain: row[5].s == "BTREE" || row[5].s == "HASH" || row[5].s == "RTREE" && false}
			keys[id] = k
			order = append(order, id)
		}
		k.plain = k.plain && row[4].null && !row[3].null && row[6].null
		k.columns = append(k.columns, row[3].s)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range order {
		t, k := d.tables[id[0]], keys[id]
		if t == nil {
			continue
		}
		if id[1] == "PRIMARY" {
			t.PrimaryKey = k.columns
			if !k.plain { // a prefix of a column finds no row for others
				t.Native = append(t.Native, rows.Pair{Name: "prefix key", Value: "yes"})
			}
			continue
		}
		index := rows.Index{Name: id[1], Unique: k.unique}
		if k.plain {
			index.Columns = k.columns
			if k.unique {
				t.Unique = append(t.Unique, k.columns)
			}
		}
		t.Indexes = append(t.Indexes, index)
	}
	return nil
}

// readCreate keeps how each table was made, and gives indexes their definitions.
func (d *describer) readCreate(ctx context.Context) error {
	for _, t := range d.schema.Tables {
		row, err := d.s.one(ctx, "SHOW CREATE TABLE "+quoteTable(t))
		if err != nil {
			return fail.Op(explainIn(ctx, err), "read the definition of %s", t)
		}
		sql := parseTable(row[1].s)
		d.create[t.Name] = sql
		for i := range t.Indexes {
			at := slices.IndexFunc(sql.keys, func(k named) bool { return k.name == t.Indexes[i].Name })
			if at >= 0 {
				t.Indexes[i].Definition = sql.keys[at].sql
			}
		}
	}
	return nil
}

// checkRights finds out, before the work begins, which tables can't be read.
func (d *describer) checkRights(ctx context.Context) error {
	var denied []string
	for _, t := range d.schema.Tables {
		if t.Kind == rows.Foreign {
			continue
		}
		sql, _ := selectSQL(t, t.Stored())
		err := d.s.exec(ctx, sql+" LIMIT 0")
		switch {
		case isNumber(err, 1142, 1143):
			denied = append(denied, t.String())
		case err != nil:
			return fail.Op(explainIn(ctx, err), "read %s", t)
		}
	}
	if len(denied) > 0 {
		return fail.New(fail.Denied, fmt.Sprintf("GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON %s.*, or leave them out with --exclude", quoteIdent(d.cfg.DBName)),
			"no right to read %s", strings.Join(denied, ", "))
	}
	return nil
}
