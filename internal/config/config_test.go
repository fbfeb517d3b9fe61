package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-db/holdfast/internal/fail"
)

func parse(t *testing.T, text string) (*Config, []Problem) {
	t.Helper()
	return Parse([]byte(text), func(name string) (string, bool) {
		v, ok := map[string]string{"PW": "s3cret", "EMPTY": "", "HOST": "db1"}[name]
		return v, ok
	}, func(name string) (string, error) {
		if name == "/run/secrets/url" {
			return "postgres://from-file/x\n", nil
		}
		return "", errors.New("no such file")
	})
}

func good(t *testing.T, text string) *Config {
	t.Helper()
	c, problems := parse(t, text)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	return c
}

func TestParse(t *testing.T) {
	c := good(t, `
repository: /srv/backups
password: ${PW}
time_zone: Europe/Berlin
notify:
  ops: ntfy://ntfy.sh/ops
  mail: {url: "smtp://${HOST}/", events: [failed, late]}
defaults:
  lock_wait: 1m
  notify: ops
databases:
  shop:
    url: postgres://${HOST:-x}/shop$$1
    preset: production
    schedule: {at: "0 * * * *", blackout: ["Mon-Fri 08:00-10:00"], time_zone: UTC}
    keep: {last: 5, daily: 7d}
    hooks: {before: ["pg_isready", {run: "echo hi", timeout: 5s, if_fails: warn}]}
    drill: {expect: "select count(*) > 0 from orders"}
  wiki: sqlite:/srv/wiki.db
  third:
    url: ${file:/run/secrets/url}
    lock_wait: 5s
    notify: [mail, ops]
`)
	if c.Password.Reveal() != "s3cret" || c.TimeZone.String() != "Europe/Berlin" || len(c.Databases) != 3 {
		t.Fatalf("got %+v", c)
	}
	shop, wiki, third := c.Databases[0], c.Databases[1], c.Databases[2]
	if got := shop.URL.Reveal(); got != "postgres://db1/shop$1" {
		t.Errorf("url %s", got)
	}
	if shop.Keep.Last.Count != 5 || shop.Keep.Daily.String() != "7d" || shop.Keep.Hourly.String() != "0" {
		t.Errorf("keep does not replace the preset's: %+v", shop.Keep)
	}
	if shop.Objectives.MinCopies != 3 || shop.Drill.Schedule.At.String() != "Sun 04:00" {
		t.Errorf("the preset's other settings are gone: %+v", shop)
	}
	if got := shop.Hooks.Before; len(got) != 2 || got[0].Run != "pg_isready" || got[1].Timeout.Std() != 5*time.Second || got[1].IfFails != Warn {
		t.Errorf("hooks: %+v", got)
	}
	plan := shop.Schedule.Plan("shop", c.TimeZone.Location)
	if plan.Zone != time.UTC || len(plan.Blackout) != 1 || !cmp.Equal(shop.Drill.Expect, []string{"select count(*) > 0 from orders"}) {
		t.Errorf("plan %+v, expect %q", plan, shop.Drill.Expect)
	}
	if wiki.URL.Reveal() != "sqlite:/srv/wiki.db" || wiki.LockWait.Std() != time.Minute || wiki.Keep.Daily.String() != "7d" || !cmp.Equal(wiki.Notify, []string{"ops"}) {
		t.Errorf("wiki: %+v", wiki)
	}
	if third.URL.Reveal() != "postgres://from-file/x" || third.LockWait.Std() != 5*time.Second || !cmp.Equal(third.Notify, []string{"mail", "ops"}) {
		t.Errorf("third: %+v", third)
	}
}

