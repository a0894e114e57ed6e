package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	folderMode fs.FileMode = 0o700
	fileMode   fs.FileMode = 0o600

	othersMayUse    fs.FileMode = 0o077
	othersMayChange fs.FileMode = 0o022
)

// temporary is how the names of files begin that are being written.
const temporary = "."

// writeFile replaces the file at path, durably: after a crash of the machine it
// has the old content or the new one. Nobody but this user may read it; where the
// file system does not see to that, nothing of the content is written.
func writeFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err = makePrivate(f); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	if err == nil {
		_, err = f.Write(content)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// makePrivate gives a new file, or a folder, to this user alone, and looks whether
// it is so.
func makePrivate(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want := fileMode
	if info.IsDir() {
		want = folderMode
	}
	if info.Mode().Perm() != want { // an odd umask, or what another program has made
		_ = f.Chmod(want) // what came of it is looked at
		if info, err = f.Stat(); err != nil {
			return err
		}
	}
	switch {
	case runtime.GOOS == "windows": // its modes say nothing
		return nil
	case info.Mode().Perm()&othersMayUse != 0:
		return fmt.Errorf("%w: it was given mode %04o, and has mode %04o: the file system keeps no modes", ErrOpenToOthers, want,
			info.Mode().Perm())
	}
	if uid, ok := ownerOf(info); ok && uid != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to user %d, and not to this one", ErrOpenToOthers, uid)
	}
	return nil
}

// privateFolder makes a folder for this user alone. One that is there is made so.
func privateFolder(path string) error {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(makePrivate(f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Exposed says how other users may get at a state dir, for people; it is empty if
// they cannot.
func Exposed(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" {
		return "", err
	}
	if uid, ok := ownerOf(info); ok && uid != os.Geteuid() && uid != 0 {
		return fmt.Sprintf("it belongs to user %d, who may remove and replace what lies there", uid), nil
	}
	if mode := info.Mode(); mode.Perm()&othersMayChange != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Sprintf("other users may remove and replace what lies there (its mode is %04o); chmod 700 it", mode.Perm()), nil
	}
	return "", nil
}

// checkMaker refuses a file that another user may have made or changed. This user,
// root and the owner of the state dir are trusted.
func checkMaker(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&othersMayChange != 0 {
		return fmt.Errorf("%s may be changed by other users (its mode is %04o), and is not trusted; remove it", path, info.Mode().Perm())
	}
	uid, ok := ownerOf(info)
	if !ok || uid == os.Geteuid() || uid == 0 {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if owner, _ := ownerOf(dir); owner != uid {
		return fmt.Errorf("%s was made by another user (%d), and is not trusted; remove it", path, uid)
	}
	return nil
}

func (d *Dir) write(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := writeFile(filepath.Join(d.path, name), append(raw, '\n')); err != nil {
		return fmt.Errorf("write to the state dir: %w", err)
	}
	return nil
}

func read(path string, v any) error {
	if err := checkMaker(path); err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s is damaged (%w); remove it", path, err)
	}
	return nil
}

// removeTemporary removes what processes that died were just writing in a folder:
// it was not durable, so nothing was done yet.
func removeTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isTemporary, _ := filepath.Match(temporary+"*.json.*", e.Name()); !isTemporary {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// syncFolder makes the entries of a folder durable.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
