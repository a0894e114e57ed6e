package dockertest

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Fill leaves that many bytes free on the Engine's disk, until Empty or the end
// of the test.
func (e *Engine) Fill(t testing.TB, leave int64) {
	t.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(e.room.path(e.dir+"/data"), &disk); err != nil {
		t.Fatalf("ask for the room on the Engine's disk: %v", err)
	}
	f, err := os.Create(e.filler())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Cleanup(func() { e.Empty(t) })
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(disk.Bavail)*disk.Bsize-leave); err != nil {
		t.Fatalf("fill the Engine's disk: %v", err)
	}
}

// Empty takes back what Fill did.
func (e *Engine) Empty(t testing.TB) {
	t.Helper()
	if err := os.Remove(e.filler()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty the Engine's disk: %v", err)
	}
}

func (e *Engine) filler() string { return e.room.path(e.dir + "/data/filler") }
