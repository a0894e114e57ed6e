package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"syscall"
)

const (
	folderMode = 0o700
	fileMode   = 0o600
	maxElement = 255 // bytes in one element of a path, on every common file system
)

// checkKey refuses keys that are not in the form that path.Clean leaves.
func checkKey(key string) error {
	if !fs.ValidPath(key) || key == "." || strings.ContainsAny(key, "\x00\\") {
		return fmt.Errorf("%q is not a key of a sink", key)
	}
	for element := range strings.SplitSeq(key, "/") {
		if len(element) > maxElement {
			return fmt.Errorf("%q is not a key of a sink: an element has more than %d bytes", key, maxElement)
		}
	}
	return nil
}

// trail is the opened folders on the way from a sink's folder down to one.
type trail []stop

type stop struct {
	at   *os.Root
	name string // in the folder before
	made bool   // by us
}

// follow opens the folders from root to dir. With create it makes those that are
// not there; they are durable after sync.
func follow(root *os.Root, dir string, create bool) (trail, error) {
	at, err := root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	way := trail{{at: at}}
	if dir == "." {
		return way, nil
	}
	for name := range strings.SplitSeq(dir, "/") {
		next := stop{name: name}
		if create {
			next.made, err = makeFolder(way.last(), name)
		}
		if err == nil {
			next.at, err = openFolder(way.last(), name)
		}
		if err != nil {
			way.undo()
			way.close()
			return nil, err
		}
		way = append(way, next)
	}
	return way, nil
}

// enter opens the one folder dir below root, and makes it with create.
func enter(root *os.Root, dir string, create bool) (*os.Root, error) {
	way, err := follow(root, dir, create)
	if err != nil {
		return nil, err
	}
	way[:len(way)-1].close()
	return way.last(), nil
}

func (w trail) last() *os.Root { return w[len(w)-1].at }

func (w trail) close() {
	for _, s := range w {
		_ = s.at.Close()
	}
}

// sync makes the entries of all folders durable, the lowest first. Folders that
// were there are synced too: another process may have made them just now.
func (w trail) sync() error {
	for i := len(w) - 1; i >= 0; i-- {
		if err := syncFolder(w[i].at); err != nil {
			return err
		}
	}
	return nil
}

// undo removes the folders that were made and are empty.
func (w trail) undo() {
	for i := len(w) - 1; i > 0 && w[i].made; i-- {
		if !isFolder(w[i-1].at, w[i].name, w[i].at) || w[i-1].at.Remove(w[i].name) != nil {
			return
		}
	}
}

// isFolder reports whether the name in a folder is that of an opened folder.
func isFolder(at *os.Root, name string, folder *os.Root) bool {
	named, err := at.Lstat(name)
	if err != nil {
		return false
	}
	opened, err := folder.Stat(".")
	return err == nil && os.SameFile(named, opened)
}

// openFolder opens a folder and follows no symbolic link; os.Root alone follows
// those that stay inside.
func openFolder(at *os.Root, name string) (*os.Root, error) {
	looked, err := look(at, name)
	if err != nil {
		return nil, err
	}
	folder, err := at.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := folder.Stat(".")
	if err := sameFile(name, looked, opened, err); err != nil {
		_ = folder.Close()
		return nil, err
	}
	return folder, nil
}

// openFile opens a regular file for reading, and follows no symbolic link.
func openFile(at *os.Root, name string) (*os.File, error) {
	looked, err := look(at, name)
	if err != nil {
		return nil, err
	}
	if !looked.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	f, err := at.Open(name)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err := sameFile(name, looked, opened, err); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func look(at *os.Root, name string) (fs.FileInfo, error) {
	info, err := at.Lstat(name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s %w", path.Join(at.Name(), name), errLink)
	}
	return info, err
}

// sameFile reports whether what was opened is what was looked at before.
func sameFile(name string, looked, opened fs.FileInfo, err error) error {
	if err == nil && !os.SameFile(looked, opened) {
		return fmt.Errorf("%s was replaced while it was opened", name)
	}
	return err
}

// makeFolder makes a folder if it is not there, and reports whether it did.
func makeFolder(at *os.Root, name string) (made bool, err error) {
	err = at.Mkdir(name, folderMode)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := at.Lstat(name)
	if err == nil && lacks(info, folderMode) {
		err = at.Chmod(name, folderMode)
	}
	return true, err
}

// createFile makes a file that is not there; O_EXCL follows no link.
func createFile(at *os.Root, name string) (*os.File, error) {
	f, err := at.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && lacks(info, fileMode) {
		err = f.Chmod(fileMode)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lacks reports whether the umask took rights that we need. It cannot have added
// any; file systems that have no rights of their own show others, and refuse to
// change them.
func lacks(info fs.FileInfo, mode fs.FileMode) bool { return info.Mode()&mode != mode }

// writeFile writes a small file durably.
func writeFile(at *os.Root, name string, content []byte) error {
	f, err := createFile(at, name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes the entries of a folder durable, where the file system can
// sync a folder at all: some say EINVAL, and Windows refuses.
func syncFolder(at *os.Root) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
