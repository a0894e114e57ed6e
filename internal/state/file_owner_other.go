//go:build !linux && !darwin

package state

import "io/fs"

// ownerOf knows of no owners on these systems.
func ownerOf(fs.FileInfo) (uid int, ok bool) { return 0, false }
