package volume_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/volume"
)

var update = flag.Bool("update", false, "write the golden files")

// property is something of a file that a copy may lose.
type property struct {
	name string
	make func(m *maker)
}

var properties = []property{
	{"owner and group, as numbers", func(m *maker) { m.file("f", 0o644, []byte("x")) }},
	{"mode with setuid, setgid, sticky", func(m *maker) {
		m.file("u", 0o4755, nil)
		m.file("g", 0o2755, nil)
		m.file("s", 0o1644, nil)
	}},
	{"time of modification, nanoseconds", func(m *maker) { m.file("f", 0o644, nil); m.time("f", 1700000000, 123456789) }},
	{"time before 1970", func(m *maker) { m.file("f", 0o644, nil); m.time("f", -1234567, 500000000) }},
	{"extended attributes, binary and empty", func(m *maker) {
		m.file("f", 0o644, nil)
		m.xattr("f", "user.binary", "\x00\xff\n=\x00")
		m.xattr("f", "user.empty", "")
	}},
	{"access ACL", func(m *maker) {
		m.file("f", 0o660, nil)
		m.xattr("f", "system.posix_acl_access", someACL)
	}},
	{"default ACL", func(m *maker) {
		m.dir("d")
		m.xattr("d", "system.posix_acl_default", someACL)
	}},
	{"file capabilities", func(m *maker) {
		m.file("f", 0o755, nil)
		m.xattr("f", "security.capability", capability)
	}},
	{"hard links", func(m *maker) {
		m.file("a", 0o644, []byte("x"))
		m.must(os.Link(m.path("a"), m.path("b")))
	}},
	{"hard links of symbolic links", func(m *maker) {
		m.symlink("a", "x")
		m.must(os.Link(m.path("a"), m.path("b")))
	}},
	{"symbolic links, dangling and outside", func(m *maker) {
		m.symlink("a", "nothing")
		m.symlink("b", "/etc/passwd")
	}},
	{"holes", func(m *maker) { m.sparse("f", 1<<20, 3, 100) }},
	{"devices and FIFOs", func(m *maker) {
		m.node("c", 0o20666, 0x103)
		m.node("b", 0o60660, 0x700)
		m.node("p", 0o10640, 0)
	}},
	{"names of any bytes", func(m *maker) {
		m.file("\xff\xfe", 0o644, nil)
		m.file("new\nline", 0o644, nil)
	}},
	{"a path of 4,000 bytes", func(m *maker) {
		m.must(os.MkdirAll(m.path(filepath.Dir(deepName())), 0o755))
		m.file(deepName(), 0o644, []byte("x"))
	}},
}

// way is how a tree is copied by an archive.
type way struct {
	name string
	copy func(from, to string) error
}

// TestSurvives: what of a tree survives an archive, ours and GNU tar's with all its
// options, is what the table says.
func TestSurvives(t *testing.T) {
	needRoot(t)
	ways := []way{
		{"holdfast", func(from, to string) error {
			raw, _ := archive(t, from)
			_, err := volume.Extract(t.Context(), bytes.NewReader(raw), to)
			return err
		}},
		{"holdfast, unpacked by tar", func(from, to string) error {
			raw, _ := archive(t, from)
			return quietly(raw, gnuExtractArgs(to)).err
		}},
		{"tar", func(from, to string) error {
			made := quietly(nil, gnuCreateArgs(from))
			if made.err != nil {
				return made.err
			}
			return quietly(made.out, gnuExtractArgs(to)).err
		}},
	}
	rows := make([]string, len(properties)+2)
	head := "what"
	for _, w := range ways {
		head += " | " + w.name
		for i, survived := range survivors(t, w) {
			rows[i] += " | " + survived
		}
	}
	table := head + "\n"
	for i, p := range properties {
		table += p.name + rows[i] + "\n"
	}
	table += "the root's own attributes" + rows[len(properties)] + "\n"
	table += "a path of 20,000 bytes" + rows[len(properties)+1] + "\n"
	golden(t, "testdata/survives.txt", table)
}

// survivors says "yes" or "no" for each property, for the root, and for a tree so
// deep that only relative calls reach its end.
func survivors(t *testing.T, w way) []string {
	t.Helper()
	from, to := t.TempDir(), t.TempDir()
	for i, p := range properties {
		m := &maker{t: t, root: filepath.Join(from, strconv.Itoa(i))}
		m.must(os.Mkdir(m.root, 0o700))
		p.make(m)
	}
	m := &maker{t: t, root: from}
	m.attributes("", 0o1770)
	m.xattr("", "user.a", "v")
	if err := w.copy(from, to); err != nil {
		t.Errorf("%s: %v", w.name, err)
	}
	want, got := look(t, from), look(t, to)
	var said []string
	for i := range properties {
		said = append(said, yes(isSame(want, got, "./"+strconv.Itoa(i))))
	}
	said = append(said, yes(want["."] == got["."]))

	from, to = t.TempDir(), t.TempDir()
	deepen(t, from, 100, 200)
	err := w.copy(from, to)
	return append(said, yes(err == nil && maps.Equal(look(t, from), look(t, to))))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// isSame reports whether all below a folder is the same.
func isSame(want, got map[string]string, below string) bool {
	for _, found := range []map[string]string{want, got} {
		for path := range found {
			if (path == below || strings.HasPrefix(path, below+"/")) && want[path] != got[path] {
				return false
			}
		}
	}
	return true
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\ninstead of\n%s", path, got, want)
	}
}
