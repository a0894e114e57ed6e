package file

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

// Another process may set the sink up, and store to it, after this one has seen
// that there is none.
func TestSetUpComesLate(t *testing.T) {
	for _, used := range []bool{false, true} {
		dir := t.TempDir()
		s, err := Open(t.Context(), dir, "", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if used {
			if err := os.Mkdir(filepath.Join(dir, sink.PointsName), folderMode); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		own, err := maker{}.setUp(root, "")
		if err != nil || own.ID != s.ID() {
			t.Errorf("with points %t it is the sink %q, want %q: %v", used, own.ID, s.ID(), err)
		}
	}
}
