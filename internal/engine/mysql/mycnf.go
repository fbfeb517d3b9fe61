package mysql

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// groups are the sections of an option file that are read.
var groups = map[string]bool{"client": true, "client-mariadb": true, "client-server": true, "holdfast": true}

// readFile takes options from an option file of MySQL's form. One that must not exist may be missing. Files
// that it includes are not followed.
func (s *settings) readFile(path string, must bool) error {
	f, err := os.Open(path)
	if err != nil {
		if !must && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			return nil
		}
		return fail.Wrap(fail.Usage, err, "", "read the option file")
	}
	defer f.Close()
	in := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';' || line[0] == '!':
		case line[0] == '[':
			in = groups[strings.TrimSuffix(line[1:], "]")]
		case in:
			name, value, _ := strings.Cut(line, "=")
			name = strings.ReplaceAll(strings.TrimSpace(name), "_", "-")
			if known[name] {
				s.options[name] = optionValue(value)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fail.Wrap(fail.Usage, err, "", "read the option file %s", path)
	}
	return nil
}

// optionValue is the value behind an equals sign: without quotes around it or a comment behind it, and with its
// escapes undone.
func optionValue(text string) string {
	text = strings.TrimSpace(text)
	quote := byte(0)
	if text != "" && (text[0] == '\'' || text[0] == '"') {
		quote, text = text[0], text[1:]
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			i++
			if at := strings.IndexByte(`btnrs\"'`, text[i]); at >= 0 {
				b.WriteByte("\b\t\n\r \\\"'"[at])
			} else {
				b.WriteByte('\\')
				b.WriteByte(text[i])
			}
		case quote != 0 && c == quote:
			return b.String()
		case quote == 0 && c == '#' && i > 0 && (text[i-1] == ' ' || text[i-1] == '\t'):
			return strings.TrimRight(b.String(), " \t")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
