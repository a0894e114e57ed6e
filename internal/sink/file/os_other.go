//go:build !linux && !darwin

package file

import (
	"errors"
	"os"
	"path/filepath"
)

// rename moves a folder, and fails if there is one at its new place. These
// systems have no rename by handles.
func rename(from *os.Root, name string, to *os.Root, newName string) error {
	return os.Rename(filepath.Join(from.Name(), name), filepath.Join(to.Name(), newName))
}

// syncFolder does nothing: these systems cannot sync a folder.
func syncFolder(*os.Root) error { return nil }

// ownerOf knows of no owners on these systems.
func ownerOf(os.FileInfo) (uid int, known bool) { return 0, false }

func freeBytes(*os.Root) (int64, error) { return 0, errors.ErrUnsupported }

func freeAt(string) (int64, error) { return 0, errors.ErrUnsupported }
