//go:build linux || darwin

package file_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

func TestModesWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o277, 0o777} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			dir := t.TempDir()
			old := syscall.Umask(umask)
			defer syscall.Umask(old)
			s := open(t, dir)
			store(t, s, aPoint, "1")
			stage(t, s, otherDir, "2")
			must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || path == dir {
					return err
				}
				info, err := d.Info()
				must(t, err)
				want := fs.FileMode(0o600)
				if d.IsDir() {
					want = fs.ModeDir | 0o700
				}
				if info.Mode() != want {
					t.Errorf("%s is %s, want %s", path, info.Mode(), want)
				}
				return nil
			}))
		})
	}
}

func TestNothingStaysOpen(t *testing.T) {
	s := open(t, t.TempDir())
	cycle := func(id int) {
		dir := fmt.Sprint(itemDir, "/i", id)
		store(t, s, dir, "1")
		late := stage(t, s, dir, "2")
		write(t, late, "image.tar.zst", "late")
		if err := late.Publish(t.Context(), []byte("{}")); !errors.Is(err, sink.ErrExists) {
			t.Errorf("the error is %v, want %v", err, sink.ErrExists)
		}
		must(t, late.Discard(t.Context()))
		broken := stage(t, s, dir, "3")
		w, _, err := broken.Create(t.Context(), "volumes/data.tar.zst", 0)
		must(t, err)
		must(t, w.Abort())
		must(t, broken.Discard(t.Context()))
		r, err := s.OpenRange(t.Context(), dir+"/image.tar.zst", 1, 2)
		must(t, err)
		must(t, r.Close())
		_, err = s.OpenRange(t.Context(), dir+"/image.tar.zst", 1, 200)
		if !errors.Is(err, sink.ErrRange) {
			t.Errorf("the error is %v, want %v", err, sink.ErrRange)
		}
		_, err = s.Stat(t.Context(), dir+"/image.tar.zst")
		must(t, err)
		must(t, s.Remove(t.Context(), dir+"/volumes/data.tar.zst"))
		must(t, s.RemovePoint(t.Context(), dir))
		_, err = points(t, s)
		must(t, err)
		_, err = s.Open(t.Context(), "points/none")
		if !errors.Is(err, sink.ErrNotFound) {
			t.Errorf("the error is %v, want %v", err, sink.ErrNotFound)
		}
		must(t, probe(t, s))
		_, err = s.Free(t.Context())
		must(t, err)
	}
	cycle(0)
	before := descriptors(t)
	for i := range 10 {
		cycle(i + 1)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d files were open, and %d are", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	must(t, err)
	return len(entries)
}

func TestFreeIn(t *testing.T) {
	dir := t.TempDir()
	free, err := file.FreeIn(dir)
	if err != nil || free <= 0 {
		t.Errorf("%d bytes are free in %s, %v", free, dir, err)
	}
	if _, err := file.FreeIn(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a folder that is not there: %v, want fs.ErrNotExist", err)
	}
}
