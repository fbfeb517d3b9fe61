package mysql

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// ordinary is a database as both kinds of server have it, in the collation that each gives.
const ordinary = `CREATE TABLE parents (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, name varchar(50) NOT NULL DEFAULT 'it''s', price decimal(10,2), at timestamp(6) NULL DEFAULT CURRENT_TIMESTAMP(6), doc json, raw blob, e enum('a','b'), f float,
		upper_name varchar(50) AS (upper(name)) STORED, UNIQUE KEY names (name), KEY part (price, at), FULLTEXT KEY words (name), CONSTRAINT sane CHECK (price >= 0)) COMMENT 'COLLATE none';
	INSERT INTO parents (name, price, at, doc, raw, e, f) VALUES ('Ünë', 1.50, '2024-05-06 07:08:09.5', '{"a": [1, null]}', x'00ff5c0a', 'b', 0.1), ('two', NULL, NULL, NULL, NULL, NULL, NULL);
	CREATE TABLE children (id int PRIMARY KEY, parent bigint unsigned, l varchar(20) CHARACTER SET latin1, CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE);
	INSERT INTO children VALUES (1, 1, 'ä'), (2, NULL, NULL);
	CREATE VIEW v AS SELECT p.name, count(*) AS n FROM parents p JOIN children c ON c.parent = p.id GROUP BY p.name;
	CREATE TRIGGER tr BEFORE INSERT ON children FOR EACH ROW SET NEW.l = concat(NEW.l, '!');
	CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN x * 2; CREATE PROCEDURE work() SELECT twice(2);
	CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1;`

// TestTarget_OtherFlavour restores what MariaDB gave into MySQL, and the other way around.
func TestTarget_OtherFlavour(t *testing.T) {
	for _, from := range servers.MySQLFlavours() {
		for _, into := range servers.MySQLFlavours() {
			if from != into {
				t.Run(from+"_into_"+into, func(t *testing.T) { testOtherFlavour(t, servers.MySQL(t, from), servers.MySQL(t, into)) })
			}
		}
	}
}

func testOtherFlavour(t *testing.T, from, into *servers.MySQLServer) {
	options := map[bool]string{true: "COLLATE utf8mb4_nopad_bin", false: "COLLATE utf8mb4_0900_ai_ci"}[isMaria(from)]
	db, to := from.CreateDatabase(t, options), "other_"+strings.ToLower(into.Flavour)
	from.SQL(t, db, ordinary)
	defer into.SQL(t, "", "DROP DATABASE IF EXISTS "+to)
	target, report := restore(t, open(t, db, Options{}), into.URL(to), TargetOptions{Create: true})
	if notes := strings.Join(target.Notes(), "; "); !strings.Contains(notes, "collation utf8mb4_") {
		t.Errorf("notes: %s", notes)
	}
	got, err := rows.Measure(t.Context(), open(t, into.URL(to), Options{}), rows.CopyOptions{})
	want := report.Tables()
	there := got.Tables()
	if isMaria(from) != isMaria(into) { // JSON is written in another way by the one that takes it apart
		delete(want, "parents")
		delete(there, "parents")
	}
	if diff := cmp.Diff(want, there); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	const check = "SELECT id, name, price, at, hex(raw), e, f, upper_name FROM parents ORDER BY id; SELECT twice(4), v.* FROM v; CALL work(); INSERT INTO children VALUES (3, 2, 'x'); SELECT l FROM children WHERE id = 3"
	if diff := cmp.Diff(from.SQL(t, db, check), into.SQL(t, to, check)); diff != "" {
		t.Error(diff)
	}
	t.Run("what_the_other_has_not_is_an_error_that_says_so", func(t *testing.T) {
		db, to := from.CreateDatabase(t), into.CreateDatabase(t)
		from.SQL(t, db, map[bool]string{true: "CREATE TABLE t (id uuid)", false: "CREATE TABLE t (id int, KEY ((id + 1)))"}[isMaria(from)])
		err := copyInto(t, open(t, db, Options{}), to, TargetOptions{})
		if fail.KindOf(err) != fail.Unsupported || !strings.Contains(err.Error(), "it was defined on M") || into.SQL(t, to, "SHOW TABLES") != "" {
			t.Errorf("got %v (%s)", err, fail.HintOf(err))
		}
	})
}
