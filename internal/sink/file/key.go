package file

import (
	"fmt"
	"io/fs"
	"strings"
)

// maxElement is how many bytes one element of a path has at most on every common
// file system.
const maxElement = 255

// checkKey refuses keys that are not in the form that the port asks for.
func checkKey(key string) error {
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

// checkPoint refuses what is not points/<host>/<kind>/<name>/<point id>.
func checkPoint(dir string) error {
	if err := checkKey(dir); err != nil {
		return err
	}
	if !strings.HasPrefix(dir, pointsName+"/") || strings.Count(dir, "/") != pointDepth {
		return fmt.Errorf("%q is not the folder of a point: that is %s/<host>/<kind>/<name>/<point id>", dir, pointsName)
	}
	return nil
}

// pointDepth is how many levels below points a point lies.
const pointDepth = 4
