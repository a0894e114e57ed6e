package open

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
)

// schemeIn returns the scheme of a URL in lower case; a path has none.
func schemeIn(location string) string {
	if m := schemeName.FindStringSubmatch(location); m != nil {
		return strings.ToLower(m[1])
	}
	return ""
}

// path returns the absolute path that the location of a file sink means.
func path(location string) (string, error) {
	path := location
	if schemeIn(location) != "" {
		u, err := url.Parse(location)
		if err != nil {
			// The error of the URL would repeat the location with its password.
			return "", errors.New("the location is not a valid URL")
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
