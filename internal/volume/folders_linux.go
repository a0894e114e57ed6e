package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxOpen is how many folders of a path are open at a time; deeper trees are walked
// all the same.
const maxOpen = 64

// fileID is a file among all of a host.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{st.Dev, st.Ino} }

// folders are those from the root to the one at work, each opened from the one
// before, by its name alone: no path is too long, and no symbolic link is followed. T
// is what its user keeps of each.
type folders[T any] struct{ list []folder[T] }

type folder[T any] struct {
	name string
	fd   int // closed if negative
	id   fileID
	of   T
}

func (f *folders[T]) top() *folder[T] { return &f.list[len(f.list)-1] }

// push makes a folder that was opened the one at work.
func (f *folders[T]) push(next folder[T]) {
	f.list = append(f.list, next)
	if i := len(f.list) - 1 - maxOpen; i > 0 {
		f.closeAt(i)
	}
}

// pop closes the folder at work and goes back to the one above it, if there is one.
func (f *folders[T]) pop() error {
	last := len(f.list) - 1
	defer func() {
		f.closeAt(last)
		f.list = f.list[:last]
	}()
	if last == 0 || f.list[last-1].fd >= 0 {
		return nil
	}
	above := &f.list[last-1]
	fd, st, err := openFolder(f.list[last].fd, "..")
	if err != nil {
		return fmt.Errorf("go back to the folder above: %w", err)
	}
	if idOf(&st) != above.id {
		_ = unix.Close(fd)
		return errors.New("the folder was moved meanwhile")
	}
	above.fd = fd
	return nil
}

func (f *folders[T]) closeAt(i int) {
	if fd := f.list[i].fd; fd >= 0 {
		_ = unix.Close(fd)
		f.list[i].fd = -1
	}
}

// close closes all of them.
func (f *folders[T]) close() {
	for i := range f.list {
		f.closeAt(i)
	}
	f.list = nil
}

// path is that of the folder at work.
func (f *folders[T]) path() []string {
	var path []string
	for _, l := range f.list[1:] {
		path = append(path, l.name)
	}
	return path
}

const folderFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// openRoot opens the folder that all the rest is below.
func openRoot(root string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := again(func() (int, error) { return unix.Open(root, folderFlags, 0) })
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if errors.Is(err, unix.ENOTDIR) {
		err = ErrNotFolder
	}
	if err != nil {
		return -1, st, fmt.Errorf("open the folder %s: %w", root, err)
	}
	return fd, st, nil
}

// openFolder opens a folder in another one.
func openFolder(in int, name string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := openAt(in, name, folderFlags)
	if err != nil {
		return -1, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

func openAt(in int, name string, flags int) (int, error) {
	return again(func() (int, error) { return unix.Openat(in, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600) })
}

// again calls as long as the call is interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// isMounted reports whether something is mounted on the folder fd, which is below a
// root on the file system dev. An old kernel only tells by another file system.
func isMounted(fd int, st *unix.Stat_t, dev uint64) bool {
	var x unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE, &x)
	if err != nil || x.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return st.Dev != dev
	}
	return x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// listBuffer is how much of a folder is read at once.
const listBuffer = 64 << 10

// list calls f for everything in the folder fd, as it comes. f may remove what it is
// called for. The type is one of unix.DT_*, unix.DT_UNKNOWN if only stat tells. buf is
// of the length listBuffer.
func list(fd int, buf []byte, f func(name string, kind byte) error) error {
	for {
		n, err := again(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil {
			return fmt.Errorf("list the folder: %w", err)
		}
		if n <= 0 {
			return nil
		}
		for rest := buf[:n]; len(rest) > 0; {
			name, kind, length, ok := dirent(rest)
			if !ok {
				return errors.New("list the folder: the kernel's answer cannot be read")
			}
			rest = rest[length:]
			if name == "." || name == ".." {
				continue
			}
			if err := f(name, kind); err != nil {
				return err
			}
		}
	}
}

// Offsets in a linux_dirent64: inode and position, 8 bytes each, then the record's
// length, the type, and the name to its zero byte.
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
)

func dirent(b []byte) (name string, kind byte, length int, ok bool) {
	if len(b) < direntName {
		return "", 0, 0, false
	}
	length = int(binary.NativeEndian.Uint16(b[direntLength:]))
	if length < direntName || length > len(b) {
		return "", 0, 0, false
	}
	raw, _, _ := bytes.Cut(b[direntName:length], []byte{0})
	return string(raw), b[direntType], length, true
}

// pending are the names of folders that are still to be walked, one after the other
// with a zero byte behind each.
type pending struct {
	packed []byte
	read   int
}

func (n *pending) add(name string) { n.packed = append(append(n.packed, name...), 0) }

func (n *pending) next() (string, bool) {
	if n.read == len(n.packed) {
		return "", false
	}
	start := n.read
	for n.packed[n.read] != 0 {
		n.read++
	}
	n.read++
	return string(n.packed[start : n.read-1]), true
}
