package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// Probe implements [sink.Prober].
func (s *Sink) Probe(context.Context) (sink.Probed, error) {
	var p sink.Probed
	root, err := s.root()
	if err != nil {
		return p, err
	}
	defer root.Close()
	name := ".probe-" + uuid.NewString()
	var clock []string
	err = s.inFolder(root, stagingName, func(folder *os.Root) error {
		began := time.Now()
		if err := s.writeFile(folder, name, []byte("holdfast looks whether it can write here\n")); err != nil {
			return err
		}
		info, err := folder.Lstat(name)
		if err == nil {
			p.Warnings = append(p.Warnings, exposure(info)...)
			clock = sink.ClockCaveats(began, time.Now(), info.ModTime())
		}
		return errors.Join(err, syncFolder(folder), folder.Remove(name))
	})
	if err != nil {
		return p, explain(s.place(path.Join(stagingName, name)), err)
	}
	if len(p.Warnings) == 0 { // modes count
		p.Warnings = s.openFolders(root)
	}
	p.Warnings = append(p.Warnings, clock...)
	return p, nil
}

// exposure says who else may use what this process makes.
func exposure(made fs.FileInfo) (warnings []string) {
	if mode := made.Mode().Perm(); mode&othersMayUse != 0 {
		warnings = append(warnings, fmt.Sprintf("files have mode %04o: other users can read what is stored, also the secrets in container.json",
			mode))
	}
	if uid, known := ownerOf(made); known && uid != os.Geteuid() {
		warnings = append(warnings, fmt.Sprintf("files belong to user %d, who can read what is stored, also the secrets in container.json", uid))
	}
	return warnings
}

// openFolders names the sink's own folders that others may change.
func (s *Sink) openFolders(root *os.Root) (warnings []string) {
	for _, name := range []string{".", sink.PointsName, stagingName} {
		info, err := root.Lstat(name)
		if err == nil && info.Mode().Perm()&othersMayChange != 0 && info.Mode()&fs.ModeSticky == 0 {
			warnings = append(warnings, fmt.Sprintf("other users may remove and replace what lies in %s (its mode is %04o)",
				s.place(name), info.Mode().Perm()))
		}
	}
	return warnings
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
