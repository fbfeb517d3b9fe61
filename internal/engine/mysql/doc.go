// Package mysql reads and writes databases of MariaDB (10.6 and newer) and MySQL (8.0 and newer) as rows.
//
// A [View] is one instant of one database, seen over several connections; how that instant was had is in
// Origin.Consistency. A [Target] restores a backup, of this engine or another, and a [Merger] puts rows into tables
// that exist. Origin.Engine is "mysql" for both kinds of server; the flavour is in Origin.Version.
//
// The View's Native holds, for the stock mariadb client and for the Target:
//
//	globals.sql            users, roles and their rights, as far as the backup's user may see them
//	schema/pre-data.sql    sequences and tables, without foreign keys
//	sequences.sql          the sequences' values
//	schema/post-data.sql   foreign keys, routines, views in order, triggers, events
//
// Their statements stand between lines that hold nothing but the delimiter named at the top, and each
// begins with a comment that names its object in JSON.
package mysql
