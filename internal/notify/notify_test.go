package notify

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-db/holdfast/internal/fail"
	"github.com/holdfast-db/holdfast/internal/servers"
)

// A request that a receiver got.
type request struct{ Method, Path, Query, Body string }

// receiver is an HTTP server that remembers what it gets, and answers with the next of codes, then 200.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	got   []request
	codes []int
}

func newReceiver(t *testing.T, codes ...int) *receiver {
	r := &receiver{codes: codes}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, request{req.Method, req.URL.Path, req.URL.RawQuery, string(body)})
		if len(r.codes) > 0 {
			w.WriteHeader(r.codes[0])
			r.codes = r.codes[1:]
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.got...)
}

var message = Message{Event: "failed", Title: "shop: backup failed", Body: "back up shop: connect to db1: refused\nnext step: is the server running?"}

func TestWebhook(t *testing.T) {
	r := newReceiver(t)
	p := Place{Name: "ops", URL: fail.Secret("generic+" + r.URL + "/hook?template=json")}
	if err := p.Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	got := r.all()
	if len(got) != 1 || !strings.Contains(got[0].Body, "shop: backup failed") || !strings.Contains(got[0].Body, "is the server running?") {
		t.Errorf("got %+v", got)
	}
}

// A message arrives by SMTP at a real server.
func TestMail(t *testing.T) {
	python := "/usr/bin/python3" // Debian's own: its packages hold the receiver
	servers.Require(t, "aiosmtpd", exec.Command(python, "-c", "import aiosmtpd").Run() == nil, "Debian's package python3-aiosmtpd")
	box := filepath.Join(t.TempDir(), "box")
	addr := freeAddress(t)
	cmd := exec.Command(python, "-m", "aiosmtpd", "-n", "-l", addr, "-c", "aiosmtpd.handlers.Mailbox", box)
	var talk strings.Builder
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, addr)
	p := Place{Name: "mail", URL: fail.Secret("smtp://" + addr + "/?from=holdfast@example.org&to=admin@example.org&usestarttls=no&auth=None")}
	m := message
	m.Title = "Größe: shop\r\nBcc: x@example.org" // a title must not become headers
	if err := p.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(box, "new", "*"))
	if len(files) != 1 {
		t.Fatalf("%d mails arrived\n%s", len(files), talk.String())
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\n\n")
	if !strings.Contains(body, "is the server running?") || !strings.Contains(head, "To: admin@example.org") || strings.Contains(head, "\nBcc:") {
		t.Errorf("mail:\n%s", text)
	}
	if !strings.Contains(head, "Gr=C3=B6=C3=9Fe") && !strings.Contains(head, "UTF-8") && !strings.Contains(head, "utf-8") {
		t.Errorf("the subject is not encoded:\n%s", head)
	}
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitFor(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
		time.Sleep(20 * time.Millisecond) // the server is another process: there is nothing else to wait on
	}
}

