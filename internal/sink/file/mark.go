package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// PutMark implements [sink.Marker]. The mark is written under a temporary name in
// the point's folder, synced, and renamed. All is done by one handle of the folder:
// one that was removed takes no files, and a point that was published in its place
// is another folder.
func (s *Sink) PutMark(ctx context.Context, dir, name string, content []byte) error {
	if err := errors.Join(ctx.Err(), sink.CheckPoint(dir), sink.CheckMark(name)); err != nil {
		return err
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	err = s.putMark(root, dir, name, content)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFolder) {
		return fmt.Errorf("%s: %w", s.place(dir), sink.ErrNotFound)
	}
	return explain(s.place(path.Join(dir, name)), err)
}

// putMark reports fs.ErrNotExist if the point is not there, or no longer.
func (s *Sink) putMark(root *os.Root, dir, name string, content []byte) error {
	folder, err := openPath(root, dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := mustBePoint(folder); err != nil {
		return err
	}
	if err := s.replaceFile(folder, name, name, content); err != nil {
		return err
	}
	if err := mustBePoint(folder); err != nil {
		_ = folder.Remove(name) // a removal that did not see it yet is none the worse
		return err
	}
	return nil
}

// replaceFile writes a file under a temporary name, which begins as kind says, syncs it,
// and gives it its name, also in place of one that has it. It also removes what processes
// left that died meanwhile.
func (m maker) replaceFile(folder *os.Root, kind, name string, content []byte) error {
	if _, err := lstat(folder, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temporary := temporaryPrefix(kind) + uuid.NewString()
	if err := m.writeFile(folder, temporary, content); err != nil {
		return err
	}
	sweepTemporary(folder, kind, temporary)
	if err := folder.Rename(temporary, name); err != nil {
		_ = folder.Remove(temporary)
		return err
	}
	return syncFolder(folder)
}

// mustBePoint reports fs.ErrNotExist if a folder is no point.
func mustBePoint(folder *os.Root) error {
	there, err := isPoint(folder)
	if err == nil && !there {
		err = fs.ErrNotExist
	}
	return err
}

func temporaryPrefix(mark string) string { return "." + mark + "." }

// temporaryAge is after how long the temporary file of a mark is taken for one that
// a process left when it died.
const temporaryAge = time.Hour

// sweepTemporary removes what processes left that died while they put the mark. Its
// clock is the file system's: that of the file made, which was made now. What it
// cannot remove the next one tries again.
func sweepTemporary(folder *os.Root, mark, made string) {
	now, err := folder.Lstat(made)
	if err != nil {
		return
	}
	f, err := folder.Open(".")
	if err != nil {
		return
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, temporaryPrefix(mark)) {
			continue
		}
		left, err := folder.Lstat(name)
		if err == nil && now.ModTime().Sub(left.ModTime()) > temporaryAge {
			_ = folder.Remove(name)
		}
	}
}
