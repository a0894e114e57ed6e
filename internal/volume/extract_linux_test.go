package volume_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast.io/holdfast/internal/volume"
)

// TestExtractHostile: Extract refuses each, and nothing outside the root is touched.
func TestExtractHostile(t *testing.T) {
	for _, c := range hostileArchives(t) {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			root := filepath.Join(dir, "outer", "root")
			if err := os.MkdirAll(root, 0o700); err != nil {
				t.Fatal(err)
			}
			before := outside(t, dir, root)
			_, err := volume.Extract(t.Context(), bytes.NewReader(c.raw), root)
			want := c.extract
			if want == "" {
				want = c.check
			}
			refused(t, err, want)
			same(t, before, outside(t, dir, root))
		})
	}
}

// outside is everything below dir but what is in root.
func outside(t *testing.T, dir, root string) map[string]string {
	t.Helper()
	found := look(t, dir)
	below := "." + strings.TrimPrefix(root, dir)
	for path := range found {
		if path == below || strings.HasPrefix(path, below+"/") {
			delete(found, path)
		}
	}
	return found
}

// TestExtractTouchesNoTarget: what links lead to is left alone, with its attributes.
func TestExtractTouchesNoTarget(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := outside(t, dir, root)
	raw := build(t, rootEntry, symlink("a", "../secret"), symlink("b", filepath.Join(dir, "secret")), link("c", "a"),
		symlink("d", ".."), link("e", "d"))
	if _, err := volume.Extract(t.Context(), bytes.NewReader(raw), root); err != nil {
		t.Fatal(err)
	}
	same(t, before, outside(t, dir, root))
	if target, err := os.Readlink(filepath.Join(root, "c")); err != nil || target != "../secret" {
		t.Errorf("the hard link is to %q, %v", target, err)
	}
}

// TestExtractIntoFolder: what is there stays, and nothing is overwritten.
func TestExtractIntoFolder(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := volume.Extract(t.Context(), bytes.NewReader(build(t, rootEntry, file("other", 3))), root); err != nil {
		t.Fatal(err)
	}
	_, err := volume.Extract(t.Context(), bytes.NewReader(build(t, rootEntry, file("mine", 3))), root)
	refused(t, err, "entry 2, ./mine: it is there already")
	if content, err := os.ReadFile(filepath.Join(root, "mine")); err != nil || string(content) != "mine" {
		t.Errorf("got %q and %v", content, err)
	}
}

// TestExtractOrder: entries in any order give the same folders, with the times that
// the archive says.
func TestExtractOrder(t *testing.T) {
	root := t.TempDir()
	at := func(h tar.Header, sec int64) tar.Header {
		h.ModTime, h.Format, h.Mode = later.Add(-1000*1e9*10).Truncate(1e9).AddDate(0, 0, -int(sec)), tar.FormatPAX, 0o500
		return h
	}
	a, b := at(folder("a"), 1), at(folder("a/b"), 2)
	raw := build(t, rootEntry, a, b, file("a/b/1", 1), file("a/2", 1), file("3", 1), file("a/b/4", 1), file("a/5", 1))
	if _, err := volume.Extract(t.Context(), bytes.NewReader(raw), root); err != nil {
		t.Fatal(err)
	}
	for path, h := range map[string]tar.Header{"a": a, "a/b": b} {
		st, err := os.Stat(filepath.Join(root, path))
		if err != nil || !st.ModTime().Equal(h.ModTime) || st.Mode().Perm() != 0o500 {
			t.Errorf("%s is %v of %v, %v", path, st.Mode(), st.ModTime(), err)
		}
	}
}

// TestExtractInheritsNothing: the default ACL of the root is not inherited by what
// is written, and stays if the archive has none for the root.
func TestExtractInheritsNothing(t *testing.T) {
	root := t.TempDir()
	if err := unix.Setxattr(root, "system.posix_acl_default", []byte(someACL), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := volume.Extract(t.Context(), bytes.NewReader(build(t, rootEntry, file("a", 1), folder("b"))), root); err != nil {
		t.Fatal(err)
	}
	for path, found := range look(t, root) {
		if strings.Contains(found, "posix_acl") {
			t.Errorf("%s is %s", path, found)
		}
	}
}

// TestExtractTooLarge: a file that no file system takes is refused before its
// content is read.
func TestExtractTooLarge(t *testing.T) {
	raw := sparseBomb(t)
	_, err := volume.Extract(t.Context(), bytes.NewReader(raw), t.TempDir())
	refused(t, err, "entry 2, ./bomb: make a file of 9223372036854775000 bytes: file too large")
	if _, err := volume.Check(bytes.NewReader(raw)); err != nil {
		t.Errorf("Check reads only what is there: %v", err)
	}
}

// sparseBomb is an archive of 5 KiB with a file of 8 EiB.
func sparseBomb(t testing.TB) []byte {
	t.Helper()
	const holder = "XNU.sparse."
	root := build(t, rootEntry)
	bomb := build(t, tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Size: 512, PAXRecords: map[string]string{
		holder + "major": "1", holder + "minor": "0", holder + "name": "bomb", holder + "realsize": "9223372036854775000",
	}})
	bomb = bytes.ReplaceAll(bomb, []byte(holder), []byte("GNU.sparse."))
	content := bytes.Index(bomb, bytes.Repeat([]byte{'x'}, 512))
	clear(bomb[content : content+512])
	copy(bomb[content:], "1\n9223372036854775000\n0\n")
	return append(root[:512:512], bomb...)
}

// TestExtractCancelled: a cancelled context ends it with its cause.
func TestExtractCancelled(t *testing.T) {
	stop := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	raw := build(t, rootEntry, file("a", 1<<20), file("b", 1))
	in := io.MultiReader(bytes.NewReader(raw[:2048]), calls{func() { cancel(stop) }}, bytes.NewReader(raw[2048:]))
	if _, err := volume.Extract(ctx, in, t.TempDir()); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

type calls struct{ f func() }

func (c calls) Read([]byte) (int, error) { c.f(); return 0, io.EOF }
