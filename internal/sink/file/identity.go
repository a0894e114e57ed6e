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
)

// FormatVersion is the version of the layout that this package writes, and the
// highest that it reads.
const FormatVersion = 1

// maxIdentity bounds the size of holdfast.json, in bytes.
const maxIdentity = 64 << 10

// identity is what holdfast.json holds.
type identity struct {
	FormatVersion int       `json:"formatVersion"`
	ID            string    `json:"id"`
	Created       time.Time `json:"created"`
}

var errDamaged = fmt.Errorf("%s is damaged; restore it, the points are not touched", identityName)

// readIdentity reports fs.ErrNotExist if the folder holds no sink.
func readIdentity(root *os.Root) (identity, error) {
	var own identity
	f, err := openFile(root, identityName)
	if err != nil {
		return own, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	if err != nil {
		return own, err
	}
	// The version comes first: the rest of a newer format may look different.
	var format struct{ FormatVersion int }
	if err := json.Unmarshal(raw, &format); err != nil || format.FormatVersion < 1 {
		return own, errDamaged
	}
	if format.FormatVersion > FormatVersion {
		return own, fmt.Errorf("%s says format %d, and this version knows up to %d; use a newer holdfast", identityName, format.FormatVersion, FormatVersion)
	}
	if err := json.Unmarshal(raw, &own); err != nil || own.ID == "" {
		return own, errDamaged
	}
	return own, nil
}

// setUp makes a folder a sink. Of several processes that try at a time the first
// one wins, and all return its identity.
func setUp(root *os.Root) (identity, error) {
	if _, err := root.Lstat(pointsName); err == nil {
		// Another process may have set the sink up, and begun to use it, meanwhile.
		own, err := readIdentity(root)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("it has %s but no %s; restore that file", pointsName, identityName)
		}
		return own, err
	}
	own := identity{FormatVersion: FormatVersion, ID: uuid.NewString(), Created: time.Now().UTC()}
	raw, err := json.MarshalIndent(own, "", "  ")
	if err != nil {
		return own, err
	}
	temporary := "." + identityName + "." + own.ID
	defer func() { _ = root.Remove(temporary) }()
	if err := writeFile(root, temporary, append(raw, '\n')); err != nil {
		return own, err
	}
	if err := claim(root, temporary, raw); err != nil && !errors.Is(err, fs.ErrExist) {
		return own, err
	}
	if err := syncFolder(root); err != nil {
		return own, err
	}
	return readIdentity(root)
}

// claim gives the temporary file the name of the identity, or reports
// fs.ErrExist. A link fails if the name is taken, where a rename would replace
// it, and nobody sees half a file. Where there are no hard links (exFAT, some
// network mounts) the file is made in place.
func claim(root *os.Root, temporary string, raw []byte) error {
	err := root.Link(temporary, identityName)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeFile(root, identityName, append(raw, '\n'))
}
