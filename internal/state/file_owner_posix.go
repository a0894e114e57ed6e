//go:build linux || darwin

package state

import (
	"io/fs"
	"syscall"
)

// ownerOf returns the id of the user whom a file belongs to, if that is known.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
