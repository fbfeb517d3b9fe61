// Package notify tells people and monitors: messages to places named by shoutrrr URLs, heartbeats to monitors that
// raise an alarm when they hear nothing, and the bookkeeping that keeps an alarm from being sent twice.
package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Message is one notification: what happened, since when, and what to do.
type Message struct {
	Event string // "failed", "recovered", …
	Title string // one line
	Body  string // lines
}

// A Place is told.
type Place struct {
	Name   string
	URL    fail.Secret // as shoutrrr has it; holds tokens
	Events []string    // which; empty: all
}

// Wants reports whether the place is told of an event. Who is told that something is wrong is told that it is right again.
func (p Place) Wants(event string) bool {
	return len(p.Events) == 0 || slices.Contains(p.Events, event)
}

// sendTimeout limits one message.
const sendTimeout = 30 * time.Second

// Check reports whether the place's URL is understood. It connects to nothing.
func (p Place) Check() error {
	_, err := shoutrrr.NewSender(silent(), p.URL.Reveal())
	return p.clean(fail.Usage, err, "https://shoutrrr.nickfedor.com/ has the form of each service's URL", "notify %s", p.Name)
}

// Send delivers a message. An error never shows the URL.
func (p Place) Send(ctx context.Context, m Message) error {
	sender, err := shoutrrr.NewSender(silent(), p.URL.Reveal())
	if err != nil {
		return p.clean(fail.Usage, err, "https://shoutrrr.nickfedor.com/ has the form of each service's URL", "notify %s", p.Name)
	}
	sender.Timeout = sendTimeout
	params := types.Params{}
	text := m.Body
	if p.titled() {
		params.SetTitle(oneLine(m.Title))
	} else {
		text = m.Title + "\n" + text
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(sender.Send(text, &params)...) }() // ends by the sender's own timeout
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return p.clean(fail.Unavailable, err, "holdfast notify test tries every place", "notify %s", p.Name)
}

// titled reports whether the service shows a title of its own.
func (p Place) titled() bool {
	scheme, _, _ := strings.Cut(p.URL.Reveal(), ":")
	scheme, _, _ = strings.Cut(scheme, "+")
	return slices.Contains([]string{"smtp", "ntfy", "gotify", "pushover", "generic", "discord", "teams", "slack", "matrix", "join", "opsgenie", "bark", "telegram"}, scheme)
}

// clean wraps an error of the library, whose text may hold the URL or the tokens in it.
func (p Place) clean(k fail.Kind, err error, hint, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return fail.Wrap(fail.Interrupted, context.Canceled, "", format, args...)
	}
	return fail.Wrap(k, errors.New(redact(err.Error(), p.URL.Reveal())), hint, format, args...)
}

// redact removes a URL and everything secret in it from a text.
func redact(text, raw string) string {
	secrets := []string{raw}
	if u, err := url.Parse(raw); err == nil {
		password, _ := u.User.Password()
		secrets = append(secrets, password, u.User.Username(), u.RawQuery, u.Path, u.EscapedPath(), strings.TrimPrefix(u.Path, "/"))
		secrets = append(secrets, strings.Split(u.Path, "/")...)
		secrets = append(secrets, strings.Split(u.EscapedPath(), "/")...)
		for _, values := range u.Query() {
			secrets = append(secrets, values...)
		}
		if u.Host != "" && u.Port() == "" && !strings.Contains(u.Host, ".") { // slack://token-a/…: the host is a token
			secrets = append(secrets, u.Host)
		}
	}
	// Longest first, so that a part does not spoil a whole. What is very short is no secret, and would spoil the text.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if len(s) >= 5 && s != "localhost" {
			text = strings.ReplaceAll(text, s, "[secret]")
			text = strings.ReplaceAll(text, url.QueryEscape(s), "[secret]")
			text = strings.ReplaceAll(text, url.PathEscape(s), "[secret]")
		}
	}
	return text
}

func silent() types.StdLogger { return log.New(io.Discard, "", 0) }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Broadcast sends a message to every place that wants it, and returns what went wrong by name.
func Broadcast(ctx context.Context, places []Place, m Message) map[string]error {
	failed := map[string]error{}
	for _, p := range places {
		if !p.Wants(m.Event) {
			continue
		}
		if err := p.Send(ctx, m); err != nil {
			failed[p.Name] = err
		}
	}
	return failed
}

// String returns the message as a log has it.
func (m Message) String() string { return fmt.Sprintf("%s: %s", m.Event, oneLine(m.Title)) }
