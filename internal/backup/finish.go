package backup

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/quiesce"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// undoBound is how long an item tries to undo itself before it leaves that to
// the Sweeper.
const undoBound = 10 * time.Second

// finish ends the item with err, which may be nil, and undoes what it did. If ctx is
// done, the caller of Run has taken over and undoes the rest.
func (r *attempt) finish(ctx context.Context, err error) {
	r.closePush()
	var failure *failure.Error
	if err != nil {
		failure = r.itemError(ctx, err)
		err = failure
	}
	r.shared.mu.Lock()
	if failure != nil {
		failure.NotRunning = r.shared.heldFor
	}
	r.shared.err = err
	recorded := r.shared.entry != nil
	r.shared.endSettling()
	r.shared.mu.Unlock()
	if !recorded {
		r.unlock()
		return
	}
	staged := r.discard(ctx)
	switch {
	case ctx.Err() != nil:
	case r.removeHelpers(ctx), r.pending(), r.holds():
		r.handOver(r.idle(undo.Ended))
	default:
		r.end(ctx, staged, err != nil)
	}
}

// end removes the snapshot, and ends the record unless something is left staged.
func (r *attempt) end(ctx context.Context, staged, failed bool) {
	if err := r.removeSnapshot(ctx, failed); err != nil {
		r.Log.Warn("the snapshot is still there; it will be removed", zap.String("container", r.Item.Name), zap.Error(err))
		r.warnStored(events.WarningSnapshotKept,
			"the snapshot of container %s is still on the Engine, and is removed as soon as that is possible: %v", r.Item.Name, err)
		r.handOver(r.idle(undo.Ended))
		return
	}
	if staged { // whoever waits for the container does not wait for a sink
		r.shared.entry.Change(func(rec *undo.Record) { rec.Drop(undo.IsImage) })
		r.unlock()
		r.handOver(r.idle(undo.Ended))
		return
	}
	r.forget(ctx)
	r.unlock()
}

// discard throws away what is staged and was not published, and reports whether something
// may be left.
func (r *attempt) discard(ctx context.Context) (left bool) {
	return r.leaveLegs(ctx, func(l *leg) {
		if l.staging == nil {
			return
		}
		err := l.staging.Discard(context.WithoutCancel(ctx))
		l.staging = nil
		if l.staged = err != nil; l.staged {
			r.Log.Warn("what was staged is still there; it will be removed",
				zap.String("point", r.Point), zap.String("sink", l.Sink), zap.Error(err))
		}
	})
}

// warnStored adds a warning to the result of an item that is stored.
func (r *attempt) warnStored(code events.WarningCode, format string, args ...any) {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.warnings = events.Warn(r.shared.warnings, code, format, args...)
}

// forget removes the undo record of an item that has undone itself.
func (r *attempt) forget(ctx context.Context) {
	if err := r.shared.entry.End(); err != nil {
		r.Log.Warn("the undo record of what is undone is still there", zap.String("record", r.id), zap.Error(err))
		r.handOver(r.idle(undo.Ended))
		return
	}
	step.At(ctx, step.RecordGone)
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.entry = nil
}

// handOver leaves the undoing to the Sweeper, with the container's lock. ended is
// closed when nothing of the item runs in this process any more.
func (r *attempt) handOver(ended <-chan struct{}) {
	r.closePush()
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.endSettling()
	if r.shared.entry == nil || r.shared.handedOver {
		return
	}
	r.shared.handedOver = true
	r.shared.entry.HandOver(r.shared.release, ended, r.pending)
	r.shared.release = nil
}

// endSettling is called with the mutex held.
func (s *shared) endSettling() {
	if s.stopSettling != nil {
		s.stopSettling()
		s.stopSettling = nil
	}
}

// failure is the error that the item has ended with so far.
func (r *attempt) failure() error {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	return r.shared.err
}

func (r *attempt) isStored() bool {
	return slices.ContainsFunc(r.legs, func(l *leg) bool { return r.manifestIn(l) != nil })
}

func (r *attempt) isRecorded() bool {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	return r.shared.entry != nil
}

// holds reports whether something of the container is still to be undone.
func (r *attempt) holds() bool {
	rec := r.shared.entry.Record()
	return rec.Holds()
}

// unlock lets others have the container.
func (r *attempt) unlock() {
	r.shared.mu.Lock()
	release := r.shared.release
	r.shared.release = nil
	r.shared.mu.Unlock()
	if release != nil {
		release()
	}
}

// removeSnapshot removes the snapshot. After a failure it looks also for one that
// has no name.
func (r *attempt) removeSnapshot(ctx context.Context, failed bool) error {
	if r.ref == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, undoBound)
	defer cancel()
	defer measure(&r.durations.Remove)()
	err := quiesce.Retry(ctx, func() error { return r.removeImages(ctx, failed || r.retried) })
	if err != nil {
		return err
	}
	step.At(ctx, step.Removed)
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.durations = r.durations
	return nil
}

func (r *attempt) removeImages(ctx context.Context, failed bool) error {
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
