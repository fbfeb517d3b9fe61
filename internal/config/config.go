// Package config reads holdfast.yaml: which databases are to be protected, how, and who is told when
// they are not. Every problem of a file is reported at once, with line and column.
package config

import (
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/retain"
	"github.com/holdfast-db/holdfast/internal/rows"
	"github.com/holdfast-db/holdfast/internal/schedule"
)

// Config is a whole file. The field tags are its reference: yaml is the key, doc what it means.
type Config struct {
	Repository      string            `yaml:"repository" doc:"the repository: a folder; default $HOLDFAST_REPO"`
	Password        fail.Secret       `yaml:"password" doc:"its password; write a reference such as ${HOLDFAST_PASSWORD} or ${file:/run/secrets/holdfast}"`
	PasswordFile    string            `yaml:"password_file" doc:"a file that holds its password"`
	PasswordCommand string            `yaml:"password_command" doc:"a command that prints its password"`
	TimeZone        Zone              `yaml:"time_zone" doc:"of all times in this file and of the calendar of retention, such as Europe/Berlin; default: the machine's"`
	Preset          Preset            `yaml:"preset" doc:"what is not set below comes from it: development, staging or production"`
	Jobs            int               `yaml:"jobs" doc:"how many databases are worked on at once; default 1"`
	Listen          string            `yaml:"listen" doc:"address of /metrics and /healthz, such as 127.0.0.1:9854; default: none"`
	MetricsFile     string            `yaml:"metrics_file" doc:"file for node_exporter's textfile collector, written after each change"`
	Prune           Task              `yaml:"prune" doc:"when old backups are removed; default: daily"`
	DiskFree        Percent           `yaml:"disk_free" doc:"alarm when less of the repository's disk is free; default 10%"`
	Notify          map[string]Notify `yaml:"notify" doc:"places that are told, by a name of your choice"`
	RemindEvery     Duration          `yaml:"remind_every" doc:"how often an alarm that goes on is repeated; default 24h"`
	Defaults        *Database         `yaml:"defaults" doc:"what holds for every database that does not say otherwise"`
	Databases       []*Database       `yaml:"databases" doc:"the databases, by the name that their backups have"`

	Path string `yaml:"-"` // of the file

	at   map[string]Problem  `yaml:"-"` // where each setting is; a text may stand for a secret, so that it is not kept
	hide func(string) string `yaml:"-"` // of Hide
}

// Database is what is promised for one database.
type Database struct {
	Name       string            `yaml:"-"`
	URL        fail.Secret       `yaml:"url" doc:"postgres://user@host/name, mysql://…, sqlite:path; passwords by reference, or in ~/.pgpass or ~/.my.cnf"`
	Preset     Preset            `yaml:"preset" doc:"as above, for this database"`
	Tables     Tables            `yaml:"tables" doc:"which tables; default: all"`
	Jobs       int               `yaml:"jobs" doc:"connections that read rows; default 2"`
	LockWait   Duration          `yaml:"lock_wait" doc:"longest wait for a lock on a table; default 30s"`
	Schedule   Schedule          `yaml:"schedule" doc:"when it is backed up: cron fields, @daily, or systemd's form; with options as a mapping"`
	Retries    int               `yaml:"retries" doc:"how often a run that could not reach a server is tried again; default 3"`
	Timeout    Duration          `yaml:"timeout" doc:"longest time of a run; default 24h"`
	Keep       Keep              `yaml:"keep" replace:"true" doc:"which backups are kept"`
	Verify     Verify            `yaml:"verify" doc:"reading backups back"`
	Drill      Drill             `yaml:"drill" doc:"restoring the newest backup somewhere safe, and comparing"`
	Objectives Objectives        `yaml:"objectives" doc:"what check and the alarms measure by"`
	Hooks      Hooks             `yaml:"hooks" doc:"your own commands around a backup"`
	Exports    []Export          `yaml:"exports" doc:"portable files written after each backup"`
	Notify     []string          `yaml:"notify" doc:"names of places that are told; default: all of them"`
	Heartbeat  Heartbeat         `yaml:"heartbeat" doc:"a monitor that raises an alarm when nothing is heard"`
	Env        map[string]string `yaml:"env" doc:"environment of hooks"`
}

// Tables picks tables.
type Tables struct {
	Include []string `yaml:"include" doc:"patterns as psql has them: public.users, log_*"`
	Exclude []string `yaml:"exclude" doc:"patterns; wins over include"`
}

// Selection returns the same for the engines.
func (t Tables) Selection() rows.Selection {
	return rows.Selection{Include: t.Include, Exclude: t.Exclude}
}

// Schedule is when something runs. A plain text in the file sets At.
type Schedule struct {
	At       Times    `yaml:"at" doc:"the times: «15 2 * * *», «@daily», «Mon..Fri 08..18:00»"`
	TimeZone Zone     `yaml:"time_zone" doc:"of these times; default: the file's"`
	Jitter   Duration `yaml:"jitter" doc:"puts runs off by up to this, always by the same for one database"`
	Blackout []Window `yaml:"blackout" doc:"times in which nothing begins: «Mon-Fri 08:00-18:00»"`
}

// Plan returns the schedule of one job.
func (s Schedule) Plan(seed string, zone *time.Location) schedule.Plan {
	p := schedule.Plan{When: s.At.Times, Zone: zone, Jitter: time.Duration(s.Jitter), Seed: seed}
	if s.TimeZone.Location != nil {
		p.Zone = s.TimeZone.Location
	}
	for _, w := range s.Blackout {
		p.Blackout = append(p.Blackout, w.Window)
	}
	return p
}

