package notify

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Condition is something that is wrong now.
type Condition struct {
	Key   string // what, and of which database: the same key is the same alarm
	Event string
	Title string
	Body  string
	By    string // the only process that can see it; empty: all can
}

// An Alarm is a condition that somebody was, or is to be, told of.
type Alarm struct {
	Key   string               `json:"key"`
	Event string               `json:"event"`
	Title string               `json:"title"`
	Since time.Time            `json:"since"`          // when it was first seen
	Told  map[string]time.Time `json:"told,omitempty"` // when each place heard last that it is wrong
	Over  bool                 `json:"over,omitempty"` // it is right again, and who was told is yet to hear it
	By    string               `json:"by,omitempty"`   // as of the Condition
}

// An Order is a message to be sent. When it was, the caller says so with Done.
type Order struct {
	Message
	Key    string
	Places []string // who gets it
}

// forgotten is how long an alarm that is over waits for a place that is not among those to be told: it may be another
// process's, which tells it at its next look, or it may be gone.
const forgotten = 24 * time.Hour

// Step compares what is wrong now with the alarms that are open, and returns the alarms that are open then and what is to be sent.
// Each place counts for itself: it is told what is new to it, reminded when it last heard of it longer ago than remind (0: never),
// and told that it is right again (event «recovered») if it heard that it was wrong. The function places names those that are to know
// of an event of a key. Step changes nothing of its arguments.
func Step(now time.Time, open []Alarm, wrong []Condition, places func(key, event string) []string, remind time.Duration) (next []Alarm, orders []Order) {
	byKey := map[string]Alarm{}
	for _, a := range open {
		byKey[a.Key] = a
	}
	seen := map[string]bool{}
	for _, c := range wrong {
		if seen[c.Key] {
			continue
		}
		seen[c.Key] = true
		a, known := byKey[c.Key]
		if !known || a.Over {
			a.Key, a.Since, a.Over = c.Key, now, false
		}
		a.Event, a.Title, a.By = c.Event, c.Title, c.By
		var first, again []string
		for _, p := range places(c.Key, c.Event) {
			switch told, ok := a.Told[p]; {
			case !ok:
				first = append(first, p)
			case remind > 0 && (now.Sub(told) >= remind || now.Before(told)): // also after the clock went back
				again = append(again, p)
			}
		}
		m := Message{Event: c.Event, Title: c.Title, Body: c.Body}
		if now.After(a.Since) {
			m.Body = "since " + a.Since.Format(time.DateTime) + "\n" + m.Body
		}
		if len(first) > 0 {
			orders = append(orders, Order{Message: m, Key: c.Key, Places: first})
		}
		if len(again) > 0 {
			m.Title = "still: " + m.Title
			orders = append(orders, Order{Message: m, Key: c.Key, Places: again})
		}
		next = append(next, a)
	}
	for _, a := range open {
		if seen[a.Key] {
			continue
		}
		a, o := end(now, a, places(a.Key, a.Event))
		if len(o.Places) > 0 {
			orders = append(orders, o)
		}
		if len(a.Told) > 0 { // nobody was told: nobody needs to hear that it is over
			next = append(next, a)
		}
	}
	slices.SortFunc(next, func(a, b Alarm) int { return cmp.Compare(a.Key, b.Key) })
	return next, orders
}

// end is an alarm that is over, and the order that says so to those of the places that were told.
func end(now time.Time, a Alarm, places []string) (Alarm, Order) {
	a.Over = true
	a.Told = maps.Clone(a.Told)
	maps.DeleteFunc(a.Told, func(p string, told time.Time) bool {
		return !slices.Contains(places, p) && now.Sub(told) >= forgotten
	})
	o := Order{Key: a.Key, Message: Message{Event: "recovered", Title: "recovered: " + a.Title,
		Body: "It was wrong since " + a.Since.Format(time.DateTime) + ", and is right again at " + now.Format(time.DateTime) + "."}}
	for _, p := range places {
		if _, told := a.Told[p]; told {
			o.Places = append(o.Places, p)
		}
	}
	return a, o
}

// Done notes what became of an order: unreached are the places that it did not get to, and that the next Step tries again.
// An alarm that is over and that everybody knows of is dropped.
func Done(now time.Time, open []Alarm, o Order, unreached []string) []Alarm {
	var next []Alarm
	for _, a := range open {
		if a.Key == o.Key {
			told := map[string]time.Time{}
			maps.Copy(told, a.Told)
			for _, p := range o.Places {
				switch {
				case slices.Contains(unreached, p):
				case o.Event == "recovered":
					delete(told, p)
				default:
					told[p] = now
				}
			}
			if a.Told = told; a.Over && len(told) == 0 {
				continue
			}
		}
		next = append(next, a)
	}
	return next
}
