package fstest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Modeless mounts a file system on which modes mean nothing, as many network shares
// are: every file and folder has mode 0777, and chmod does nothing and succeeds. It
// returns its root folder.
func Modeless(t testing.TB) string {
	t.Helper()
	return Bindfs(t, "--perms=0777", "--chmod-ignore")
}

// Bindfs mounts a view of an empty folder that bindfs changes as its options say. It
// returns its root folder, and unmounts it when the test has ended. The test fails
// without bindfs and FUSE.
func Bindfs(t testing.TB, options ...string) string {
	t.Helper()
	base := t.TempDir()
	source, at := filepath.Join(base, "source"), filepath.Join(base, "modeless")
	for _, dir := range []string{source, at} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	mount := exec.Command("bindfs", slices.Concat([]string{"-f"}, options, []string{source, at})...)
	mount.Stdout, mount.Stderr = &said, &said
	mount.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := mount.Start(); err != nil {
		t.Fatalf("start bindfs (Debian's package bindfs): %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = mount.Wait()
	}()
	t.Cleanup(func() {
		_ = mount.Process.Signal(syscall.SIGTERM) // it unmounts
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("bindfs at %s does not end", at)
			_ = mount.Process.Kill()
		}
	})
	for deadline := time.Now().Add(10 * time.Second); !isMounted(at); time.Sleep(10 * time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("bindfs ended: %s", strings.TrimSpace(said.String()))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("bindfs does not mount: %s", strings.TrimSpace(said.String()))
		}
	}
	return at
}

// isMounted reports whether another file system begins at a folder.
func isMounted(at string) bool {
	var own, parent syscall.Stat_t
	return syscall.Stat(at, &own) == nil && syscall.Stat(filepath.Dir(at), &parent) == nil && own.Dev != parent.Dev
}
