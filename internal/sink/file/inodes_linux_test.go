package file_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// Every folder and file takes an inode, so that the disk is full after each step
// in turn.
func TestDiskThatIsFullAfterEveryStep(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	failures := 0
	for inodes := 2; inodes < 30; inodes++ {
		must(t, unix.Unmount(dir, 0))
		must(t, unix.Mount("holdfast-test", dir, "tmpfs", 0, fmt.Sprintf("size=1m,nr_inodes=%d", inodes)))
		s, err := file.Open(t.Context(), dir, "", file.Options{})
		if err != nil {
			wants(t, fmt.Sprint("open with ", inodes, " inodes"), err, sink.ErrFull, dir, "make room")
			if found := contents(t, dir); len(found) != 0 {
				t.Errorf("opening with %d inodes left %q", inodes, found)
			}
			continue
		}
		before := contents(t, dir)
		err = tryStore(t.Context(), s, aPoint)
		if err == nil {
			// There are nine folders and files; the setting up has left room for one.
			if failures < 8 {
				t.Errorf("the disk was full after %d steps only", failures)
			}
			return
		}
		failures++
		wants(t, fmt.Sprint("store with ", inodes, " inodes"), err, sink.ErrFull, dir, "make room")
		same(t, before, contents(t, dir))
		if exists(filepath.Join(dir, "points")) {
			t.Errorf("storing with %d inodes left folders of a point", inodes)
		}
	}
	t.Error("no number of inodes is enough")
}
