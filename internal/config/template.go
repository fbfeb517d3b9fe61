package config

import (
	"fmt"
	"strings"
)

// A Named is a database for a new file.
type Named struct{ Name, URL string }

// Template returns a new file with comments, for a repository and databases, with a preset's settings written out.
func Template(repository string, preset Preset, databases []Named) string {
	var b strings.Builder
	fmt.Fprintf(&b, templateHead, quoted(repository), preset)
	for _, db := range databases {
		fmt.Fprintf(&b, "  %s:\n    url: %s\n", quotedKey(db.Name), quoted(db.URL))
		b.WriteString(templateDatabase)
	}
	return b.String()
}

// quoted writes a text as YAML that means just that: our own references ($) are doubled.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", "$$", "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

func quotedKey(s string) string {
	if strings.Trim(s, "0123456789.-") == "" { // YAML would take it for a number
		return quoted(s)
	}
	return s
}

const templateHead = `# What holdfast serve does, and what holdfast check measures by.
# Every setting is in docs/config.md. After a change: holdfast config check, then SIGHUP to holdfast serve.
# ${NAME} is an environment variable, ${file:/path} the content of a file: use them for secrets.

repository: %s
# password_file: /etc/holdfast/password      # default: the key file that holdfast init made for this user

# development: daily, kept 7 days
# staging:     daily for 14 days, weekly for 30 days, a drill each month
# production:  hourly from 8 to 18 and at 2, kept 48 hours; daily 30 days, weekly 6 months, monthly 1 year; a drill each week
preset: %s

# time_zone: Europe/Berlin                   # of all times below; default: the machine's
# listen: 127.0.0.1:9854                     # /metrics for Prometheus and /healthz

# Who is told when something is wrong, and when it is right again. Try it with: holdfast notify test
# notify:
#   ops: ${NOTIFY_URL}                       # e.g. smtp://user:password@mail:587/?from=a@b.c&to=d@e.f, slack://…, ntfy://ntfy.sh/topic
#   night: {url: "${PAGER_URL}", events: [late, drill, unreachable]}

databases:
`

const templateDatabase = `    # schedule: "0 2,8-18 * * *"             # cron, @daily, or «Mon..Fri 08..18:00»
    # keep: {hourly: 48h, daily: 30d, weekly: 6mo, monthly: 1y}
    # tables: {exclude: ["sessions", "log_*"]}
    # drill: {expect: ["select count(*) > 0 from orders"]}
    # objectives: {max_age: 25h, min_copies: 3, max_size_change: 50%}
    # hooks: {before: "…", after: "…", on_failure: "…"}
    # exports: [{format: json, folder: /srv/exports, keep: {daily: 7d}}]
    # heartbeat: ${HEALTHCHECK_URL}          # healthchecks.io or Uptime Kuma
`
