package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-db/holdfast/internal/backup"
	"github.com/holdfast-db/holdfast/internal/config"
	"github.com/holdfast-db/holdfast/internal/fail"
)

const (
	hookTimeout = 10 * time.Minute
	hookOutput  = 2000 // bytes of its output in an error
)

// hook runs one command of the user, with all it starts, and waits for it.
func (j *job) hook(ctx context.Context, h config.Hook, event string, b backup.Backup, cause error) error {
	limit := h.Timeout.Or(hookTimeout)
	hctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(hctx, "sh", "-c", h.Run)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// What opens the repository is none of a hook's business.
	for _, kv := range os.Environ() {
		_, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(kv, "HOLDFAST_PASSWORD") || strings.HasPrefix(kv, "CREDENTIALS_DIRECTORY=") || value != "" && value == j.cfg.Password.Reveal() {
			continue
		}
		cmd.Env = append(cmd.Env, kv)
	}
	cmd.Env = append(cmd.Env, "HOLDFAST_DATABASE="+j.db.Name, "HOLDFAST_EVENT="+event, "HOLDFAST_BACKUP="+string(b.ID))
	if cause != nil {
		cmd.Env = append(cmd.Env, "HOLDFAST_ERROR="+cause.Error())
	}
	for k, v := range j.db.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out := &tail{most: hookOutput}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	// What it left running in the background ends with it when it failed, or when it keeps the output to itself.
	if cmd.Process != nil && err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // its own part was done, and well
		return nil
	}
	if hctx.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("it took longer than %s", limit)
	}
	if text := strings.TrimSpace(j.cfg.Hide(out.String())); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return fail.Wrap(fail.Incomplete, err, "run it by hand: sh -c with the same text", "hook %s of %s (%s)", event, j.db.Name, short(j.cfg.Hide(h.Run)))
}

func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:57], "") + "…"
	}
	return s
}

// tail keeps the last bytes of what is written to it.
type tail struct {
	buf  bytes.Buffer
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - t.most; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.buf.String() }
