package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/holdfast-db/holdfast/internal/servers"
)

//go:embed all:django
var djangoProject embed.FS

// fixtureSQL fills the tables that Django made, from md5 of each row's number: the same in every run.
const fixtureSQL = `
INSERT INTO stars_reading (taken, day, hour, name, slug, note, email, ok, checked, small, count, total, price, weight, key, data, ip, span, blob)
SELECT timestamptz '2024-01-01 00:00:00+00' + n * interval '17.317001 seconds', date '2024-01-01' + n %% 900, time '00:00:00' + n * interval '1.25 seconds',
	'Reading ' || n, 'reading-' || n, CASE WHEN n %% 3 = 0 THEN E'two\nlines' ELSE '' END,
	left(h, 8) || '@example.org', n %% 2 = 0, CASE n %% 3 WHEN 0 THEN true WHEN 1 THEN false END, n %% 30000, n * 7, n::bigint * 123456789,
	(n %% 1000000) / 100.0, n / 7.0, h::uuid, jsonb_build_object('n', n, 'ok', true),
	('10.1.' || n / 256 %% 256 || '.' || n %% 256)::inet, justify_hours(n * interval '1.000001 seconds'), decode(left(h, 8), 'hex')
FROM generate_series(1, %[1]d) n, LATERAL (SELECT md5(n::text) h) x;
INSERT INTO stars_tag (name) SELECT 'tag ' || n FROM generate_series(1, 500) n;
INSERT INTO stars_viewinglocation (name, latitude, longitude) SELECT 'Place ' || md5(n::text), n %% 180 - 90 + n / 1e6, n %% 360 - 180 + n / 1e6
FROM generate_series(1, %[1]d) n;
INSERT INTO stars_viewinglocation_tags (viewinglocation_id, tag_id)
SELECT p, 1 + (p * 7 + k * 131) %% 500 FROM generate_series(1, %[1]d) p, generate_series(1, 3) k;
VACUUM ANALYZE;
`

// fixtures makes the Django project and its database, once.
func (b *bench) fixtures(ctx context.Context) error {
	if b.django != "" {
		return nil
	}
	if err := b.postgres(ctx); err != nil {
		return err
	}
	files, err := fs.Sub(djangoProject, "django")
	if err != nil {
		return err
	}
	project := b.path("django")
	if err := os.CopyFS(project, files); err != nil {
		return err
	}
	b.django = project
	if err := b.freshDjango(ctx, "django_full"); err != nil {
		return err
	}
	_, err = b.pg.Query("django_full", fmt.Sprintf(fixtureSQL, b.opt.fixture))
	b.note("Django data: %d rows of a model with 20 columns, %d rows of one with a many-to-many of three each; PostgreSQL, Django 5.2 with psycopg2, DEBUG off.", b.opt.fixture, b.opt.fixture)
	return err
}

// freshDjango makes a database with the project's empty tables.
func (b *bench) freshDjango(ctx context.Context, db string) error {
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + db, "CREATE DATABASE " + db} {
		if _, err := b.pg.Query("postgres", sql); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"makemigrations", "-v", "0", "stars"}, {"migrate", "-v", "0"}} {
		if _, err := measure(ctx, b.manage(db, args...)); err != nil {
			return err
		}
	}
	return nil
}

// manage prepares Django's command on one database.
func (b *bench) manage(db string, args ...string) *exec.Cmd {
	cmd := b.command("/usr/bin/python3", append([]string{"-m", "django"}, args...)...)
	cmd.Dir = b.django
	packages := filepath.Join(servers.CacheDir(), "django-5.2/usr/lib/python3/dist-packages")
	cmd.Env = append(cmd.Env, b.pgEnv()...)
	cmd.Env = append(cmd.Env, "BENCH_DB="+db, "DJANGO_SETTINGS_MODULE=settings", "PYTHONPATH="+b.django+":"+packages, "LC_ALL=C.UTF-8")
	return cmd
}

// plain runs a command of Holdfast that needs no repository.
func (b *bench) plain(args ...string) *exec.Cmd {
	cmd := b.command(b.opt.bin, args...)
	cmd.Env = append(cmd.Env, b.pgEnv()...)
	return cmd
}

func (b *bench) fixtureDump(ctx context.Context) error {
	if err := b.fixtures(ctx); err != nil {
		return err
	}
	for _, m := range []struct {
		label, work string
		target      float64
	}{
		{"stars.reading", "JSON dump, model of 20 columns", 1.0 / 15},
		{"stars.viewinglocation", "JSON dump, model with a many-to-many", 1.0 / 150},
	} {
		our := contender{name: "holdfast dump " + m.label, before: b.removed("ours.json"), run: func() *exec.Cmd {
			return b.plain("dump", b.pgURL("django_full"), "--only", m.label, "-o", b.path("ours.json"))
		}, after: b.remember("fixture dump")}
		django := contender{name: "dumpdata " + m.label, before: b.removed("django.json"), run: func() *exec.Cmd {
			return b.manage("django_full", "dumpdata", "-a", m.label, "-o", b.path("django.json"))
		}}
		got, err := b.against(ctx, our, django)
		if err != nil {
			return err
		}
		b.compare(m.work, "`manage.py dumpdata`", got[our.name], got[django.name], m.target)
	}
	return nil
}

