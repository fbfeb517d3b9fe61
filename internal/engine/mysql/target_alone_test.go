package mysql

import (
	"slices"
	"testing"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

func TestTargetAlone(t *testing.T) { eachFlavour(t, testTargetAlone) }

// One restore must not empty the database for another one, nor load into its tables.
func testTargetAlone(t *testing.T, m *servers.MySQLServer) {
	from := m.CreateDatabase(t)
	m.SQL(t, from, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
	v := open(t, m.URL(from), Options{})
	into := m.CreateDatabase(t)
	first, err := NewTarget(m.URL(into), TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Prepare(t.Context(), v.Schema(), v.Native()); err != nil {
		t.Fatal(err)
	}
	for _, opt := range []TargetOptions{{Clean: true, Create: true}, {DataOnly: true}, {Partial: true, Clean: true}} {
		if err := copyInto(t, v, m.URL(into), opt); fail.KindOf(err) != fail.Locked {
			t.Errorf("a restore with %+v beside another: %v, want Locked", opt, err)
		}
	}
	for _, p := range v.Parts(v.Schema().Tables[0]) {
		r, err := v.Read(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := first.Load(t.Context(), p, r); err != nil {
			t.Error(err)
		}
		r.Close()
	}
	if err := first.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.SQL(t, into, "SELECT count(*) FROM t"); got != "2" {
		t.Errorf("%s rows are there, want 2", got)
	}
	restore(t, v, m.URL(into), TargetOptions{Clean: true})
	restore(t, v, m.URL(into), TargetOptions{Clean: true, Create: true})
}

func TestTargetOrphans(t *testing.T) { eachFlavour(t, testTargetOrphans) }

// Rows of other tables that lose what they name when a single table is replaced are told of.
func testTargetOrphans(t *testing.T, m *servers.MySQLServer) {
	from, into := m.CreateDatabase(t), m.CreateDatabase(t)
	m.SQL(t, from, "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1)")
	m.SQL(t, into, "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1), (2); CREATE TABLE sound (p int, CONSTRAINT s FOREIGN KEY (p) REFERENCES p (id)); INSERT INTO sound VALUES (1);"+
		"CREATE TABLE c (p int, CONSTRAINT f FOREIGN KEY (p) REFERENCES p (id)); INSERT INTO c VALUES (1), (2)")
	target, _ := restore(t, open(t, m.URL(from), Options{}), m.URL(into), TargetOptions{Partial: true, Clean: true})
	if want := []string{"foreign key f of c does not hold: there are rows that name none of p, which was replaced"}; !slices.Equal(target.Notes(), want) {
		t.Errorf("the notes are %q, want %q", target.Notes(), want)
	}
}
