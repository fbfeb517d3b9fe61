package retain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Policy says what to keep: what any of its rules keeps. The zero value keeps everything.
//
// A rule with a count speaks of the newest so many hours, days … that have a backup; a rule with an age of all that
// are not older than the group's newest good backup by more than it. Neither looks at the clock, so that
// a database whose backups pause loses none meanwhile, however often the policy is applied.
type Policy struct {
	Last   int // the newest so many of each group; 0 sets no limit
	Within Age // all not older than this; the zero value sets no limit

	// The newest of each hour, day …; the zero value is no rule.
	Hourly, Daily, Weekly, Monthly, Yearly Limit

	MinKeep  int            // so many of the newest good ones never go; it adds to other rules and is none itself
	Zone     *time.Location // where days begin; nil: UTC
	FirstDay Day            // of the week
}

// Empty reports whether the policy has no rule, and so keeps everything.
func (p Policy) Empty() bool {
	return p.Last == 0 && p.Within == (Age{}) && len(p.tiers()) == 0
}

// Validate refuses policies that make no sense.
func (p Policy) Validate() error {
	if p.Last < 0 {
		return fail.New(fail.Usage, "use a number of 1 or more", "keep the last %d backups", p.Last)
	}
	if p.MinKeep < 0 {
		return fail.New(fail.Usage, "use a number of 0 or more", "always keep %d backups", p.MinKeep)
	}
	if p.Within != (Age{}) && !p.Within.valid() {
		return fail.New(fail.Usage, limitHint, "keep the last %v", p.Within)
	}
	for _, t := range p.tiers() {
		if t.limit.Count < 0 || t.limit.Age != (Age{}) && (t.limit.Count != 0 || !t.limit.Age.valid()) {
			return fail.New(fail.Usage, limitHint, "keep %s backups: %v", t.name, t.limit)
		}
	}
	if p.FirstDay > Sunday {
		return fail.New(fail.Usage, "", "keep weekly backups: there is no day %d of the week", p.FirstDay)
	}
	return nil
}

// Set sets one rule, "last", "hourly", "daily", "weekly", "monthly" or "yearly", from text such as
// "7", "48h", "7d", "2w", "6mo" or "1y". On error p is unchanged.
func (p *Policy) Set(rule, text string) error {
	limit, err := ParseLimit(text)
	if err != nil {
		return fail.Op(err, "keep %s backups", rule)
	}
	switch rule {
	case "last":
		p.Last, p.Within = limit.Count, limit.Age
	case "hourly":
		p.Hourly = limit
	case "daily":
		p.Daily = limit
	case "weekly":
		p.Weekly = limit
	case "monthly":
		p.Monthly = limit
	case "yearly":
		p.Yearly = limit
	default:
		return fail.New(fail.Usage, "there are last, hourly, daily, weekly, monthly and yearly", "keep backups: no rule is called %q", rule)
	}
	return nil
}

func (p Policy) zone() *time.Location {
	if p.Zone == nil {
		return time.UTC
	}
	return p.Zone
}

// A tier is a rule that sorts backups into buckets of time.
type tier struct {
	name, unit string
	limit      Limit
	layout     string // of a bucket's name
}

// tiers returns the rules with buckets that are set.
func (p Policy) tiers() []tier {
	var set []tier
	for _, t := range []tier{
		// The offset tells the two hours apart that have one name when clocks are set back.
		{"hourly", "hour", p.Hourly, "2006-01-02 15h -0700"},
		{"daily", "day", p.Daily, "2006-01-02"},
		{"weekly", "week", p.Weekly, "2006-01-02"},
		{"monthly", "month", p.Monthly, "2006-01"},
		{"yearly", "year", p.Yearly, "2006"},
	} {
		if t.limit != (Limit{}) {
			set = append(set, t)
		}
	}
	return set
}

