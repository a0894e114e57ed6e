package volume

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// node names a file for calls about its attributes: by its own descriptor, or, for
// what cannot be opened, by that of its folder and its name. For extended attributes
// that goes through /proc.
type node struct {
	fd   int // of the file, or of its folder
	name string
}

func (n node) procPath() string { return "/proc/self/fd/" + strconv.Itoa(n.fd) + "/" + n.name }

func (n node) list(buf []byte) (int, error) {
	return again(func() (int, error) {
		if n.name == "" {
			return unix.Flistxattr(n.fd, buf)
		}
		return unix.Llistxattr(n.procPath(), buf)
	})
}

func (n node) get(name string, buf []byte) (int, error) {
	return again(func() (int, error) {
		if n.name == "" {
			return unix.Fgetxattr(n.fd, name, buf)
		}
		return unix.Lgetxattr(n.procPath(), name, buf)
	})
}

func (n node) set(a attribute) error {
	_, err := again(func() (int, error) {
		if n.name == "" {
			return 0, unix.Fsetxattr(n.fd, a.name, []byte(a.value), 0)
		}
		return 0, unix.Lsetxattr(n.procPath(), a.name, []byte(a.value), 0)
	})
	return err
}

// chown sets the owner, of a symbolic link its own.
func (n node) chown(uid, gid int) error {
	if n.name == "" {
		return unix.Fchown(n.fd, uid, gid)
	}
	return unix.Fchownat(n.fd, n.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// chmod sets the mode of what is no symbolic link.
func (n node) chmod(mode uint32) error {
	if n.name == "" {
		return unix.Fchmod(n.fd, mode)
	}
	return unix.Fchmodat(n.fd, n.name, mode, 0)
}

// remove removes an attribute that may not be there.
func (n node) remove(name string) error {
	err := unix.Fremovexattr(n.fd, name)
	if errors.Is(err, unix.ENODATA) || isUnsupported(err) {
		return nil
	}
	return err
}

// attributes reads all extended attributes of a file. One that goes meanwhile is left
// out.
func (n node) attributes(names, value []byte) ([]attribute, error) {
	length, err := n.list(names)
	if err != nil {
		if isUnsupported(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("list its extended attributes: %w", err)
	}
	var found []attribute
	for rest := names[:length]; len(rest) > 0; {
		raw, after, _ := bytes.Cut(rest, []byte{0})
		rest = after
		name := string(raw)
		got, err := n.get(name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read its extended attribute %s: %w", printable(name), err)
		}
		found = append(found, attribute{name: name, value: string(value[:got])})
	}
	return found, nil
}

// isUnsupported reports whether a file system does not have what was asked for.
func isUnsupported(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS)
}

// isRefused reports whether an attribute cannot be kept here for reasons that are no
// fault: the file system does not have such, or this process may not set it.
func isRefused(err error) bool {
	return isUnsupported(err) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)
}
