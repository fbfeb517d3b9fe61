package mysql

import (
	"context"
	"regexp"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// crosses reports whether a backup of MySQL goes to MariaDB, or the other way around. Most of their definitions are alike.
func (t *Target) crosses() bool {
	from := t.schema.Origin.Attribute("flavour")
	return from != "" && (from == "mariadb") != t.server.maria
}

var (
	collationClause = regexp.MustCompile(`(COLLATE[ =]|collation_connection = ')(\w+)`)
	modeClause      = regexp.MustCompile(`sql_mode = '([A-Z_,]+)'`)
)

// onlyOne are sql_modes that one of the two has alone.
var onlyOne = map[string]bool{"NO_AUTO_CREATE_USER": true, "SIMULTANEOUS_ASSIGNMENT": true, "TIME_ROUND_FRACTIONAL": true, "TIME_TRUNCATE_FRACTIONAL": true,
	"IGNORE_BAD_TABLE_OPTIONS": true, "EMPTY_STRING_IS_NULL": true}

// adapt writes a definition as the other kind of server knows it: collations by the names of their likes, and modes that
// it lacks left out.
func (t *Target) adapt(sql string) string {
	if !t.crosses() {
		return sql
	}
	sql = collationClause.ReplaceAllStringFunc(sql, func(clause string) string {
		m := collationClause.FindStringSubmatch(clause)
		like := t.likeCollation(m[2])
		if like != m[2] {
			t.note("collation %s became %s, the nearest that this server has", m[2], like)
		}
		return m[1] + like
	})
	return modeClause.ReplaceAllStringFunc(sql, func(clause string) string {
		var modes []string
		for _, mode := range strings.Split(modeClause.FindStringSubmatch(clause)[1], ",") {
			if !onlyOne[mode] {
				modes = append(modes, mode)
			}
		}
		return "sql_mode = '" + strings.Join(modes, ",") + "'"
	})
}

// likeCollation returns the name of the collation that is nearest here: it tells apart at least what the other one does where there is no equal.
func (t *Target) likeCollation(name string) string {
	charset, rest, _ := strings.Cut(name, "_")
	exact := strings.HasSuffix(name, "_bin") || strings.HasSuffix(name, "_cs") || strings.HasSuffix(name, "_as_ci")
	switch {
	case t.server.maria && strings.Contains(name, "_0900_") && exact:
		return "utf8mb4_nopad_bin"
	case t.server.maria && strings.Contains(name, "_0900_"):
		return "utf8mb4_unicode_520_nopad_ci"
	case !t.server.maria && strings.HasPrefix(rest, "uca1400_") || strings.HasPrefix(name, "uca1400_"):
		if exact {
			return "utf8mb4_0900_as_cs"
		}
		return "utf8mb4_0900_ai_ci"
	case !t.server.maria && strings.HasSuffix(name, "_nopad_bin") && charset == "utf8mb4":
		return "utf8mb4_0900_bin"
	case !t.server.maria && strings.Contains(name, "_nopad_") && charset == "utf8mb4":
		return "utf8mb4_0900_ai_ci"
	}
	return strings.Replace(name, "_nopad", "", map[bool]int{true: 0, false: 1}[t.server.maria])
}

// explainOther says, of an error, that the definition was written for another kind of server.
func (t *Target) explainOther(ctx context.Context, err error) error {
	err = explainIn(ctx, err)
	if err == nil || !t.crosses() || fail.KindOf(err) != fail.Incomplete {
		return err
	}
	from := map[bool]string{true: "MySQL", false: "MariaDB"}[t.server.maria]
	return fail.Wrap(fail.Unsupported, err, "leave it out with --exclude, or restore into "+from, "it was defined on %s", from)
}
