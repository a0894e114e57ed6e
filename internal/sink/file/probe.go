package file

import (
	"context"
	"errors"
	"os"
	"path"

	"github.com/google/uuid"
)

// Probe implements [sink.Prober].
func (s *Sink) Probe(context.Context) error {
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	name := ".probe-" + uuid.NewString()
	err = inFolder(root, stagingName, func(folder *os.Root) error {
		if err := writeFile(folder, name, []byte("holdfast looks whether it can write here\n")); err != nil {
			return err
		}
		return errors.Join(syncFolder(folder), folder.Remove(name))
	})
	return explain(s.place(path.Join(stagingName, name)), err)
}

// Free implements [sink.Spacer]: it returns how many bytes this user may still write.
func (s *Sink) Free(context.Context) (int64, error) {
	root, err := s.root()
	if err != nil {
		return 0, err
	}
	defer root.Close()
	free, err := freeBytes(root)
	return free, explain(s.dir, err)
}

// FreeIn returns how many bytes this user may still write in a folder, which need
// not be a sink's, and which he need not be able to read. It reports
// fs.ErrNotExist if the folder is not there.
func FreeIn(dir string) (int64, error) { return freeAt(dir) }
