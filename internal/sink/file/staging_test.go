package file_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

func stage(t *testing.T, s sink.Sink, dir, attempt string) sink.Staging {
	t.Helper()
	staging, err := s.Stage(t.Context(), dir, attempt)
	must(t, err)
	t.Cleanup(func() { _ = staging.Discard(t.Context()) })
	return staging
}

func write(t *testing.T, staging sink.Staging, name, content string) {
	t.Helper()
	w, _, err := staging.Create(t.Context(), name, 0)
	must(t, err)
	_, err = io.WriteString(w, content)
	must(t, errors.Join(err, w.Commit()))
}

// store stores a point with an image and a volume.
func store(t *testing.T, s sink.Sink, dir, attempt string) {
	t.Helper()
	staging := stage(t, s, dir, attempt)
	write(t, staging, "image.tar.zst", "image")
	write(t, staging, "volumes/data.tar.zst", "volume")
	must(t, staging.Publish(t.Context(), []byte("{}")))
	must(t, staging.Discard(t.Context()))
}

func points(t *testing.T, s sink.Sink) (dirs []string, err error) {
	for found, err := range s.Points(t.Context(), sink.PointsName) {
		if err != nil {
			return dirs, err
		}
		dirs = append(dirs, found.Dir)
	}
	return dirs, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	store(t, s, aPoint, "1")
	for path, want := range map[string]string{
		"image.tar.zst": "image", "volumes/data.tar.zst": "volume", "manifest.json": "{}",
	} {
		got, err := os.ReadFile(filepath.Join(dir, aPoint, path))
		must(t, err)
		if string(got) != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	staged := stage(t, s, otherDir, "2")
	write(t, staged, "image.tar.zst", "image")
	if !exists(filepath.Join(dir, theStaged, "image.tar.zst")) {
		t.Errorf("the attempt is not at %s: %q", theStaged, contents(t, dir))
	}
}

// An attempt is taken for dead and made again, but its process lives.
func TestAnAttemptThatWasReplacedHarmsNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	zombie := stage(t, s, aPoint, "1")
	write(t, zombie, "image.tar.zst", "of the zombie")
	w, _, err := zombie.Create(t.Context(), "container.json", 0)
	must(t, err)
	living := stage(t, open(t, dir), aPoint, "1")
	write(t, living, "image.tar.zst", "of the living")

	_, err = io.WriteString(w, "of the zombie")
	must(t, errors.Join(err, w.Commit())) // into a file without a name
	if err := zombie.Publish(t.Context(), []byte(`"zombie"`)); !errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("the error is %v, want %v", err, sink.ErrUnavailable)
	}
	must(t, zombie.Discard(t.Context()))
	must(t, living.Publish(t.Context(), []byte(`"living"`)))
	for path, content := range contents(t, filepath.Join(dir, "points")) {
		if strings.Contains(content, "zombie") {
			t.Errorf("%s is of the zombie", path)
		}
	}
}

func TestWhatIsInThePlaceOfAPoint(t *testing.T) {
	tests := map[string]struct {
		prepare func(at string) error
		says    string // empty if the point may take the place
	}{
		"an empty folder":             {func(at string) error { return os.Mkdir(at, 0o700) }, ""},
		"a folder without a manifest": {func(at string) error { return os.MkdirAll(at+"/volumes", 0o700) }, "move it away"},
		"a file":                      {func(at string) error { return os.WriteFile(at, nil, 0o600) }, "is not a folder"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			mkdir(t, filepath.Join(dir, itemDir))
			must(t, test.prepare(filepath.Join(dir, aPoint)))
			staging := stage(t, s, aPoint, "1")
			write(t, staging, "image.tar.zst", "image")
			err := staging.Publish(t.Context(), []byte("{}"))
			switch {
			case test.says == "":
				must(t, err)
			case err == nil, errors.Is(err, sink.ErrExists), !strings.Contains(err.Error(), test.says):
				t.Errorf("the error is %v, want one that says %q and is not %q", err, test.says, sink.ErrExists)
			}
		})
	}
}

func TestAFailedPublishLeavesNoFolders(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, os.MkdirAll(filepath.Join(dir, "points/web01"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "points/web01/container"), nil, 0o600))
	for _, point := range []string{"points/web01/container/web-1/i", "points/web01/image/web-1/i"} {
		staging := stage(t, s, point, "1")
		write(t, staging, "image.tar.zst", "image")
		// Somebody removes the attempt, so that the rename cannot succeed.
		must(t, os.RemoveAll(filepath.Join(dir, "staging/i-1")))
		if err := staging.Publish(t.Context(), []byte("{}")); !errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("the error is %v, want %v", err, sink.ErrUnavailable)
		}
		must(t, staging.Discard(t.Context()))
	}
	if exists(filepath.Join(dir, "points/web01/image")) {
		t.Error("the folders of a point that was not published are left")
	}
	if !exists(filepath.Join(dir, "points/web01")) {
		t.Error("a folder that was there before was removed")
	}
}

// What a process was just writing when it died is removed with its attempt.
func TestAHalfWrittenArtifactIsUnstaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before := contents(t, dir)
	mkdir(t, filepath.Join(dir, theStaged, "volumes"))
	must(t, os.WriteFile(filepath.Join(dir, theStaged, "volumes", "data.tar.zst"), []byte("half"), 0o600))
	must(t, s.Unstage(t.Context(), otherDir, "2"))
	same(t, before, contents(t, dir))
	if exists(filepath.Join(dir, theStaged)) {
		t.Error("the attempt is left")
	}
}
