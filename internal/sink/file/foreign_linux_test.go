package file_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

// A folder that another process put in the place of the attempt's is not
// published, nor removed.
func TestAForeignAttemptIsNotPublished(t *testing.T) {
	dir := t.TempDir()
	staging := stage(t, open(t, dir), otherDir, "2")
	write(t, staging, "image.tar.zst", "image")
	at := filepath.Join(dir, theStaged)
	must(t, os.Rename(at, at+".moved"))
	mkdir(t, at)
	must(t, os.WriteFile(filepath.Join(at, "foreign"), nil, 0o600))

	wants(t, "publish", staging.Publish(t.Context(), []byte("{}")), sink.ErrUnavailable, theStaged)
	must(t, staging.Discard(t.Context()))
	if !exists(filepath.Join(at, "foreign")) {
		t.Errorf("the other attempt has gone: %q", contents(t, dir))
	}
	if exists(filepath.Join(dir, "points")) {
		t.Error("there is a folder for points")
	}
}

// What people leave among the points is not listed if it can have no key.
func TestForeignFoldersAreNotListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	store(t, s, aPoint, "1")
	for _, name := range []string{`a\b`, "\xff"} {
		for _, at := range []string{"points/" + name + "/container/web-1/i", itemDir + "/" + name} {
			mkdir(t, filepath.Join(dir, at))
			must(t, os.WriteFile(filepath.Join(dir, at, sink.ManifestName), []byte("{}"), 0o600))
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, itemDir, "notes.txt"), nil, 0o600))
	mkdir(t, filepath.Join(dir, itemDir, "no-manifest"))
	mkdir(t, filepath.Join(dir, itemDir, "odd-manifest", sink.ManifestName))
	dirs, err := points(t, s)
	must(t, err)
	if !slices.Equal(dirs, []string{aPoint}) {
		t.Errorf("the points are %q", dirs)
	}
}
