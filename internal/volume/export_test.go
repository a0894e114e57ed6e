package volume

import (
	"archive/tar"
	"strconv"
)

// AddProblems adds the same problem so often.
func AddProblems(l *List, n int, path, reason string) {
	for range n {
		l.add(path, reason)
	}
}

// ManyEntries is an archive of so many empty files, in one folder.
func ManyEntries(n int) []byte {
	raw, _ := (&header{name: "./", kind: tar.TypeDir, mode: 0o755}).appendTo(nil)
	for i := range n {
		raw, _ = (&header{name: "./file-" + strconv.Itoa(i), kind: tar.TypeReg, mode: 0o644}).appendTo(raw)
	}
	return append(raw, make([]byte, 2*blockSize)...)
}
