package backup

import (
	"context"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// undoBound is how long an item tries to undo itself before it leaves that to
// the Sweeper.
const undoBound = 10 * time.Second

// finish ends the item with err, and undoes what it did. If ctx has ended, that
// is left to the one who waits for the item, and who has it in hand by then.
func (r *itemRun) finish(ctx context.Context, err error) {
	r.mu.Lock()
	r.err = err
	recorded, lost := r.entry != nil, r.lost
	r.mu.Unlock()
	switch {
	case !recorded:
		r.unlock()
	case ctx.Err() != nil:
	case lost, r.staged, r.holds():
		r.handOver(closed)
	default:
		if err := r.removeSnapshot(ctx, err != nil); err != nil {
			r.Log.Warn("the snapshot is still there; it will be removed", zap.String("container", r.Item.Name), zap.Error(err))
			r.handOver(closed)
			return
		}
		r.forget(ctx)
	}
}

// closed is the end of what has ended already.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// forget removes the undo record of an item that has undone itself.
func (r *itemRun) forget(ctx context.Context) {
	if err := r.entry.End(); err != nil {
		r.Log.Warn("the undo record of what is undone is still there", zap.String("record", r.id), zap.Error(err))
		r.handOver(closed)
		return
	}
	step.At(ctx, step.RecordGone)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entry = nil
}

// handOver leaves the undoing to the Sweeper, with the container's lock. ended is
// closed when nothing of the item runs in this process any more.
func (r *itemRun) handOver(ended <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entry == nil || r.left {
		return
	}
	r.left = true
	r.entry.HandOver(r.release, ended, r.isLost)
	r.release = nil
}

// failure is the error that the item has ended with so far.
func (r *itemRun) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *itemRun) isStored() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result != nil
}

func (r *itemRun) isRecorded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entry != nil
}

func (r *itemRun) isLost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// holds reports whether something of the container is still to be undone.
func (r *itemRun) holds() bool {
	rec := r.entry.Record()
	return rec.Holds()
}

// unlock lets others have the container.
func (r *itemRun) unlock() {
	r.mu.Lock()
	release := r.release
	r.release = nil
	r.mu.Unlock()
	if release != nil {
		release()
	}
}

// removeSnapshot removes the snapshot. After a failure it looks also for one that
// has no name.
func (r *itemRun) removeSnapshot(ctx context.Context, failed bool) error {
	if r.ref == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, undoBound)
	defer cancel()
	defer measure(&r.durations.Remove)()
	err := retry(ctx, func() error { return r.removeImages(ctx, failed) })
	if err != nil {
		return err
	}
	step.At(ctx, step.Removed)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.result != nil {
		r.result.Durations = r.durations
	}
	return nil
}

func (r *itemRun) removeImages(ctx context.Context, failed bool) error {
	ids := []string{r.imageID}
	if failed {
		var err error
		if ids, err = undo.FindImage(ctx, r.Engine, undo.Image{Reference: r.ref, ID: r.imageID}); err != nil {
			return err
		}
	}
	for _, id := range ids {
		kept, err := undo.RemoveImage(ctx, r.Engine, undo.Image{Reference: r.ref, ID: id})
		if err != nil {
			return err
		}
		if len(kept) > 0 {
			r.Log.Warn("somebody has given the snapshot a name of his own; it is left to him",
				zap.String("container", r.Item.Name), zap.String("image", id), zap.Strings("names", kept))
		}
	}
	return nil
}

// measure adds the milliseconds until the returned function is called.
func measure(into *int64) func() {
	began := time.Now()
	return func() { *into += time.Since(began).Milliseconds() }
}
