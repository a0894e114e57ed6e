package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// capture makes the snapshot of a container that is captured alone: it quiesces
// and commits it, lets it go, and proves that it stood still meanwhile.
func (r *itemRun) capture(ctx context.Context) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	ctx, endWatch := context.WithCancel(ctx)
	defer endWatch()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	err := r.runPreHook(ctx)
	if err == nil {
		err = r.quiesce(ctx)
	}
	if err == nil {
		// The Engine's own pause ends with the commit.
		err = r.commit(ctx, r.Item.Quiesce == events.QuiescePause && r.before.State != events.StatePaused)
	}
	r.durations.Commit = time.Since(r.account.began).Milliseconds()
	if err != nil {
		return r.captureFailed(ctx, err)
	}
	return r.settle(ctx)
}

// lock waits until no other attempt has the container.
func (r *itemRun) lock(ctx context.Context) error {
	release, err := r.Sweeper.Locks.Acquire(ctx, undo.Container(r.Item.ID))
	if err != nil {
		return r.failed(ctx, events.StepCommit, err, "wait for another backup of container %s", r.Item.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release = release
	return nil
}

// prepare has the container watched until ctx ends, takes it down as it is, and
// notes what is going to be done to it.
func (r *itemRun) prepare(ctx context.Context) error {
	changes, err := r.Engine.Watch(ctx, r.Item.ID)
	if err != nil {
		return r.failed(ctx, events.StepInspect, err, "watch container %s", r.Item.Name)
	}
	if err := r.inspect(ctx); err != nil {
		return err
	}
	if r.hooks, err = r.hooksOf(r.Item.Item, r.before, r.IgnoredLabels); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	r.progress(events.StepCommit, 0, 0, 0)
	r.account = &account{changes: changes, before: r.before.State, mode: r.Item.Quiesce, began: time.Now()}
	r.manifest.SnapshotTime = r.account.began.UTC()
	return nil
}

// inspect takes down the container as it is, and refuses what cannot be done.
func (r *itemRun) inspect(ctx context.Context) error {
	defer measure(&r.durations.Inspect)()
	c, err := r.Engine.Inspect(ctx, r.Item.ID)
	if err != nil {
		return r.failed(ctx, events.StepInspect, err, "inspect container %s", r.Item.Name)
	}
	if !engine.Committable(c.State) {
		return &ItemError{Step: events.StepInspect, Code: events.CodeUncommittable,
			Err: fmt.Errorf("container %s is %s by now, and the Engine cannot commit it", r.Item.Name, c.State)}
	}
	if r.Item.Quiesce == events.QuiesceStop {
		if why := engine.StopWouldRemove(c); why != "" {
			return &ItemError{Step: events.StepInspect, Code: events.CodeStopWouldRemove,
				Err: fmt.Errorf("container %s is not stopped: %s; use quiesce pause", r.Item.Name, why)}
		}
	}
	r.before = c
	r.config = c.Raw
	if strings.Contains(c.Runtime, "runsc") {
		r.manifest.Warn(events.Warn(nil, events.WarningRuntime,
			"container %s runs in gVisor (runtime %s), so the point may lack what it wrote to its own file system", c.Name, c.Runtime)...)
	}
	r.manifest.State = c.State
	r.manifest.Quiesce = r.Item.Quiesce
	r.manifest.Image.Reference = c.Image
	for _, m := range c.Mounts {
		r.manifest.NotIncluded = append(r.manifest.NotIncluded, events.NotIncluded{
			Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, Reason: notIncludedReason(m.Type)})
	}
	return nil
}

// runPreHook runs the command that the container's labels name. It has a bound of
// its own, and is no lack of progress.
func (r *itemRun) runPreHook(ctx context.Context) error {
	defer r.watch.Suspend()()
	if err := r.hooks.pre(ctx); err != nil {
		return err
	}
	step.At(ctx, step.HookRun)
	return nil
}

// quiesce stops the container if that is what is planned, and pauses it if that
// is not left to its commit.
func (r *itemRun) quiesce(ctx context.Context) error {
	switch {
	case !r.resumes():
		return nil
	case r.Item.Quiesce == events.QuiesceStop:
		if err := r.tell(ctx, r.Engine.Stop); err != nil {
			return fmt.Errorf("stop it: %w", err)
		}
		step.At(ctx, step.Stopped)
	case r.isHeld():
		if err := r.tell(ctx, r.Engine.Pause); err != nil {
			return fmt.Errorf("pause it: %w", err)
		}
		step.At(ctx, step.Paused)
	}
	r.watch.Kick()
	return nil
}

// commit makes the snapshot, and records its id: the snapshot is gone when that is.
func (r *itemRun) commit(ctx context.Context, pause bool) error {
	return r.tell(ctx, func(ctx context.Context, id string) (err error) {
		r.imageID, err = r.Engine.Commit(ctx, id, engine.CommitOptions{Reference: r.ref, Comment: engine.SnapshotComment(r.ref), Pause: pause})
		if err == nil {
			r.entry.Change(func(rec *undo.Record) { rec.EndCommit(r.ref, r.imageID) })
			step.At(ctx, step.Committed)
			r.watch.Kick()
		}
		return err
	})
}

// tell has the Engine do something to the container. It is not begun when ctx has
// ended; once begun it is not cancelled, as the Engine would go on with it after
// its client has gone, and nobody would learn of the end.
func (r *itemRun) tell(ctx context.Context, call func(ctx context.Context, id string) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.touched = true
	err := call(context.WithoutCancel(ctx), r.before.ID)
	if errors.Is(err, engine.ErrEngineUnavailable) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lost = true
	}
	return err
}

// captureFailed lets a container go whose capture failed, and returns the item's
// error. If the Engine is away that is left to the Sweeper.
func (r *itemRun) captureFailed(ctx context.Context, err error) error {
	failure := r.failed(ctx, events.StepCommit, r.orGone(ctx, err), "commit container %s", r.Item.Name)
	if r.isLost() || failure.Code == events.CodeEngineUnavailable {
		return failure
	}
	if worse := r.bringBack(ctx); worse != nil {
		if ctx.Err() == nil {
			r.Log.Error("the commit failed, and the container does not run again", zap.String("container", r.Item.Name), zap.Error(err))
		}
		return worse
	}
	r.letGo(ctx)
	return failure
}

// orGone is the error of what was done to the container, or that the container
// has gone meanwhile, which an Engine reports in many ways.
func (r *itemRun) orGone(ctx context.Context, err error) error {
	if _, gone := r.Engine.Inspect(ctx, r.Item.ID); errors.Is(gone, engine.ErrNotFound) {
		return fmt.Errorf("%w (%v)", gone, err) //nolint:errorlint // what broke is the container's going
	}
	return err
}

// settle lets a container run again as before that was committed, and proves by
// the Engine's account that it stood still meanwhile.
func (r *itemRun) settle(ctx context.Context) error {
	if r.Item.Quiesce == events.QuiesceStop {
		if err := r.bringBack(ctx); err != nil {
			return err
		}
	}
	if r.Item.Quiesce == events.QuiesceNone {
		r.letGo(ctx)
		return nil
	}
	s, err := r.stood(ctx)
	if err != nil {
		return err
	}
	if !s.Began.IsZero() {
		r.manifest.SnapshotTime = s.Began.UTC()
	}
	r.manifest.NotRunningMillis = r.account.notRunning(s)
	return nil
}

// stood proves by the Engine's account that the container stood still while it
// was committed. It lets it go if the Engine left it paused.
func (r *itemRun) stood(ctx context.Context) (stand, error) {
	s, err := r.account.follow(r.imageID)
	if err != nil || !s.settled() {
		if err := r.bringBack(ctx); err != nil {
			return s, err
		}
	}
	r.letGo(ctx)
	if err == nil && !s.settled() {
		s, err = r.account.follow(r.imageID)
	}
	if err == nil && !s.Quiesced {
		err = errors.New(s.Why)
	}
	if err != nil {
		return s, r.notQuiesced(ctx, err)
	}
	return s, nil
}

// notQuiesced is the error of a snapshot that is not proven. An account breaks off
// also because the item was told to end, or the Engine went away.
func (r *itemRun) notQuiesced(ctx context.Context, why error) error {
	failure := r.failed(ctx, events.StepCommit, why, "watch container %s", r.Item.Name)
	if failure.Code == events.CodeEngine {
		failure.Code = events.CodeNotQuiesced
		failure.Err = fmt.Errorf("container %s was not proven to stand still, so its snapshot is not kept: %w", r.Item.Name, why)
	}
	return failure
}

func notIncludedReason(mountType string) string {
	switch mountType {
	case "volume":
		return "volumes are not backed up by this version"
	case "bind":
		return "bind mounts are not backed up by this version"
	case "tmpfs":
		return "a tmpfs lies in memory only"
	}
	return "mounts of this type are not backed up"
}
