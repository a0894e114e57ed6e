package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// inNamespace says that this process has mounts of its own.
const inNamespace = "HOLDFAST_TEST_MOUNTS"

// withMounts runs the test again in a process that has mounts of its own, as root
// there, and reports whether this is that process. Nothing that it mounts is seen
// by others or outlives it.
func withMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1", quickExit)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil && !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		err = errors.New("it was not run")
	}
	if err != nil {
		t.Errorf("in a process with mounts of its own (which needs root or user namespaces): %v\n%s", err, &out)
	}
	return false
}

// mount makes a file system of a size in bytes, and returns where it is mounted.
func mount(t *testing.T, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	mkdir(t, dir)
	mountAt(t, dir, size)
	return dir
}

func mountAt(t *testing.T, dir string, size int) {
	t.Helper()
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("holdfast-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// wants fails the test unless err is the wanted one, with a place and a remedy.
func wants(t *testing.T, what string, err, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: the error is %v, want %v", what, err, want)
		return
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error is %q, want one that says %q", what, err, part)
		}
	}
}

func TestFullDisk(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	s := open(t, dir)
	store(t, s, aPoint, "1")
	before := contents(t, dir)

	staging := stage(t, s, otherDir, "2")
	w, _, err := staging.Create(t.Context(), "image.tar.zst", 0)
	must(t, err)
	_, err = io.Copy(w, io.LimitReader(endless{}, 2<<20))
	wants(t, "write", err, sink.ErrFull, dir, "image.tar.zst", "make room")
	wants(t, "commit", w.Commit(), sink.ErrFull, dir)
	if staging.Publish(t.Context(), []byte("{}")) == nil {
		t.Error("an attempt with a broken artifact was published")
	}
	must(t, w.Abort())
	must(t, staging.Discard(t.Context()))
	same(t, before, contents(t, dir))

	// There is room again, and the point can be stored.
	store(t, s, otherDir, "3")
}

func TestDiskThatIsFullAtPublish(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	s := open(t, dir)
	staging := stage(t, s, aPoint, "1")
	write(t, staging, "image.tar.zst", "image")
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	wants(t, "publish", staging.Publish(t.Context(), []byte("{}")), sink.ErrFull, dir, "make room")
	wants(t, "probe", probe(t, s), sink.ErrFull, dir, "make room")
	must(t, staging.Discard(t.Context()))
	must(t, os.Remove(filler))
	if found := contents(t, dir); len(found) != 1 {
		t.Errorf("something is left: %q", found)
	}
}

// The manifest goes first: a point whose removal fails on the way is hidden, and
// can be removed later.
func TestARemovalThatFailsHidesThePoint(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := t.TempDir()
	s := open(t, dir)
	store(t, s, aPoint, "1")
	busy := filepath.Join(dir, aPoint, "volumes")
	mountAt(t, busy, 1<<20)
	if err := s.RemovePoint(t.Context(), aPoint); err == nil {
		t.Error("the point was removed with a file system in it")
	}
	if dirs, err := points(t, s); err != nil || len(dirs) != 0 {
		t.Errorf("the points are %q, %v", dirs, err)
	}
	must(t, unix.Unmount(busy, 0))
	must(t, s.RemovePoint(t.Context(), aPoint))
	if exists(filepath.Join(dir, "points")) {
		t.Error("the rest is left")
	}
}

func TestFullDiskIsNotSetUp(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	_ = os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 2<<20), 0o600)
	_, err := file.Open(t.Context(), dir, "", file.Options{})
	wants(t, "open", err, sink.ErrFull, dir, "make room")
	if found := contents(t, dir); len(found) != 1 {
		t.Errorf("something is left besides the filler, in %d files", len(found))
	}
}

