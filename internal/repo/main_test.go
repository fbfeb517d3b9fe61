package repo

import (
	"fmt"
	"os"
	"testing"
)

// scratch is a folder for what all tests share.
var scratch string

func TestMain(m *testing.M) {
	if job := os.Getenv("HOLDFAST_REPO_TEST_JOB"); job != "" {
		os.Exit(runJob(job))
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

func runJob(string) int { return 1 }