// bucket names the hour, day … that a time is in.
func (t tier) bucket(at time.Time, first Day) string {
	if t.unit == "week" {
		since := (int(at.Weekday()) + 6 - int(first) + 7) % 7 // days since the week began
		at = time.Date(at.Year(), at.Month(), at.Day()-since, 12, 0, 0, 0, time.UTC)
	}
	return at.Format(t.layout)
}

func (t tier) label(bucket string) string {
	if t.unit == "week" {
		return "week of " + bucket
	}
	return bucket
}

// A Limit is how far a rule reaches: a count or an age. The zero value is no rule.
type Limit struct {
	Count int
	Age   Age
}

const limitHint = "use a count as in 7, or an age as in 48h, 7d, 2w, 6mo or 1y"

// ParseLimit reads a count ("7") or an age ("48h", "7d", "2w", "6mo", "1y"). "0" is no rule.
func ParseLimit(text string) (Limit, error) {
	text = strings.TrimSpace(text)
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	n, err := strconv.ParseUint(text[:digits], 10, 16) // 65,535 years are enough
	unit := Unit(text[digits:])
	age := Age{int(n), unit}
	switch {
	case digits == 0 || err != nil || unit == "m":
		return Limit{}, fail.New(fail.Usage, limitHint, "%q is neither a count nor an age", text)
	case unit == "":
		return Limit{Count: int(n)}, nil
	case !age.valid():
		return Limit{}, fail.New(fail.Usage, limitHint, "%q is neither a count nor an age", text)
	}
	return Limit{Age: age}, nil
}

// String returns what ParseLimit reads.
func (l Limit) String() string {
	if l.Age != (Age{}) {
		return l.Age.String()
	}
	return strconv.Itoa(l.Count)
}

// MarshalText and UnmarshalText let a Limit stand in flags and configuration.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what ParseLimit reads.
func (l *Limit) UnmarshalText(text []byte) error {
	parsed, err := ParseLimit(string(text))
	if err == nil {
		*l = parsed
	}
	return err
}

// An Age is a length of time on the calendar. The zero value is none.
type Age struct {
	N    int
	Unit Unit
}

// A Unit is what an Age counts.
type Unit string

// The units of an Age.
const (
	Hours  Unit = "h"
	Days   Unit = "d"
	Weeks  Unit = "w"
	Months Unit = "mo"
	Years  Unit = "y"
)

// String returns the age as ParseLimit reads it.
func (a Age) String() string { return fmt.Sprint(a.N, a.Unit) }

func (a Age) valid() bool {
	switch a.Unit {
	case Hours, Days, Weeks, Months, Years:
		return a.N > 0
	}
	return false
}

// before returns the time that lies a before t, by the calendar of t's zone. Where a month is too short
// for the day, its last one counts: a month before March 31 is February 28.
func (a Age) before(t time.Time) time.Time {
	switch a.Unit {
	case Hours:
		return t.Add(-time.Duration(a.N) * time.Hour)
	case Days:
		return t.AddDate(0, 0, -a.N)
	case Weeks:
		return t.AddDate(0, 0, -7*a.N)
	}
	months := a.N
	if a.Unit == Years {
		months *= 12
	}
	lastDay := time.Date(t.Year(), t.Month()-time.Month(months)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return time.Date(t.Year(), t.Month()-time.Month(months), min(t.Day(), lastDay), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
}

// A Day is a day of the week, from Monday, on which weeks begin unless somebody says otherwise.
type Day uint8

// The days of the week.
const (
	Monday Day = iota
	Tuesday
	Wednesday
	Thursday
	Friday
	Saturday
	Sunday
)

// ParseDay reads the English name of a day of the week, whole or its first three letters.
func ParseDay(text string) (Day, error) {
	for d := Monday; d <= Sunday; d++ {
		if name := d.String(); strings.EqualFold(text, name) || strings.EqualFold(text, name[:3]) {
			return d, nil
		}
	}
	return Monday, fail.New(fail.Usage, "as in monday or sun", "%q is no day of the week", text)
}

// String returns the day's English name.
func (d Day) String() string { return time.Weekday((int(d) + 1) % 7).String() }
