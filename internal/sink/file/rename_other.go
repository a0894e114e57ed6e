//go:build !linux && !darwin

package file

import (
	"os"
	"path"
)

// rename moves the attempt's folder to the point's name, below the sink's
// folder.
func (t *staging) rename(*os.Root, string) error {
	root, err := t.sink.top()
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Rename(path.Join(stagingName, t.name), t.dir)
}
