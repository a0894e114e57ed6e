package backup

import (
	"fmt"
	"sync"

	"holdfast.io/holdfast/internal/bytesize"

	"holdfast.io/holdfast/internal/engine"
)

// reservations is the room that saves which have begun still need on the Engine's
// disk.
type reservations struct {
	mu       sync.Mutex
	reserved int64
}

// reserve refuses a save that a local Engine has no room to stage: it would fill
// the disk that all containers live on. The room is given back by release, which
// may be called more than once, when the Engine has staged the image: from then
// on it shows as used.
func (b *Runner) reserve(about engine.About, size int64) (release func(), err error) {
	if !about.Stages || b.Room == nil {
		return func() {}, nil
	}
	free, err := b.Room(about.DataRoot)
	if err != nil { // not on this machine, or not to be looked at
		return func() {}, nil
	}
	s := &b.staging
	s.mu.Lock()
	defer s.mu.Unlock()
	if size+s.reserved > free {
		return nil, fmt.Errorf("%w: to save the image, the Engine needs about %s in %s, and %s for other saves that have begun, but only %s are free there; make room, or back up fewer items at a time",
			engine.ErrEngineFull, bytesize.Format(size), about.DataRoot, bytesize.Format(s.reserved), bytesize.Format(free))
	}
	s.reserved += size
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reserved -= size
	}), nil
}
