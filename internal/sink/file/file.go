// Package file is a sink in a folder of a file system.
//
// Points are staged in a folder of their own, below staging, and published by
// one rename. Everything is synced before it counts. No symbolic link below the
// sink's own folder is followed; the folder itself may be reached by one.
//
// Every operation opens the folder anew and looks whether it still holds this
// sink, so that a disk that was unmounted or swapped is noticed and not written
// past.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"holdfast.io/holdfast/internal/sink"
)

// Names at the top of a sink.
const (
	identityName = "holdfast.json"
	pointsName   = "points"
	stagingName  = "staging"
)

// Sink is a sink in a folder. It may be used by several goroutines, and the
// folder by several processes.
type Sink struct {
	dir string
	id  string
}

var _ sink.Sink = (*Sink)(nil)

// Open returns the sink in the folder dir, which must be there: a mount that is
// missing must never be replaced by a fresh folder. known is the id that the
// caller remembers from earlier. If it is empty and the folder holds no sink,
// one is set up there. It reports [sink.ErrUnavailable], or [sink.ErrFull] if
// there is no room to set a sink up.
func Open(_ context.Context, dir, known string) (*Sink, error) {
	return open(dir, func(root *os.Root) (identity, error) {
		own, err := readIdentity(root)
		switch {
		case errors.Is(err, fs.ErrNotExist) && known == "":
			return setUp(root)
		case errors.Is(err, fs.ErrNotExist):
			return own, fmt.Errorf("it holds no sink any more (it was %s); is the disk mounted?", known)
		case err == nil && known != "" && own.ID != known:
			return own, fmt.Errorf("it holds the sink %s, and not %s that was used before; is the right disk mounted?", own.ID, known)
		}
		return own, err
	})
}

// OpenExisting returns the sink in the folder dir as [Open] does, and sets none
// up.
func OpenExisting(_ context.Context, dir string) (*Sink, error) {
	return open(dir, func(root *os.Root) (identity, error) {
		own, err := readIdentity(root)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("it holds no sink (no %s); the first backup sets one up", identityName)
		}
		return own, err
	})
}

func open(dir string, identify func(root *os.Root) (identity, error)) (*Sink, error) {
	root, err := openTop(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	own, err := identify(root)
	if err != nil {
		return nil, unusable(dir, err)
	}
	return &Sink{dir: dir, id: own.ID}, nil
}

// openTop opens the sink's own folder.
func openTop(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the folder %s is not there; make it, or mount the disk", sink.ErrUnavailable, dir)
	}
	if err != nil {
		return nil, unusable(dir, err)
	}
	return root, nil
}

// top opens the sink's own folder, and reports [sink.ErrUnavailable] if that
// does not hold this sink any more.
func (s *Sink) top() (*os.Root, error) {
	root, err := openTop(s.dir)
	if err != nil {
		return nil, err
	}
	own, err := readIdentity(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("it holds no sink any more (it was %s); is the disk mounted?", s.id)
	case err == nil && own.ID != s.id:
		err = fmt.Errorf("it holds the sink %s by now, and not %s; is the right disk mounted?", own.ID, s.id)
	}
	if err != nil {
		_ = root.Close()
		return nil, unusable(s.dir, err)
	}
	return root, nil
}

// ID implements [sink.Sink].
func (s *Sink) ID() string { return s.id }

// Location returns the sink's folder.
func (s *Sink) Location() string { return s.dir }
