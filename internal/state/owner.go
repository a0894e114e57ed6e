package state

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

const ownerName = "owner.json"

// NewOwner returns an id for the process that holds the state dir, and keeps it.
// The predecessor is the id of the process that held it before, which is dead: the
// lock was its own for as long as it lived. It is empty if there was none. An id tells
// by its beginning which state dir the process held, see [SameDir].
func (d *Dir) NewOwner() (owner, predecessor string, err error) {
	err = read(filepath.Join(d.path, ownerName), &predecessor)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	dir, _, ok := strings.Cut(predecessor, ownerSeparator)
	if !ok {
		dir = rand.Text()
	}
	owner = dir + ownerSeparator + rand.Text()
	return owner, predecessor, d.write(ownerName, owner)
}

const ownerSeparator = "-"

// SameDir reports whether two processes, by their ids, held the same state dir: what
// one of them kept on disk the other one has.
func SameDir(owner, other string) bool {
	dir, _, ok := strings.Cut(owner, ownerSeparator)
	return ok && strings.HasPrefix(other, dir+ownerSeparator)
}
