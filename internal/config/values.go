package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/retain"
	"github.com/holdfast-db/holdfast/internal/schedule"
)

// Duration is a span such as 90s, 25h, 7d or 2w.
type Duration time.Duration

// UnmarshalText reads Go's durations, and days and weeks.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	for unit, hours := range map[string]float64{"d": 24, "w": 7 * 24} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			f, err := strconv.ParseFloat(n, 64)
			if err != nil || !(f >= 0 && f < 1e5) {
				break
			}
			*d = Duration(f * hours * float64(time.Hour))
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration: write 30s, 25h, 7d or 2w", s)
	}
	*d = Duration(v)
	return nil
}

// Std returns the same as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Or returns d, or def when d is not set.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// WeekDay is a day of the week.
type WeekDay struct{ retain.Day }

// UnmarshalText reads its English name.
func (d *WeekDay) UnmarshalText(text []byte) (err error) {
	d.Day, err = retain.ParseDay(string(text))
	return err
}

// Percent is a share in percent; 0 is not set.
type Percent float64

// UnmarshalText reads «10%» or «10».
func (p *Percent) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(strings.TrimSuffix(string(text), "%"), 64)
	if err != nil || !(f > 0 && f <= 10_000) {
		return fmt.Errorf("%q is no percentage: write 10%%", text)
	}
	*p = Percent(f)
	return nil
}

// Zone is a time zone by its name; nil is not set.
type Zone struct{ *time.Location }

// UnmarshalText reads a name of the IANA database, UTC or Local.
func (z *Zone) UnmarshalText(text []byte) error {
	l, err := time.LoadLocation(string(text))
	if err != nil || len(text) == 0 {
		return fmt.Errorf("%q is no time zone: write Europe/Berlin or UTC", text)
	}
	z.Location = l
	return nil
}

// Times are those of package schedule.
type Times struct{ schedule.Times }

// UnmarshalText parses them.
func (t *Times) UnmarshalText(text []byte) (err error) {
	t.Times, err = schedule.ParseTimes(string(text))
	return err
}

// Window is that of package schedule.
type Window struct{ schedule.Window }

// UnmarshalText parses it.
func (w *Window) UnmarshalText(text []byte) (err error) {
	w.Window, err = schedule.ParseWindow(string(text))
	return err
}

// An Event is what somebody may want to be told.
type Event string

// The events.
const (
	Failed      Event = "failed"      // a run failed
	Recovered   Event = "recovered"   // what was wrong is right again
	Late        Event = "late"        // no good backup within the objective, also when nothing ran
	Unverified  Event = "verify"      // a verification failed
	Undrilled   Event = "drill"       // a drill failed
	Suspicious  Event = "size"        // empty, or moved by more than the objective
	Retention   Event = "retention"   // old backups could not be removed, or must not be
	Unreachable Event = "unreachable" // the repository
	Disk        Event = "disk"        // nearly full
)

// Events lists all of them.
func Events() []Event {
	return []Event{Failed, Recovered, Late, Unverified, Undrilled, Suspicious, Retention, Unreachable, Disk}
}

// UnmarshalText reads an event's name.
func (e *Event) UnmarshalText(text []byte) error {
	if *e = Event(text); !slices.Contains(Events(), *e) {
		return oneOf(string(text), Events())
	}
	return nil
}

// A Preset is a set of defaults for one kind of environment.
type Preset string

// The presets.
const (
	Development Preset = "development"
	Staging     Preset = "staging"
	Production  Preset = "production"
)

// Presets lists all of them.
func Presets() []Preset { return []Preset{Development, Staging, Production} }

// UnmarshalText reads a preset's name.
func (p *Preset) UnmarshalText(text []byte) error {
	if *p = Preset(text); !slices.Contains(Presets(), *p) {
		return oneOf(string(text), Presets())
	}
	return nil
}

// HookFails is what the failure of a hook means.
type HookFails string

// The meanings.
const (
	Abort HookFails = "abort"
	Warn  HookFails = "warn"
)

// UnmarshalText reads one.
func (h *HookFails) UnmarshalText(text []byte) error {
	if *h = HookFails(text); *h != Abort && *h != Warn {
		return oneOf(string(text), []HookFails{Abort, Warn})
	}
	return nil
}

func oneOf[T ~string](text string, list []T) error {
	var names []string
	for _, l := range list {
		names = append(names, string(l))
	}
	return fmt.Errorf("%q is not known%s", text, nearest(text, names))
}
