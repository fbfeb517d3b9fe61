package mysql

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// limits is a range of primary keys, as the Bounds of a part: from on, up to but without to. Each is
// the first columns of a key; bytes are hexadecimal. Nothing is no limit.
type limits struct {
	From []string `json:"from,omitempty"`
	To   []string `json:"to,omitempty"`
}

// keyClass says how a column of a primary key is cut into ranges.
type keyClass uint8

const (
	notCut keyClass = iota
	cutInt
	cutString
	cutBytes
	cutUUID
)

func classOf(c *rows.Column) keyClass {
	switch base, _, _ := strings.Cut(c.Native, "("); strings.ToLower(base) {
	case "char", "varchar":
		return cutString
	case "binary", "varbinary":
		return cutBytes
	case "uuid":
		return cutUUID
	}
	if _, ok := integerBits[strings.FieldsFunc(c.Native+" ", func(r rune) bool { return r == '(' || r == ' ' })[0]]; ok {
		return cutInt
	}
	return notCut
}

var integer = regexp.MustCompile(`^-?[0-9]{1,20}$`)

// literal is a key's value as SQL. It may come from a stored backup, so it is checked.
func (c keyClass) literal(text string) (string, error) {
	switch c {
	case cutInt:
		if integer.MatchString(text) {
			return text, nil
		}
	case cutBytes:
		if _, err := hex.DecodeString(text); err == nil {
			return "X'" + text + "'", nil
		}
	case cutString, cutUUID:
		return quoteLiteral(text), nil
	}
	return "", fmt.Errorf("bad bound %.40q", text)
}

// condition is the WHERE clause of a part; "" for a whole table.
func condition(p rows.Part) (string, error) {
	if p.Bounds == "" {
		return "", nil
	}
	var l limits
	err := json.Unmarshal([]byte(p.Bounds), &l)
	var list []string
	for _, side := range []struct {
		key         []string
		inner, last string
	}{{l.From, ">", ">="}, {l.To, "<", "<"}} {
		if err != nil || len(side.key) == 0 {
			continue
		}
		var sql string
		if sql, err = compare(p.Table, side.key, side.inner, side.last); err == nil {
			list = append(list, sql)
		}
	}
	if err != nil {
		return "", fail.Wrap(fail.Internal, err, "", "read %s: bounds of part %d", p.Table, p.Number)
	}
	return strings.Join(list, " AND "), nil
}

// compare writes a comparison of the first columns of the primary key with values, in a form whose ranges the
// optimizer sees.
func compare(t *rows.Table, key []string, inner, last string) (string, error) {
	if len(key) > len(t.PrimaryKey) {
		return "", fmt.Errorf("%d values for a key of %d", len(key), len(t.PrimaryKey))
	}
	sql := ""
	for i := len(key) - 1; i >= 0; i-- {
		c := column(t, t.PrimaryKey[i])
		value, err := classOf(c).literal(key[i])
		if err != nil {
			return "", err
		}
		name := quoteIdent(c.Name)
		if sql == "" {
			sql = name + " " + last + " " + value
		} else {
			sql = fmt.Sprintf("(%s %s %s OR %s = %s AND %s)", name, inner, value, name, value, sql)
		}
	}
	return sql, nil
}

// split cuts the tables into parts.
func (d *describer) split(ctx context.Context) error {
	for _, t := range d.schema.Tables {
		if t.Kind == rows.Foreign {
			continue
		}
		whole := []rows.Part{{Table: t, Number: 1, Bytes: t.EstBytes}}
		d.parts[t] = whole
		if t.EstBytes <= d.opt.PartBytes*3/2 || t.EstRows < 2 || len(t.PrimaryKey) == 0 || !transactional[native(t, "engine")] || native(t, "prefix key") != "" {
			continue
		}
		rowBytes := max(1, t.EstBytes/t.EstRows)
		c := &cutter{d: d, table: t, target: max(1, d.opt.PartBytes/rowBytes)}
		if err := c.cut(ctx, nil, nil, nil, 0); err != nil {
			return fail.Op(explainIn(ctx, err), "split %s", t)
		}
		d.parts[t] = c.parts(rowBytes)
	}
	return nil
}

// cutter cuts one table at keys between which the server guesses there are about target rows. The guesses come from
// looks into the index (EXPLAIN), no rows are read.
type cutter struct {
	d      *describer
	table  *rows.Table
	target int64
	ranges []keyRange
	looks  int
}

// keyRange begins at a key and ends where the next one begins.
type keyRange struct {
	from []string
	rows int64
}

const maxLooks = 4000

