package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-db/holdfast/internal/servers"
)

// A mailbox is what a mail server has received.
type mailbox struct{ addr, folder string }

// newMailbox starts a mail server.
func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	python := "/usr/bin/python3" // Debian's own: its packages hold the server
	servers.Require(t, "aiosmtpd", exec.Command(python, "-c", "import aiosmtpd").Run() == nil, "Debian's package python3-aiosmtpd")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{l.Addr().String(), filepath.Join(t.TempDir(), "box")}
	_ = l.Close()
	cmd := exec.Command(python, "-m", "aiosmtpd", "-n", "-l", m.addr, "-c", "aiosmtpd.handlers.Mailbox", m.folder)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "the mail server answers", func() bool {
		pause()
		c, err := net.Dial("tcp", m.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return m
}

func (m *mailbox) config() string {
	return "notify: {mail: \"smtp://" + m.addr + "/?from=holdfast@example.org&to=admin@example.org&usestarttls=no&auth=None\"}"
}

// with counts the mails that hold all of the texts.
func (m *mailbox) with(t *testing.T, texts ...string) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(m.folder, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		mail, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all := true
		for _, text := range texts {
			all = all && strings.Contains(string(mail), text)
		}
		if all {
			n++
		}
	}
	return n
}

// A database that can't be backed up is told by mail, once, and so is that it can again: by a run for cron, and by the daemon.
func TestMailAlarms(t *testing.T) {
	const failed, recovered = "app: the last backup failed", "recovered: app: the last backup failed"
	away := func(t *testing.T, s *station) (back func()) {
		if err := os.Rename(s.db, s.db+".away"); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.Rename(s.db+".away", s.db); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("run", func(t *testing.T) {
		s, m := newStation(t, 0), newMailbox(t)
		s.configure(t, m.config(), "")
		run := func(want int) {
			t.Helper()
			p := s.start(t, "run", "app", "--config", s.config)
			if code := p.wait(t); code != want {
				t.Errorf("exit code %d, want %d\n%s", code, want, p.stderr.String())
			}
		}
		back := away(t, s)
		run(3)
		if n := m.with(t, failed, "no such file", "To: admin@example.org"); n != 1 {
			t.Errorf("%d mails tell of the failure", n)
		}
		run(3)
		if n := m.with(t, failed); n != 1 {
			t.Errorf("%d mails after it failed again", n)
		}
		back()
		run(0)
		if n, all := m.with(t, recovered), m.with(t); n != 1 || all != 4 { // that there never was a backup is told too, and is over
			t.Errorf("%d of %d mails tell of the recovery", n, all)
		}
		run(0)
		if all := m.with(t); all != 4 {
			t.Errorf("%d mails after all was well twice", all)
		}
	})
	t.Run("serve", func(t *testing.T) {
		s, m := newStation(t, 0), newMailbox(t)
		s.configure(t, m.config(), "")
		back := away(t, s)
		p := s.serve(t)
		until(t, "the failure is told", func() bool { pause(); return m.with(t, failed, "no such file") == 1 })
		back()
		s.must(t, "run", "app", "--config", s.config) // or it would be tried again at its next time
		until(t, "the recovery is told", func() bool { pause(); return m.with(t, recovered) == 1 && m.with(t, "never backed up") == 2 })
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if all := m.with(t); all != 4 {
			t.Errorf("%d mails, want one of each", all)
		}
	})
}
