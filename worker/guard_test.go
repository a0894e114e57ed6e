package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guarded runs shell commands, and has others take back what they did when the
// test ends. A process of its own sees to that: it also happens when the test is
// killed. It returns what the first ones printed.
func guarded(t *testing.T, do, undo string) string {
	t.Helper()
	const script = `set -e
exec 3<&0 </dev/null
trap 'eval "$2"' EXIT
eval "$1"
echo ready
cat <&3 >/dev/null`
	cmd := exec.Command("sh", "-c", script, "guard", do, undo)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C is for the test alone
	var said bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &said, time.Second
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		fmt.Fprintln(&printed, lines.Text())
	}
	t.Cleanup(func() {
		_ = alive.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("what the test needed could not be made or taken back; it needs root, and the packages e2fsprogs, fuse-overlayfs, iproute2 and util-linux: %v\n%s", err, &said)
		}
	})
	if lines.Text() != "ready" {
		t.FailNow() // the clean-up says why
	}
	return printed.String()
}

// TestGuard shows that what was done is taken back.
func TestGuard(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	t.Run("guarded", func(t *testing.T) {
		if got := guarded(t, "echo said; mkdir "+dir, "rmdir "+dir); got != "said\n" {
			t.Errorf("it printed %q", got)
		}
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("it was not done: %v", err)
		}
	})
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was not taken back: %v", err)
	}
}
