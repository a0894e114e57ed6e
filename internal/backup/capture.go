package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/hook"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/quiesce"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// settleBound bounds the looking at a container that was started again.
const settleBound = 15 * time.Second

// lock waits until no other attempt has the container.
func (r *attempt) lock(ctx context.Context) error {
	release, err := r.Sweeper.Locks.Acquire(ctx, undo.Container(r.Item.ID))
	if err != nil {
		return failure.At(events.StepCommit, err, "wait for another backup of container %s", r.Item.Name)
	}
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.release = release
	return nil
}

// prepare watches the container until ctx ends, takes it down as it is, proves what
// will be needed, records what is going to be done to it, and makes room in the sink:
// whatever is in the way is found before the container is touched. With byCommit the
// container's pause is left to its commit.
func (r *attempt) prepare(ctx context.Context, byCommit bool) error {
	r.container = &quiesce.Container{Engine: r.Engine, Log: r.Log, ID: r.Item.ID, Name: r.Item.Name, Mode: r.Item.Quiesce,
		ByCommit: byCommit, Kick: r.watch.Kick}
	if err := r.inspect(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.probe, r.base, r.openPush, r.begin, r.stage, r.prepareHelpers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.progress(events.StepCommit, 0, 0, 0)
	r.manifest.SnapshotTime = time.Now().UTC()
	return nil
}

// inspect takes down the container as it is, and refuses what cannot be done.
func (r *attempt) inspect(ctx context.Context) error {
	defer measure(&r.durations.Inspect)()
	c, err := r.container.Watch(ctx)
	if err != nil {
		return failure.At(events.StepInspect, err, "container %s", r.Item.Name)
	}
	if !engine.Committable(c.State) {
		return &failure.Error{Step: events.StepInspect, Code: events.CodeUncommittable,
			Err: fmt.Errorf("container %s is %s by now, and the Engine cannot commit it", r.Item.Name, c.State)}
	}
	if r.Item.Quiesce == events.QuiesceStop {
		if why := engine.StopWouldRemove(c); why != "" {
			return &failure.Error{Step: events.StepInspect, Code: events.CodeStopWouldRemove,
				Err: fmt.Errorf("container %s is not stopped: %s; use quiesce pause", r.Item.Name, why)}
		}
	}
	hooks := hook.Runner{Execer: r.Engine, Allowed: r.HooksAllowed, ShowOutput: r.HookOutput, Log: r.Log}
	if r.hooks, err = hooks.Open(c, r.IgnoredLabels); err != nil {
		return failure.At(events.StepHook, err, "container %s", r.Item.Name)
	}
	if err := archive.CheckConfigSize(c.ConfigSize); err != nil {
		return failure.At(events.StepInspect, err, "container %s is not touched", r.Item.Name)
	}
	r.documents = append(r.documents, document{point.ContainerConfig, point.MediaTypeContainerConfig, c.Raw})
	r.baseID = c.ImageID
	if err := r.gatherContext(ctx, c.Raw); err != nil {
		return failure.At(events.StepInspect, err, "container %s is not touched", r.Item.Name)
	}
	if strings.Contains(c.Runtime, "runsc") {
		r.manifest.Warn(events.NewWarning(events.WarningRuntime,
			"container %s runs in gVisor (runtime %s), so the point may lack what it wrote to its own file system", c.Name, c.Runtime))
	}
	r.manifest.State = c.State
	r.manifest.Quiesce = r.Item.Quiesce
	r.manifest.Image.Reference = c.Image
	r.manifest.NotIncluded = append(r.manifest.NotIncluded, r.notIncluded(c.Mounts)...)
	return nil
}

// runPreHook runs the command that the container's labels name. It has a bound of
// its own, and is no lack of progress.
func (r *attempt) runPreHook(ctx context.Context) error {
	defer r.watch.Suspend()()
	if err := r.hooks.Pre(ctx); err != nil {
		return failure.At(events.StepHook, err, "container %s", r.Item.Name)
	}
	step.At(ctx, step.HookRun)
	return nil
}

// hold stops or pauses the container, unless its commit does that.
func (r *attempt) hold(ctx context.Context) error {
	r.held()
	killed, err := r.container.Hold(ctx)
	if err != nil {
		return failure.At(events.StepCommit, r.orGone(ctx, err), "container %s", r.Item.Name)
	}
	if killed {
		r.manifest.Warn(events.NewWarning(events.WarningStopKilled,
			"container %s did not end within its grace period when it was stopped, and the Engine killed it (exit code 137): "+
				"its snapshot is as after a crash; have it end on its stop signal, give it a longer one (stop_grace_period), "+
				"or use quiesce pause", r.Item.Name))
	}
	return nil
}

// commit makes the snapshot, and records its id: the snapshot is gone when that is.
func (r *attempt) commit(ctx context.Context) error {
	imageID, retried, err := r.container.Commit(ctx, r.ref)
	r.retried = r.retried || retried
	if err != nil {
		return failure.At(events.StepCommit, r.orGone(ctx, err), "container %s", r.Item.Name)
	}
	r.imageID = imageID
	r.shared.entry.Change(func(rec *undo.Record) { rec.EndCommit(r.ref, imageID) })
	return nil
}

// orGone is the error of what was done to the container, or that the container was
// removed meanwhile, which Engines report in many ways.
func (r *attempt) orGone(ctx context.Context, err error) error {
	if _, gone := r.Engine.Inspect(ctx, r.Item.ID); errors.Is(gone, engine.ErrNotFound) {
		return fmt.Errorf("%w (%v)", gone, err) //nolint:errorlint // what broke is the container's going
	}
	return err
}

// resume resumes the container. One that does not run again is left to the Sweeper.
func (r *attempt) resume(ctx context.Context, committed string) error {
	if r.resumeErr = r.container.Resume(ctx, committed); r.resumeErr != nil {
		r.resumeErr = failure.At(events.StepCommit, r.resumeErr, "container %s", r.Item.Name)
		if ctx.Err() == nil {
			r.Log.Error("a container does not run again", zap.String("container", r.Item.Name), zap.Error(r.resumeErr))
		}
		return r.resumeErr
	}
	r.resumed()
	return nil
}

// release runs the command after the snapshot, if the container's labels name one,
// records that the container runs as before, and lets others have it: from now on it
// is not ours to start or to unpause.
func (r *attempt) release(ctx context.Context) {
	resume := r.watch.Suspend()
	err := r.hooks.Post(ctx)
	resume()
	if err != nil {
		r.Log.Warn("the hook after the snapshot is still to be run", zap.String("container", r.Item.Name), zap.Error(err))
	}
	entry := r.shared.entry
	entry.Change(func(rec *undo.Record) {
		rec.Drop(func(a undo.Action) bool { return undo.IsResume(a) || err == nil && undo.IsHook(a) })
		rec.EndCommit(r.ref, r.imageID)
	})
	if err := entry.Save(); err != nil {
		r.Log.Warn("the undo record does not say that the container runs again", zap.String("record", r.id), zap.Error(err))
	}
	step.At(ctx, step.Resumed)
	r.watch.Kick()
	if !r.container.IsSettling() {
		r.unlock()
		return
	}
	// Nothing else of the item waits for that.
	settling, stop := context.WithTimeout(context.WithoutCancel(ctx), settleBound)
	r.shared.mu.Lock()
	r.shared.stopSettling = stop
	r.shared.mu.Unlock()
	r.settled = make(chan error, 1)
	go r.settle(settling)
}

// settle sees whether a container that was started again still runs a moment later,
// and lets others have it then.
func (r *attempt) settle(ctx context.Context) {
	err := panics.Catch(func() error { return r.container.Settled(ctx) })
	if errors.Is(err, quiesce.ErrNotResumed) {
		r.Log.Error("a container that was started again does not run", zap.String("container", r.Item.Name), zap.Error(err))
	}
	r.settled <- err
	r.unlock()
}
