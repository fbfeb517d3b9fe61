package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/format/fixture/models"
	"github.com/holdfast-db/holdfast/internal/rows"
)

// A converter makes the text of a value that one engine takes from what another one gave, or refuses it. nil leaves values as they are.
type converter func(text []byte) ([]byte, error)

// adapt returns what a table of one engine should be for another one, and the conversions of its stored columns. It
// knows what a Django project means by types that only some engines have: where PostgreSQL has a
// timestamptz, an interval or a uuid, the others have a datetime, a bigint and a char(32).
func adapt(t *rows.Table, from, to string, g *models.Graph) (*rows.Table, []converter) {
	if from == to {
		return t, nil
	}
	kinds, ours := fieldKinds(t, g)
	out := *t
	out.Columns = make([]rows.Column, len(t.Columns))
	var convert []converter
	useful := false
	for i, c := range t.Columns {
		var fn converter
		if ours && to == Postgres {
			fn = djangoColumn(&c, kinds[c.Name], g.UseTZ)
		}
		if from == SQLite && fn == nil && (c.Type == rows.Timestamp || c.Type == rows.Instant) {
			fn = func(text []byte) ([]byte, error) { return []byte(utc(string(text))), nil } // which else would be cut off
		}
		if fn == nil {
			fn = checker(&c, from, to)
		}
		if from == SQLite && c.Literal != nil && !constant(&c) {
			c.Literal = nil
		}
		if from == SQLite && c.Type == rows.UUID && !ours && strings.EqualFold(c.Native, "char(32)") {
			c.Type, c.Size = rows.Text, 32 // only Django keeps its uuids so
		}
		out.Columns[i] = c
		if !c.Generated {
			convert = append(convert, fn)
			useful = useful || fn != nil
		}
	}
	if !useful {
		convert = nil
	}
	return &out, convert
}

// fieldKinds returns Django's names of a table's fields by column, and whether it is a table of Django's.
func fieldKinds(t *rows.Table, g *models.Graph) (kinds map[string]string, ours bool) {
	if g == nil || !g.Django {
		return nil, false
	}
	m := g.ByTable[t.String()]
	if m == nil {
		return nil, !isPlain(t, g) // the tables between two models, and Django's own
	}
	kinds = map[string]string{}
	for _, f := range append(append([]*models.Field(nil), m.PK...), m.Fields...) {
		kinds[f.Column] = f.Kind
	}
	return kinds, !m.Plain
}

func isPlain(t *rows.Table, g *models.Graph) bool {
	for _, u := range g.Unclaimed {
		if u == t {
			return true
		}
	}
	return false
}

// djangoColumn changes a column into what Django declares on PostgreSQL.
func djangoColumn(c *rows.Column, kind string, zoned bool) converter {
	switch {
	case c.Type == rows.Timestamp && zoned:
		c.Type = rows.Instant
	case c.Type == rows.Int && kind == "DurationField":
		c.Type, c.Size = rows.Interval, 0
		return asInterval
	case c.Type == rows.Text && strings.EqualFold(c.Native, "char(32)") && (kind == "UUIDField" || kind == "" || kind == "ForeignKey" || kind == "OneToOneField"):
		c.Type, c.Size = rows.UUID, 0
	case c.Type == rows.Text && kind == "JSONField":
		c.Type, c.Size = rows.JSON, 0
	case c.Type == rows.Text && kind == "GenericIPAddressField":
		c.Type, c.Native, c.Size = rows.Other, "inet", 0
	}
	return nil
}

// asInterval writes a number of microseconds as PostgreSQL's interval.
func asInterval(text []byte) ([]byte, error) {
	us, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return nil, fail.New(fail.Incomplete, hintValue, "%.40q is no number of microseconds", text)
	}
	const day = 86400e6
	sign, rest := "", us%day
	if rest < 0 {
		sign, rest = "-", -rest
	}
	return fmt.Appendf(nil, "%d days %s%d.%06d secs", us/day, sign, rest/1e6, rest%1e6), nil
}