// Errors say who could not be told, and nothing that is secret.
func TestErrorsHideSecrets(t *testing.T) {
	gone := freeAddress(t)
	for _, raw := range []string{
		"generic+http://" + gone + "/t0psecret/path?token=hush-hush",
		"generic+http://" + gone + "/t0psecret%20and%2Fmore/path",
		"smtp://user:t0psecret@" + gone + "/?from=a@b.c&to=d@e.f",
		"slack://hook:AAAAAAAAA-BBBBBBBBB-t0psecretCCCCCCCCCCCCCCC@webhook",
		"nonsense://t0psecret@x", "://t0psecret", "telegram://110201543:t0psecret_AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw@telegram?channels=1",
		"generic://%zz-t0psecret",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		p := Place{Name: "ops", URL: fail.Secret(raw)}
		var err error
		if err = p.Check(); err == nil && !strings.HasPrefix(raw, "telegram") && !strings.HasPrefix(raw, "slack") { // those would leave this machine
			err = p.Send(ctx, message)
		}
		cancel()
		if err == nil && !strings.HasPrefix(raw, "telegram") && !strings.HasPrefix(raw, "slack") {
			t.Errorf("%s: no error", raw)
		}
		if err != nil && (strings.Contains(err.Error(), "t0psecret") || strings.Contains(err.Error(), "hush-hush") || !strings.Contains(err.Error(), "ops")) {
			t.Errorf("error %q of %s", err, raw)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	const id = "8d4b2b0c-0000-4000-8000-000000000000"
	ctx := t.Context()
	t.Run("healthchecks", func(t *testing.T) {
		r := newReceiver(t)
		h := Heartbeat{URL: fail.Secret(r.URL + "/ping/uuid")}
		for _, err := range []error{h.Start(ctx, id), h.Success(ctx, id, "3 tables", time.Second), h.Fail(ctx, id, "refused", 6, time.Second), h.Fail(ctx, id, "x", 300, 0)} {
			if err != nil {
				t.Error(err)
			}
		}
		want := []request{
			{"POST", "/ping/uuid/start", "rid=" + id, ""}, {"POST", "/ping/uuid", "rid=" + id, "3 tables"},
			{"POST", "/ping/uuid/6", "rid=" + id, "refused"}, {"POST", "/ping/uuid/fail", "rid=" + id, "x"},
		}
		if diff := cmp.Diff(want, r.all()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("kuma", func(t *testing.T) {
		r := newReceiver(t)
		h := Heartbeat{URL: fail.Secret(r.URL + "/api/push/token?status=up&msg=OK&ping="), Kuma: true}
		for _, err := range []error{h.Start(ctx, id), h.Success(ctx, id, "OK: 3\nmore", 1500*time.Millisecond), h.Fail(ctx, id, "bad", 6, 0)} {
			if err != nil {
				t.Error(err)
			}
		}
		want := []request{{"GET", "/api/push/token", "msg=OK%3A+3&ping=1500&status=up", ""}, {"GET", "/api/push/token", "msg=bad&ping=0&status=down", ""}}
		if diff := cmp.Diff(want, r.all()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what_may_pass_is_tried_again", func(t *testing.T) {
		r := newReceiver(t, 503, 429, 200)
		if err := (Heartbeat{URL: fail.Secret(r.URL), Wait: time.Millisecond}).Success(ctx, id, "", 0); err != nil || len(r.all()) != 3 {
			t.Errorf("%v after %d requests", err, len(r.all()))
		}
	})
	t.Run("a_wrong_address_is_not", func(t *testing.T) {
		r := newReceiver(t, 404, 200)
		err := (Heartbeat{URL: fail.Secret(r.URL + "/t0ken-of-mine"), Wait: time.Millisecond}).Success(ctx, id, "", 0)
		if fail.KindOf(err) != fail.Unavailable || strings.Contains(err.Error(), "t0ken") || len(r.all()) != 1 {
			t.Errorf("%v after %d requests", err, len(r.all()))
		}
	})
}

func TestStep(t *testing.T) {
	base := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	bad := []Condition{{Key: "shop/failed", Event: "failed", Title: "shop: failed", Body: "why"}}
	both := []string{"mail", "ops"}
	var open []Alarm
	at := func(after time.Duration, wrong []Condition, places []string, unreached ...string) []string {
		var titles []string
		var orders []Order
		now := base.Add(after)
		open, orders = Step(now, open, wrong, func(string, string) []string { return places }, 24*time.Hour)
		for _, o := range orders {
			titles = append(titles, o.Title+" > "+strings.Join(o.Places, ","))
			open = Done(now, open, o, unreached)
		}
		return titles
	}
	for i, step := range []struct {
		after     time.Duration
		wrong     []Condition
		places    []string
		unreached []string
		want      []string
	}{
		{0, bad, both, nil, []string{"shop: failed > mail,ops"}},
		{time.Minute, bad, both, nil, nil},
		{25 * time.Hour, bad, both, []string{"mail"}, []string{"still: shop: failed > mail,ops"}},
		{26 * time.Hour, bad, both, nil, []string{"still: shop: failed > mail"}},
		{49*time.Hour + time.Minute, bad, both, nil, []string{"still: shop: failed > ops"}}, // mail heard of it 23 hours ago
		{49*time.Hour + 2*time.Minute, bad, append(both, "new"), nil, []string{"shop: failed > new"}},
		{50 * time.Hour, nil, both, []string{"mail"}, []string{"recovered: shop: failed > mail,ops"}}, // new is not here: another's?
		{51 * time.Hour, nil, both, nil, []string{"recovered: shop: failed > mail"}},
		{52 * time.Hour, nil, []string{"new"}, []string{"new"}, []string{"recovered: shop: failed > new"}},
		{53 * time.Hour, bad, both, nil, []string{"shop: failed > mail,ops"}},
		{54 * time.Hour, nil, both, nil, []string{"recovered: shop: failed > mail,ops"}},
		{80 * time.Hour, nil, both, nil, nil},
		{81 * time.Hour, bad, both, both, []string{"shop: failed > mail,ops"}},
		{82 * time.Hour, nil, both, nil, nil}, // nobody heard of it
	} {
		if got := at(step.after, step.wrong, step.places, step.unreached...); !cmp.Equal(got, step.want) {
			t.Fatalf("step %d: got %q, want %q (open: %+v)", i, got, step.want, open)
		}
		if known := len(step.wrong) > 0 || i == 6 || i == 7 || i == 8 || i == 10; known != (len(open) > 0) {
			t.Fatalf("step %d: open: %+v", i, open)
		}
	}
}

// Whatever happens, and whoever can't be reached meanwhile: nobody is told twice of the same within the reminder's time, nobody waits
// longer for the reminder, everybody who was told that something is wrong is told that it is right again, nobody else is, and nothing
// stays open that is right and known.
func TestStepProperties(t *testing.T) {
	const remind = 24 * time.Hour
	keys, places := []string{"a", "b"}, []string{"x", "y"}
	rapid.Check(t, func(t *rapid.T) {
		var open []Alarm
		now := time.Unix(1_800_000_000, 0)
		told := map[string]time.Time{} // by place and key: when the place was told last that it is wrong; none: that it is right, or nothing
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)
			isWrong, reachable := map[string]bool{}, map[string]bool{}
			var wrong []Condition
			for _, k := range keys {
				if isWrong[k] = rapid.Bool().Draw(t, "wrong "+k); isWrong[k] {
					wrong = append(wrong, Condition{Key: k, Event: "failed", Title: k})
				}
			}
			var unreached []string
			for _, p := range places {
				if reachable[p] = rapid.Bool().Draw(t, "reachable "+p); !reachable[p] {
					unreached = append(unreached, p)
				}
			}
			var orders []Order
			open, orders = Step(now, open, wrong, func(string, string) []string { return places }, remind)
			for _, o := range orders {
				open = Done(now, open, o, unreached)
				for _, p := range o.Places {
					last, before := told[p+o.Key]
					switch {
					case o.Event == "recovered" && !before:
						t.Fatalf("%s never heard of %s, and is told of its end", p, o.Key)
					case o.Event != "recovered" && before && now.Sub(last) < remind:
						t.Fatalf("%s is told of %s again after %s", p, o.Key, now.Sub(last))
					case !reachable[p]:
					case o.Event == "recovered":
						delete(told, p+o.Key)
					default:
						told[p+o.Key] = now
					}
				}
			}
			for _, k := range keys {
				waiting := false
				for _, p := range places {
					last, is := told[p+k]
					waiting = waiting || is
					if reachable[p] && (is != isWrong[k] || is && now.Sub(last) >= remind) {
						t.Fatalf("%s is wrong: %v, but what %s heard last is %v of %s (%s)", k, isWrong[k], p, is, last, fmt.Sprint(open))
					}
				}
				if isOpen := slices.ContainsFunc(open, func(a Alarm) bool { return a.Key == k }); isOpen != (isWrong[k] || waiting) {
					t.Fatalf("%s is wrong: %v, somebody is to hear of its end: %v, but open: %v", k, isWrong[k], waiting, isOpen)
				}
			}
		}
	})
}
