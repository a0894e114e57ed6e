package backup

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/step"
)

// undoBound is how long an item tries to undo itself before it leaves that to
// the Tidier.
const undoBound = 10 * time.Second

// finish ends the item with err, and undoes what it did. If ctx has ended, that
// is left to the one who waits for the item, and who has it in hand by then.
func (r *itemRun) finish(ctx context.Context, err error) {
	r.mu.Lock()
	r.err = err
	noted, lost := r.note != nil, r.lost
	r.mu.Unlock()
	switch {
	case !noted:
		r.unlock()
	case ctx.Err() != nil:
	case lost, r.staged, !r.isLetGo():
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

// forget removes the note of an item that has undone itself.
func (r *itemRun) forget(ctx context.Context) {
	if err := r.Notes.Remove(r.id); err != nil {
		r.Log.Warn("the note of what is undone is still there", zap.String("note", r.id), zap.Error(err))
		r.handOver(closed)
		return
	}
	step.At(ctx, step.NoteGone)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.left {
		r.note = nil
		r.Tidier.unuse(r.id)
	}
}

// handOver leaves the undoing to the Tidier, with the container's lock. ended is
// closed when nothing of the item runs in this process any more.
func (r *itemRun) handOver(ended <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.note == nil || r.left {
		return
	}
	r.left = true
	r.Tidier.take(remains{note: *r.note, release: r.release, ended: ended, lost: r.isLost})
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

func (r *itemRun) isNoted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.note != nil
}

func (r *itemRun) isLost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// isLetGo reports whether nothing of the container is to be undone.
func (r *itemRun) isLetGo() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.note == nil || !r.note.stands() && r.note.Post == nil
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
	err := retry(ctx, func() error {
		if !failed {
			return r.Engine.RemoveImage(ctx, r.ref)
		}
		names, err := snapshots(ctx, r.Engine, r.ref)
		return errors.Join(err, removeImages(ctx, r.Engine, names))
	})
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

// measure adds the milliseconds until the returned function is called.
func measure(into *int64) func() {
	began := time.Now()
	return func() { *into += time.Since(began).Milliseconds() }
}
