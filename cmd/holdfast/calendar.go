package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// onCalendar returns a timer's lines for a schedule in a time zone, "" for the machine's: systemd's own form as it is, cron's
// five fields translated.
func onCalendar(when, zone string) (string, error) {
	line, err := calendarLine(when)
	if err != nil || zone == "" || !strings.HasPrefix(line, "OnCalendar=") {
		return line, err
	}
	return strings.TrimSuffix(line, "\n") + " " + zone + "\n", nil
}

func calendarLine(when string) (string, error) {
	bad := func() (string, error) {
		return "", fail.New(fail.Unsupported, "write it as systemd does, or use holdfast serve", "the schedule %q for a systemd timer", when)
	}
	if every, ok := strings.CutPrefix(when, "@every "); ok {
		return fmt.Sprintf("OnBootSec=5min\nOnUnitActiveSec=%s\n", strings.TrimSpace(every)), nil
	}
	if word, ok := strings.CutPrefix(when, "@"); ok {
		if word == "midnight" {
			word = "daily"
		}
		return "OnCalendar=" + word + "\n", nil
	}
	if strings.Contains(when, ":") {
		return "OnCalendar=" + when + "\n", nil
	}
	f := strings.Fields(when)
	switch {
	case len(f) == 1 && f[0] != "never":
		return "OnCalendar=" + f[0] + "\n", nil
	case len(f) != 5 || f[2] != "*" && f[4] != "*": // cron means either day, systemd both
		return bad()
	}
	for i, field := range f[:4] {
		f[i] = strings.ReplaceAll(field, "-", "..")
		if strings.HasPrefix(f[i], "*/") && i < 2 {
			f[i] = "0" + f[i][1:]
		}
	}
	days := ""
	if f[4] != "*" {
		var names []string
		for _, item := range strings.Split(f[4], ",") {
			from, to, ranged := strings.Cut(item, "-")
			a, okA := dayName(from)
			b, okB := a, true
			if ranged {
				b, okB = dayName(to)
			}
			if !okA || !okB {
				return bad()
			}
			if ranged {
				a += ".." + b
			}
			names = append(names, a)
		}
		days = strings.Join(names, ",") + " "
	}
	return fmt.Sprintf("OnCalendar=%s*-%s-%s %s:%s:00\n", days, f[3], f[2], f[1], f[0]), nil
}

func dayName(s string) (string, bool) {
	names := [...]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 7 {
			return "", false
		}
		return names[n], true
	}
	for _, n := range names {
		if strings.EqualFold(n, s) {
			return n, true
		}
	}
	return "", false
}
