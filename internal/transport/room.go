package transport

import (
	"fmt"
	"path"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/bytesize"
	"holdfast.io/holdfast/internal/engine"
)

// Disk is where an Engine keeps what it stages, and something that only that Engine
// has: a folder of this machine may have the same name and be another Engine's.
type Disk struct {
	About engine.About
	// Container and Image are full ids of which the Engine has at least one; empty for
	// none.
	Container, Image string
}

// own is a path that exists where the disk is this machine's.
func (d Disk) own() string {
	if d.Container != "" {
		return path.Join(d.About.DataRoot, "containers", d.Container)
	}
	return path.Join(d.About.DataRoot, "image", d.About.Store, "imagedb/content/sha256", strings.TrimPrefix(d.Image, "sha256:"))
}

// free returns how many bytes are free where the Engine stages what it saves, and
// whether that is proven to be the Engine's own disk. known is unset if nothing can be
// told.
func (s *Save) free(d Disk) (free int64, proven, known bool) {
	if !d.About.Stages || s.Room == nil {
		return 0, false, false
	}
	free, err := s.Room(path.Join(d.About.DataRoot, "tmp"))
	if err != nil {
		return 0, false, false
	}
	_, err = s.Room(d.own())
	return free, err == nil, true
}

// NeedsRoom reports whether Reserve can tell something of this disk.
func (s *Save) NeedsRoom(d Disk) bool {
	_, _, known := s.free(d)
	return known
}

// Reserve refuses, by engine.ErrEngineFull, a save that the Engine has no room to
// stage: it would fill the disk that all containers live on. Where the disk that was
// looked at is not proven to be the Engine's, it returns its doubt for people instead.
// The room is given back by release, which may be called more than once, when the
// Engine has staged the image: from then on it shows as used.
func (s *Save) Reserve(d Disk, size int64) (release func(), doubt string, err error) {
	free, proven, known := s.free(d)
	if !known {
		return func() {}, "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if size+s.reserved > free {
		doubt = fmt.Sprintf(
			"to save the image, the Engine needs about %s in %s, and %s for other saves that have begun, but only %s are free there",
			bytesize.Format(size), d.About.DataRoot, bytesize.Format(s.reserved), bytesize.Format(free))
		if proven {
			return nil, "", fmt.Errorf("%w: %s; make room, or back up fewer items at a time", engine.ErrEngineFull, doubt)
		}
		doubt += ", if that folder of this machine is the Engine's"
	}
	s.reserved += size
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reserved -= size
	}), doubt, nil
}