// Every problem of a file is reported, where it is.
func TestProblems(t *testing.T) {
	_, problems := parse(t, `repositry: /srv
time_zone: Mars/Base
notify:
  ops: {events: [failed, lost]}
defaults:
  keep: {dayly: 7}
databases:
  shop:
    url: postgres://x/${NOPE}
    schedule: "61 * * * *"
    keep: {daily: soon}
    objectives: {max_age: 1h, warn_age: 2h, max_size_change: -3}
    notify: [mail]
    jobs: many
  "bad name": sqlite:x
  empty: {}
  shop: sqlite:y
`)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	for _, want := range []string{
		"1:1: repositry: unknown setting; did you mean repository?",
		`2:12: time_zone: "Mars/Base" is no time zone`,
		`4:26: notify.ops.events[1]: "lost" is not known`,
		"notify.ops: url is missing",
		"6:10: defaults.keep.dayly: unknown setting; did you mean daily?",
		"9:10: databases.shop.url: environment variable NOPE is not set",
		`10:15: databases.shop.schedule: schedule "61 * * * *"`,
		`11:19: databases.shop.keep.daily: `,
		`databases.shop.objectives.max_size_change: "-3" is no percentage`,
		"databases.shop.objectives: warn_age is more than max_age",
		`databases.shop.notify: no place "mail"`,
		`14:11: databases.shop.jobs: "many" is no number`,
		"databases.bad name: a name has letters",
		"databases.empty: url is missing",
		"17:3:",
	} {
		found := false
		for _, g := range got {
			found = found || strings.Contains(g, want)
		}
		if !found {
			t.Errorf("no problem has %q", want)
		}
	}
	if t.Failed() {
		t.Logf("got:\n%s", strings.Join(got, "\n"))
	}
}

// A problem stands where the setting does, once, whatever inherits it.
func TestProblemsOfDefaults(t *testing.T) {
	_, problems := parse(t, `notify: {ops: "ntfy://x/y"}
disk_free: 200%
defaults:
  notify: opps
  hooks: {before: ""}
databases:
  a: sqlite:a
  b: {url: sqlite:b, verify: {sample: 101%}}
  c: 5
  d:
  e: ""
  f: {url: }
  g:
    url: sqlite:g
    exports:
      - {format: json, folder: x, compress: bz2}
      - {format: json, folder: x, encrypt: gpg}
      - {format: json, folder: x, passphrase: "${PW}"}
      - {format: json, folder: x, encrypt: rot13}
      - {format: sql, folder: x, exclude: [sessions]}
      - {format: sql, folder: x, encrypt: "age:age1x", drill: true}
`)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		"2:12: disk_free: there is no more than 100%",
		`4:11: defaults.notify: no place "opps"; did you mean ops?`,
		"5:10: defaults.hooks: hook 1 has nothing to run",
		"8:30: databases.b.verify: sample is more than 100%",
		"9:6: databases.c: settings are wanted here, as «name: value»",
		"10:5: databases.d: url is missing",
		"11:6: databases.e: url is missing",
		"12:6: databases.f: url is missing",
		"16:9: databases.g.exports[0]: compress is one of gz, xz, zst",
		"17:9: databases.g.exports[1]: encrypt: gpg needs a passphrase",
		"18:9: databases.g.exports[2]: passphrase is for encrypt: age or gpg",
		"19:9: databases.g.exports[3]: encrypt is one of age:RECIPIENT, age, gpg",
		"20:9: databases.g.exports[4]: exclude, allow_unmapped, django_project and model_map are for json and jsonl",
		"21:9: databases.g.exports[5]: drill needs a file that can be read here: encrypt: age or gpg, with a passphrase",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"jobs: 1\n": "1:1: databases: no database is named",
		"hello":     "1:1: settings are wanted here, as «name: value»",
		"databases:\n  a: {<<: {url: x}, url: sqlite:x}": "2:7: databases.a.<<: " + noAnchors,
	} {
		_, problems := parse(t, text)
		if len(problems) != 1 || problems[0].String() != want {
			t.Errorf("%q: %v, want %s", text, problems, want)
		}
	}
}

