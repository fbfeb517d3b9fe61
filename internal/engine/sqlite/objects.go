package sqlite

import (
	"slices"
	"strings"

	"github.com/holdfast-db/holdfast/internal/sqlsplit"
)

// Objects lists, by name, what a schema.sql defines that no other engine gets. Its statements are as somebody wrote them, over any number of lines.
func Objects(text string) (list []string, err error) {
	pieces, err := sqlsplit.Split(sqlsplit.SQLite, text)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		if p.Kind != sqlsplit.Statement {
			continue
		}
		all := sqlsplit.Tokens(sqlsplit.SQLite, p.SQL())
		switch {
		case len(all) < 3 || !all[0].Is("create"):
		case all[1].Is("view"), all[1].Is("trigger"):
			list = append(list, strings.ToLower(all[1].Text)+" "+all[2].Plain())
		case all[1].Is("table"):
			list = append(list, objectClauses(all[2].Plain(), all[3:])...)
		}
	}
	return list, nil
}

// objectClauses lists what the definition of a table has that no other engine gets: once for each kind of check, and for each way out of a conflict.
func objectClauses(table string, all []sqlsplit.Token) (list []string) {
	for i, t := range all {
		lost := ""
		switch rest := all[i+1:]; {
		case t.Is("check") && len(rest) > 0 && rest[0].Text == "(" && !onlyJSON(rest):
			lost = "check constraints of " + table
		case t.Is("on") && len(rest) > 1 && rest[0].Is("conflict") && !rest[1].Is("abort"): // which is what happens anyhow
			lost = "ON CONFLICT " + strings.ToUpper(rest[1].Text) + " of " + table
		}
		if lost != "" && !slices.Contains(list, lost) {
			list = append(list, lost)
		}
	}
	return list
}

// onlyJSON says whether the brackets at the beginning hold nothing but that a column is JSON, which its type says elsewhere:
// json_valid(x), and what Django writes, (json_valid(x) OR x IS NULL).
func onlyJSON(all []sqlsplit.Token) bool {
	var words []string
	depth := 0
	for _, t := range all {
		switch t.Text {
		case "(":
			depth++
		case ")":
			depth--
		default:
			words = append(words, strings.ToLower(t.Plain()))
		}
		if depth == 0 || len(words) > 6 {
			break
		}
	}
	if len(words) < 2 || words[0] != "json_valid" {
		return false
	}
	rest := words[2:]
	return len(rest) == 0 || slices.Equal(rest, []string{"or", words[1], "is", "null"})
}
