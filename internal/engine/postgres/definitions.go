package postgres

import (
	"fmt"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// maxScript limits how much of a definitions file is taken into memory, in bytes.
const maxScript = 1 << 30

type (
	heading = sqlsplit.Heading
	token   = sqlsplit.Token
)

// statement is one SQL statement of a script and the entry it belongs to, nil before the first.
type statement struct {
	*heading
	text string
	line int
}

// parseScript returns the statements of a script written by pg_dump. Of psql's commands it takes
// \restrict and \unrestrict, which mean nothing here; any other is refused.
func parseScript(file, src string) ([]statement, error) {
	pieces, err := sqlsplit.Split(sqlsplit.PostgreSQL, src)
	if err != nil {
		return nil, fail.Op(err, "read %s", file)
	}
	var list []statement
	var current *heading
	for _, p := range pieces {
		switch p.Kind {
		case sqlsplit.Remark:
			if e, ok := sqlsplit.ParseHeading(p.Text); ok {
				current = &e
			}
		case sqlsplit.Statement:
			if p.Text != ";" {
				list = append(list, statement{current, p.Text, p.Line})
			}
		}
	}
	return list, nil
}

// tokens returns the tokens of a statement without blanks and comments.
func tokens(text string) []token { return sqlsplit.Tokens(sqlsplit.PostgreSQL, text) }

// qualified is a name with its schema.
type qualified struct{ schema, name string }

func (q qualified) String() string {
	return fmt.Sprintf("%s.%s", quoteIdent(q.schema), quoteIdent(q.name))
}

// qualifiedAt reads schema.name at tokens[i]; ok is false when there is none. A column or a
// type modifier may follow.
func qualifiedAt(list []token, i int) (q qualified, ok bool) {
	if i+2 >= len(list) || list[i+1].Text != "." {
		return q, false
	}
	q = qualified{list[i].Name(), list[i+2].Name()}
	return q, q.schema != "" && q.name != ""
}
