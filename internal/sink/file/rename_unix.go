//go:build linux || darwin

package file

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// rename moves the attempt's folder into parent. It works between opened
// folders, so that a link that is planted on the way leads nowhere, and replaces
// an empty folder, which [os.Root.Rename] does not.
func (t *staging) rename(parent *os.Root, name string) (err error) {
	from, err := t.all.Open(".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := parent.Open(".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := unix.Renameat(int(from.Fd()), t.name, int(to.Fd()), name); err != nil {
		return fmt.Errorf("rename the attempt to %s: %w", t.dir, err)
	}
	return nil
}
