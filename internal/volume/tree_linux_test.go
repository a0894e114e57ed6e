package volume_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A tree with everything that a file system on Linux knows, and how it looks. What
// looks at it shares nothing with the package.

// maker makes files below a folder. Everything gets an owner and a time of its own.
type maker struct {
	t    *testing.T
	root string
	n    int
}

func (m *maker) path(name string) string { return m.root + "/" + name }

func (m *maker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *maker) file(name string, mode uint32, content []byte) {
	m.t.Helper()
	m.must(os.WriteFile(m.path(name), content, 0o600))
	m.attributes(name, mode)
}

func (m *maker) dir(name string) {
	m.t.Helper()
	m.must(os.Mkdir(m.path(name), 0o700))
}

// attributes gives a file what makes it differ from others.
func (m *maker) attributes(name string, mode uint32) {
	m.t.Helper()
	m.n++
	m.must(unix.Lchown(m.path(name), 1000+m.n, 2000+m.n))
	var st unix.Stat_t
	m.must(unix.Lstat(m.path(name), &st))
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		m.must(unix.Chmod(m.path(name), mode))
	}
	m.time(name, int64(1500000000+m.n), int64(m.n)*1000001)
}

func (m *maker) time(name string, sec, nsec int64) {
	m.t.Helper()
	m.must(unix.UtimesNanoAt(unix.AT_FDCWD, m.path(name),
		[]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: sec, Nsec: nsec}}, unix.AT_SYMLINK_NOFOLLOW))
}

func (m *maker) xattr(name, attribute, value string) {
	m.t.Helper()
	if err := unix.Lsetxattr(m.path(name), attribute, []byte(value), 0); err != nil {
		m.t.Fatalf("set %s of %s: %v", attribute, name, err)
	}
}

func (m *maker) symlink(name, target string) {
	m.t.Helper()
	m.must(os.Symlink(target, m.path(name)))
	m.attributes(name, 0)
}

func (m *maker) node(name string, mode uint32, dev uint64) {
	m.t.Helper()
	m.must(unix.Mknod(m.path(name), mode, int(dev)))
	m.attributes(name, mode&0o7777)
}

// sparse makes a file with content in some places, a page each.
func (m *maker) sparse(name string, size int64, pages ...int64) {
	m.t.Helper()
	f, err := os.Create(m.path(name))
	m.must(err)
	defer f.Close()
	m.must(f.Truncate(size))
	for _, page := range pages {
		_, err := f.WriteAt(bytes.Repeat([]byte{'p'}, 4096), page*4096)
		m.must(err)
	}
	m.must(f.Sync()) // a file system may only know then where content is
	m.attributes(name, 0o600)
}

// acl is an ACL as the kernel has it: entries of a tag, permissions and an id.
func acl(entries ...[3]uint32) string {
	b := []byte{2, 0, 0, 0}
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return string(b)
}

const none = 1<<32 - 1

// someACL lets user 1234 read and write, and group 77 read.
var someACL = acl([3]uint32{1, 6, none}, [3]uint32{2, 6, 1234}, [3]uint32{4, 4, none}, [3]uint32{8, 4, 77},
	[3]uint32{16, 6, none}, [3]uint32{32, 0, none})

// capability is cap_net_raw, permitted and effective, as a file has it.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// deepName is a path of 4,000 bytes.
func deepName() string {
	return strings.Repeat(strings.Repeat("d", 199)+"/", 19) + strings.Repeat("f", 200)
}

