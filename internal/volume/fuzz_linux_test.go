package volume_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/volume"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, c := range hostileArchives(f) {
		f.Add(c.raw)
	}
	f.Add(sparseBomb(f))
	f.Add(build(f, rootEntry, folder("a"), file("a/b", 700), link("c", "a/b"), symlink("d", "a"),
		tar.Header{Name: "e", Typeflag: tar.TypeFifo}, tar.Header{Name: "f", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		tar.Header{Name: "g", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "v"}}))
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "file"), 1<<20); err != nil {
		f.Fatal(err)
	}
	raw, _ := archive(f, dir)
	f.Add(raw)
}

// FuzzCheck: Check never panics, and its errors are the archive's.
func FuzzCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		report, err := volume.Check(bytes.NewReader(raw))
		if err != nil && !errors.Is(err, volume.ErrCorrupt) {
			t.Errorf("got %v", err)
		}
		if err == nil && report.Entries == 0 {
			t.Error("accepted without entries")
		}
	})
}

// FuzzExtract: Extract never panics and never touches what is outside the root; it
// finds whatever Check finds, and nothing else that is the archive's fault.
func FuzzExtract(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		root := filepath.Join(dir, "outer", "root")
		if err := os.MkdirAll(root, 0o700); err != nil {
			t.Fatal(err)
		}
		before := outside(t, dir, root)
		// A hole of any size is zeros on its way.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		written, err := volume.Extract(ctx, bytes.NewReader(raw), root)
		same(t, before, outside(t, dir, root))
		checked, wrong := volume.Check(bytes.NewReader(raw))
		switch {
		case wrong != nil && err == nil:
			t.Errorf("unpacked, though %v", wrong)
		case wrong == nil && errors.Is(err, volume.ErrCorrupt):
			t.Errorf("Check has not seen that %v", err)
		case err == nil && (written.Entries != checked.Entries || written.Bytes != checked.Bytes):
			t.Errorf("%+v instead of %+v", written, checked)
		}
	})
}