// Keep is a retention policy: counts («7») or ages («7d», «6mo»).
type Keep struct {
	Last      retain.Limit `yaml:"last" doc:"the newest so many, or all of an age"`
	Hourly    retain.Limit `yaml:"hourly" doc:"the newest of each hour"`
	Daily     retain.Limit `yaml:"daily" doc:"the newest of each day"`
	Weekly    retain.Limit `yaml:"weekly" doc:"the newest of each week"`
	Monthly   retain.Limit `yaml:"monthly" doc:"the newest of each month"`
	Yearly    retain.Limit `yaml:"yearly" doc:"the newest of each year"`
	Min       int          `yaml:"min" doc:"never fewer good ones than this"`
	WeekStart WeekDay      `yaml:"week_start" doc:"first day of the week; default Monday"`
}

// Task is something that runs now and then.
type Task struct {
	Schedule Schedule `yaml:"schedule" doc:"when; never switches it off"`
}

// Verify is reading back.
type Verify struct {
	Schedule Schedule `yaml:"schedule" doc:"when; never switches it off"`
	Sample   Percent  `yaml:"sample" doc:"how much of each backup is read; default 100%"`
}

// Drill is a restore for proof.
type Drill struct {
	Schedule Schedule    `yaml:"schedule" doc:"when; never switches it off"`
	To       fail.Secret `yaml:"to" doc:"a server for scratch databases; default auto: a file for SQLite, else a server started from the programs on this machine"`
	Expect   []string    `yaml:"expect" doc:"queries that must return true: select count(*) > 0 from orders"`
}

// Objectives are the promises.
type Objectives struct {
	MaxAge         Duration `yaml:"max_age" doc:"of the newest good backup; default: the longest gap of the schedule, an hour, and what the newest one took"`
	WarnAge        Duration `yaml:"warn_age" doc:"from which on check warns; default: halfway between the longest gap of the schedule and max_age"`
	MinCopies      int      `yaml:"min_copies" doc:"good backups at least; default 1"`
	VerifiedWithin Duration `yaml:"verified_within" doc:"the newest verified backup is no older; default: by the schedule of verify"`
	DrilledWithin  Duration `yaml:"drilled_within" doc:"the newest drilled backup is no older; default: by the schedule of drill"`
	MaxSizeChange  Percent  `yaml:"max_size_change" doc:"of size and rows against the backup before; default 50%"`
}

// Hooks are commands of the user.
type Hooks struct {
	Before    []Hook `yaml:"before" doc:"before the backup"`
	After     []Hook `yaml:"after" doc:"after a good backup"`
	OnFailure []Hook `yaml:"on_failure" doc:"after a failed one"`
}

// Hook is one command. A plain text in the file sets Run.
type Hook struct {
	Run     string    `yaml:"run" doc:"for sh -c; HOLDFAST_DATABASE, HOLDFAST_EVENT, HOLDFAST_BACKUP and HOLDFAST_ERROR are in its environment"`
	Timeout Duration  `yaml:"timeout" doc:"default 10m"`
	IfFails HookFails `yaml:"if_fails" doc:"abort (the backup fails, or counts as failed), or warn; default: abort before the backup, else warn"`
}

// Export is a portable file after each backup.
type Export struct {
	Format   string      `yaml:"format" doc:"json, jsonl or sql"`
	Folder   string      `yaml:"folder" doc:"where the files go"`
	Keep     Keep        `yaml:"keep" replace:"true" doc:"which files are kept; default: all"`
	Compress string      `yaml:"compress" doc:"gz, xz or zst"`
	Encrypt  string      `yaml:"encrypt" doc:"age:RECIPIENT; or age or gpg, with passphrase"`
	Secret   fail.Secret `yaml:"passphrase" doc:"for age or gpg; by reference"`
	Drill    bool        `yaml:"drill" doc:"load each file into a scratch place and compare; it is read back in any case"`
	Exclude  []string    `yaml:"exclude" doc:"json, jsonl: apps and models that are left out: sessions, admin.logentry"`
	Unmapped bool        `yaml:"allow_unmapped" doc:"json, jsonl: write tables that no model claims under their own names"`
	Project  string      `yaml:"django_project" doc:"json, jsonl: folder of the Django project, whose migrations name models and fields"`
	ModelMap string      `yaml:"model_map" doc:"json, jsonl: map that the project made (holdfast inspect --map-script)"`
}

// Notify is a place that is told. A plain text in the file sets URL.
type Notify struct {
	URL    fail.Secret `yaml:"url" doc:"as shoutrrr has it: smtp://, slack://, discord://, teams://, telegram://, ntfy://, generic+https://…; by reference"`
	Events []Event     `yaml:"events" doc:"which events; default: all"`
}

// Heartbeat is a monitor outside. A plain text in the file sets URL.
type Heartbeat struct {
	URL  fail.Secret `yaml:"url" doc:"ping URL of healthchecks.io (or your own), or push URL of Uptime Kuma"`
	Kind string      `yaml:"kind" doc:"healthchecks or kuma; default: kuma for URLs with /api/push/"`
}

// Policy returns the retention policy.
func (k Keep) Policy(zone *time.Location) retain.Policy {
	return retain.Policy{
		Last: k.Last.Count, Within: k.Last.Age, Hourly: k.Hourly, Daily: k.Daily, Weekly: k.Weekly, Monthly: k.Monthly, Yearly: k.Yearly,
		MinKeep: k.Min, Zone: zone, FirstDay: k.WeekStart.Day,
	}
}