// endless is zeros without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestReadOnlyMount(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	s := open(t, dir)
	store(t, s, aPoint, "1")
	before := contents(t, dir)
	staged := stage(t, s, otherDir, "1")
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))

	_, err := s.Stage(t.Context(), otherDir, "2")
	wants(t, "stage", err, sink.ErrUnavailable, dir, "read-only", "mount it writable")
	_, _, err = staged.Create(t.Context(), "image.tar.zst", 0)
	wants(t, "create", err, sink.ErrUnavailable, dir, "read-only")
	wants(t, "publish", staged.Publish(t.Context(), []byte("{}")), sink.ErrUnavailable, dir, "read-only")
	wants(t, "probe", probe(t, s), sink.ErrUnavailable, dir, "read-only")
	same(t, before, contents(t, dir))

	// What is there can be read.
	dirs, err := points(t, open(t, dir))
	must(t, err)
	if len(dirs) != 1 {
		t.Errorf("the points are %q", dirs)
	}
	if free, err := s.Free(t.Context()); err != nil || free <= 0 || free > 1<<20 {
		t.Errorf("%d bytes are free: %v", free, err)
	}
}

func TestEmptyReadOnlyMountIsNotSetUp(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	_, err := file.Open(t.Context(), dir, "", file.Options{})
	wants(t, "open", err, sink.ErrUnavailable, dir, "read-only")
}

func TestVanishedMount(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	s := open(t, dir)
	store(t, s, aPoint, "1")
	must(t, unix.Unmount(dir, 0)) // a sink that is not used keeps no disk busy

	_, err := s.Stage(t.Context(), otherDir, "1")
	wants(t, "stage", err, sink.ErrUnavailable, dir, "is the disk mounted?")
	_, err = s.Open(t.Context(), aPoint+"/manifest.json")
	wants(t, "read", err, sink.ErrUnavailable, dir, "is the disk mounted?")
	_, err = points(t, s)
	wants(t, "list", err, sink.ErrUnavailable, dir, "is the disk mounted?")
	wants(t, "probe", probe(t, s), sink.ErrUnavailable, dir, "is the disk mounted?")
	_, err = s.Free(t.Context())
	wants(t, "free", err, sink.ErrUnavailable, dir, "is the disk mounted?")
	_, err = file.Open(t.Context(), dir, s.ID(), file.Options{})
	wants(t, "open", err, sink.ErrUnavailable, dir, "is the disk mounted?")
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("the folder below the mount has %v", entries)
	}
}

func TestMountThatChangesWhileStaged(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := mount(t, 1<<20)
	s := open(t, dir)
	staging := stage(t, s, aPoint, "1")
	write(t, staging, "image.tar.zst", "image")
	mountAt(t, dir, 1<<20) // over the first one
	must(t, os.Mkdir(filepath.Join(dir, "unlike"), 0o700))
	other := open(t, dir)
	before := contents(t, dir)

	_, err := s.Stage(t.Context(), otherDir, "1")
	wants(t, "stage", err, sink.ErrUnavailable, dir, s.ID(), other.ID(), "right disk")
	wants(t, "publish", staging.Publish(t.Context(), []byte("{}")), sink.ErrUnavailable, dir, s.ID(), other.ID(), "right disk")
	must(t, staging.Discard(t.Context()))
	same(t, before, contents(t, dir))

	must(t, unix.Unmount(dir, 0))
	if found := contents(t, dir); len(found) != 1 {
		t.Errorf("the attempt is left on the first disk: %q", found)
	}
}

func TestStagingOnAnotherFileSystem(t *testing.T) {
	if !withMounts(t) {
		return
	}
	dir := t.TempDir()
	s := open(t, dir)
	mkdir(t, filepath.Join(dir, "points"))
	mountAt(t, filepath.Join(dir, "points"), 1<<20)
	staging := stage(t, s, aPoint, "1")
	wants(t, "publish", staging.Publish(t.Context(), []byte("{}")), sink.ErrUnavailable, dir, "mount the sink as a whole")
	if exists(filepath.Join(dir, "points/web01")) {
		t.Error("the folders of a point that was not published are left")
	}
}
