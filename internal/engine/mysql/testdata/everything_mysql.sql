-- One of each of MySQL's own, with the values that go wrong elsewhere. Run by the mysql client.
SET NAMES utf8mb4;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';

CREATE TABLE numeric_types (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'it''s "quoted" \\ and\nbroken',
  t tinyint, tu tinyint unsigned, s smallint, su smallint unsigned, m mediumint, mu mediumint unsigned, i int, iu int unsigned, b bigint, bu bigint unsigned,
  z int(8) unsigned zerofill, bz bigint(20) unsigned zerofill,
  d decimal(65,30), dz decimal(8,2) unsigned zerofill, ok tinyint(1) NOT NULL DEFAULT 1, b1 bit(1) DEFAULT b'1', b64 bit(64),
  f float, fm float(7,3), g double, gm double(10,2), y year,
  dflt int DEFAULT 42, dexpr int DEFAULT (1 + 2), dquote varchar(20) DEFAULT (concat('a', 'it''s \\'))
) AUTO_INCREMENT = 5000 COMMENT = 'numbers';
INSERT INTO numeric_types VALUES (0, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, 0, 0, -12345678901234567890123456789012345.123456789012345678901234567890, 0, 0, b'0', 0, 0, 0, 0, 0, 0, NULL, 1, ''),
 (18446744073709551614, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 42, 18446744073709551615,
  99999999999999999999999999999999999.999999999999999999999999999999, 3.14, 5, b'1', 18446744073709551615, 3.4028235e38, 1234.567, 1.7976931348623157e308, 12345678.91, 2155, 7, 8, 'x'),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0.000000000000000000000000000001, 1, 1, NULL, 1, 0.1, 1677.217, 0.1, 0.005, 1901, 1, 1, NULL),
 (4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, b'1', 9223372036854775808, 1.17549435e-38, -0.0, -2.2250738585072014e-308, 1e7, 2024, 1, 1, 'y'),
 (5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, b'1', 1, 16777216, 0.001, 1e15, 0, 1970, 1, 1, 'z'), (6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, b'1', 1, 1e6, 0.001, 123456789012345680, 0, 1970, 1, 1, 'z');

CREATE TABLE time_types (
  id int PRIMARY KEY, d date, t time, t6 time(6), dt datetime DEFAULT CURRENT_TIMESTAMP, dt3 datetime(3), dt6 datetime(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), ts timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, ts6 timestamp(6) NULL, de date DEFAULT (curdate())
);
SET time_zone = '+03:30';
INSERT INTO time_types VALUES (1, '0000-00-00', '-838:59:59', '838:59:58.999999', '0000-00-00 00:00:00', '2024-02-29 23:59:59.999', '9999-12-31 23:59:59.999999', '2024-03-31 02:30:00', '2038-01-19 03:14:07.999999', '2024-01-01'),
 (2, '1000-01-01', '00:00:00', '-00:00:00.000001', '1000-01-01 00:00:00', '0000-00-00 00:00:00.000', '0001-01-01 00:00:00', '1970-01-01 03:30:01', '0000-00-00 00:00:00', NULL), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, '2024-00-00', '100:00:00', '00:00:00', '2023-12-05', '2024-06-00 00:00:00', '2024-01-01 00:00:00.1', '2024-10-27 01:30:00', '2024-10-27 01:30:00.5', '0000-00-00');

