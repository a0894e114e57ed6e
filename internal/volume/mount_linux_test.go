package volume_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast.io/holdfast/internal/volume"
)

// inChild says that a test runs again, in a process of its own.
const inChild = "HOLDFAST_TEST_CHILD"

// again runs the test in a process of its own with attr, and reports whether this is it.
func again(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(inChild) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inChild+"=1")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	return false
}

func ownMounts() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
}

func mountAt(t *testing.T, dir, options string) {
	t.Helper()
	for _, err := range []error{
		os.MkdirAll(dir, 0o700),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", dir, "tmpfs", 0, options),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// TestMountsBelow: what is mounted below the root is left out and named when it is
// read, and never cleared.
func TestMountsBelow(t *testing.T) {
	needRoot(t)
	if !again(t, ownMounts()) {
		return
	}
	root := t.TempDir()
	mounted := filepath.Join(root, "a", "mounted")
	mountAt(t, mounted, "")
	if err := os.WriteFile(filepath.Join(mounted, "foreign"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// A folder of the same file system, mounted a second time.
	bound := filepath.Join(root, "bound")
	if err := errors.Join(os.Mkdir(bound, 0o700), unix.Mount(t.TempDir(), bound, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(bound, 0) }()

	raw, report := archive(t, root)
	if want := "./bound: something is mounted there; ./a/mounted: something is mounted there"; report.Mounts.Count != 2 ||
		report.Mounts.String() != want || report.Entries != 4 {
		t.Errorf("got %+v", report)
	}
	to := t.TempDir()
	if _, err := volume.Extract(t.Context(), bytes.NewReader(raw), to); err != nil {
		t.Fatal(err)
	}
	if found, err := os.ReadDir(filepath.Join(to, "a", "mounted")); err != nil || len(found) > 0 {
		t.Errorf("got %v and %v", found, err)
	}
	refused(t, volume.Clear(t.Context(), root), "something is mounted on ")
	if _, err := os.Stat(filepath.Join(mounted, "foreign")); err != nil {
		t.Error(err)
	}
}

// TestExtractFull: no room is an error of its own, for content, names and attributes.
func TestExtractFull(t *testing.T) {
	needRoot(t)
	if !again(t, ownMounts()) {
		return
	}
	for name, c := range map[string]struct {
		options string
		raw     []byte
		want    string
	}{
		"content": {"size=1m", build(t, rootEntry, file("small", 1000), file("large", 4<<20)), "entry 3, ./large: no space left on the volume"},
		"files":   {"nr_inodes=3", build(t, rootEntry, file("1", 0), file("2", 0), file("3", 0)), "entry 4, ./3: no space left on the volume"},
		"folders": {"nr_inodes=2", build(t, rootEntry, folder("1"), folder("2")), "entry 3, ./2: no space left on the volume"},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			mountAt(t, root, c.options)
			_, err := volume.Extract(t.Context(), bytes.NewReader(c.raw), root)
			if !errors.Is(err, volume.ErrFull) {
				t.Errorf("it does not wrap ErrFull: %v", err)
			}
			refused(t, err, c.want)
			if err := volume.Clear(t.Context(), root); err != nil {
				t.Error(err)
			}
			if empty, err := volume.IsEmpty(root); err != nil || !empty {
				t.Errorf("%v and %v after it was cleared", empty, err)
			}
		})
	}
}

// TestNotRoot: what another user may not read is unreadable, and what he may not
// write is lost: each is said, and the rest is done.
func TestNotRoot(t *testing.T) {
	if os.Getenv(inChild) == "" {
		needRoot(t)
		dir := t.TempDir()
		for _, name := range []string{"from", "to"} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, "to"), 0o777); err != nil {
			t.Fatal(err)
		}
		m := &maker{t: t, root: filepath.Join(dir, "from")}
		m.file("readable", 0o644, []byte("r"))
		m.file("secret", 0o600, []byte("s"))
		m.dir("closed")
		m.attributes("closed", 0o700)
		t.Setenv("HOLDFAST_TEST_DIR", dir)
	}
	if !again(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}) {
		return
	}
	dir := os.Getenv("HOLDFAST_TEST_DIR")
	raw, report := archive(t, filepath.Join(dir, "from"))
	said := report.Unreadable.String()
	if report.Unreadable.Count != 2 || !strings.Contains(said, "./secret: permission denied") ||
		!strings.Contains(said, "./closed: permission denied") || report.Entries != 2 {
		t.Errorf("got %+v", report)
	}
	if _, err := volume.Check(bytes.NewReader(raw)); err != nil {
		t.Error(err)
	}

	setuid, null := file("setuid", 1), file("null", 0)
	setuid.Mode, setuid.Uid = 0o4755, 1234
	null.Typeflag, null.Devmajor, null.Devminor = '3', 1, 3
	to := filepath.Join(dir, "to", "mine")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	mine := rootEntry
	mine.Uid, mine.Gid = 65534, 65534
	written, err := volume.Extract(t.Context(), bytes.NewReader(build(t, mine, setuid, null)), to)
	if err != nil {
		t.Fatal(err)
	}
	if want := "./setuid: the owner 1234:0: operation not permitted; ./null: it is left out: operation not permitted"; written.Lost.String() != want {
		t.Errorf("got %+v", written)
	}
	if st, err := os.Stat(filepath.Join(to, "setuid")); err != nil || st.Mode() != 0o755 {
		t.Errorf("got %v and %v", st, err)
	}
}
