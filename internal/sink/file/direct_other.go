//go:build !linux

package file

import "os"

// openDirect is of Linux alone.
func openDirect(*os.Root, string) (f *os.File, ok bool) { return nil, false }
