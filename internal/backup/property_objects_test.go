package backup_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// makeForeignKey points a new column of one table at another's key, or its own. Cycles come about by themselves.
func (g *schemaGen) makeForeignKey() {
	keyed := slices.DeleteFunc(slices.Clone(g.tables), func(t *genTable) bool { return len(t.key) == 0 })
	if len(keyed) == 0 {
		return
	}
	from := rapid.SampledFrom(g.tables).Draw(g.T, "referencing")
	to := rapid.SampledFrom(keyed).Draw(g.T, "referenced")
	c := g.name()
	g.exec("ALTER TABLE %s ADD COLUMN %s %s", from.name, c, to.key[0].columnType.name)
	g.exec("UPDATE %s SET %s = (SELECT %s FROM %s ORDER BY 1 LIMIT 1 OFFSET %d)", from.name, c, to.key[0].name, to.name, g.n("which row", 0, 2))
	g.exec("ALTER TABLE %s ADD CONSTRAINT %s FOREIGN KEY (%s) REFERENCES %s (%s) %s %s", from.name, g.name(), c, to.name, to.key[0].name,
		g.pick("action", "", "ON DELETE CASCADE", "ON UPDATE SET NULL ON DELETE RESTRICT", "MATCH FULL"), g.pick("deferrable", "", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED", "NOT VALID"))
}

// changeTable gives a filled table indexes, constraints and whatever else may hang on one.
func (g *schemaGen) changeTable(t *genTable) {
	for range g.n("indexes", 0, 3) {
		g.makeIndex(t)
	}
	for range g.n("changes", 0, 2) {
		c := genColumn{name: "ctid"}
		if len(t.columns) > 0 {
			c = rapid.SampledFrom(t.columns).Draw(g.T, "column")
		}
		switch g.n("change", 0, 11) {
		case 0:
			g.exec("COMMENT ON TABLE %s IS %s", t.name, quoteText(g.pick("comment", awkwardTexts()...)))
		case 1:
			g.exec("COMMENT ON COLUMN %s.%s IS %s", t.name, c.name, quoteText(g.pick("comment", awkwardTexts()...)))
		case 2:
			g.exec("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s IS NOT NULL) NOT VALID", t.name, g.name(), c.name)
		case 3:
			g.exec("ALTER TABLE %s ALTER COLUMN %s SET STATISTICS 77", t.name, c.name)
		case 4:
			g.exec("ALTER TABLE %s ALTER COLUMN %s SET STORAGE EXTERNAL", t.name, c.name)
		case 5:
			g.exec("ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", t.name)
			g.exec("CREATE POLICY %s ON %s USING (%s IS NULL)", g.name(), t.name, c.name)
		case 6:
			g.exec("ALTER TABLE %s REPLICA IDENTITY FULL", t.name)
		case 7:
			g.exec("GRANT SELECT (%s), INSERT ON %s TO PUBLIC", c.name, t.name)
		case 8:
			g.exec("CREATE RULE %s AS ON INSERT TO %s DO ALSO NOTIFY x", g.name(), t.name)
		case 9: // rows must not go through it on their way back
			fn := g.newName()
			g.exec("CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN RAISE 'fired'; END$f$", fn)
			g.exec("CREATE TRIGGER %s BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %s()", g.name(), t.name, fn)
			g.exec("ALTER TABLE %s %s TRIGGER ALL", t.name, g.pick("enable", "DISABLE", "ENABLE"))
		case 10:
			g.exec("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", t.name, c.name)
		case 11:
			if len(t.columns) > 1 {
				g.exec("CREATE STATISTICS %s ON %s FROM %s", g.newName(), strings.Join(columnNames(t.columns), ", "), t.name)
			}
		}
	}
}

func (g *schemaGen) makeIndex(t *genTable) {
	indexable := slices.DeleteFunc(slices.Clone(t.columns), func(c genColumn) bool { return c.index == nil })
	if len(indexable) == 0 {
		return
	}
	c := rapid.SampledFrom(indexable).Draw(g.T, "indexed")
	method := g.pick("method", c.index...)
	what := c.name
	if method == "btree" && g.maybe("order", 3) {
		what += " DESC NULLS LAST"
	}
	name := g.name()
	switch g.n("index", 0, 7) {
	case 0:
		g.exec("ALTER TABLE %s ADD CONSTRAINT %s UNIQUE (%s)%s", t.name, name, c.name, g.pick("deferrable", "", " DEFERRABLE INITIALLY DEFERRED"))
	case 1:
		g.exec("CREATE INDEX %s ON %s USING %s (%s) WHERE %s IS NOT NULL", name, t.name, method, what, c.name)
	case 2:
		g.exec("CREATE INDEX %s ON %s ((%s IS NULL), (ROW(%[3]s) IS NOT NULL)) INCLUDE (%[3]s)", name, t.name, c.name)
	case 3:
		g.exec("CREATE UNIQUE INDEX %s ON %s (%s)", name, t.name, what)
		g.exec("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", t.name, name)
	case 4:
		g.exec("CREATE INDEX %s ON %s (%s)", name, t.name, what)
		g.exec("ALTER TABLE %s CLUSTER ON %s", t.name, name)
	case 5:
		if slices.Contains(c.index, "gist") {
			g.exec("ALTER TABLE %s ADD CONSTRAINT %s EXCLUDE USING gist (%s WITH &&)", t.name, name, c.name)
			return
		}
		if c.text {
			g.exec(`CREATE INDEX %s ON %s (lower(%s) COLLATE "POSIX" text_pattern_ops)`, name, t.name, c.name)
		}
	default:
		g.exec("CREATE INDEX %s ON %s USING %s (%s)", name, t.name, method, what)
	}
}

func (g *schemaGen) makeView() {
	from := rapid.SampledFrom(g.tables).Draw(g.T, "view of")
	names := columnNames(from.columns)
	of := from.name
	if len(g.views) > 0 && g.maybe("view of a view", 3) {
		of, names = g.pick("view", g.views...), nil
	}
	columns := "*"
	if len(names) > 0 {
		columns = strings.Join(names[:g.n("columns", 1, len(names))], ", ")
	}
	view := g.newName()
	switch g.n("view", 0, 5) {
	case 0:
		g.exec("CREATE MATERIALIZED VIEW %s AS SELECT %s FROM %s", view, columns, of)
		g.exec("COMMENT ON MATERIALIZED VIEW %s IS %s", view, quoteText(g.pick("comment", awkwardTexts()...)))
		if len(names) > 0 {
			g.exec("CREATE INDEX %s ON %s (%s)", g.name(), view, names[0])
		}
	case 1:
		g.exec("CREATE MATERIALIZED VIEW %s AS SELECT count(*) AS %s FROM %s WITH NO DATA", view, g.name(), of)
		return // can't be read
	case 2:
		g.exec("CREATE VIEW %s WITH (security_barrier) AS SELECT %s FROM %s WHERE true WITH CHECK OPTION", view, columns, of)
	case 3:
		g.exec("CREATE MATERIALIZED VIEW %s AS SELECT count(*) AS %s FROM %s", view, g.name(), of)
	default:
		g.exec("CREATE VIEW %s AS SELECT %s FROM %s", view, columns, of)
	}
	g.views = append(g.views, view)
}

func (g *schemaGen) makeOther() {
	name := g.newName()
	switch g.n("other", 0, 8) {
	case 0:
		g.exec("CREATE SEQUENCE %s %s", name, g.pick("sequence", "", "AS smallint MINVALUE -7 MAXVALUE 32000 START 5 INCREMENT 4 CYCLE", "INCREMENT -1", "CACHE 20"))
		for range g.n("nextval", 0, 3) {
			g.exec("SELECT nextval(%s)", quoteText(name))
		}
	case 1:
		id := g.n("large object", 1, 1<<20)
		g.exec("SELECT lo_from_bytea(%d, %s)", id, bytesValue(g.T))
		g.exec("COMMENT ON LARGE OBJECT %d IS %s", id, quoteText(g.pick("comment", awkwardTexts()...)))
		if g.maybe("large", 3) {
			g.exec("SELECT lo_put(%d, %d, '\\xff00')", id, g.n("offset", 0, 3_000_000))
		}
	case 2:
		g.exec("CREATE FUNCTION %s(%s int DEFAULT 3) RETURNS int LANGUAGE sql IMMUTABLE AS $f$ SELECT 1; -- ; ' $$ \n$f$", name, g.name())
	case 3:
		g.exec("CREATE FUNCTION %s() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END", name)
	case 4:
		g.exec("CREATE TABLE %s AS SELECT i AS %s, repeat(md5(i::text), i %% 90) AS %s FROM generate_series(1, %d) i", name, g.name(), g.name(), g.n("rows", 0, 5000))
	case 5:
		g.exec("CREATE COLLATION %s (provider = libc, locale = 'C')", name)
	case 6:
		g.exec("CREATE PUBLICATION %s FOR TABLE %s", g.name(), rapid.SampledFrom(g.tables).Draw(g.T, "published").name)
	case 7:
		g.exec("CREATE AGGREGATE %s (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')", name)
	case 8:
		g.exec("CREATE VIEW %s AS %s", name, fmt.Sprintf("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n AS %s FROM r", g.name()))
	}
}