// makeTree makes a tree with one of everything. It needs root.
func makeTree(t *testing.T, root string) {
	t.Helper()
	m := &maker{t: t, root: root}
	m.file("plain", 0o644, []byte("content"))
	m.file("empty", 0o400, nil)
	m.file("none", 0, []byte("nobody may read it"))
	m.file("large", 0o640, bytes.Repeat([]byte("0123456789abcdef"), 50_000))
	m.file("setuid", 0o4755, []byte("u"))
	m.file("setgid", 0o2755, []byte("g"))
	m.file("sticky", 0o1644, []byte("s"))
	m.file("owner", 0o644, nil)
	m.must(os.Lchown(m.path("owner"), 3_000_000_000, 4_000_000_000))
	m.time("owner", 1700000000, 999999999)
	m.file("past", 0o644, nil)
	m.time("past", -1234567, 500000000)
	m.file("future", 0o644, nil)
	m.time("future", 1<<33, 1)

	m.file("user", 0o644, []byte("x"))
	m.xattr("user", "user.text", "value")
	m.xattr("user", "user.empty", "")
	m.xattr("user", "user.binary", "\x00\xff\n=\x00")
	m.xattr("user", "user.a=b%c", "escaped")
	m.file("trusted", 0o644, nil)
	m.xattr("trusted", "trusted.a", "v")
	m.file("capability", 0o755, []byte("program"))
	m.xattr("capability", "security.capability", capability)
	m.file("acl", 0o660, []byte("x"))
	m.xattr("acl", "system.posix_acl_access", someACL)

	m.dir("inherits")
	m.xattr("inherits", "system.posix_acl_default", someACL)
	m.must(os.WriteFile(m.path("inherits/inherited"), nil, 0o666))
	m.dir("inherits/below")
	m.attributes("inherits/below", 0o700)
	m.attributes("inherits", 0o750)

	m.dir("links")
	m.must(os.Link(m.path("plain"), m.path("links/plain")))
	m.must(os.Link(m.path("plain"), m.path("links/again")))
	m.symlink("links/relative", "../plain")
	m.must(unix.Linkat(unix.AT_FDCWD, m.path("links/relative"), unix.AT_FDCWD, m.path("links/linked"), 0))
	m.symlink("links/dangling", "nothing/there")
	m.symlink("links/outside", "/etc/passwd")
	m.symlink("links/bytes", "\xff\xfe")
	m.symlink("links/long", strings.Repeat("t/", 2000))
	m.xattr("links/outside", "trusted.link", "v")
	m.attributes("links", 0o2775)

	m.node("fifo", unix.S_IFIFO|0o640, 0)
	m.node("null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
	m.node("block", unix.S_IFBLK|0o660, unix.Mkdev(7, 200))
	m.node("large-device", unix.S_IFCHR|0o600, unix.Mkdev(300, 70_000))
	m.node("whiteout", unix.S_IFCHR, 0)

	m.sparse("hole-at-start", 64<<10, 15)
	m.sparse("hole-at-end", 64<<10, 0)
	m.sparse("holes", 1<<20, 3, 4, 100, 200)
	m.sparse("hole", 1<<20)
	m.sparse("odd-size", 100_001, 20)

	for _, name := range []string{"new\nline", "\xff\xfe\x80", "back\\slash", "-dash", " ", "ünïcödé", "...", "..a", "=", "a=b",
		strings.Repeat("n", 255), strings.Repeat("m", 98), strings.Repeat("o", 99)} {
		m.file(name, 0o644, []byte(name))
	}
	m.dir("\xffdir")
	m.file("\xffdir/file", 0o644, []byte("x"))
	m.attributes("\xffdir", 0o700)

	deep := deepName()
	m.must(os.MkdirAll(m.path(filepath.Dir(deep)), 0o755))
	m.file(deep, 0o600, []byte("deep"))
	for dir := filepath.Dir(deep); dir != "."; dir = filepath.Dir(dir) {
		m.attributes(dir, 0o711)
	}

	m.dir("closed")
	m.file("closed/file", 0o600, []byte("x"))
	m.attributes("closed", 0)

	m.must(unix.Lchown(root, 4321, 1234))
	m.must(unix.Chmod(root, 0o1770))
	m.xattr("", "user.root", "of the root")
	m.xattr("", "system.posix_acl_default", someACL)
	m.time("", 1600000000, 600000001)
}

// look describes all that is below a folder, by path.
func look(t *testing.T, root string) map[string]string {
	t.Helper()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l := looker{t: t, found: map[string]string{}, first: map[uint64]string{}}
	l.one(fd, ".", ".")
	return l.found
}

type looker struct {
	t     *testing.T
	found map[string]string
	first map[uint64]string // name by inode
}

func (l *looker) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *looker) one(in int, name, path string) {
	l.t.Helper()
	var st unix.Stat_t
	l.must(unix.Fstatat(in, name, &st, unix.AT_SYMLINK_NOFOLLOW))
	said := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		l.found[path] = said + l.xattrs(in, name)
		fd, err := unix.Openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		l.must(err)
		f := os.NewFile(uintptr(fd), "")
		names, err := f.Readdirnames(-1)
		l.must(err)
		slices.Sort(names)
		for _, below := range names {
			l.one(fd, below, path+"/"+below)
		}
		l.must(f.Close())
		return
	case unix.S_IFLNK:
		buf := make([]byte, 8192)
		n, err := unix.Readlinkat(in, name, buf)
		l.must(err)
		said += fmt.Sprintf(" -> %q", buf[:n])
	case unix.S_IFCHR, unix.S_IFBLK:
		said += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFREG:
		said += l.content(in, name, &st)
	}
	said += l.xattrs(in, name)
	if first, ok := l.first[st.Ino]; ok && st.Nlink > 1 {
		said += fmt.Sprintf(" = %q", first)
	}
	if _, ok := l.first[st.Ino]; !ok {
		l.first[st.Ino] = path
	}
	l.found[path] = said
}

func (l *looker) content(in int, name string, st *unix.Stat_t) string {
	l.t.Helper()
	fd, err := unix.Openat(in, name, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	l.must(err)
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	l.must(err)
	said := fmt.Sprintf(" %d bytes %x", st.Size, sum.Sum(nil)[:8])
	if st.Blocks*512 >= st.Size {
		return said
	}
	for at := int64(0); at < st.Size; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		l.must(err)
		at, err = unix.Seek(fd, start, unix.SEEK_HOLE)
		l.must(err)
		said += fmt.Sprintf(" [%d,%d)", start, at)
	}
	return said + " sparse"
}

func (l *looker) xattrs(in int, name string) string {
	l.t.Helper()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", in, name)
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	l.must(err)
	values := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		l.must(err)
		values[name] = string(value[:n])
	}
	said := ""
	for _, name := range slices.Sorted(maps.Keys(values)) {
		said += fmt.Sprintf(" %s=%q", name, values[name])
	}
	return said
}

// same compares two trees.
func same(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, path := range sorted(want) {
		if got[path] != want[path] {
			t.Errorf("%.80q is\n\t%s\ninstead of\n\t%s", path, got[path], want[path])
		}
	}
	for _, path := range sorted(got) {
		if _, ok := want[path]; !ok {
			t.Errorf("%.80q is there: %s", path, got[path])
		}
	}
}

func sorted(found map[string]string) []string { return slices.Sorted(maps.Keys(found)) }

// needRoot skips what only root can do: give files to others, make devices.
func needRoot(t testing.TB) {
	t.Helper()
	if syscall.Geteuid() != 0 {
		t.Skip("only root can give files to others and make devices")
	}
}
