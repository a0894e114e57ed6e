package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/sink"
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
