-- One of everything that a PostgreSQL database may hold. Loadable by a superuser into an empty
-- UTF-8 database on PostgreSQL 15 to 18 with psql (not in a single transaction), on 14 without the lines that say so.
-- Left out on purpose: roles and tablespaces (they belong to the cluster), and extension
-- configuration tables (no extension of the distribution has one; see the tests).

SET client_min_messages = warning;
SET timezone = 'UTC';

CREATE EXTENSION hstore;
CREATE EXTENSION btree_gist;
CREATE EXTENSION file_fdw;

CREATE SCHEMA app;
CREATE SCHEMA "Ünusual.Schema ""x""";
COMMENT ON SCHEMA app IS 'It''s the application''s
schema';

-- types ---------------------------------------------------------------------------------
CREATE TYPE app.mood AS ENUM ('sad', 'late', 'ok', 'it''s "happy"', 'tab	bed');
CREATE TYPE app.address AS (street text, "Zip Code" varchar(10), tags text[]);
CREATE TYPE app.floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN app.email AS text NOT NULL DEFAULT 'nobody@example.org' CHECK (VALUE ~ '@');
CREATE DOMAIN app.positives AS app.positive[];

-- functions -----------------------------------------------------------------------------
CREATE FUNCTION app.twice(i integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1 * 2';
CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
	-- a body with $$ and ; and 'quotes' and \restrict and
	-- COPY nothing FROM stdin;
	NEW.note := coalesce(NEW.note, '') || ' stamped;';
	RETURN NEW;
END $fn$;
CREATE PROCEDURE app.noop(INOUT x integer) LANGUAGE plpgsql AS 'BEGIN x := x + 1; END';
CREATE AGGREGATE app.total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE OPERATOR app.#+# (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4pl, COMMUTATOR = OPERATOR(app.#+#));
CREATE FUNCTION app.mood_int(m app.mood) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT length($1::text)';
CREATE CAST (app.mood AS integer) WITH FUNCTION app.mood_int(app.mood);
CREATE FUNCTION app.new_style(a integer, b integer DEFAULT 2) RETURNS integer LANGUAGE sql IMMUTABLE
	BEGIN ATOMIC SELECT a + b; END;

-- every type ----------------------------------------------------------------------------
CREATE TABLE app.types (
	id bigint GENERATED ALWAYS AS IDENTITY (START 1000 INCREMENT 10) PRIMARY KEY,
	b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision,
	n numeric, n2 numeric(12, 3), m money,
	t text, vc varchar(40), c character(8), ch "char", nm name,
	by bytea, d date, tm time(3), tmz time with time zone, ts timestamp, tsz timestamptz, iv interval,
	u uuid, j json, jb jsonb, x xml, ip inet, net cidr, mac macaddr, mac8 macaddr8,
	bt bit(5), vb bit varying(12), tv tsvector, tq tsquery,
	pt point, ln line, ls lseg, bx box, pa path, po polygon, ci circle,
	ia integer[], ta text[], md integer[][], la integer[],
	r4 int4range, nr numrange, tr tstzrange, mr int4multirange, fr app.floatrange,
	mood app.mood, moods app.mood[], adr app.address, adrs app.address[], pos app.positive, mail app.email, poss app.positives,
	h hstore, o oid, rt regtype, lsn pg_lsn, sn pg_snapshot, jp jsonpath, tid tid
);
INSERT INTO app.types (b, i2, i4, i8, f4, f8, n, n2, m, t, vc, c, ch, nm, by, d, tm, tmz, ts, tsz, iv, u, j, jb, x, ip, net, mac, mac8,
	bt, vb, tv, tq, pt, ln, ls, bx, pa, po, ci, ia, ta, md, la, r4, nr, tr, mr, fr, mood, moods, adr, adrs, pos, mail, poss, h, o, rt, lsn, sn, jp, tid)
VALUES (true, -32768, 2147483647, -9223372036854775808, 1.1, 0.1, 123456789012345678901234567890.123456789, 999999999.999, 1234.56::numeric::money,
	E'tab\tnew\nline\\ back\b\f\r\v\x01 \x7f "q" ''s'' \\N \\.', 'Zażółć gęślą jaźń', 'pad', 'x', 'a name',
	'\x00ff5c0a09', '2024-02-29', '23:59:59.999', '12:00:00+05:30', '2024-12-31 23:59:59.999999', '2024-06-01 12:00:00.000001+02', '1 year 2 mons -3 days 04:05:06.789',
	'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" : 1,  "a":2}', '{"b": [1, 2.50, null], "ü": "\u0001"}', '<a>text<b/></a>', '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
	B'10101', B'110', 'a fat cat:3A ''it''''s''', 'fat & (rat | !cat)', '(1.5,-2)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(0,0),1.5>',
	'{1,NULL,3}', ARRAY['a,b', 'c"d', 'e\f', NULL, 'NULL', '', ' {} '], '{{1,2},{3,4}}', '[-1:1]={7,8,9}', '[1,10)', '(,5.5]', '["2024-01-01 00:00+00",infinity)', '{[1,3),[5,7)}', '[1.5,2.5]',
	'it''s "happy"', '{sad,"tab	bed",late}', ROW('Main "St", 1\2', NULL, '{a,"b c"}'), ARRAY[ROW('x', 'y', NULL)::app.address, NULL], 7, 'a@b', '{1,2}',
	'"a key"=>"a \"value\"", n=>NULL', 4294967295, 'integer', '16/B374D848', '10:20:10,14,15', '$.a[*] ? (@ > 1)', '(0,1)');
INSERT INTO app.types (f4, f8, n, d, ts, tsz, iv, t, vc, by, m, mail, nr, ta)
VALUES ('NaN', '-Infinity', 'NaN', 'infinity', '-infinity', 'infinity', '-178000000 years', '', '', '', '-92233720368547758.08', DEFAULT, 'empty', '{}'),
	('Infinity', 5e-324, 'Infinity', '4713-01-01 BC', '0044-03-15 12:00:00 BC', '4713-01-01 00:00:00+00 BC', '00:00:00', '\N', '\.', '\x5c4e', '0', 'x@y', '[1,1]', '{"{}"}'),
	(-0.0::float4, 1.7976931348623157e308, '-0.00', '5874897-12-31', '294276-12-31 23:59:59.999999', '0001-01-01 00:00:00+00', '1 mon -1 day', repeat('ü€😀', 1000), E'\u200b\u2028', decode(repeat('00ff', 5000), 'hex'), '0.01', 'z@z', '(1,2)', ARRAY[repeat('x', 3000)]);
INSERT INTO app.types DEFAULT VALUES;

-- keys, constraints, indexes --------------------------------------------------------------
CREATE TABLE public.users (
	id serial PRIMARY KEY,
	name text COLLATE "C" NOT NULL DEFAULT 'it''s "me"',
	email text UNIQUE,
	boss integer REFERENCES public.users (id) DEFERRABLE INITIALLY DEFERRED,
	born date CHECK (born > '1800-01-01'),
	upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
	note text,
	made timestamptz NOT NULL DEFAULT '2024-01-01 00:00:00+00'
);
COMMENT ON TABLE public.users IS 'people';
COMMENT ON COLUMN public.users.name IS 'with a ''quote'' and \ backslash';
INSERT INTO public.users (name, email, boss, born)
	SELECT 'user ' || i, 'u' || i || '@example.org', nullif(i / 2, 0), date '1990-01-01' + i % 5000 FROM generate_series(1, 5000) i;
CREATE INDEX users_lower ON public.users (lower(name)) WHERE born IS NOT NULL;
CREATE INDEX users_born ON public.users (born DESC NULLS LAST) INCLUDE (email);
ALTER TABLE public.users CLUSTER ON users_born;
ALTER TABLE public.users ALTER COLUMN note SET STATISTICS 500;
ALTER TABLE public.users ADD CONSTRAINT unchecked CHECK (length(name) < 1000) NOT VALID;
CREATE STATISTICS public.users_stat (dependencies) ON name, email FROM public.users;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION app.stamp();
ALTER TABLE public.users DISABLE TRIGGER stamp;
ALTER TABLE public.users REPLICA IDENTITY FULL;

CREATE TABLE public.orders (
	id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	user_id integer NOT NULL REFERENCES public.users ON DELETE CASCADE,
	body jsonb NOT NULL,
	during tstzrange,
	EXCLUDE USING gist (user_id WITH =, during WITH &&)
) WITH (fillfactor = 70);
INSERT INTO public.orders (user_id, body, during)
	SELECT 1 + i % 5000, jsonb_build_object('n', i, 'text', repeat(md5(i::text), 3), 'tags', jsonb_build_array(i % 7, i % 11)),
		tstzrange(timestamptz '2024-01-01 00:00+00' + i * interval '1 hour', timestamptz '2024-01-01 00:30+00' + i * interval '1 hour')
	FROM generate_series(1, 20000) i;
CREATE INDEX orders_body ON public.orders USING gin (body jsonb_path_ops);
DELETE FROM public.orders WHERE id % 10 = 0;
UPDATE public.orders SET body = body || '{"changed": true}' WHERE id % 97 = 0;

-- two tables that refer to each other
CREATE TABLE app.chicken (id integer PRIMARY KEY, egg integer);
CREATE TABLE app.egg (id integer PRIMARY KEY, chicken integer NOT NULL REFERENCES app.chicken);
INSERT INTO app.chicken SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO app.egg SELECT i, 11 - i FROM generate_series(1, 10) i;
ALTER TABLE app.chicken ADD FOREIGN KEY (egg) REFERENCES app.egg;
CREATE TABLE app.nulls (a integer, b integer, UNIQUE NULLS NOT DISTINCT (a, b)); -- since 15
INSERT INTO app.nulls VALUES (1, NULL), (NULL, NULL), (NULL, 1); -- since 15

-- odd tables and names --------------------------------------------------------------------
CREATE TABLE app.nothing ();
INSERT INTO app.nothing SELECT FROM generate_series(1, 7);
CREATE TABLE app.empty (a integer, b text);
CREATE TABLE app.dropped (gone1 integer, keep1 text, gone2 text, keep2 integer, gone3 bytea);
INSERT INTO app.dropped SELECT i, 'k' || i, 'g', i, 'x' FROM generate_series(1, 100) i;
ALTER TABLE app.dropped DROP COLUMN gone1, DROP COLUMN gone2, DROP COLUMN gone3;
ALTER TABLE app.dropped ADD COLUMN fresh integer NOT NULL DEFAULT 42;
CREATE TABLE app.only_generated (a integer GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO app.only_generated SELECT FROM generate_series(1, 3);
CREATE TABLE "Ünusual.Schema ""x"""."We""ird	Täble. 'q' \ {x}" (
	"select" integer PRIMARY KEY, "Mixed Case" text, "tab	col" text, "new
line" text, "quo""te" text, "dot.ted" text, "back\slash" text, "$1" text, "a,b(c)" text);
INSERT INTO "Ünusual.Schema ""x"""."We""ird	Täble. 'q' \ {x}" VALUES (1, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'), (2, NULL, '', E'\t', E'\n', '\', '\\N', '\n', '"');
CREATE TABLE public."line
break; -- DROP TABLE users;" (a integer);
INSERT INTO public."line
break; -- DROP TABLE users;" VALUES (1), (2);
CREATE TABLE app."MiXeD" (id integer PRIMARY KEY DEFAULT app.twice(21), "user" text);
INSERT INTO app."MiXeD" VALUES (DEFAULT, 'x');
CREATE UNLOGGED TABLE app.scratch (id integer PRIMARY KEY, v text);
INSERT INTO app.scratch SELECT i, 'v' || i FROM generate_series(1, 50) i;
CREATE TABLE app.wide (id integer, big text, raw bytea);
ALTER TABLE app.wide ALTER COLUMN big SET STORAGE EXTERNAL;
INSERT INTO app.wide SELECT i, repeat(md5(i::text), 2000 * i), decode(repeat(md5(i::text), 500), 'hex') FROM generate_series(1, 20) i;

-- partitions --------------------------------------------------------------------------------
CREATE TABLE app.events (id bigint NOT NULL, at timestamptz NOT NULL, kind text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2023 PARTITION OF app.events FOR VALUES FROM ('2023-01-01 00:00+00') TO ('2024-01-01 00:00+00');
CREATE TABLE app.events_2024 PARTITION OF app.events FOR VALUES FROM ('2024-01-01 00:00+00') TO ('2025-01-01 00:00+00') PARTITION BY LIST (kind);
CREATE TABLE app.events_2024_a PARTITION OF app.events_2024 FOR VALUES IN ('a', NULL);
CREATE TABLE app.events_2024_rest PARTITION OF app.events_2024 DEFAULT;
CREATE TABLE app.events_other (kind text, junk integer, at timestamptz NOT NULL, id bigint NOT NULL);
ALTER TABLE app.events_other DROP COLUMN junk;
ALTER TABLE app.events ATTACH PARTITION app.events_other DEFAULT;
CREATE INDEX events_kind ON app.events (kind);
INSERT INTO app.events SELECT i, timestamptz '2022-06-01 00:00+00' + i * interval '8 hours', (ARRAY['a', 'b', NULL, 'c'])[1 + i % 4] FROM generate_series(1, 4000) i;
CREATE TABLE app.by_mood (m app.mood NOT NULL, v integer) PARTITION BY HASH (m);
CREATE TABLE app.by_mood_0 PARTITION OF app.by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.by_mood_1 PARTITION OF app.by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO app.by_mood SELECT (enum_range(NULL::app.mood))[1 + i % 5], i FROM generate_series(1, 200) i;
CREATE TABLE app.by_id (id integer PRIMARY KEY, v text) PARTITION BY HASH (id);
CREATE TABLE app.by_id_0 PARTITION OF app.by_id FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.by_id_1 PARTITION OF app.by_id FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO app.by_id SELECT i, 'v' FROM generate_series(1, 100) i;
CREATE TABLE app.notes (id integer REFERENCES app.by_id, note text);
INSERT INTO app.notes SELECT i, 'n' FROM generate_series(1, 100, 7) i;
CREATE TABLE app.no_partitions (a integer) PARTITION BY RANGE (a);

-- inheritance -------------------------------------------------------------------------------
CREATE TABLE app.animal (id integer, name text, CHECK (id > 0));
CREATE TABLE app.owned (owner text);
CREATE TABLE app.dog (breed text) INHERITS (app.animal, app.owned);
CREATE TABLE app.puppy (weeks integer) INHERITS (app.dog);
INSERT INTO app.animal VALUES (1, 'generic'), (2, 'thing');
INSERT INTO app.dog VALUES (3, 'Rex', 'Ann', 'collie');
INSERT INTO app.puppy VALUES (4, 'Bit', 'Bob', 'pug', 9);

-- views ---------------------------------------------------------------------------------------
CREATE VIEW app.adults WITH (security_barrier) AS SELECT id, name FROM public.users WHERE born < '2000-01-01';
CREATE MATERIALIZED VIEW app.per_user AS SELECT user_id, count(*) AS n FROM public.orders GROUP BY user_id;
CREATE UNIQUE INDEX ON app.per_user (user_id);
CREATE MATERIALIZED VIEW app.busy AS SELECT user_id FROM app.per_user WHERE n > 3;
CREATE MATERIALIZED VIEW app.stale AS SELECT 1 AS one WITH NO DATA;
CREATE RULE no_delete AS ON DELETE TO app.adults DO INSTEAD NOTHING;

-- sequences -------------------------------------------------------------------------------------
CREATE SEQUENCE app.fresh_seq START 5 INCREMENT 3;
CREATE SEQUENCE app.used_seq AS smallint INCREMENT -1 MINVALUE -100 MAXVALUE 100 START 100 CYCLE CACHE 10;
SELECT nextval('app.used_seq'), nextval('app.used_seq');
CREATE SEQUENCE app."Odd ""Seq""";
SELECT setval('app."Odd ""Seq"""', 9223372036854775807, true);
CREATE SEQUENCE app.owned_seq OWNED BY app.empty.a;
ALTER TABLE app.empty ALTER COLUMN a SET DEFAULT nextval('app.owned_seq');

-- row-level security ------------------------------------------------------------------------------
CREATE TABLE app.secrets (id integer PRIMARY KEY, owner name, v text);
INSERT INTO app.secrets VALUES (1, 'alice', 'a'), (2, 'bob', 'b');
ALTER TABLE app.secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.secrets USING (owner = current_user);

-- foreign tables, publications, text search, rights, event triggers ---------------------------------
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE app.elsewhere (line text) SERVER files OPTIONS (filename '/nonexistent/holdfast');
CREATE PUBLICATION pub FOR TABLE public.users, public.orders WHERE (user_id < 1000); -- since 15
CREATE TEXT SEARCH CONFIGURATION app.plain (COPY = simple);
CREATE COLLATION app.numeric (provider = icu, locale = 'en-u-kn-true');
GRANT SELECT ON public.users TO PUBLIC;
GRANT SELECT ("user") ON app."MiXeD" TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;
CREATE FUNCTION app.watch_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION app.watch_ddl();
ALTER EVENT TRIGGER watch DISABLE;

-- large objects -----------------------------------------------------------------------------------
SELECT lo_from_bytea(70001, 'a small one');
SELECT lo_from_bytea(70002, '');
SELECT lo_from_bytea(70003, decode(repeat(md5('x'), 40000), 'hex'));
SELECT lo_create(70004);
SELECT lo_put(70004, 5000000, 'after a hole');
COMMENT ON LARGE OBJECT 70001 IS 'it''s small';
GRANT SELECT ON LARGE OBJECT 70001 TO PUBLIC;
