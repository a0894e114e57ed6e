package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
)

const (
	folderMode fs.FileMode = 0o700
	fileMode   fs.FileMode = 0o600

	othersMayUse    fs.FileMode = 0o077
	othersMayChange fs.FileMode = 0o022
)

// maker makes folders and files.
type maker struct {
	// modesIgnored takes a file system that keeps no modes as it is.
	modesIgnored bool
}

// isPrivate reports whether a file or folder is for its owner, as far as want says,
// and for nobody else. Some file systems add the right to execute, and refuse to
// take it away.
func isPrivate(info fs.FileInfo, want fs.FileMode) bool {
	return info.Mode().Perm()&want == want && info.Mode().Perm()&othersMayUse == 0
}

// check refuses what was made now if other users can use it. err is what came of
// giving it its mode; many file systems that keep none refuse to.
func (m maker) check(info fs.FileInfo, want fs.FileMode, err error) error {
	switch {
	case m.modesIgnored || runtime.GOOS == "windows":
		return nil
	case info != nil && info.Mode().Perm()&othersMayUse != 0:
		return fmt.Errorf("%w: what was made with mode %04o has mode %04o", errModes, want, info.Mode().Perm())
	}
	return err
}

// An os.Root does not leave its folder, but follows the links that stay inside.
// Therefore the functions here go one element at a time, lstat each before they
// open it, and compare the two.

// openFolder opens the folder name in at.
func openFolder(at *os.Root, name string) (*os.Root, error) {
	named, err := lstat(at, name)
	if err != nil {
		return nil, err
	}
	if !named.IsDir() {
		return nil, fmt.Errorf("%s %w", path.Join(at.Name(), name), errNoFolder)
	}
	folder, err := at.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := folder.Stat(".")
	if err := same(path.Join(at.Name(), name), named, opened, err); err != nil {
		_ = folder.Close()
		return nil, err
	}
	return folder, nil
}

// openFile opens the regular file name in at, for reading.
func openFile(at *os.Root, name string) (*os.File, error) {
	named, err := lstat(at, name)
	if err != nil {
		return nil, err
	}
	if named.IsDir() {
		return nil, fmt.Errorf("%s %w", path.Join(at.Name(), name), errFolder)
	}
	if !named.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is neither a file nor a folder; remove it", path.Join(at.Name(), name))
	}
	f, err := at.Open(name)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err := same(path.Join(at.Name(), name), named, opened, err); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lstat returns what lies under a name, and refuses a symbolic link.
func lstat(at *os.Root, name string) (fs.FileInfo, error) {
	info, err := at.Lstat(name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s %w", path.Join(at.Name(), name), errLink)
	}
	return info, err
}

// same returns an error unless opened is what had the name. err is the error of the
// second stat.
func same(name string, named, opened fs.FileInfo, err error) error {
	if err == nil && !os.SameFile(named, opened) {
		return fmt.Errorf("%s was replaced while it was opened", name)
	}
	return err
}

// openKey opens the file at key below root, for reading. A folder has no key, and
// nothing is below a file.
func openKey(root *os.Root, key string) (*os.File, error) {
	folder, name, nested := strings.Cut(key, "/")
	if !nested {
		f, err := openFile(root, key)
		if errors.Is(err, errFolder) {
			err = fs.ErrNotExist
		}
		return f, err
	}
	next, err := openFolder(root, folder)
	if errors.Is(err, errNoFolder) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	defer next.Close()
	return openKey(next, name)
}

// inFolder does something in the folder dir below at. Folders that are missing
// are made, and removed again if it fails and they are empty. All folders above
// dir are durable before it is done, also those that another process made just
// now.
func (m maker) inFolder(at *os.Root, dir string, do func(folder *os.Root) error) (err error) {
	if dir == "." {
		return do(at)
	}
	name, rest, nested := strings.Cut(dir, "/")
	if !nested {
		rest = "."
	}
	made, err := m.makeFolder(at, name)
	if err != nil {
		return err
	}
	if made {
		defer func() {
			if err != nil {
				_ = at.Remove(name) // fails, as it should, if it is not empty
			}
		}()
	}
	folder, err := openFolder(at, name)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := syncFolder(at); err != nil {
		return err
	}
	return m.inFolder(folder, rest, do)
}

// maxTries bounds how often something is done again while others remove empty
// folders that it needs.
const maxTries = 10

// whileFoldersVanish does something in folders that it makes. Others who make the
// same folders and fail, or who remove points, remove them again if they are empty.
func whileFoldersVanish(do func() error) (err error) {
	for range maxTries {
		if err = do(); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

// openPath opens the folder at key below root.
func openPath(root *os.Root, key string) (*os.Root, error) {
	name, rest, nested := strings.Cut(key, "/")
	folder, err := openFolder(root, name)
	if err != nil || !nested {
		return folder, err
	}
	defer folder.Close()
	return openPath(folder, rest)
}

// makeFolder makes a folder unless the name is taken, and reports whether it did.
func (m maker) makeFolder(at *os.Root, name string) (bool, error) {
	err := at.Mkdir(name, folderMode)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := at.Lstat(name)
	if err == nil && !isPrivate(info, folderMode) { // an odd umask
		if err = at.Chmod(name, folderMode); err == nil {
			info, err = at.Lstat(name)
		}
	}
	if err := m.check(info, folderMode, err); err != nil {
		return false, errors.Join(err, at.Remove(name))
	}
	return true, nil
}

// createFile makes a file, which must not be there; a link in its place is not
// followed.
func (m maker) createFile(at *os.Root, name string) (*os.File, error) {
	f, err := at.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !isPrivate(info, fileMode) { // an odd umask
		if err = f.Chmod(fileMode); err == nil {
			info, err = f.Stat()
		}
	}
	if err := m.check(info, fileMode, err); err != nil {
		return nil, errors.Join(err, f.Close(), at.Remove(name))
	}
	return f, nil
}

// writeFile makes a small file and syncs it. It leaves nothing behind if that
// fails.
func (m maker) writeFile(at *os.Root, name string, content []byte) error {
	f, err := m.createFile(at, name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, at.Remove(name))
	}
	return nil
}
