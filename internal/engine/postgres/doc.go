// Package postgres speaks to PostgreSQL 13 to 18. Its [View] freezes a live database as
// tables of rows: one exported snapshot that every connection and pg_dump share.
//
// Definitions are written by pg_dump (--section=pre-data and post-data); rows never go
// through it. They are read by COPY … TO STDOUT in text format, which is the row text of
// package rows as it stands, on several connections at once, large tables in ranges of pages.
//
// The files a backup holds besides rows (see [View.Native]):
//
//	schema/pre-data.sql    types, functions, tables without constraints
//	schema/post-data.sql   indexes, constraints, triggers, refresh of materialized views
//	globals.sql            roles, memberships and tablespaces of the cluster
//	sequences.sql          setval for each sequence
//
// [rows.Origin] has these attributes, each only where it says something: collate, ctype, locale_provider (libc, icu,
// builtin), locale (of icu and builtin), icu_rules, owner, comment, connection_limit, tablespace, acl (as pg_database has it), and
// any number of «set» and «set for ROLE»: what ALTER DATABASE and ALTER ROLE … IN DATABASE have set, as the clause
// «SET "name" TO value» of those statements.
//
// A [Target] takes such a view, or one of another engine, whose portable schema becomes tables here; a [Merger] puts rows
// into tables that exist.
//
// Every session runs with the same fixed settings (see connect.go), so that equal values have
// equal text on every server: UTC, ISO dates, \x hex bytes, shortest exact floats, and
// money in the C locale.
package postgres
