package repo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// scratch is a folder for what all tests share.
var scratch string

// jobEnv makes the test program do one job in a process of its own.
const jobEnv = "HOLDFAST_REPO_TEST_JOB"

func TestMain(m *testing.M) {
	if job := os.Getenv(jobEnv); job != "" {
		if err := runJob(context.Background(), job, os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "holdfast-repo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	return m.Run()
}

func runJob(ctx context.Context, job string, args []string) error {
	switch job {
	case "readonly":
		return jobReadOnly(ctx, args[0], ID(args[1]), 1)
	case "denied":
		return jobDenied(ctx, args[0])
	case "write": // a backup that says how far it is, and waits to be told to go on
		return jobWrite(ctx, args[0], args[1])
	case "reclaim": // dies in the middle
		n, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		return jobReclaim(ctx, args[0], n)
	case "backups":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return jobBackups(ctx, args[0], n)
	}
	return errors.New("no such job")
}

// startJob runs this test program as another process. What it prints comes line by line.
func startJob(t *testing.T, job string, args ...string) (*exec.Cmd, *bufio.Scanner, io.WriteCloser) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), jobEnv+"="+job)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out), in
}

// runAsNobody runs a job as an unprivileged user. It takes root.
func runAsNobody(t *testing.T, job string, args ...string) {
	t.Helper()
	// Neither the program nor the test's folder may be where nobody can get at.
	program := filepath.Join(scratch, "tests")
	if _, err := os.Stat(program); err != nil {
		data, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for dir := args[0]; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); dir != args[0] && err == nil && info.Mode().Perm()&1 == 0 {
			if err := os.Chmod(dir, info.Mode().Perm()|1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(scratch, "tmp")
	if err := errors.Join(os.MkdirAll(temp, 0o777), os.Chmod(temp, 0o777)); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), jobEnv+"="+job, "TMPDIR="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v: %s", err, strings.TrimSpace(string(out)))
	}
}
