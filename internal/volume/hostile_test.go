package volume_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/volume"
)

// build makes an archive as others may: of any entries. The content of files is 'x'.
func build(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, h := range entries {
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("%q: %v", h.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.Copy(w, io.LimitReader(xs{}, h.Size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

type xs struct{}

func (xs) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

var rootEntry = folder("./")

func folder(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }

func file(name string, size int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
}

func link(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}

// hostile are archives that must not be unpacked, and what is said of them: by Check,
// and by Extract where it meets the same in a folder.
type hostile struct {
	name    string
	raw     []byte
	check   string
	extract string // as check if empty
}

func hostileArchives(t testing.TB) []hostile {
	t.Helper()
	whole := build(t, rootEntry, file("./a", 1000))
	owner := file("a", 0)
	owner.Uid = 1<<32 - 1
	changed := bytes.Clone(whole)
	changed[512+1] ^= 1
	twice := "it is there already: the archive has it twice"
	return []hostile{
		{"up", build(t, rootEntry, file("../a", 1)), "entry 2, ../a: its name leads out of the root", ""},
		{"up from below", build(t, rootEntry, file("a/../../b", 1)), "entry 2, a/../../b: its name leads out of the root", ""},
		{"only up", build(t, rootEntry, folder("..")), "entry 2, ..: its name leads out of the root", ""},
		{"absolute", build(t, rootEntry, file("/tmp/a", 1)), "entry 2, /tmp/a: its name is absolute", ""},
		{"no root", build(t, file("a", 1)), "entry 1, a: the first entry is not the root's own", ""},
		{"a root that is a file", build(t, rootEntry, file(".", 1)), "entry 2, .: the root is not a folder", ""},
		{"through a symbolic link", build(t, rootEntry, symlink("a", "/tmp"), file("a/b", 1)),
			"entry 3, ./a/b: its name leads through ./a, which is not a folder", "entry 3, ./a/b: a is there already, and not a folder"},
		{"a folder that is a symbolic link", build(t, rootEntry, symlink("a", ".."), folder("a")),
			"entry 3, ./a: its name came before", "entry 3, ./a: a is there already, and not a folder"},
		{"through a file", build(t, rootEntry, file("a", 1), file("a/b", 1)),
			"entry 3, ./a/b: its name leads through ./a", "entry 3, ./a/b: a is there already, and not a folder"},
		{"twice", build(t, rootEntry, file("a", 1), file("./a", 2)), "entry 3, ./a: its name came before", twice},
		{"a file that is a folder", build(t, rootEntry, folder("a"), file("a", 2)), "entry 3, ./a: its name came before", twice},
		{"a file over a symbolic link", build(t, rootEntry, symlink("a", "/tmp/x"), file("a", 2)),
			"entry 3, ./a: its name came before", twice},
		{"a hard link to outside", build(t, rootEntry, link("a", "../../etc/passwd")), "entry 2, a: its link: its name leads out of the root", ""},
		{"an absolute hard link", build(t, rootEntry, link("a", "/etc/passwd")), "entry 2, a: its link: its name is absolute", ""},
		{"a hard link to nothing", build(t, rootEntry, link("a", "b")), "entry 2, ./a: it is a hard link to ./b, which is",
			"entry 2, ./a: the volume's archive is corrupt: it is a hard link to ./b, which is not there"},
		{"a hard link through a symbolic link", build(t, rootEntry, symlink("s", "/etc"), link("a", "s/passwd")),
			"entry 3, ./a: it is a hard link to ./s/passwd, which is",
			"entry 3, ./a: the volume's archive is corrupt: it is a hard link to ./s/passwd, which is not there"},
		{"a hard link to the root", build(t, rootEntry, link("a", ".")), "entry 2, a: it is a hard link to the root", ""},
		{"no owner", build(t, rootEntry, owner), "entry 2, a: there is no owner 4294967295:0", ""},
		{"a long name", build(t, rootEntry, file(strings.Repeat("n", 256), 0)), "has a part of 256 bytes", ""},
		{"a link to nothing", build(t, rootEntry, symlink("a", "")), "it is a symbolic link to nothing", ""},
		{"an unknown type", build(t, rootEntry, tar.Header{Name: "a", Typeflag: 'Z'}), "entry 2, a: it is of an unknown type 'Z'", ""},
		{"nothing", nil, "its end mark is missing: it was cut short after entry 0", ""},
		{"nothing but the end", make([]byte, 1024), "it has no entries", ""},
		{"no end mark", whole[:len(whole)-1024], "its end mark is missing: it was cut short after entry 2", ""},
		{"half an end mark", whole[:len(whole)-512], "its end mark is missing", ""},
		{"cut in content", whole[:1100], "it was cut short, ", ""},
		{"cut in a header", whole[:700], "it was cut short, after entry 1", ""},
		{"something behind", append(bytes.Clone(whole), 'x'), "something follows its end, after entry 2", ""},
		{"another archive behind", append(bytes.Clone(whole), whole...), "something follows its end, after entry 2", ""},
		{"a changed header", changed, "it is not a tar archive, after entry 1", ""},
		{"not tar", bytes.Repeat([]byte("text "), 1000), "it is not a tar archive, after entry 0", ""},
	}
}

// TestCheckHostile: Check says of each what is wrong.
func TestCheckHostile(t *testing.T) {
	for _, c := range hostileArchives(t) {
		t.Run(c.name, func(t *testing.T) {
			_, err := volume.Check(bytes.NewReader(c.raw))
			refused(t, err, c.check)
		})
	}
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, not %q", err, want)
	}
}

// TestCheckAccepts: what is odd, but can be unpacked.
func TestCheckAccepts(t *testing.T) {
	for name, raw := range map[string][]byte{
		"zeros behind":          append(build(t, rootEntry), make([]byte, 9000)...),
		"folders twice":         build(t, rootEntry, folder("a"), folder("a"), rootEntry),
		"folders not named":     build(t, rootEntry, file("a/b/c", 1), folder("a")),
		"links to anywhere":     build(t, rootEntry, symlink("a", "../../../etc"), symlink("b", "/")),
		"a link to a link":      build(t, rootEntry, symlink("a", "/etc/passwd"), link("b", "a")),
		"names with dots":       build(t, rootEntry, file("./a/./b//c", 1)),
		"no padding at the end": build(t, rootEntry),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := volume.Check(bytes.NewReader(raw)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCheckSource: an error of the source is no fault of the archive.
func TestCheckSource(t *testing.T) {
	raw := build(t, rootEntry, file("a", 100_000))
	for _, at := range []int{0, 600, 5000, len(raw) - 1024, len(raw) - 1} {
		_, err := volume.Check(io.MultiReader(bytes.NewReader(raw[:at]), broken{}))
		if err == nil || !strings.Contains(err.Error(), "the sink is away") || strings.Contains(err.Error(), "corrupt") {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, fmt.Errorf("the sink is away") }
