package configured

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// scheme is how a location begins that is no path. One letter is a Windows
// drive.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+:`)

// Path returns the absolute path that a location means: a path, or a
// file:///path in which odd characters are percent-encoded.
func Path(location string) (string, error) {
	path := location
	if scheme.MatchString(location) {
		u, err := url.Parse(location)
		if err != nil {
			// The error of the URL would repeat the location with its password.
			return "", errors.New("the location is not a valid URL")
		}
		if !strings.EqualFold(u.Scheme, "file") {
			return "", fmt.Errorf("the scheme %q is not known: this version stores to a path or a file:///path", u.Scheme)
		}
		if u.Host != "" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(location, "#") {
			return "", errors.New("a file URL is file:///path, without host, query or fragment; write '?' as %3F and '#' as %23")
		}
		path = u.Path
	}
	if path == "" {
		return "", errors.New("the location is empty")
	}
	if strings.ContainsRune(path, 0) {
		return "", errors.New("the location has a NUL byte")
	}
	return filepath.Abs(path)
}
