package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own.
type disk struct {
	// dir is a folder on it, for a sink.
	dir  string
	root string
	pid  int // of the process that serves it; 0 if the kernel does
}

// smallDisk makes a file system of that many bytes.
func smallDisk(t *testing.T, size int64) *disk {
	t.Helper()
	dir := t.TempDir()
	guarded(t, fmt.Sprintf(`cd %q; truncate -s %d image; mkfs.ext4 -q -F -m 0 image; mkdir disk; mount -o loop image disk; mkdir disk/sink`, dir, size),
		fmt.Sprintf(`if mountpoint -q %[1]q/disk; then umount %[1]q/disk || umount -l %[1]q/disk; fi`, dir))
	return &disk{root: filepath.Join(dir, "disk"), dir: filepath.Join(dir, "disk/sink")}
}

// fill leaves that many bytes free, until empty.
func (d *disk) fill(t *testing.T, leave int64) {
	t.Helper()
	var room unix.Statfs_t
	err := unix.Statfs(d.root, &room)
	var f *os.File
	if err == nil {
		f, err = os.Create(d.filler())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(room.Bavail)*room.Bsize-leave); err != nil {
		t.Fatalf("fill the disk: %v", err)
	}
}

// empty takes back what fill did.
func (d *disk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		t.Fatal(err)
	}
}

func (d *disk) filler() string { return filepath.Join(d.root, "filler") }

// stallingDisk makes a file system that can be made to hang. It is served by a
// process, so whoever waits for it can be killed, and the end of that process
// ends all waiting.
func stallingDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	out := guarded(t, fmt.Sprintf(`cd %q; mkdir lower upper work disk
fuse-overlayfs -f -o lowerdir=lower,upperdir=upper,workdir=work disk >/dev/null 2>&1 & server=$!
until mountpoint -q disk; do kill -0 $server; sleep 0.02; done
mkdir disk/sink; echo $server`, dir),
		fmt.Sprintf(`kill -KILL $server 2>/dev/null || true; umount -l %q/disk 2>/dev/null || true`, dir))
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	return &disk{root: filepath.Join(dir, "disk"), dir: filepath.Join(dir, "disk/sink"), pid: pid}
}

// hang has whoever uses the disk wait, until goOn or the end of the test.
func (d *disk) hang(t *testing.T) { t.Helper(); d.signal(t, syscall.SIGSTOP) }
func (d *disk) goOn(t *testing.T) { t.Helper(); d.signal(t, syscall.SIGCONT) }

func (d *disk) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(d.pid, s); err != nil {
		t.Fatalf("send %v to the disk's process: %v", s, err)
	}
}
