// Package file is a sink in a folder of a file system.
//
//	holdfast.json                          the sink's own id, written once
//	points/<host>/<kind>/<name>/<id>/      the points
//	staging/<id>-<attempt>/                what is not yet published
//
// An attempt writes into a folder of its own, and one rename makes it the point;
// that rename fails if the point exists. Everything is synced before it counts:
// Commit syncs an artifact; Publish syncs the manifest, the attempt's folder and
// every folder above the point before the rename, and the two folders that the
// rename changed after it. Folders are 0700 and files 0600, whatever the umask;
// where they do not get these modes nothing is stored, unless that is accepted.
//
// Removing a point removes its manifest first, then the rest, the mark that says so
// last, then the folders above it that are empty.
//
// No symbolic link inside the sink is followed, wherever it leads; the sink's own
// folder may be reached by one. Every operation opens the folder anew
// and compares its id with the one it had at first, unless the file with the id is the same. So it notices that the disk was
// unmounted, or that another one was mounted in its place, before it reads or writes.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"holdfast.io/holdfast/internal/sink"
)

// stagingName is the folder of attempts that have not ended.
const stagingName = "staging"

// Sink is a sink in a folder. It holds nothing open between its operations, so
// that the file system can be unmounted.
type Sink struct {
	maker
	dir string
	own sink.Identity
	// identified is the file with the sink's id as it was when that was last read.
	identified atomic.Pointer[fs.FileInfo]
}

// Options are what a sink's configuration says beside its place.
type Options struct {
	// ModesIgnored takes a file system that keeps no modes, so that other users of
	// the machine may read what is stored. Otherwise nothing is stored on one.
	ModesIgnored bool
	// Format is kept with a sink that is set up: see [sink.Identity].
	Format string
}

var (
	_ sink.Sink      = (*Sink)(nil)
	_ sink.Prober    = (*Sink)(nil)
	_ sink.Spacer    = (*Sink)(nil)
	_ sink.Sizer     = (*Sink)(nil)
	_ sink.Locator   = (*Sink)(nil)
	_ sink.Formatted = (*Sink)(nil)
)

// Open returns the sink in the folder dir, which must be there: a mount that is
// missing must never be replaced by a fresh folder. known is the id that the
// caller remembers from earlier, or empty for a sink that it never used; only
// then, and only if the folder has neither an identity nor points, one is set up
// there. Several processes that set one up at a time agree on one id. Errors wrap
// [sink.ErrUnavailable], or [sink.ErrFull] where there is no room to set it up.
func Open(_ context.Context, dir, known string, o Options) (*Sink, error) {
	m := maker{modesIgnored: o.ModesIgnored}
	return open(dir, m, func(root *os.Root) (sink.Identity, error) {
		own, err := readIdentity(root)
		switch {
		case !errors.Is(err, fs.ErrNotExist):
		case known != "":
			return own, fmt.Errorf("it is not the sink %s that was used before: it has no %s; is the disk mounted?", known, sink.IdentityName)
		default:
			own, err = m.setUp(root, o.Format)
		}
		if err == nil && known != "" && own.ID != known {
			return own, fmt.Errorf("it is the sink %s, and not %s that was used before; is the right disk mounted?", own.ID, known)
		}
		return own, err
	})
}

// OpenExisting returns the sink in the folder dir, whichever it is, and sets none
// up. Errors wrap [sink.ErrUnavailable].
func OpenExisting(_ context.Context, dir string, o Options) (*Sink, error) {
	return open(dir, maker{modesIgnored: o.ModesIgnored}, func(root *os.Root) (sink.Identity, error) {
		own, err := readIdentity(root)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("it holds no sink: it has no %s; the first backup sets a sink up in an empty folder", sink.IdentityName)
		}
		return own, err
	})
}

func open(dir string, m maker, identify func(root *os.Root) (sink.Identity, error)) (*Sink, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	own, err := identify(root)
	if err != nil {
		return nil, unavailable(dir, err)
	}
	return &Sink{maker: m, dir: dir, own: own}, nil
}

// openRoot opens the sink's folder, which is the only one that may be reached by
// a symbolic link.
func openRoot(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: the folder is not there; mount its disk, or make the folder for a new sink", dir, sink.ErrUnavailable)
	}
	if err != nil {
		return nil, unavailable(dir, err)
	}
	return root, nil
}

// root opens the sink's folder for one operation, and reports ErrUnavailable if
// it no longer holds this sink.
func (s *Sink) root() (*os.Root, error) {
	root, err := openRoot(s.dir)
	if err != nil {
		return nil, err
	}
	named, err := root.Lstat(sink.IdentityName)
	if err == nil && s.isIdentified(named) {
		return root, nil
	}
	own, err := readIdentity(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("it no longer holds the sink %s: it has no %s; is the disk mounted?", s.own.ID, sink.IdentityName)
	case err == nil && own.ID != s.own.ID:
		err = fmt.Errorf("it now holds the sink %s, and not %s; is the right disk mounted?", own.ID, s.own.ID)
	}
	if err != nil {
		_ = root.Close()
		return nil, unavailable(s.dir, err)
	}
	if named != nil {
		s.identified.Store(&named)
	}
	return root, nil
}

// isIdentified reports whether a file is the one that the sink's id was last read from,
// and was not written since.
func (s *Sink) isIdentified(named fs.FileInfo) bool {
	known := s.identified.Load()
	return known != nil && os.SameFile(*known, named) && (*known).ModTime().Equal(named.ModTime()) && (*known).Size() == named.Size()
}

// ID implements [sink.Sink].
func (s *Sink) ID() string { return s.own.ID }

// Format implements [sink.Formatted].
func (s *Sink) Format() string { return s.own.Format }

// Path implements [sink.Locator].
func (s *Sink) Path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// place returns where a key lies, for messages.
func (s *Sink) place(key string) string { return s.Path(key) }
