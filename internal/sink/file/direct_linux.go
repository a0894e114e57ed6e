package file

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast.io/holdfast/internal/sink"
)

// beneath has the system itself refuse every link on the way.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS

// openDirect opens the regular file at key in one step. If ok is false nothing is known
// of the key, and the sink's folder and openKey, which goes one element at a time, say
// what is in the way. That takes several times as many calls, and a catalogue opens
// thousands of manifests.
func (s *Sink) openDirect(key string) (f *os.File, size int64, ok bool) {
	root, err := unix.Open(s.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, false
	}
	defer unix.Close(root)
	if !s.isAt(root) {
		return nil, 0, false
	}
	fd, err := unix.Openat2(root, key, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, // a FIFO must not keep us waiting
		Resolve: beneath,
	})
	if err != nil {
		return nil, 0, false
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return nil, 0, false
	}
	return os.NewFile(uintptr(fd), key), st.Size, true
}

// isAt is isIdentified for the file in the folder root.
func (s *Sink) isAt(root int) bool {
	known := s.identified.Load()
	if known == nil {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstatat(root, sink.IdentityName, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false
	}
	was, ok := (*known).Sys().(*syscall.Stat_t)
	return ok && was.Dev == st.Dev && was.Ino == st.Ino && was.Size == st.Size && was.Mtim == syscall.Timespec(st.Mtim)
}

// entriesOf returns what is in the folder name in at, which is also open as dir.
func entriesOf(at *os.Root, dir *os.File, name string) (contents, error) {
	fd := -1
	conn, err := dir.SyscallConn()
	if err == nil {
		err = conn.Control(func(at uintptr) {
			fd, err = unix.Openat2(int(at), name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: beneath})
			if err != nil {
				fd = -1
			}
		})
	}
	if err != nil || fd < 0 {
		return entriesBelow(at, name)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return f.ReadDir(-1)
}
