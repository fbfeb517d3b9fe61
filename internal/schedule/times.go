package schedule

import (
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// Times are the times of a schedule. The zero value has none.
type Times struct {
	text   string
	minute uint64 // bits 0 to 59
	hour   uint64
	day    uint64 // of the month, bits 1 to 31
	month  uint64 // bits 1 to 12
	week   uint64 // days of the week, bit 0 is Sunday
	either bool   // cron's rule: with both days given, one of them is enough
	every  time.Duration
}

// String returns what was parsed.
func (s Times) String() string { return s.text }

func (s Times) empty() bool { return s.every == 0 && s.minute == 0 }

const timesHint = "write cron fields («15 2 * * *»), @hourly, @daily, @weekly, @monthly, @every 6h, or as systemd does: «Mon..Fri *-*-* 08..18:00», «02:15»"

// ParseTimes reads a schedule: cron's five fields, @hourly, @daily and so on, @every with a duration, or systemd's
// OnCalendar form without years and seconds. «never» and «» are no times at all.
func ParseTimes(text string) (Times, error) {
	trimmed := strings.TrimSpace(text)
	word := strings.ToLower(trimmed)
	switch {
	case word == "" || word == "never":
		return Times{text: "never"}, nil
	case isWord(word): // systemd's names are cron's without the sign
		trimmed = "@" + word
	case strings.Contains(trimmed, ":"):
		s, err := parseCalendar(trimmed)
		if err != nil {
			return Times{}, fail.Wrap(fail.Usage, err, timesHint, "schedule %q", text)
		}
		s.text = text
		return s, nil
	}
	if strings.Contains(strings.ToUpper(trimmed), "TZ=") {
		return Times{}, fail.New(fail.Usage, "set time_zone beside it", "schedule %q names a time zone", text)
	}
	parsed, err := cron.ParseStandard(sunday(trimmed))
	if err != nil {
		return Times{}, fail.Wrap(fail.Usage, err, timesHint, "schedule %q", text)
	}
	switch c := parsed.(type) {
	case cron.ConstantDelaySchedule:
		if c.Delay < time.Minute {
			return Times{}, fail.New(fail.Usage, "use @every 1m or longer", "schedule %q", text)
		}
		return Times{text: text, every: c.Delay}, nil
	case *cron.SpecSchedule:
		const star = 1 << 63 // robfig/cron's mark of a field that was *
		s := Times{text: text, minute: c.Minute &^ star, hour: c.Hour &^ star, day: c.Dom &^ star, month: c.Month &^ star, week: c.Dow &^ star}
		s.either = c.Dom&star == 0 && c.Dow&star == 0
		return s, s.check()
	}
	return Times{}, fail.New(fail.Usage, timesHint, "schedule %q", text)
}

// sunday writes the day 7, which is Sunday to every cron but the one whose parser this is, as 0.
func sunday(text string) string {
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return text
	}
	items := strings.Split(fields[4], ",")
	for i, item := range items {
		if from, ok := strings.CutSuffix(item, "-7"); ok && from != "0" && from != "7" {
			items[i] = from + "-6,0"
		} else if item == "7" {
			items[i] = "0"
		}
	}
	fields[4] = strings.Join(items, ",")
	return strings.Join(fields, " ")
}

// check refuses days that never come, such as the 30th of February.
func (s Times) check() error {
	if s.next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.UTC).IsZero() {
		return fail.New(fail.Usage, "look at the day and month", "schedule %q never comes", s.text)
	}
	return nil
}

func isWord(s string) bool {
	switch s {
	case "minutely", "hourly", "daily", "weekly", "monthly", "yearly", "annually", "midnight":
		return true
	}
	return false
}

// mostDays is how far next looks: past the next leap day.
const mostDays = 9 * 366

// next returns the first time after t. A time of the day that the clock leaps over in spring comes as much
// later; one that comes twice in autumn counts once, unless the schedule is for every hour.
func (s Times) next(t time.Time, zone *time.Location) time.Time {
	if s.every > 0 {
		return t.Add(s.every).Truncate(time.Second)
	}
	const allHours = 1<<24 - 1
	if s.hour == allHours {
		return s.nextHourly(t, zone)
	}
	local := t.In(zone)
	for d := range mostDays {
		day := time.Date(local.Year(), local.Month(), local.Day()+d, 12, 0, 0, 0, zone)
		if !s.on(day) {
			continue
		}
		var first time.Time
		for h := s.hour; h != 0; h &= h - 1 {
			for m := s.minute; m != 0; m &= m - 1 {
				at := onClock(day, bits.TrailingZeros64(h)*60+bits.TrailingZeros64(m))
				if at.After(t) && (first.IsZero() || at.Before(first)) {
					first = at
				}
			}
		}
		if !first.IsZero() {
			return first
		}
	}
	return time.Time{}
}

// nextHourly goes from instant to instant, so that an hour that comes twice has its times twice.
func (s Times) nextHourly(t time.Time, zone *time.Location) time.Time {
	at := t.Truncate(time.Minute).Add(time.Minute)
	end := t.AddDate(0, 0, mostDays)
	for at.Before(end) {
		local := at.In(zone)
		if !s.on(local) {
			at = onClock(local, 24*60)
			continue
		}
		if s.minute&(1<<local.Minute()) != 0 {
			return at.In(zone)
		}
		at = at.Add(time.Minute)
	}
	return time.Time{}
}

