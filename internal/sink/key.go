package sink

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxElement is how many bytes one element of a path has at most on every common
// file system.
const maxElement = 255

// CheckKey refuses keys that are not in the form that [Sink] asks for.
func CheckKey(key string) error {
	if key == "." || !fs.ValidPath(key) || strings.ContainsAny(key, "\x00\\") {
		return fmt.Errorf("%q is not a key: it must be a relative slash-separated path without empty, \".\" or \"..\" elements, backslash or NUL", key)
	}
	for element := range strings.SplitSeq(key, "/") {
		if len(element) > maxElement {
			return fmt.Errorf("%q is not a key: an element is longer than %d bytes", key, maxElement)
		}
	}
	return nil
}

// CheckPoint refuses what is not points/<host>/<kind>/<name>/<point id>.
func CheckPoint(dir string) error {
	if err := CheckKey(dir); err != nil {
		return err
	}
	if !strings.HasPrefix(dir, PointsName+"/") || strings.Count(dir, "/") != PointDepth {
		return fmt.Errorf("%q is not the folder of a point: that is %s/<host>/<kind>/<name>/<point id>", dir, PointsName)
	}
	return nil
}

// AttemptName returns the name of an attempt at the point at dir, which is one
// element of a key, and refuses what cannot be one.
func AttemptName(dir, attempt string) (string, error) {
	if err := CheckPoint(dir); err != nil {
		return "", err
	}
	name := path.Base(dir) + "-" + attempt
	if err := CheckKey(name); err != nil || attempt == "" || strings.Contains(attempt, "/") {
		return "", fmt.Errorf("%q is not the name of an attempt: with the point's id it must be one element of a key", attempt)
	}
	return name, nil
}

// PointsName is the folder of a sink that holds the points.
const PointsName = "points"

// PointDepth is how many levels below points a point lies.
const PointDepth = 4
