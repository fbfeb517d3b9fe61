package notify

import (
	"cmp"
	"slices"
	"time"
)

// A Condition is something that is wrong now.
type Condition struct {
	Key   string // what, and of which database: the same key is the same alarm
	Event string
	Title string
	Body  string
}

// An Alarm is a condition that somebody was, or is to be, told of.
type Alarm struct {
	Key   string    `json:"key"`
	Event string    `json:"event"`
	Title string    `json:"title"`
	Since time.Time `json:"since"`          // when it was first seen
	Sent  time.Time `json:"sent,omitzero"`  // when it was last sent to everybody
	Count int       `json:"count"`          // how often
	Owed  []string  `json:"owed,omitempty"` // places that could not be reached then
	Over  bool      `json:"over,omitempty"` // it is right again, and somebody is yet to be told
}

// An Order is a message to be sent. When it was, the caller says so with Done.
type Order struct {
	Message
	Key   string
	About string   // the event of the alarm, also when Event is «recovered»
	Only  []string // the places that did not get it before; empty: all
}

// Step compares what is wrong now with the alarms that are open, and returns the alarms that are open then and
// what is to be sent: an alarm that is new, one whose last reminder is older than remind, one that is right
// again (event «recovered»), and what could not be delivered before. It changes nothing of its arguments.
func Step(now time.Time, open []Alarm, wrong []Condition, remind time.Duration) (next []Alarm, orders []Order) {
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
			a = Alarm{Key: c.Key, Since: now}
		}
		a.Event, a.Title = c.Event, c.Title
		m := Message{Event: c.Event, Title: c.Title, Body: c.Body}
		switch {
		case a.Sent.IsZero():
			orders = append(orders, Order{Message: m, Key: c.Key, About: c.Event})
		case remind > 0 && (now.Sub(a.Sent) >= remind || now.Before(a.Sent)): // also after the clock went back
			m.Title = "still: " + m.Title
			m.Body = "since " + a.Since.Format(time.DateTime) + "\n" + m.Body
			orders = append(orders, Order{Message: m, Key: c.Key, About: c.Event})
		case len(a.Owed) > 0:
			orders = append(orders, Order{Message: m, Key: c.Key, About: c.Event, Only: a.Owed})
		}
		next = append(next, a)
	}
	for _, a := range open {
		if seen[a.Key] || a.Sent.IsZero() && !a.Over { // nobody was told: nobody needs to hear that it is over
			continue
		}
		o := Order{Key: a.Key, About: a.Event, Message: Message{Event: "recovered", Title: "recovered: " + a.Title,
			Body: "It was wrong since " + a.Since.Format(time.DateTime) + ", and is right again at " + now.Format(time.DateTime) + "."}}
		if a.Over {
			o.Only = a.Owed
		}
		a.Over = true
		orders = append(orders, o)
		next = append(next, a)
	}
	slices.SortFunc(next, func(a, b Alarm) int { return cmp.Compare(a.Key, b.Key) })
	return next, orders
}

// Done notes what became of an order: unreached are the places that it did not get to. An alarm that is over and that everybody
// knows of is dropped.
func Done(now time.Time, open []Alarm, o Order, unreached []string) []Alarm {
	var next []Alarm
	for _, a := range open {
		if a.Key == o.Key {
			a.Owed = unreached
			if len(o.Only) == 0 {
				a.Sent = now
				a.Count++
			}
			if a.Over && len(unreached) == 0 {
				continue
			}
		}
		next = append(next, a)
	}
	return next
}