// Windows' line ends and its mark of UTF-8 are no part of a text.
func TestWindowsText(t *testing.T) {
	c := good(t, "\xef\xbb\xbfrepository: /srv/x\r\ndatabases:\r\n  a: sqlite:x.db\r\n")
	if c.Repository != "/srv/x" || c.Databases[0].URL.Reveal() != "sqlite:x.db" {
		t.Errorf("got %+v", c)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "comment_only": "# nothing\n", "list": "- a\n- b\n", "scalar": "hello", "no_databases": "repository: x\n", "two_documents": "databases: {a: sqlite:x}\n---\ndatabases: {b: sqlite:y}\n",
		"syntax": "databases: {a: [}\n", "tabs": "databases:\n\ta: x\n", "alias": "databases:\n  a: &x {url: sqlite:a}\n  b: *x\n", "deep": "databases: {a: {url: {x: {y: 1}}}}",
		"unclosed_reference": "databases: {a: \"${PW\"}", "missing_file": "databases: {a: \"${file:/nope}\"}", "two_passwords": "password: a\npassword_file: b\ndatabases: {a: sqlite:x}\n",
		"duplicate_key":  "jobs: 1\njobs: 2\ndatabases: {a: sqlite:x}\n",
		"listen_nowhere": "listen: nonsense\ndatabases: {a: sqlite:x}\n", "listen_on_no_port": "listen: 127.0.0.1:many\ndatabases: {a: sqlite:x}\n",
		"heartbeat_no_url": "databases: {a: {url: sqlite:x, heartbeat: abc}}\n", "heartbeat_elsewhere": "databases: {a: {url: sqlite:x, heartbeat: \"ftp://h/x\"}}\n",
		"never_a_time":          "databases: {a: {url: sqlite:x, schedule: {at: \"@daily\", blackout: \"00:00-24:00\"}}}\n",
		"never_a_time_to_prove": "databases: {a: {url: sqlite:x, drill: {schedule: {at: \"@daily\", blackout: [\"22:00-12:00\", \"12:00-22:00\"]}}}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if c, problems := parse(t, text); len(problems) == 0 {
				t.Errorf("accepted: %+v", c)
			}
		})
	}
}

// No secret of a file shows when the configuration or its problems are printed.
func TestSecretsStaySecret(t *testing.T) {
	_, problems := parse(t, "password: ${PW}\npassword_file: x\ndatabases:\n  a: {url: \"postgres://u:s3cret@h/x\", jobs: x}\n")
	c, _ := parse(t, "password: s3cret\ndatabases: {a: \"postgres://u:s3cret@h/x\"}\n")
	if text := fmt.Sprintf("%+v %#v %v", c, c, c.Databases[0]); strings.Contains(text, "s3cret") {
		t.Errorf("the configuration shows the secret: %s", text)
	}
	for _, p := range problems {
		if strings.Contains(p.String(), "s3cret") {
			t.Errorf("a problem shows the secret: %s", p)
		}
	}
}

func TestPresets(t *testing.T) {
	for _, p := range append(Presets(), "") {
		db := preset(p)
		plan := db.Schedule.Plan("x", time.UTC)
		if plan.Empty() || db.Keep.Policy(time.UTC).Empty() || db.Keep.Policy(time.UTC).Validate() != nil {
			t.Errorf("preset %q does not protect: %+v", p, db)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("databases:\n  shop:\n    url: sqlite:x\n    keep: {daily: 7d}\n")
	f.Add("a: &x [1, *x]\n? b\n: c\n<<: {d: e}\n")
	for _, s := range []string{"{", "[", "? x", "a: &x b\nc: *x", "<<: {a: b}", "!!binary x", "a:\n\tb", "\x00", "%YAML 9\n---\n", "a: |", "databases: {1: 2}", "databases: [a]", "databases: {? {a: b} : c}",
		"notify: {x: {url: [a]}}", "databases: {x: ~}", "--- a\n--- b", "databases: {x: {url: \"${\"}}", strings.Repeat("[", 1000), strings.Repeat("a:\n ", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := parse(t, text)
		if len(problems) == 0 && len(c.Databases) == 0 {
			t.Errorf("accepted without a database: %q", text)
		}
	})
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "holdfast.yaml")
	if _, err := Load(file); fail.KindOf(err) != fail.NotFound {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(file, []byte("databases: {a: \"${file:url}\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "url"), []byte("sqlite:z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil || c.Databases[0].URL.Reveal() != "sqlite:z" || c.Path != file {
		t.Errorf("got %+v, %v", c, err)
	}
}

// What init writes is read without a problem, whatever the names, and says what the preset does.
func TestTemplate(t *testing.T) {
	for _, p := range Presets() {
		dbs := []Named{{"shop", `postgres://u:p$w"\@h/x?a=b&c=#d`}, {"42", "sqlite:/srv/a b.db"}}
		c := good(t, Template(`/srv/it's "here"`, p, dbs))
		if c.Repository != `/srv/it's "here"` || c.Preset != p || len(c.Databases) != 2 {
			t.Fatalf("%s: got %+v", p, c)
		}
		for i, db := range c.Databases {
			if db.Name != dbs[i].Name || db.URL.Reveal() != dbs[i].URL {
				t.Errorf("%s: database %d is %s %s", p, i, db.Name, db.URL.Reveal())
			}
		}
	}
}
