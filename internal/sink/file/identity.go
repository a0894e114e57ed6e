package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// FormatVersion is the version of the layout that this package writes, and the
// highest that it reads.
const FormatVersion = 1

const (
	identityName = "holdfast.json"
	maxIdentity  = 64 << 10 // bytes; a larger file is none of ours
)

// identity is what holdfast.json holds.
type identity struct {
	FormatVersion int       `json:"formatVersion"`
	ID            string    `json:"id"`
	Created       time.Time `json:"created"`
}

// readIdentity reads the sink's identity. It reports fs.ErrNotExist if the folder
// has none.
func readIdentity(root *os.Root) (identity, error) {
	f, err := openFile(root, identityName)
	if err != nil {
		return identity{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	if err != nil {
		return identity{}, err
	}
	var own identity
	// The version comes first: what a newer one holds need not look like ours.
	err = json.Unmarshal(raw, &own)
	switch {
	case own.FormatVersion > FormatVersion:
		return identity{}, fmt.Errorf("%s is of format %d, and this version of holdfast knows only %d; use a newer one",
			identityName, own.FormatVersion, FormatVersion)
	case err != nil, own.FormatVersion < 1, own.ID == "":
		return identity{}, fmt.Errorf("%s is damaged; restore it from a copy (the points are not touched)", identityName)
	}
	return own, nil
}

// setUp makes the folder a sink. Of several processes that try at a time the
// first one wins, and all return its identity.
func (m maker) setUp(root *os.Root) (identity, error) {
	if _, err := root.Lstat(sink.PointsName); err == nil {
		// Another process may have set the sink up meanwhile, and begun to use it.
		own, err := readIdentity(root)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("it has %s, but no %s; restore that file from a copy", sink.PointsName, identityName)
		}
		return own, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return identity{}, err
	}
	own := identity{FormatVersion: FormatVersion, ID: uuid.NewString(), Created: time.Now().UTC()}
	raw, err := json.MarshalIndent(own, "", "  ")
	if err != nil {
		return identity{}, err
	}
	if err := m.claim(root, own.ID, append(raw, '\n')); err != nil && !errors.Is(err, fs.ErrExist) {
		return identity{}, err
	}
	if err := syncFolder(root); err != nil {
		return identity{}, err
	}
	return readIdentity(root)
}

// claim makes the identity, or reports fs.ErrExist. A link fails if the name is
// taken, where a rename would replace it, and nobody sees half a file. Where there
// are no hard links (exFAT, some network mounts) the file is made in its place.
func (m maker) claim(root *os.Root, id string, raw []byte) error {
	temporary := "." + identityName + "." + id
	if err := m.writeFile(root, temporary, raw); err != nil {
		return err
	}
	err := root.Link(temporary, identityName)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = m.writeFile(root, identityName, raw)
	}
	return errors.Join(err, root.Remove(temporary))
}
