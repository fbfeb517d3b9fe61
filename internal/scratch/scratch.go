// Package scratch runs a database server of our own for a while: in a folder that goes with it, as a user that is not root, and
// ended with this process. What server, and how it is set up, the engines say.
package scratch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-db/holdfast/internal/fail"
)

const (
	prefix   = "holdfast-scratch-"
	wait     = time.Minute      // for a server to answer
	stopWait = 20 * time.Second // for it to end by itself
)

// Folder makes a folder below dir, for its owner alone; "" is the usual place for temporary files. What killed processes left there is removed.
func Folder(dir string) (string, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	RemoveStale(dir)
	folder, err := os.MkdirTemp(dir, prefix+strconv.Itoa(os.Getpid())+"-")
	return folder, fail.Wrap(fail.NoSpace, err, "set TMPDIR to a folder with room", "make a scratch folder")
}

// RemoveStale removes the folders of processes that were killed.
func RemoveStale(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, prefix+"*"))
	for _, f := range found {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(f), prefix), "-")
		n, err := strconv.Atoi(pid)
		if err != nil || n == os.Getpid() || !errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			continue
		}
		if server, _ := os.ReadFile(filepath.Join(f, "data", "postmaster.pid")); len(server) > 0 {
			first, _, _ := bytes.Cut(server, []byte("\n"))
			if p, err := strconv.Atoi(string(first)); err == nil && !errors.Is(syscall.Kill(p, 0), syscall.ESRCH) {
				continue // it goes down, or the number is somebody else's by now
			}
		}
		_ = os.RemoveAll(f) // another user's: then it stays
	}
}

// User is who a server runs as that refuses root: the first of names that there is. nil is ourselves, when we are not root.
func User(names ...string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fail.New(fail.Unsupported, "run as another user than root, or drill on a server", "start a scratch server as root: there is no user %s to run it as", strings.Join(names, " or "))
}

// Give makes files the user's, and makes sure that the user can get to folder. Nothing is done for nil.
func Give(as *syscall.Credential, folder string, files ...string) error {
	if as == nil {
		return nil
	}
	for _, name := range append(files, folder) {
		if err := os.Chown(name, int(as.Uid), int(as.Gid)); err != nil {
			return err
		}
	}
	for dir := filepath.Dir(folder); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fail.New(fail.Denied, "set TMPDIR to a folder that other users can pass through, such as /tmp", "another user, whom the server must run as, can't pass through %s", dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// A Server is a process that Start started.
type Server struct {
	proc  *os.Process
	death syscall.Signal
	ended chan struct{} // closed when the process is gone
}

// Start starts a server as a user. Stop ends it by the signal death; where the system can do that (Linux), so does the end of this process, however it ends.
// On nil the caller calls Stop.
func Start(cmd *exec.Cmd, as *syscall.Credential, death syscall.Signal) (*Server, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	diesWithUs(cmd.SysProcAttr, death)
	s := &Server{death: death, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() { // ends when the server does, which Stop waits for
		runtime.LockOSThread() // Linux means the death of the thread that started it
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(s.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	s.proc = cmd.Process
	return s, nil
}

// Ready waits until the server answers, and stops it when it does not. lastWords tells what a server that ended at once said.
func (s *Server) Ready(ctx context.Context, answers func(context.Context) error, lastWords func() string) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
			continue
		case <-s.ended:
			return fail.New(fail.Unavailable, "", "it ended at once: %s", lastWords())
		case <-deadline.C:
			err = fail.Wrap(fail.Unavailable, err, "", "it does not answer after %s", wait)
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.Stop()
		return err
	}
}

// Stop ends the server and waits for its end. It may be called twice.
func (s *Server) Stop() {
	_ = s.proc.Signal(s.death)
	kill := time.AfterFunc(stopWait, func() { _ = s.proc.Kill() })
	<-s.ended
	kill.Stop()
}

// Remove removes the folder of a server that was stopped.
func Remove(folder string) error {
	return fail.Wrap(fail.Denied, os.RemoveAll(folder), "remove it by hand", "remove the scratch server's folder")
}
