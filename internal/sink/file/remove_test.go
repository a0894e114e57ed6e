package file_test

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// A removal that was interrupted has left a folder without a manifest, which the
// next one takes.
func TestAnInterruptedRemovalIsTakenUp(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	store(t, s, aPoint, "1")
	must(t, os.Remove(filepath.Join(dir, aPoint, sink.ManifestName)))
	must(t, s.RemovePoint(t.Context(), aPoint))
	if exists(filepath.Join(dir, aPoint)) {
		t.Error("the folder is left")
	}
	store(t, s, aPoint, "2")
}

// What a removal has left is found by its mark, and only that: what lost its manifest
// in another way is nobody's to remove.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, point := range []string{aPoint, otherDir} {
		store(t, s, point, "1")
	}
	must(t, s.PutMark(t.Context(), aPoint, sink.RemovedName, []byte("{}")))
	if left := leftovers(t, s, sink.PointsName); len(left) > 0 {
		t.Errorf("before: %q", left)
	}
	for _, point := range []string{aPoint, otherDir} {
		must(t, os.Remove(filepath.Join(dir, point, sink.ManifestName)))
	}
	for _, below := range []string{sink.PointsName, path.Dir(aPoint), aPoint} {
		if left := leftovers(t, s, below); !slices.Equal(left, []string{aPoint}) {
			t.Errorf("below %s: %q", below, left)
		}
	}
	if left := leftovers(t, s, otherDir); len(left) > 0 {
		t.Errorf("below the other: %q", left)
	}
	// Cut off once more, when all but the mark is gone.
	must(t, os.Remove(filepath.Join(dir, aPoint, "image.tar.zst")))
	must(t, s.RemovePoint(t.Context(), aPoint))
	if left := leftovers(t, s, sink.PointsName); len(left) > 0 || exists(filepath.Join(dir, aPoint)) {
		t.Errorf("after: %q", left)
	}
}

func leftovers(t *testing.T, s *file.Sink, below string) (dirs []string) {
	t.Helper()
	for dir, err := range s.Leftovers(t.Context(), below) {
		must(t, err)
		dirs = append(dirs, dir)
	}
	return dirs
}

// Folders that are empty go with the last point in them, and others stay.
func TestARemovalLeavesNoEmptyFolders(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	store(t, s, aPoint, "1")
	store(t, s, otherDir, "1")
	store(t, s, "points/web01/image/app/i", "1")
	must(t, s.RemovePoint(t.Context(), aPoint))
	if !exists(filepath.Join(dir, itemDir)) || exists(filepath.Join(dir, aPoint)) {
		t.Error("the folder of the item has gone, or that of the point has not")
	}
	must(t, s.RemovePoint(t.Context(), otherDir))
	if exists(filepath.Join(dir, "points/web01/container")) {
		t.Error("empty folders are left")
	}
	if !exists(filepath.Join(dir, "points/web01/image/app/i")) {
		t.Error("a folder that is not empty has gone")
	}
}
