package fail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	codes := map[int]Kind{}
	for _, k := range Kinds() {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
		if k.ExitCode() == 0 {
			t.Errorf("kind %s has exit code 0, which means success", k)
		}
		if other, ok := codes[k.ExitCode()]; ok {
			t.Errorf("kinds %s and %s share exit code %d", k, other, k.ExitCode())
		}
		codes[k.ExitCode()] = k
	}
}

func TestKindOf(t *testing.T) {
	cause := New(Damaged, "verify it", "read pack p1")
	tests := []struct {
		name string
		err  error
		want Kind
		hint string
	}{
		{"plain", errors.New("x"), Internal, ""},
		{"cancelled", fmt.Errorf("x: %w", context.Canceled), Interrupted, ""},
		{"deadline", context.DeadlineExceeded, Unavailable, ""},
		{"wrapped twice", fmt.Errorf("a: %w", Op(cause, "back up shop")), Damaged, "verify it"},
		{"outer kind wins", Wrap(NotFound, cause, "", "open"), NotFound, "verify it"},
		{"interruption stays one", Wrap(Damaged, context.Canceled, "look", "read"), Interrupted, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := KindOf(tt.err); got != tt.want {
				t.Errorf("kind: got %v, want %v", got, tt.want)
			}
			if got := HintOf(tt.err); got != tt.hint {
				t.Errorf("hint: got %q, want %q", got, tt.hint)
			}
		})
	}
	if Wrap(Usage, nil, "", "x") != nil || Op(nil, "x") != nil {
		t.Error("wrapping nil must be nil")
	}
}

func TestSecret(t *testing.T) {
	s := Secret("hunter2")
	j, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%s %v %q %#v %+v %s", s, s, s, s, struct{ S Secret }{s}, j)
	if strings.Contains(out, "hunter2") {
		t.Errorf("secret shown: %s", out)
	}
	if s.Reveal() != "hunter2" {
		t.Error("Reveal must give the secret")
	}
}
