package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/fstest"
)

// Nothing of a file is written where it could be read by others, and what was there
// stays.
func TestWriteFileWhereModesMeanNothing(t *testing.T) {
	dir := fstest.Modeless(t)
	path := filepath.Join(dir, "endpoint.json")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(path, []byte("secret")); !errors.Is(err, ErrOpenToOthers) {
		t.Errorf("the error is %v, want %v", err, ErrOpenToOthers)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "before" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("something is left: %v, %v", entries, err)
	}
}
