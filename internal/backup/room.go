package backup

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/bytesize"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// reservations is the room that saves which have begun still need on the Engine's
// disk.
type reservations struct {
	mu       sync.Mutex
	reserved int64
}

// freeAtEngine returns how many bytes are free where the Engine stages what it saves,
// and whether that is proven to be the Engine's own disk: a folder of this machine may
// only have the same name. known is unset if nothing can be told.
func (r *attempt) freeAtEngine() (free int64, proven, known bool) {
	if !r.about.Stages || r.Room == nil {
		return 0, false, false
	}
	dir := path.Join(r.about.DataRoot, "tmp")
	free, err := r.Room(dir)
	if err != nil {
		return 0, false, false
	}
	own := path.Join(r.about.DataRoot, "containers", r.Item.ID)
	if r.Item.Kind == events.ItemImage {
		own = path.Join(r.about.DataRoot, "image", r.about.Store, "imagedb/content/sha256", strings.TrimPrefix(r.Item.ID, "sha256:"))
	}
	_, err = r.Room(own)
	return free, err == nil, true
}

// roomForBase refuses a container whose image alone the Engine has no room to stage,
// before it is touched. How large its snapshot is shows only later.
func (r *attempt) roomForBase(ctx context.Context) error {
	if _, _, known := r.freeAtEngine(); !known {
		return nil
	}
	img, err := r.Engine.InspectImage(ctx, r.manifest.Image.Reference)
	if err != nil { // its image may be gone: that is no reason not to back it up
		return nil
	}
	release, err := r.reserve(img.Size)
	if err != nil {
		return at(events.StepInspect, err, "container %s is not touched", r.Item.Name)
	}
	release()
	return nil
}

// reserve refuses a save that the Engine has no room to stage: it would fill the disk
// that all containers live on. Where the Engine's disk is not proven to be the one that
// was looked at, it warns. The room is given back by release, which may be called more
// than once, when the Engine has staged the image: from then on it shows as used.
func (r *attempt) reserve(size int64) (release func(), err error) {
	free, proven, known := r.freeAtEngine()
	if !known {
		return func() {}, nil
	}
	s := &r.Runner.reservations
	s.mu.Lock()
	defer s.mu.Unlock()
	if size+s.reserved > free {
		why := fmt.Sprintf("to save the image, the Engine needs about %s in %s, and %s for other saves that have begun, but only %s are free there",
			bytesize.Format(size), r.about.DataRoot, bytesize.Format(s.reserved), bytesize.Format(free))
		if proven {
			return nil, fmt.Errorf("%w: %s; make room, or back up fewer items at a time", engine.ErrEngineFull, why)
		}
		r.manifest.Warn(events.NewWarning(events.WarningEngineRoom, "%s, if that folder of this machine is the Engine's", why))
	}
	s.reserved += size
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reserved -= size
	}), nil
}
