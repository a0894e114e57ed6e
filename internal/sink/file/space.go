//go:build unix

package file

import (
	"context"
	"math"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes this user may still write.
func (s *Sink) Free(context.Context) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, explain(s.dir, err)
	}
	return int64(min(st.Bavail, math.MaxInt64/uint64(st.Bsize))) * int64(st.Bsize), nil
}
