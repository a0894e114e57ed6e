package state

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
)

const ownerName = "owner.json"

// NewOwner returns an id for the process that holds the state dir, and keeps it.
// The predecessor is the id of the process that held it before, which is dead: the
// lock was its own for as long as it lived. It is empty if there was none.
func (d *Dir) NewOwner() (owner, predecessor string, err error) {
	err = read(filepath.Join(d.path, ownerName), &predecessor)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	owner = rand.Text()
	return owner, predecessor, d.write(ownerName, owner)
}
