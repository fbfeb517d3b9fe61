package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// A Heartbeat is a monitor that hears of each run: healthchecks.io's protocol, or Uptime Kuma's push. It raises the
// alarm when nothing is heard, which is what a program that does not run can't do.
type Heartbeat struct {
	URL    fail.Secret
	Kuma   bool
	Client *http.Client  // nil: one of its own
	Wait   time.Duration // before the first retry; 0 is a second. It doubles
}

const (
	pingTries   = 4
	pingTimeout = 10 * time.Second
	pingBody    = 10_000 // bytes that every healthchecks server takes
)

// Start tells that a run began. id is a UUID that pairs it with its end.
func (h Heartbeat) Start(ctx context.Context, id string) error {
	if h.Kuma { // knows ends alone
		return nil
	}
	return h.post(ctx, "/start", id, "")
}

// Success tells that a run ended well, with a log of it and how long it took.
func (h Heartbeat) Success(ctx context.Context, id, text string, took time.Duration) error {
	if h.Kuma {
		return h.push(ctx, "up", text, took)
	}
	return h.post(ctx, "", id, text)
}

// Fail tells that a run failed with an exit code.
func (h Heartbeat) Fail(ctx context.Context, id, text string, code int, took time.Duration) error {
	if h.Kuma {
		return h.push(ctx, "down", text, took)
	}
	if code < 1 || code > 255 {
		return h.post(ctx, "/fail", id, text)
	}
	return h.post(ctx, "/"+strconv.Itoa(code), id, text)
}

// post pings a healthchecks server: https://healthchecks.io/docs/http_api/.
func (h Heartbeat) post(ctx context.Context, suffix, id, text string) error {
	u, err := url.Parse(h.URL.Reveal())
	if err != nil {
		return fail.New(fail.Usage, "copy the ping URL from the monitor", "heartbeat: the URL is not understood")
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + suffix
	q := u.Query()
	if id != "" {
		q.Set("rid", id)
	}
	u.RawQuery = q.Encode()
	if len(text) > pingBody {
		text = strings.ToValidUTF8(text[:pingBody], "")
	}
	return h.do(ctx, http.MethodPost, u.String(), text)
}

// push calls Uptime Kuma's push monitor.
func (h Heartbeat) push(ctx context.Context, status, text string, took time.Duration) error {
	u, err := url.Parse(h.URL.Reveal())
	if err != nil {
		return fail.New(fail.Usage, "copy the push URL from the monitor", "heartbeat: the URL is not understood")
	}
	q := u.Query()
	q.Set("status", status)
	line, _, _ := strings.Cut(text, "\n")
	q.Set("msg", strings.ToValidUTF8(line[:min(len(line), 200)], ""))
	q.Set("ping", strconv.FormatInt(took.Milliseconds(), 10))
	u.RawQuery = q.Encode()
	return h.do(ctx, http.MethodGet, u.String(), "")
}

// do sends a request, again after what may pass.
func (h Heartbeat) do(ctx context.Context, method, target, body string) error {
	client := h.Client
	if client == nil {
		client = &http.Client{Timeout: pingTimeout}
	}
	wait := h.Wait
	if wait == 0 {
		wait = time.Second
	}
	var err error
	for n := range pingTries {
		if n > 0 {
			select {
			case <-ctx.Done():
				return fail.Wrap(fail.Interrupted, ctx.Err(), "", "heartbeat")
			case <-time.After(wait << (n - 1)):
			}
		}
		var again bool
		if again, err = once(ctx, client, method, target, body); err == nil || !again {
			break
		}
	}
	if err != nil {
		err = errors.New(redact(err.Error(), h.URL.Reveal()))
	}
	return fail.Wrap(fail.Unavailable, err, "", "heartbeat")
}

func once(ctx context.Context, client *http.Client, method, target, body string) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader([]byte(body)))
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", "holdfast")
	if body != "" {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	resp, err := client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
	switch {
	case resp.StatusCode < 300:
		return false, nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		again = true
	}
	return again, fmt.Errorf("the monitor answered %s: %s", resp.Status, oneLine(string(answer)))
}
