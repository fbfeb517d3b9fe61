package sqlsplit

import (
	"strings"
)

// A Heading is the comment that pg_dump writes before the statements of one object.
type Heading struct {
	Name, Type, Schema, Owner string // "" where there is none
}

// String names the entry for messages: «TABLE public.users».
func (e *Heading) String() string {
	switch {
	case e == nil:
		return "settings"
	case e.Schema == "":
		return e.Type + " " + e.Name
	}
	return e.Type + " " + e.Schema + "." + e.Name
}

// ParseHeading reads «-- Name: n; Type: t; Schema: s; Owner: o[; Tablespace: x]». A name may
// hold anything but a line end, so the fields are looked for from the right.
func ParseHeading(comment string) (e Heading, ok bool) {
	rest, ok := strings.CutPrefix(comment, "-- Name: ")
	if !ok {
		rest, ok = strings.CutPrefix(comment, "-- Data for Name: ")
	}
	if !ok {
		return e, false
	}
	for _, f := range []struct {
		mark string
		dst  *string
	}{{"; Owner: ", &e.Owner}, {"; Schema: ", &e.Schema}, {"; Type: ", &e.Type}} {
		i := strings.LastIndex(rest, f.mark)
		if i < 0 {
			return Heading{}, false
		}
		*f.dst = rest[i+len(f.mark):]
		rest = rest[:i]
	}
	e.Name = rest
	e.Owner, _, _ = strings.Cut(e.Owner, "; Tablespace: ")
	for _, f := range []*string{&e.Schema, &e.Owner} {
		if *f == "-" {
			*f = ""
		}
	}
	return e, true
}