// against runs the slow peer once and ours as often as -runs says.
func (b *bench) against(ctx context.Context, our, peer contender) (map[string][]sample, error) {
	got, err := b.race(ctx, b.ours(our)...)
	if err != nil {
		return nil, err
	}
	runs := b.opt.runs
	b.opt.runs = 1
	defer func() { b.opt.runs = runs }()
	slow, err := b.race(ctx, peer)
	if err != nil {
		return nil, err
	}
	got[peer.name] = slow[peer.name]
	return got, nil
}

func (b *bench) fixtureLoad(ctx context.Context) error {
	if err := b.fixtures(ctx); err != nil {
		return err
	}
	file := b.path("reading.json")
	if _, err := measure(ctx, b.manage("django_full", "dumpdata", "-a", "stars.reading", "-o", file)); err != nil {
		return err
	}
	fresh := func(db string) func() error { return func() error { return b.freshDjango(ctx, db) } }
	our := contender{name: "holdfast load, empty", before: fresh("django_ours"), run: func() *exec.Cmd {
		return b.plain("load", file, "--to", b.pgURL("django_ours"))
	}, after: b.remember("fixture load")}
	django := contender{name: "loaddata, empty", before: fresh("django_theirs"), run: func() *exec.Cmd {
		return b.manage("django_theirs", "loaddata", "-v", "0", file)
	}}
	got, err := b.against(ctx, our, django)
	if err != nil {
		return err
	}
	b.compare("JSON load into empty tables, 20 columns", "`manage.py loaddata`", got[our.name], got[django.name], 1.0/80)
	// The same file once more, then over rows every one of which was changed.
	vacuum := func(db, change string) func() error {
		return func() error {
			_, err := b.pg.Query(db, change+"VACUUM ANALYZE stars_reading")
			return err
		}
	}
	our.name, our.before = "holdfast load, over its rows", vacuum("django_ours", "")
	django.name, django.before = "loaddata, over its rows", vacuum("django_theirs", "")
	if got, err = b.against(ctx, our, django); err != nil {
		return err
	}
	b.compare("JSON load over existing rows, 20 columns", "`manage.py loaddata`", got[our.name], got[django.name], 1.0/40)
	const change = "UPDATE stars_reading SET count = count + 1;"
	our.name, our.before = "holdfast load, all changed", vacuum("django_ours", change)
	django.name, django.before = "loaddata, all changed", vacuum("django_theirs", change)
	if got, err = b.against(ctx, our, django); err != nil {
		return err
	}
	b.compare("the same, each of the rows changed before", "`manage.py loaddata`", got[our.name], got[django.name], 0)
	return nil
}

func (b *bench) sqlText(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	our := contender{name: "holdfast dump --format sql", before: b.removed("ours.sql"), run: func() *exec.Cmd {
		return b.plain("dump", b.pgURL("bench"), "--format", "sql", "-o", b.path("ours.sql"))
	}}
	theirs := b.pgDump("theirs.sql", "-Fp", "-Fp", "--clean", "--if-exists", "--no-owner", "--no-privileges")
	got, err := b.race(ctx, append(b.ours(our), theirs)...)
	if err != nil {
		return err
	}
	b.compare("SQL dump", "`pg_dump -Fp`", got[our.name], got[theirs.name], 1.1)
	fresh := func(db string) func() error {
		return func() error {
			_, err := b.pg.Query("postgres", "DROP DATABASE IF EXISTS "+db)
			if err == nil {
				_, err = b.pg.Query("postgres", "CREATE DATABASE "+db+" TEMPLATE template0")
			}
			return err
		}
	}
	load := contender{name: "holdfast load (SQL)", before: fresh("sql_ours"), run: func() *exec.Cmd {
		return b.plain("load", b.path("theirs.sql"), "--to", b.pgURL("sql_ours"))
	}}
	psql := contender{name: "psql -f", before: fresh("sql_theirs"), run: func() *exec.Cmd {
		return b.pgTool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "sql_theirs", "-f", b.path("theirs.sql"))
	}}
	if got, err = b.race(ctx, append(b.ours(load), psql)...); err != nil {
		return err
	}
	b.compare("SQL load", "`psql -f`", got[load.name], got[psql.name], 1.1)
	return errors.Join(b.removed("ours.sql")(), b.removed("theirs.sql")())
}
