package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"holdfast.io/holdfast/internal/sink"
)

const (
	folderMode = 0o700
	fileMode   = 0o600
	maxElement = 255 // bytes in one element of a path, on every common file system
)

// checkKey refuses keys that are not in the form that path.Clean leaves.
func checkKey(key string) error {
	if key == "" || key == "." || path.IsAbs(key) || path.Clean(key) != key || strings.HasPrefix(key, "..") ||
		strings.ContainsRune(key, 0) || strings.ContainsRune(key, '\\') {
		return fmt.Errorf("%q is not a key of a sink", key)
	}
	for _, element := range strings.Split(key, "/") {
		if len(element) > maxElement {
			return fmt.Errorf("%q is not a key of a sink: an element has more than %d bytes", key, maxElement)
		}
	}
	return nil
}

// errLink means that a symbolic link stands where the sink has a folder or file.
var errLink = errors.New("is a symbolic link, which is never followed inside a sink; remove it")

// enter opens a folder below root, element by element, and follows no symbolic
// link: os.Root alone follows those that stay inside. With create it makes the
// folders that are not there, and makes them durable.
func enter(root *os.Root, dir string, create bool) (*os.Root, error) {
	at, err := root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	if dir == "." {
		return at, nil
	}
	for _, element := range strings.Split(dir, "/") {
		next, err := step(at, element, create)
		_ = at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func step(at *os.Root, element string, create bool) (*os.Root, error) {
	looked, err := at.Lstat(element)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := makeFolder(at, element); err != nil {
			return nil, err
		}
		looked, err = at.Lstat(element)
	}
	if err != nil {
		return nil, err
	}
	if looked.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s %w", element, errLink)
	}
	next, err := at.OpenRoot(element)
	if err != nil {
		return nil, err
	}
	// What was opened must be what was looked at.
	opened, err := next.Stat(".")
	if err == nil && !os.SameFile(looked, opened) {
		err = fmt.Errorf("%s was replaced while it was opened", element)
	}
	if err != nil {
		_ = next.Close()
		return nil, err
	}
	return next, nil
}

func makeFolder(at *os.Root, element string) error {
	if err := at.Mkdir(element, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(at)
}

// openFile opens a regular file for reading.
func openFile(at *os.Root, name string) (*os.File, error) {
	looked, err := at.Lstat(name)
	if err != nil {
		return nil, err
	}
	if looked.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s %w", name, errLink)
	}
	if !looked.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := at.Open(name)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(looked, opened) {
		err = fmt.Errorf("%s was replaced while it was opened", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// createFile makes a file that is not there; O_EXCL follows no link.
func createFile(at *os.Root, name string) (*os.File, error) {
	f, err := at.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// syncFolder makes the entries of a folder durable.
func syncFolder(at *os.Root) error {
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// explain marks an error as one that the port names, and says what to do.
func explain(place string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sink.ErrFull), errors.Is(err, sink.ErrUnavailable):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: make room at %s, or use another one: %w", sink.ErrFull, place, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s cannot be written to; look at its mount and its rights: %w", sink.ErrUnavailable, place, err)
	case errors.Is(err, syscall.ENOTCONN), errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("%w: %s does not answer; look at its disk or server: %w", sink.ErrUnavailable, place, err)
	}
	return fmt.Errorf("%s: %w", place, err)
}
