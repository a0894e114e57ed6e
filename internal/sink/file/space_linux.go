package file

import (
	"context"
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes this user may still write.
func (s *Sink) Free(context.Context) (_ int64, err error) {
	root, err := s.top()
	if err != nil {
		return 0, err
	}
	defer root.Close()
	f, err := root.Open(".")
	if err != nil {
		return 0, explain(s.dir, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, explain(s.dir, err)
	}
	// Blocks are counted in fragments; Bsize is only the size to transfer at best.
	unit := max(uint64(st.Frsize), 1)
	return int64(min(st.Bavail, math.MaxInt64/unit) * unit), nil
}
