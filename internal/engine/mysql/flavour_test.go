package mysql

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// eachFlavour runs a test against every kind of server.
func eachFlavour(t *testing.T, test func(t *testing.T, m *servers.MySQLServer)) {
	for _, flavour := range servers.MySQLFlavours() {
		t.Run(flavour, func(t *testing.T) { test(t, servers.MySQL(t, flavour)) })
	}
}

// isMaria reports whether a server has what only MariaDB has: sequences, UUIDs, packages, system versions.
func isMaria(m *servers.MySQLServer) bool { return m.Flavour == "mariadb" }

var sequenceTable = regexp.MustCompile(`\bseq_([0-9]+)_to_([0-9]+)\b`)

// fit writes MariaDB's tables of numbers as the server knows them.
func fit(m *servers.MySQLServer, sql string) string {
	if isMaria(m) {
		return sql
	}
	return sequenceTable.ReplaceAllStringFunc(sql, func(name string) string {
		n := sequenceTable.FindStringSubmatch(name)
		return fmt.Sprintf("(WITH RECURSIVE n(seq) AS (SELECT %s UNION ALL SELECT seq + 1 FROM n WHERE seq < %s) SELECT seq FROM n) numbers", n[1], n[2])
	})
}
