package file_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Place {
		dir := filepath.Join(t.TempDir(), "sink")
		mkdir(t, dir)
		return folder(dir)
	})
}

// folder is a folder for a sink.
type folder string

func (f folder) Open(t *testing.T) sink.Sink { return open(t, string(f)) }

func (f folder) Contents(t *testing.T) map[string]string { return contents(t, string(f)) }

func (f folder) Replace(t *testing.T) {
	f.Vanish(t)
	mkdir(t, string(f))
	f.Open(t)
}

func (f folder) Vanish(t *testing.T) {
	must(t, os.Rename(string(f), string(f)+".gone"))
}

// open opens the sink in a folder, and sets one up if there is none.
func open(t *testing.T, dir string) *file.Sink {
	t.Helper()
	s, err := file.Open(t.Context(), dir, "", file.Options{})
	must(t, err)
	return s
}

// probe tries a sink, and fails the test if there is something to warn of.
func probe(t *testing.T, s *file.Sink) error {
	t.Helper()
	probed, err := s.Probe(t.Context())
	warnings := probed.Warnings
	if len(warnings) > 0 {
		t.Errorf("the warnings are %q", warnings)
	}
	return err
}

// contents returns the files below dir with their content, and the links with
// where they lead. There are none if the folder is not there.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err) && path == dir:
			return nil
		case err != nil:
			return err
		case d.Type() == fs.ModeSymlink:
			found[path], err = os.Readlink(path)
		case d.Type().IsRegular():
			var content []byte
			content, err = os.ReadFile(path)
			found[path] = string(content)
		}
		return err
	})
	must(t, err)
	return found
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
