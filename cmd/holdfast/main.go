// Command holdfast backs up databases, proves the backups and brings them back.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"slices"
	"strings"
	"syscall"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// version is set by the linker: see the Makefile.
var version = "development"

func main() { os.Exit(run(os.Args[1:])) }

// run executes one command line and returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends the process at once: the first one may be waiting for a server.
	context.AfterFunc(ctx, stop)
	findHome()
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var code exitCode
	if errors.As(err, &code) { // check's own codes; all but a wrong command line was said
		if fail.KindOf(err) == fail.Usage {
			a.report(err)
		}
		return int(code)
	}
	if ctx.Err() != nil && fail.KindOf(err) != fail.Interrupted {
		// Whatever broke did so because we were told to stop.
		err = fail.Wrap(fail.Interrupted, err, "", "interrupted")
	}
	if fail.KindOf(err) == fail.Interrupted {
		err = plainlyInterrupted(err)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		a.json = a.json || slices.Contains(args, "--json") // flags after a wrong one are not read
		err = fail.Wrap(fail.Usage, usage.err, fmt.Sprintf("%s --help", cmd.CommandPath()), "read the command line")
	}
	a.report(err)
	return fail.KindOf(err).ExitCode()
}

// findHome sets $HOME, where systemd does not: key files and options of the databases' clients lie there.
func findHome() {
	if os.Getenv("HOME") != "" {
		return
	}
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		_ = os.Setenv("HOME", u.HomeDir) // else it stays unknown, and who needs it says so
	}
}

// plainlyInterrupted says «interrupted» whichever way the end of the context came through.
func plainlyInterrupted(err error) error {
	text := strings.NewReplacer(context.Canceled.Error(), "interrupted", "interrupt signal received", "interrupted", "terminated signal received", "interrupted").Replace(err.Error())
	if !strings.Contains(text, "interrupted") {
		text = "interrupted: " + text
	}
	return fail.New(fail.Interrupted, fail.HintOf(err), "%s", text)
}

// usageError marks what cobra says about a command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

// report prints an error and its hint: as a JSON object with --json, else as text.
func (a *app) report(err error) {
	kind := fail.KindOf(err)
	if a.json {
		_ = json.NewEncoder(a.stderr).Encode(map[string]any{
			"error": err.Error(), "kind": kind.String(), "hint": fail.HintOf(err), "exit_code": kind.ExitCode(),
		})
		return
	}
	fmt.Fprintf(a.stderr, "holdfast: error: %s\n", oneLine(err.Error()))
	if hint := fail.HintOf(err); hint != "" && kind != fail.Interrupted {
		fmt.Fprintf(a.stderr, "holdfast: hint: %s\n", plain(hint))
	}
}

// oneLine indents the further lines of joined errors, and shows control characters.
func oneLine(s string) string {
	return strings.ReplaceAll(plainLines(strings.TrimRight(s, "\n")), "\n", "\n  ")
}