// cut looks at the rows whose key begins with fixed and whose next column is from lo to before hi, and cuts them until no range
// is too large.
func (c *cutter) cut(ctx context.Context, fixed []string, lo, hi *string, depth int) error {
	from := fixed
	if lo != nil {
		from = append(append([]string(nil), fixed...), *lo)
	}
	where, err := c.where(fixed, lo, hi)
	if err != nil {
		return err
	}
	guess, err := c.guess(ctx, where)
	if err != nil {
		return err
	}
	leaf := func() error {
		c.ranges = append(c.ranges, keyRange{from, guess})
		return nil
	}
	if guess <= c.target*5/4 || c.looks > maxLooks || depth > 80 || len(fixed) == len(c.table.PrimaryKey) {
		return leaf()
	}
	col := column(c.table, c.table.PrimaryKey[len(fixed)])
	class := classOf(col)
	if class == notCut {
		return leaf()
	}
	least, greatest, err := c.ends(ctx, col, class, where)
	if err != nil || least == "" && greatest == "" {
		return leafOr(err, leaf)
	}
	if least == greatest {
		if class == cutUUID || len(fixed)+1 == len(c.table.PrimaryKey) {
			return leaf()
		}
		n := len(c.ranges)
		err := c.cut(ctx, append(append([]string(nil), fixed...), least), nil, nil, depth+1)
		if err == nil && len(c.ranges) > n {
			c.ranges[n].from = from // it begins where this one does
		}
		return err
	}
	points, err := c.points(ctx, col, class, least, greatest)
	if err != nil || len(points) == 0 {
		return leafOr(err, leaf)
	}
	for i := 0; i <= len(points); i++ {
		a, b := lo, hi
		if i > 0 {
			a = &points[i-1]
		}
		if i < len(points) {
			b = &points[i]
		}
		if err := c.cut(ctx, fixed, a, b, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func leafOr(err error, leaf func() error) error {
	if err != nil {
		return err
	}
	return leaf()
}

func (c *cutter) where(fixed []string, lo, hi *string) (string, error) {
	var list []string
	for i, v := range fixed {
		col := column(c.table, c.table.PrimaryKey[i])
		value, err := classOf(col).literal(v)
		if err != nil {
			return "", err
		}
		list = append(list, quoteIdent(col.Name)+" = "+value)
	}
	for _, side := range []struct {
		op string
		v  *string
	}{{">=", lo}, {"<", hi}} {
		if side.v == nil {
			continue
		}
		col := column(c.table, c.table.PrimaryKey[len(fixed)])
		value, err := classOf(col).literal(*side.v)
		if err != nil {
			return "", err
		}
		list = append(list, quoteIdent(col.Name)+" "+side.op+" "+value)
	}
	if len(list) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(list, " AND "), nil
}

// guess asks the server how many rows it expects.
func (c *cutter) guess(ctx context.Context, where string) (int64, error) {
	c.looks++
	if where == "" {
		return c.table.EstRows, nil
	}
	explain, use := "EXPLAIN", "FORCE"
	if !c.d.s.maria {
		explain, use = "EXPLAIN FORMAT=TRADITIONAL", "USE" // newer ones draw a tree, and none looks into an index that it is forced to take
	}
	names, row, err := c.d.s.header(ctx, explain+" SELECT 1 FROM "+quoteTable(c.table)+" "+use+" INDEX (PRIMARY)"+where)
	if err != nil || row == nil {
		return 0, err
	}
	for i, name := range names {
		if strings.EqualFold(name, "rows") {
			n, _ := strconv.ParseInt(row[i].s, 10, 64) // NULL when there are none
			return n, nil
		}
	}
	return 0, nil
}

// ends returns the least and the greatest value of a column among the rows, which the index knows.
func (c *cutter) ends(ctx context.Context, col *rows.Column, class keyClass, where string) (least, greatest string, err error) {
	expr := quoteIdent(col.Name)
	if class == cutBytes {
		expr = "hex(min(" + expr + ")), hex(max(" + expr + "))"
	} else {
		expr = "min(" + expr + "), max(" + expr + ")"
	}
	row, err := c.d.s.one(ctx, "SELECT "+expr+" FROM "+quoteTable(c.table)+where)
	if err != nil || row == nil {
		return "", "", err
	}
	return row[0].s, row[1].s, nil
}

// points returns values between least and greatest, in the server's order, at which to cut.
func (c *cutter) points(ctx context.Context, col *rows.Column, class keyClass, least, greatest string) ([]string, error) {
	switch class {
	case cutInt:
		return middle(least, greatest), nil
	case cutBytes:
		prefix := commonPrefix(least, greatest)
		prefix = prefix[:len(prefix)&^1]
		return c.ordered(ctx, class, "", least, greatest, spread(prefix, hexPairs()))
	case cutUUID:
		return c.ordered(ctx, class, "", least, greatest, uuids(least, greatest))
	}
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	return c.ordered(ctx, class, c.d.collations[[2]string{c.table.Name, col.Name}], least, greatest, spread(commonPrefix(least, greatest), strings.Split(letters, "")))
}

// middle returns the number between two others that ends in the most zero bits, so that tables that have grown are
// cut where they were.
func middle(least, greatest string) []string {
	const offset = 1 << 63
	if a, err := strconv.ParseInt(least, 10, 64); err == nil {
		if b, err := strconv.ParseInt(greatest, 10, 64); err == nil && a < b {
			return []string{strconv.FormatInt(int64(roundest(uint64(a)+offset, uint64(b)+offset)-offset), 10)}
		}
	}
	a, aerr := strconv.ParseUint(least, 10, 64)
	b, berr := strconv.ParseUint(greatest, 10, 64)
	if aerr != nil || berr != nil || a >= b {
		return nil
	}
	return []string{strconv.FormatUint(roundest(a, b), 10)}
}

// roundest returns the number after a and up to b with the most zero bits at its end.
func roundest(a, b uint64) uint64 {
	v := b
	for v&(v-1) > a {
		v &= v - 1
	}
	return v
}

func commonPrefix(a, b string) string {
	x, y := []rune(a), []rune(b)
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return string(x[:n])
}

func hexPairs() []string {
	list := make([]string, 256)
	for i := range list {
		list[i] = fmt.Sprintf("%02x", i)
	}
	return list
}

// uuids returns values all over the type's order: MariaDB compares the last group first, but for version 7
// from left to right.
func uuids(least, greatest string) []string {
	const seventh = "00000000-0000-7000-8000-000000000000"
	if len(least) != len(seventh) || len(greatest) != len(seventh) || least[14] != '7' || greatest[14] != '7' {
		return spread("00000000-0000-4000-8000-", suffixed(hexPairs(), "0000000000"))
	}
	prefix := commonPrefix(least, greatest)
	if n := len(prefix); n < len(seventh) && seventh[n] == '-' {
		prefix += "-"
	}
	var list []string
	for _, d := range "0123456789abcdef" {
		if n := len(prefix) + 1; n <= len(seventh) {
			list = append(list, prefix+string(d)+seventh[n:])
		}
	}
	return list
}

func suffixed(list []string, suffix string) []string {
	for i := range list {
		list[i] += suffix
	}
	return list
}

func spread(prefix string, list []string) []string {
	for i := range list {
		list[i] = prefix + list[i]
	}
	return list
}

// ordered lets the server sort values by the column's collation, and drops those that are no cut.
func (c *cutter) ordered(ctx context.Context, class keyClass, collation, least, greatest string, values []string) ([]string, error) {
	cast := func(v string) string {
		l, err := class.literal(v)
		switch {
		case err != nil:
			return "NULL"
		case class == cutUUID:
			return "CAST(" + l + " AS uuid)"
		case collation != "":
			charset, _, _ := strings.Cut(collation, "_")
			return "CONVERT(" + l + " USING " + charset + ") COLLATE " + collation
		}
		return l
	}
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprintf("SELECT %d AS i, %s AS v", i, cast(v))
	}
	sql := "SELECT min(i) FROM (" + strings.Join(list, " UNION ALL ") + ") x WHERE v > " + cast(least) + " AND v <= " + cast(greatest) + " GROUP BY v ORDER BY v"
	got, err := c.d.s.all(ctx, sql)
	if err != nil {
		return nil, err
	}
	points := make([]string, 0, len(got))
	for _, row := range got {
		if i, err := strconv.Atoi(row[0].s); err == nil && i < len(values) {
			points = append(points, values[i])
		}
	}
	return points, nil
}

// parts joins neighbours that are small.
func (c *cutter) parts(rowBytes int64) []rows.Part {
	var starts []keyRange
	for i, r := range c.ranges {
		if n := len(starts); i > 0 && starts[n-1].rows+r.rows <= c.target*5/4 {
			starts[n-1].rows += r.rows
		} else {
			starts = append(starts, r)
		}
	}
	parts := make([]rows.Part, len(starts))
	for i, s := range starts {
		l := limits{From: s.from}
		if i == 0 {
			l.From = nil
		}
		if i+1 < len(starts) {
			l.To = starts[i+1].from
		}
		parts[i] = rows.Part{Table: c.table, Number: i + 1, Bytes: s.rows * rowBytes}
		if len(starts) > 1 {
			text, err := json.Marshal(l)
			if err != nil {
				panic("mysql: bounds without JSON: " + err.Error())
			}
			parts[i].Bounds = string(text)
		}
	}
	return parts
}
