package servers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// watched is a server that runs under a watch: a script that starts it, prints its process id once it takes connections, and
// ends it and removes its data when this process closes the pipe, or ends.
type watched struct {
	server int       // process id, as the watch saw it
	hold   io.Closer // the pipe that keeps the server running; nil when it does not
	watch  *exec.Cmd
}

// begin starts the watch and returns once the server takes connections.
func (w *watched) begin(cmd *exec.Cmd) error {
	hold, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	r := bufio.NewReader(out)
	first, err := r.ReadString('\n')
	if pid, perr := strconv.Atoi(strings.TrimSpace(first)); err == nil && perr == nil {
		w.server, w.hold, w.watch = pid, hold, cmd
		return nil
	}
	rest, _ := io.ReadAll(r)
	return errors.Join(fmt.Errorf("%s%s", first, rest), hold.Close(), cmd.Wait())
}

// Close stops the server and removes its data. A second Close does nothing.
func (w *watched) Close() error {
	if w.hold == nil {
		return nil
	}
	err := w.hold.Close()
	w.hold = nil
	return errors.Join(err, w.watch.Wait())
}

// writeFor writes a file that only the server's user may read; as is nil when that is ourselves.
func writeFor(as *syscall.Credential, path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil || as == nil {
		return err
	}
	return os.Chown(path, int(as.Uid), int(as.Gid))
}

// feed gives SQL to a client program and returns what it prints, without the last line's end.
func feed(cmd *exec.Cmd, sql, where string) (string, error) {
	cmd.Stdin = strings.NewReader(sql)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", where, err, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
