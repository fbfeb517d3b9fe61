-- What only PostgreSQL 18 and newer have, to be loaded after everything.sql.

SET client_min_messages = error;

CREATE TABLE app.virtual (a integer, b integer GENERATED ALWAYS AS (a * 2), c integer GENERATED ALWAYS AS (a * 3) STORED, d integer GENERATED ALWAYS AS (a + 4) VIRTUAL, e text);
INSERT INTO app.virtual (a, e) SELECT i, 'e' || i FROM generate_series(1, 20) i;
CREATE TABLE app.only_virtual (a integer GENERATED ALWAYS AS (1 + 1));
INSERT INTO app.only_virtual SELECT FROM generate_series(1, 3);
CREATE TABLE app.required (a integer CONSTRAINT a_is_there NOT NULL, b integer, c integer CONSTRAINT c_here NOT NULL NO INHERIT, d integer);
INSERT INTO app.required VALUES (1, NULL, 3, 4), (2, NULL, 4, 5);
ALTER TABLE app.required ADD CONSTRAINT b_later NOT NULL b NOT VALID;
CREATE TABLE app.required_child (x integer) INHERITS (app.required);
INSERT INTO app.required_child VALUES (1, 2, NULL, 4, 5);
CREATE TABLE app.required_kept (b integer, CONSTRAINT kept NOT NULL b) ;
COMMENT ON CONSTRAINT kept ON app.required_kept IS 'a name of its own';
CREATE TABLE app.rooms (id integer, during tstzrange, rate numeric, PRIMARY KEY (id, during WITHOUT OVERLAPS), UNIQUE (rate, during WITHOUT OVERLAPS));
CREATE TABLE app.bookings (id integer, room integer, during tstzrange, FOREIGN KEY (room, PERIOD during) REFERENCES app.rooms (id, PERIOD during));
INSERT INTO app.rooms VALUES (1, '[2024-01-01 00:00+00,2024-06-01 00:00+00)', 10), (1, '[2024-06-01 00:00+00,2025-01-01 00:00+00)', 12), (2, '[2024-01-01 00:00+00,)', 7);
INSERT INTO app.bookings VALUES (1, 1, '[2024-05-01 00:00+00,2024-07-01 00:00+00)'), (2, 2, '[2024-05-01 00:00+00,2029-07-01 00:00+00)');
CREATE TABLE app.lax (id integer PRIMARY KEY, up integer REFERENCES app.lax NOT ENFORCED, v integer CONSTRAINT small CHECK (v < 10) NOT ENFORCED);
INSERT INTO app.lax VALUES (1, 77, 1000);
CREATE TABLE app.keyed (id uuid PRIMARY KEY DEFAULT uuidv7(), v4 uuid DEFAULT uuidv4(), t text COLLATE "pg_unicode_fast");
INSERT INTO app.keyed (t) SELECT 'ß' || i FROM generate_series(1, 10) i;
CREATE TABLE app.parted (id integer NOT NULL, v integer CONSTRAINT v_given NOT NULL, w integer GENERATED ALWAYS AS (v + 1) VIRTUAL) PARTITION BY RANGE (id);
CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (100);
CREATE TABLE app.parted_2 PARTITION OF app.parted FOR VALUES FROM (100) TO (200);
INSERT INTO app.parted (id, v) SELECT i, i FROM generate_series(1, 150) i;
CREATE PUBLICATION pub_generated FOR TABLE app.virtual (a, c) WITH (publish_generated_columns = stored);
CREATE INDEX virtual_skip ON app.virtual (e, a);
ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO PUBLIC;
