package mysql

import (
	"context"
	"regexp"
	"strconv"

	"github.com/holdfast-db/holdfast/internal/rows"
)

// counterPattern finds the next number of a table in its SHOW CREATE TABLE, where no quoted text comes before it
// on the last line.
var counterPattern = regexp.MustCompile(`(?m)^\) ENGINE=\S+ (?:[A-Z_]+=\S+ )*?AUTO_INCREMENT=([0-9]+)`)

// readCounters describes where AUTO_INCREMENT columns go on, which other engines can't see in a definition.
func (d *describer) readCounters(context.Context) error {
	for _, t := range d.schema.Tables {
		m := counterPattern.FindStringSubmatch(d.create[t.Name].sql())
		if m == nil {
			continue
		}
		next, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			continue // beyond 2^63, which no other engine counts to
		}
		for _, c := range t.Columns {
			if c.Identity != "" {
				d.schema.Sequences = append(d.schema.Sequences, rows.Sequence{Name: t.Name, Table: t.String(), Column: c.Name, Last: next - 1, Called: true})
			}
		}
	}
	return nil
}
