//go:build linux || darwin

package file

import (
	"errors"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rename moves a folder, and fails if there is one at its new place that is not
// empty. Both places are given by handles, so that no link is followed.
func rename(from *os.Root, name string, to *os.Root, newName string) error {
	old, err := from.Open(".")
	if err != nil {
		return err
	}
	defer old.Close()
	parent, err := to.Open(".")
	if err != nil {
		return err
	}
	defer parent.Close()
	err = unix.Renameat(int(old.Fd()), name, int(parent.Fd()), newName)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: name, New: newName, Err: err}
	}
	return nil
}

// syncFolder makes the entries of a folder durable. Some network file systems
// cannot be asked that: their servers keep what they have acknowledged.
func syncFolder(at *os.Root) error {
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

func freeBytes(root *os.Root) (int64, error) {
	f, err := root.Open(".")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return freeOf(&st), nil
}

func freeAt(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return freeOf(&st), nil
}

// ownerOf returns the id of the user whom a file belongs to, if that is known.
func ownerOf(info os.FileInfo) (uid int, known bool) {
	st, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return 0, false
	}
	return int(st.Uid), true
}

func freeOf(st *unix.Statfs_t) int64 {
	size := max(int64(st.Bsize), 1) //nolint:unconvert // its type differs among systems
	return int64(min(st.Bavail, uint64(math.MaxInt64/size))) * size
}