// onClock returns when the clock on the wall shows so many minutes after the midnight that day begins with. What the clock leaps over
// comes as much later; midnight too, which some countries leap over. (time.Date may give an hour of the day before for it.)
func onClock(day time.Time, minutes int) time.Time {
	want := time.Date(day.Year(), day.Month(), day.Day(), 0, minutes, 0, 0, time.UTC)
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, minutes, 0, 0, day.Location())
	shows := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
	return at.Add(max(0, want.Sub(shows)))
}

// on reports whether the schedule has times on a day.
func (s Times) on(day time.Time) bool {
	if s.month&(1<<day.Month()) == 0 {
		return false
	}
	date, week := s.day&(1<<day.Day()) != 0, s.week&(1<<day.Weekday()) != 0
	if s.either {
		return date || week
	}
	return date && week
}

// parseCalendar reads systemd's form: [days of the week] [[*-]month-day] hour:minute[:00].
func parseCalendar(text string) (Times, error) {
	s := Times{text: text, day: mask(1, 31), month: mask(1, 12), week: mask(0, 6)}
	fields := strings.Fields(text)
	clock := fields[len(fields)-1]
	fields = fields[:len(fields)-1]
	if len(fields) > 2 {
		return s, fail.New(fail.Usage, "", "too many words")
	}
	for _, f := range fields {
		var err error
		if strings.ContainsAny(f, "-*") {
			err = s.parseDate(f)
		} else {
			s.week, err = parseDays(f)
		}
		if err != nil {
			return s, err
		}
	}
	parts := strings.Split(clock, ":")
	if len(parts) == 3 && strings.Trim(parts[2], "0") != "" || len(parts) > 3 || len(parts) < 2 {
		return s, fail.New(fail.Usage, "", "the time %s: hour and minute are wanted, seconds can't be chosen", clock)
	}
	var err error
	if s.hour, err = parseField(parts[0], 0, 23); err != nil {
		return s, err
	}
	if s.minute, err = parseField(parts[1], 0, 59); err != nil {
		return s, err
	}
	return s, s.check()
}

func (s *Times) parseDate(f string) (err error) {
	parts := strings.Split(f, "-")
	if len(parts) == 3 {
		if parts[0] != "*" {
			return fail.New(fail.Usage, "", "the date %s: single years can't be chosen", f)
		}
		parts = parts[1:]
	}
	if len(parts) != 2 {
		return fail.New(fail.Usage, "", "the date %s: *-month-day is wanted", f)
	}
	if s.month, err = parseField(parts[0], 1, 12); err != nil {
		return err
	}
	s.day, err = parseField(parts[1], 1, 31)
	return err
}

// parseField reads a list of numbers, ranges a..b, steps a/n and *.
func parseField(text string, low, high int) (uint64, error) {
	var all uint64
	for _, item := range strings.Split(text, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		step := 1
		var err error
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return 0, fail.New(fail.Usage, "", "the step %q", item)
			}
		}
		from, to := low, high
		if span != "*" {
			a, b, ranged := strings.Cut(span, "..")
			if from, err = strconv.Atoi(a); err != nil {
				return 0, fail.New(fail.Usage, "", "%q is no number", a)
			}
			switch {
			case ranged:
				if to, err = strconv.Atoi(b); err != nil {
					return 0, fail.New(fail.Usage, "", "%q is no number", b)
				}
			case !stepped:
				to = from
			}
		}
		if from < low || to > high || from > to {
			return 0, fail.New(fail.Usage, "", "%q is not within %d to %d", item, low, high)
		}
		for n := from; n <= to; n += step {
			all |= 1 << n
		}
	}
	return all, nil
}

func mask(low, high int) (m uint64) {
	for n := low; n <= high; n++ {
		m |= 1 << n
	}
	return m
}

// parseDays reads «Mon», «Mon..Fri», «Mon-Fri», «Sat,Sun».
func parseDays(text string) (uint64, error) {
	var all uint64
	for _, item := range strings.Split(text, ",") {
		a, b, ranged := strings.Cut(item, "..")
		if !ranged {
			a, b, ranged = strings.Cut(item, "-")
		}
		from, ok := weekday(a)
		to := from
		if ranged && ok {
			to, ok = weekday(b)
		}
		if !ok {
			return 0, fail.New(fail.Usage, "", "%q is no day of the week", item)
		}
		for d := from; ; d = (d + 1) % 7 {
			all |= 1 << d
			if d == to {
				break
			}
		}
	}
	return all, nil
}

func weekday(s string) (int, bool) {
	s = strings.ToLower(s)
	for d := range 7 {
		name := strings.ToLower(time.Weekday(d).String())
		if s == name || s == name[:3] {
			return d, true
		}
	}
	return 0, false
}

// cutLast splits off the last word.
func cutLast(s string) (before, last string, ok bool) {
	s = strings.TrimSpace(s)
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return "", s, false
	}
	return strings.TrimSpace(s[:i]), s[i+1:], true
}

// parseHours reads 08:00-18:00.
func parseHours(s string) (from, to time.Duration, ok bool) {
	a, b, found := strings.Cut(s, "-")
	if !found {
		return 0, 0, false
	}
	read := func(s string) (time.Duration, bool) {
		h, m, found := strings.Cut(s, ":")
		hours, err1 := strconv.Atoi(h)
		minutes, err2 := strconv.Atoi(m)
		d := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
		return d, found && err1 == nil && err2 == nil && hours >= 0 && minutes >= 0 && minutes < 60 && d <= 24*time.Hour
	}
	from, okA := read(a)
	to, okB := read(b)
	return from, to, okA && okB && from != to && from < 24*time.Hour
}