CREATE TABLE text_types (
  id int PRIMARY KEY, c char(10), v varchar(200) COLLATE utf8mb4_unicode_ci DEFAULT 'it''s \\ a "default"', l varchar(200) CHARACTER SET latin1, a varchar(20) CHARACTER SET ascii COLLATE ascii_bin,
  u3 varchar(50) CHARACTER SET utf8mb3, u16 varchar(50) CHARACTER SET utf16, cp varchar(50) CHARACTER SET cp1251, gb varchar(20) CHARACTER SET gb18030, ja varchar(20) COLLATE utf8mb4_ja_0900_as_cs, bin0900 varchar(20) COLLATE utf8mb4_0900_bin,
  tt tinytext, tx text, mt mediumtext, lt longtext,
  e enum('one','two','it''s','','кот') DEFAULT 'two', el enum('ä','b') CHARACTER SET latin1, s set('a','b','c d') NOT NULL DEFAULT 'a,b', j json DEFAULT (json_object('a', 1)), tdef text DEFAULT ('long default')
) DEFAULT CHARSET = utf8mb4 ROW_FORMAT = DYNAMIC;
INSERT INTO text_types VALUES (1, 'abc', 'tab\tnewline\ncr\rback\bslash\\ ff', 'Grüße €', 'ascii', 'žlutý', 'UTF-16 ✓', 'привет', '汉字', 'かな', 'a', '', 'x', 'y', 'z', 'one', 'ä', 'a,c d', '{"k": [1, "\\n \\u20ac", null], "big": 18446744073709551615, "f": 1.0, "e": 1e300, "":""}', ''),
 (2, NULL, concat('nul', char(0 using utf8mb4), 'esc', char(26 using utf8mb4), 'vt', char(11 using utf8mb4), 'ff', char(12 using utf8mb4), 'bell', char(7 using utf8mb4), 'cr', char(13 using utf8mb4)), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, NULL),
 (3, '\\N', '\\N', '\\\\', '\\', 'NULL', 'NULL', '''', '\\', 'a', '\\', '\\x41', '"', '😀 emoji 👩‍👩‍👧', 'a\\', '', 'b', 'c d', '1', 'x'), (4, '', '', '', '', '', '', '', '', '', '', '', '', '', '', 'кот', 'b', 'a', '""', ''),
 (5, 'a', repeat('я', 200), repeat(char(255 using latin1), 100), 'a', 'a', 'a', 'a', 'a', 'a', 'a', repeat('x', 255), repeat('ab\\', 20000), repeat('\t', 300), repeat('\n', 70000), 'one', 'ä', '', '{}', 'x');
INSERT INTO text_types (id, e, j) VALUES (6, 99, json_object('d', cast('2024-01-02' AS date), 'dt', cast('2024-01-02 03:04:05.5' AS datetime(6)), 't', cast('01:02:03' AS time), 'dec', 1.25, 'text', 'ü\n\t"\\')), (7, 'one', 'null'), (8, 'one', '[true, false, -0.0, 1e-7, "\\u0000"]');

CREATE TABLE byte_types (id varbinary(16) PRIMARY KEY, b binary(4), v varbinary(300) DEFAULT 'x\0y', tb tinyblob, bl blob, mb mediumblob, lb longblob, u binary(16) DEFAULT (uuid_to_bin(uuid())), g geometry, p point NOT NULL SRID 4326, p0 point SRID 0, NULLS int, vec vector(3), SPATIAL KEY place (p)) ENGINE = InnoDB;
INSERT INTO byte_types VALUES (x'00', x'00', x'', x'0d0a00095c5c4e', x'ff', x'00010203', repeat(x'5c', 100), uuid_to_bin('123e4567-e89b-12d3-a456-426655440000'), ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 0))'), ST_GeomFromText('POINT(1.5 -2.5)', 4326), ST_GeomFromText('POINT(1 2)'), 1, string_to_vector('[1,-0.5,3e10]')),
 (x'5c4e', x'5c4e', x'5c4e', x'5c', x'0a', NULL, NULL, NULL, NULL, ST_GeomFromText('POINT(0 0)', 4326), NULL, NULL, NULL), (x'5c5c7834', x'5c783431', x'5c783431', x'5c7834', '', '', '', NULL, ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))', 3857), ST_GeomFromText('POINT(89 179)', 4326), NULL, NULL, NULL);
SET cte_max_recursion_depth = 1000;
INSERT INTO byte_types (id, bl, lb, p) SELECT x'ffff', (WITH RECURSIVE n(seq) AS (SELECT 0 UNION ALL SELECT seq + 1 FROM n WHERE seq < 255) SELECT group_concat(char(seq) ORDER BY seq SEPARATOR '') FROM n), repeat(unhex('00ff5c0a09'), 500000), ST_GeomFromText('POINT(1 1)', 4326);

CREATE TABLE `odd ``name"` (`select` int, `a``b` varchar(10), `ünï` int, ` x` text, PRIMARY KEY (`select`, `a``b`));
INSERT INTO `odd ``name"` VALUES (1, 'x', 2, 'y'), (1, 'y', NULL, NULL), (0, '', 0, '');
CREATE TABLE no_key (a int, b text); INSERT INTO no_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
CREATE TABLE empty_table (id int PRIMARY KEY);
SET sql_generate_invisible_primary_key = 1;
CREATE TABLE hidden_key (a int, b text); INSERT INTO hidden_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL); DELETE FROM hidden_key WHERE a IS NULL;
SET sql_generate_invisible_primary_key = 0;

CREATE TABLE parents (id int NOT NULL, kind char(3) NOT NULL, self int, name varchar(50) NOT NULL, body text, doc json,
  lower_name varchar(50) AS (lower(name)) VIRTUAL, len int AS (char_length(name)) STORED, hidden int DEFAULT 7 INVISIBLE,
  price decimal(10,2) CHECK (price >= 0), CONSTRAINT sane CHECK (id > 0 OR kind = 'neg'), CONSTRAINT slack CHECK (id <> 77) NOT ENFORCED,
  PRIMARY KEY (id), UNIQUE KEY both_keys (kind, id), KEY self_key (self), KEY prefix (body(20)), FULLTEXT KEY words (body), FULLTEXT KEY grams (name) WITH PARSER ngram, KEY gen (lower_name), KEY down (name DESC),
  KEY functional ((upper(name)), (id + 1) DESC), UNIQUE KEY functional_unique ((concat(kind, '(', id))), KEY many ((cast(doc->'$.tags' AS unsigned array))), KEY unseen (price) INVISIBLE,
  CONSTRAINT self_fk FOREIGN KEY (self) REFERENCES parents (id) ON DELETE SET NULL
) ENGINE = InnoDB;
SET foreign_key_checks = 0;
INSERT INTO parents (id, kind, self, name, body, doc, hidden, price) VALUES (1, 'abc', 2, 'First', 'some words', '{"tags": [3, 4]}', 1, 1.25), (2, 'abc', 1, 'Second', 'other words', '{"tags": []}', NULL, NULL), (-3, 'neg', NULL, '', NULL, NULL, 3, 0), (77, 'abc', NULL, 'x', NULL, NULL, 3, 0);
SET foreign_key_checks = 1;
CREATE TABLE children (id int AUTO_INCREMENT, kind char(3), parent int, KEY (id), PRIMARY KEY (parent, id), CONSTRAINT `odd ``fk` FOREIGN KEY (kind, parent) REFERENCES parents (kind, id) ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO children (kind, parent) VALUES ('abc', 1), ('abc', 2), ('abc', 1);

CREATE TABLE ranges (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (year(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION old VALUES LESS THAN (2000), PARTITION rest VALUES LESS THAN MAXVALUE);
INSERT INTO ranges VALUES (1, '1999-01-01'), (2, '2020-01-01'), (3, '1950-06-06');
CREATE TABLE lists (id int, place varchar(10), PRIMARY KEY (id, place)) PARTITION BY LIST COLUMNS (place) (PARTITION a VALUES IN ('x', 'it''s'), PARTITION b VALUES IN ('z'));
INSERT INTO lists VALUES (1, 'x'), (2, 'z'), (3, 'it''s');
CREATE TABLE keyed (id int PRIMARY KEY) PARTITION BY KEY () PARTITIONS 3; INSERT INTO keyed VALUES (1), (2), (3);
CREATE TABLE old_style (id int PRIMARY KEY, t text, FULLTEXT (t)) ENGINE = MyISAM; INSERT INTO old_style VALUES (1, 'x'), (2, NULL);
CREATE TABLE compressed (id int PRIMARY KEY, t text) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8 STATS_PERSISTENT = 1; INSERT INTO compressed VALUES (1, 'x');

-- The names are against the order in which they must be made.
CREATE VIEW v_z AS SELECT id, name FROM parents WHERE id > 0;
CREATE VIEW v_a AS SELECT z.id, z.name, 'ü' AS u FROM v_z z JOIN children c ON c.parent = z.id;
CREATE SQL SECURITY INVOKER VIEW v_b AS SELECT count(*) AS n FROM v_a;
CREATE VIEW v_c AS SELECT id, self FROM parents WHERE id < 100 WITH LOCAL CHECK OPTION;
CREATE VIEW v_d AS WITH x AS (SELECT id, row_number() OVER (ORDER BY name) AS r FROM v_z) SELECT x.*, jt.tag FROM x JOIN parents p USING (id), JSON_TABLE(p.doc, '$.tags[*]' COLUMNS (tag int PATH '$')) jt;

DELIMITER //
CREATE TRIGGER first_trigger BEFORE INSERT ON parents FOR EACH ROW BEGIN SET NEW.name = concat(NEW.name, '!'); SET NEW.hidden = 1; END//
CREATE TRIGGER another BEFORE INSERT ON parents FOR EACH ROW PRECEDES first_trigger SET NEW.price = coalesce(NEW.price, 0)//
SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'//
CREATE TRIGGER modes AFTER DELETE ON children FOR EACH ROW BEGIN SET @x = 'a\' || "OLD"."kind"; END//
SET sql_mode = 'STRICT_TRANS_TABLES'//
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC COMMENT 'doubles' RETURN x * 2//
CREATE PROCEDURE work(IN n int, OUT m int) MODIFIES SQL DATA SQL SECURITY INVOKER
BEGIN
  -- $$ a comment; with 'quotes
  DECLARE done int DEFAULT 0;
  WHILE n > 0 DO SET m = coalesce(m, 0) + twice(n), n = n - 1; END WHILE;
END//
SET sql_mode = ''//
SET time_zone = '+02:00'//
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 02:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'at night' DO BEGIN DELETE FROM no_key WHERE a = 99; END//
DELIMITER ;
