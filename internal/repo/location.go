package repo

import (
	"net/url"
	"path/filepath"
	"strings"

	"github.com/holdfast-db/holdfast/internal/fail"
)

// parseLocation returns the folder that location means: a path, or a file:// URL of one. Any
// other scheme is Unsupported. No text of a URL but its scheme gets into the error, since it
// may hold a password.
func parseLocation(location string) (folder string, err error) {
	if location == "" {
		return "", fail.New(fail.Usage, "give --repo or $HOLDFAST_REPO", "open the repository: no location given")
	}
	scheme, rest, isURL := strings.Cut(location, "://")
	if !isURL || strings.ContainsAny(scheme, "/\\.") {
		return absolute(location)
	}
	if scheme != "file" {
		return "", fail.New(fail.Unsupported, "only folders can hold a repository in this version", "open the repository: locations with %s:// are not supported", scheme)
	}
	u, err := url.Parse(location)
	if err != nil || (u.Host != "" && u.Host != "localhost") || u.Path == "" {
		return "", fail.New(fail.Usage, "write file:///path", "open the repository: %q is not a file URL of this machine", "file://"+rest)
	}
	return absolute(filepath.FromSlash(u.Path))
}

func absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fail.Wrap(fail.Usage, err, "", "open the repository in %s", path)
	}
	return abs, nil
}
