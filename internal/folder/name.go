package folder

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const stampLayout = "20060102_150405"

var (
	kindPattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)
	namePattern = regexp.MustCompile(`^backup_(?:(.+)_)?(\d{8}_\d{6})(?:_(\d{1,4}))?\.([a-z][a-z0-9]*)((?:\.[a-z0-9]+)*)$`)
	notSafe     = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// A fileParts is what a file's name says.
type fileParts struct {
	database string // as it stands in the name; "" when it doesn't
	time     time.Time
	n        int // which one of its second
	kind     string
	ext      string // kind and what the envelope added
}

// parseName reads a name of the form backup_[NAME_]YYYYMMDD_HHMMSS[_N].EXT. Its time is taken for UTC.
func parseName(name string) (fileParts, bool) {
	m := namePattern.FindStringSubmatch(name)
	if m == nil || strings.HasSuffix(name, MetaSuffix) {
		return fileParts{}, false
	}
	at, err := time.Parse(stampLayout, m[2])
	if err != nil {
		return fileParts{}, false
	}
	n := 1
	if m[3] != "" {
		n, _ = strconv.Atoi(m[3])
	}
	return fileParts{m[1], at, n, m[4], m[4] + m[5]}, true
}

// safeName makes a database's name fit for a file's name: letters, digits, dots, hyphens and underscores. One that had to be changed
// gets a few digits of its own, so that a/b and a:b stay apart.
func safeName(database string) string {
	const most = 80
	safe := notSafe.ReplaceAllString(database, "-")
	if len(safe) > most {
		safe = safe[:most]
	}
	if safe = strings.Trim(safe, "_"); safe == database {
		return safe
	}
	return fmt.Sprintf("%s-%.3x", safe, sha256.Sum256([]byte(database)))
}

// needsName reports whether a file's name must tell the database, because the folder holds, or held, files of others:
// one that is named, or one of another database. Those without a name in them are all of one database, so the newest
// with a sidecar tells which.
func needsName(dir, database string) (bool, error) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	slices.Reverse(items) // names sort by time
	for _, item := range items {
		if parts, ok := parseName(item.Name()); ok && parts.database != "" {
			return true, nil
		}
	}
	for _, item := range items {
		if _, ok := parseName(item.Name()); !ok {
			continue
		}
		if meta, err := ReadMeta(filepath.Join(dir, item.Name())); err == nil {
			return meta.Database != database, nil
		}
	}
	return false, nil
}
