package sqltext

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

const (
	sequenceData = "sequences.sql"

	mysqlHead = "-- MySQL dump by Holdfast"
	mysqlEnd  = "-- Dump completed"
)

// What the session is like while the file is read, and what puts it back.
const (
	mysqlBegin = `SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT, @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS, @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION;
SET NAMES utf8mb4;
SET @OLD_TIME_ZONE=@@TIME_ZONE, TIME_ZONE='+00:00';
SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0;
SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0;
SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO';

`
	mysqlReset = `SET SQL_MODE=@OLD_SQL_MODE, TIME_ZONE=@OLD_TIME_ZONE;
SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS, UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS;
SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT, CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS, COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION;

`
)

// definition is a statement of a MySQL backup's definitions, with what it defines.
type definition struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Doubt bool   `json:"doubt"` // a view that was broken already
	sql   string
}

// mysqlFile is a file being written.
type mysqlFile struct {
	*output
	v                    rows.View
	opt                  WriteOptions
	sum                  *Summary
	pre, sequences, post []definition
	delimiter            string // that is in none of post
}

func writeMySQL(ctx context.Context, v rows.View, out *output, opt WriteOptions, sum *Summary) (err error) {
	f := &mysqlFile{output: out, v: v, opt: opt, sum: sum}
	if f.pre, _, err = f.read(preData); err != nil {
		return err
	}
	if f.sequences, _, err = f.read(sequenceData); err != nil {
		return err
	}
	if f.post, f.delimiter, err = f.read(postData); err != nil {
		return err
	}
	return readAhead(ctx, v, opt.Jobs, func(ctx context.Context, a *ahead) error {
		f.head()
		if f.opt.Clean {
			f.drops()
		}
		for _, d := range f.pre {
			f.text("-- ", d.Kind, " ", oneLine(d.Name), "\n\n", d.sql, ";\n\n")
		}
		if err := f.rows(ctx, a); err != nil {
			return err
		}
		for _, d := range f.sequences {
			f.text(d.sql, ";\n")
		}
		f.after()
		f.text(mysqlReset, mysqlEnd, "\n")
		return f.err
	})
}

// maxMySQLDefinitions limits a file of definitions.
const maxMySQLDefinitions = 256 << 20

// read takes a file of definitions apart: its first line that is no comment names a delimiter, which then stands alone on
// the line behind each statement, and before each is a comment with what it defines. The texts are those of several SQL modes, so they are not
// looked into.
func (f *mysqlFile) read(file string) (list []definition, delimiter string, err error) {
	native := f.v.Native()
	if native == nil {
		return nil, "", nil
	}
	in, err := native.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxMySQLDefinitions+1))
	if err != nil {
		return nil, "", fail.Op(err, "read %s", file)
	}
	if len(data) > maxMySQLDefinitions {
		return nil, "", fail.New(fail.Unsupported, "", "%s is longer than %d bytes", file, maxMySQLDefinitions)
	}
	for rest := string(data); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		if d, ok := strings.CutPrefix(line, "DELIMITER "); ok && d != ";" {
			delimiter = d
			continue
		}
		label, ok := strings.CutPrefix(line, "-- {")
		if !ok {
			continue
		}
		var d definition
		if err := json.Unmarshal([]byte("{"+label), &d); err != nil {
			return nil, "", fail.Wrap(fail.Damaged, err, "", "read %s", file)
		}
		end := strings.Index(rest, "\n"+delimiter+"\n")
		if end < 0 || delimiter == "" {
			return nil, "", fail.New(fail.Damaged, "", "read %s: the definition of %s %s has no end", file, d.Kind, oneLine(d.Name))
		}
		d.sql, rest = f.definer(rest[:end]), rest[end+len(delimiter)+2:]
		list = append(list, d)
	}
	return list, delimiter, nil
}

var definerClause = regexp.MustCompile("^(CREATE (?:OR REPLACE )?(?:ALGORITHM=[A-Z]+ )?)DEFINER=(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")(?:@(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"))? ")

// definer leaves out whom a definition belongs to, unless the options want it.
func (f *mysqlFile) definer(sql string) string {
	if f.opt.Owner {
		return sql
	}
	return definerClause.ReplaceAllString(sql, "$1")
}

func (f *mysqlFile) head() {
	o := &f.v.Schema().Origin
	f.text(mysqlHead, "\n--\n-- Dumped from database version ", oneLine(o.Version), "\n-- Database ", oneLine(o.Database),
		", with the character set ", oneLine(o.Attribute("character_set")), " and the collation ", oneLine(o.Attribute("collation")), "\n\n", mysqlBegin)
	if f.pre == nil {
		f.sum.Notes = append(f.sum.Notes, "the file has rows only: the tables must be there")
	}
}

// mysqlDrops are kinds of definitions in the order in which they are dropped; triggers and foreign keys go with their tables.
var mysqlDrops = []string{"event", "view", "table", "sequence", "procedure", "function", "package"}

// drops removes an older copy.
func (f *mysqlFile) drops() {
	all := slices.Concat(f.pre, f.post)
	for _, kind := range mysqlDrops {
		for _, d := range all {
			switch {
			case d.Kind != kind:
			case kind == "package": // whose body goes with it
				f.text("SET SQL_MODE='ORACLE';\nDROP PACKAGE IF EXISTS ", mysqlIdent(d.Name), ";\nSET SQL_MODE='NO_AUTO_VALUE_ON_ZERO';\n")
			default:
				f.text("DROP ", strings.ToUpper(kind), " IF EXISTS ", mysqlIdent(d.Name), ";\n")
			}
		}
	}
	f.text("\n")
}

// after writes what comes behind the rows: foreign keys, routines, views, triggers, events.
func (f *mysqlFile) after() {
	if len(f.post) == 0 {
		f.text("\n")
		return
	}
	f.text("\nDELIMITER ", f.delimiter, "\n\n")
	for _, d := range f.post {
		if d.Doubt {
			f.sum.Notes = append(f.sum.Notes, "view "+oneLine(d.Name)+" was broken in the source and was left out")
			continue
		}
		f.text(d.sql, "\n", f.delimiter, "\n\n")
	}
	f.text("DELIMITER ;\n\n")
}

// rows writes the rows of all tables, those of each in one transaction.
func (f *mysqlFile) rows(ctx context.Context, a *ahead) error {
	for i := 0; i < len(a.parts); {
		t := a.parts[i].part.Table
		w := newMySQLRows(f.output, t)
		f.text("-- rows of ", oneLine(t.Name), "\n\nSTART TRANSACTION;\n")
		for ; i < len(a.parts) && a.parts[i].part.Table == t; i++ {
			since := w.rows
			if err := a.each(ctx, a.parts[i], w.chunk); err != nil {
				return err
			}
			if f.opt.Observer != nil {
				f.opt.Observer(rows.Update{Table: t, Rows: w.rows - since, Done: true})
			}
		}
		if err := w.end(); err != nil {
			return err
		}
		f.text("COMMIT;\n\n")
		f.sum.add(t.String(), w.rows)
		if w.longest > usualPacket {
			f.sum.Notes = append(f.sum.Notes, t.String()+" has long rows: client and server need a larger max_allowed_packet than the usual 16 MB")
		}
	}
	return f.err
}

func mysqlIdent(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
