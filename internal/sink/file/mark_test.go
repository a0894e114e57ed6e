package file_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

// What a process left that died while it put a mark goes with the next one. What
// another process may be writing stays.
func TestAMarkThatWasInterruptedIsSwept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	store(t, s, aPoint, "1")
	old := time.Now().Add(-2 * time.Hour)
	left := map[string]bool{ // whether it stays
		".verified.json.dead":  false,
		".verified.json.alive": true,
		".protected.json.dead": true, // of another mark
		"verified.json.notes":  true, // not ours
	}
	for name := range left {
		at := filepath.Join(dir, aPoint, name)
		must(t, os.WriteFile(at, []byte("half"), 0o600))
		if name != ".verified.json.alive" {
			must(t, os.Chtimes(at, old, old))
		}
	}
	must(t, s.PutMark(t.Context(), aPoint, sink.VerifiedName, []byte("{}")))
	for name, want := range left {
		if got := exists(filepath.Join(dir, aPoint, name)); got != want {
			t.Errorf("%s is there: %t, want %t", name, got, want)
		}
	}
	must(t, s.RemovePoint(t.Context(), aPoint))
	if exists(filepath.Join(dir, aPoint)) {
		t.Error("the folder is left")
	}
}

// What lies under the name of a mark and is none is listed as one, so that who
// reads it is told.
func TestWhatIsNoMarkIsListedAsOne(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	store(t, s, aPoint, "1")
	must(t, os.Symlink("manifest.json", filepath.Join(dir, aPoint, sink.ProtectedName)))
	must(t, os.Mkdir(filepath.Join(dir, aPoint, sink.RemovedName), 0o700))
	for found, err := range s.Points(t.Context(), aPoint) {
		must(t, err)
		if len(found.Marks) != 2 {
			t.Errorf("the marks are %q", found.Marks)
		}
		for _, name := range found.Marks {
			if err := s.PutMark(t.Context(), aPoint, name, []byte("{}")); err == nil {
				t.Errorf("the mark %s was put in place of what is none", name)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, aPoint, sink.ManifestName)); err != nil {
		t.Error(err)
	}
}
