package postgres

import (
	"context"
	"errors"
	"io/fs"
	"regexp"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// createRole is how globals.sql begins a role, once its statement's literal is undone.
var createRole = regexp.MustCompile(`(?m)^DO (E?)'BEGIN CREATE ROLE ("(?:[^"]|"")*") WITH `)

// CreateRoles makes the roles that a backup's globals.sql names and a server lacks: their names alone, without rights, passwords
// and logins, so that what belongs to them, or is granted to them, can be restored for a while.
func CreateRoles(ctx context.Context, server string, native fs.FS) error {
	text, err := fs.ReadFile(native, "globals.sql")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail.Wrap(fail.Damaged, err, "", "read the backup's roles")
	}
	cfg, err := parseURL(server)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, cfg, appName)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, m := range createRole.FindAllStringSubmatch(string(text), -1) {
		quoted := strings.ReplaceAll(m[2], "''", "'")
		if m[1] != "" {
			quoted = strings.ReplaceAll(quoted, `\\`, `\`)
		}
		name := strings.ReplaceAll(quoted[1:len(quoted)-1], `""`, `"`)
		var there bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)", name).Scan(&there); err != nil {
			return explainIn(ctx, err)
		}
		if there {
			continue
		}
		if _, err := conn.Exec(ctx, "CREATE ROLE "+quoteIdent(name)+" NOLOGIN"); err != nil {
			return fail.Op(explainIn(ctx, err), "create role %s on the scratch server", quoteIdent(name))
		}
	}
	return nil
}
