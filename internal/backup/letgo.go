package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// bringBackBound is how long an item tries to have its container run again before
// it reports that it does not.
const bringBackBound = time.Minute

// bringBack has a container run again that ran before. An Engine that is away is
// left to the Sweeper, and so is a container that does not come back.
func (r *itemRun) bringBack(ctx context.Context) error {
	how := r.unpauseIfPaused
	switch {
	case !r.touched || !r.resumes():
		return nil
	case r.Item.Quiesce == events.QuiesceStop:
		how = r.Engine.Start
	}
	bounded, cancel := context.WithTimeout(ctx, bringBackBound)
	defer cancel()
	err := retry(bounded, func() error { return how(bounded, r.before.ID) })
	switch {
	case err == nil, errors.Is(err, engine.ErrNotFound): // removed by somebody: nothing stands
		return nil
	case ctx.Err() != nil, errors.Is(err, engine.ErrEngineUnavailable):
		return r.failed(ctx, events.StepCommit, err, "let container %s run again", r.Item.Name)
	}
	return &ItemError{Step: events.StepCommit, Code: events.CodeNotRestored, Retryable: true,
		Err: fmt.Errorf("container %s was %s and does not run again; it is tried on, but look at it, and start or unpause it by hand: %w",
			r.Item.Name, r.before.State, err)}
}

func (r *itemRun) unpauseIfPaused(ctx context.Context, id string) error {
	now, err := r.Engine.Inspect(ctx, id)
	if err != nil || now.State != events.StatePaused {
		return err
	}
	if !r.together {
		r.Log.Warn("the Engine left the container paused; it is let go", zap.String("container", r.Item.Name))
	}
	return r.Engine.Unpause(ctx, id)
}

// letGo runs the command after the snapshot, if the container's labels name one,
// takes down that the container runs as before, and lets others have it: from now
// on it is not ours to start or to unpause. A second call does nothing.
func (r *itemRun) letGo(ctx context.Context) {
	if r.resumed {
		return
	}
	r.resumed = true
	err := r.runPostHook(ctx)
	r.entry.Change(func(rec *undo.Record) {
		rec.Drop(func(a undo.Action) bool { return undo.IsResume(a) || err == nil && undo.IsHook(a) })
		rec.EndCommit(r.ref, r.imageID)
	})
	if err := r.entry.Save(); err != nil {
		r.Log.Warn("the undo record does not say that the container runs again", zap.String("record", r.id), zap.Error(err))
	}
	step.At(ctx, step.Resumed)
	r.watch.Kick()
	r.unlock()
}

// runPostHook returns an error if the command is still to be run; that
// is left to the Sweeper.
func (r *itemRun) runPostHook(ctx context.Context) error {
	defer r.watch.Suspend()()
	err := r.hooks.post(ctx)
	if err != nil {
		r.Log.Warn("the hook after the snapshot is still to be run", zap.String("container", r.Item.Name), zap.Error(err))
	}
	return err
}

// retry repeats op with growing, jittered delays until it succeeds, reports an error
// that a retry does not change within a minute, or ctx ends. The error is the last one of
// op.
func retry(ctx context.Context, op func() error) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = op()
		for _, lasting := range []error{engine.ErrNotFound, engine.ErrEngineUnavailable, engine.ErrRefused, engine.ErrInUse} {
			if errors.Is(last, lasting) {
				return struct{}{}, backoff.Permanent(last)
			}
		}
		return struct{}{}, last
	}, backoff.WithMaxElapsedTime(0))
	return cmp.Or(last, err)
}
