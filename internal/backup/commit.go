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
)

// bringBackBound is how long a container that does not run again is tried to be
// brought back.
const bringBackBound = time.Minute

// commit quiesces the container as planned, commits it to ref, proves that it
// stood still meanwhile and runs again as before, and returns the image's id.
//
// Once begun, a commit is not cancelled: the Engine would go on with it, and
// with the pause, after its client has gone.
func (r *itemRun) commit(ctx context.Context, ref string) (imageID string, err error) {
	release, err := r.Locks.Acquire(ctx, r.Item.ID)
	if err != nil {
		return "", failed(ctx, events.StepCommit, err, "wait for another backup of container %s", r.Item.Name)
	}
	defer release()

	watchCtx, endWatch := context.WithCancel(context.WithoutCancel(ctx))
	defer endWatch()
	detach := context.AfterFunc(ctx, endWatch)
	defer detach()
	changes, err := r.Engine.Watch(watchCtx, r.Item.ID)
	if err != nil {
		return "", failed(ctx, events.StepInspect, err, "watch container %s", r.Item.Name)
	}
	before, err := r.inspect(ctx)
	if err != nil {
		return "", err
	}
	if !detach() { // the last moment to leave without a trace
		return "", failed(ctx, events.StepCommit, context.Cause(ctx), "commit container %s", r.Item.Name)
	}

	r.Progress(events.StepCommit, 0, 0, 0)
	uncancelled := context.WithoutCancel(ctx)
	began := time.Now()
	r.begun = true
	imageID, err = r.quiesceAndCommit(uncancelled, before, ref)
	r.durations.Commit = time.Since(began).Milliseconds()
	r.manifest.SnapshotTime = began.UTC()
	if err != nil {
		err = failed(ctx, events.StepCommit, err, "commit container %s", r.Item.Name)
		if worse := r.undoQuiesce(uncancelled, before); worse != nil {
			r.Log.Error("the commit failed, and the container does not run again", zap.String("container", r.Item.Name), zap.Error(err))
			return "", worse
		}
		return "", err
	}
	acc := &account{changes: changes, before: before.State, mode: r.Item.Quiesce, began: began}
	return imageID, r.settle(uncancelled, before, imageID, acc)
}

// undoQuiesce lets a container run again as before whose commit failed.
func (r *itemRun) undoQuiesce(ctx context.Context, before *ContainerDetail) error {
	if r.stops(before) {
		return r.bringBack(ctx, before, r.Engine.Start)
	}
	return r.letGo(ctx, before)
}

// settle lets a container run again as before that was committed, and proves by
// the Engine's account that it stood still meanwhile.
func (r *itemRun) settle(ctx context.Context, before *ContainerDetail, imageID string, acc *account) error {
	if r.stops(before) {
		if err := r.bringBack(ctx, before, r.Engine.Start); err != nil {
			return err
		}
	}
	if r.Item.Quiesce == events.QuiesceNone {
		return nil
	}
	s, err := acc.follow(imageID)
	if err != nil || !s.settled() {
		if err := r.letGo(ctx, before); err != nil {
			return err
		}
	}
	if err == nil && !s.settled() {
		s, err = acc.follow(imageID)
	}
	if err == nil && !s.Quiesced {
		err = errors.New(s.Why)
	}
	if err != nil {
		return &ItemError{Step: events.StepCommit, Code: events.CodeNotQuiesced, Retryable: true,
			Err: fmt.Errorf("container %s was not proven to stand still, so its snapshot is not kept: %w", r.Item.Name, err)}
	}
	if !s.Began.IsZero() {
		r.manifest.SnapshotTime = s.Began.UTC()
		r.manifest.NotRunningMillis = float64(acc.notRunning(s).Microseconds()) / 1000
	}
	return nil
}

// inspect takes down the container as it is, and refuses what cannot be done.
func (r *itemRun) inspect(ctx context.Context) (*ContainerDetail, error) {
	defer measure(&r.durations.Inspect)()
	c, err := r.Engine.Inspect(ctx, r.Item.ID)
	if err != nil {
		return nil, failed(ctx, events.StepInspect, err, "inspect container %s", r.Item.Name)
	}
	if !committable(c.State) {
		return nil, &ItemError{Step: events.StepInspect, Code: events.CodeUncommittable,
			Err: fmt.Errorf("container %s is %s by now, and the Engine cannot commit it", r.Item.Name, c.State)}
	}
	if r.Item.Quiesce == events.QuiesceStop {
		if why := stopWouldRemove(c); why != "" {
			return nil, &ItemError{Step: events.StepInspect, Code: events.CodeStopWouldRemove,
				Err: fmt.Errorf("container %s is not stopped: %s; use quiesce pause", r.Item.Name, why)}
		}
	}
	r.config = c.Raw
	r.manifest.State = c.State
	r.manifest.Quiesce = r.Item.Quiesce
	r.manifest.Image.Reference = c.Image
	for _, m := range c.Mounts {
		m.Reason = notIncludedReason(m.Type)
		r.manifest.NotIncluded = append(r.manifest.NotIncluded, m)
	}
	return c, nil
}

// quiesceAndCommit stops the container if that is what is planned, and commits
// it. The Engine's own pause is used, so that it ends with the commit.
func (r *itemRun) quiesceAndCommit(ctx context.Context, before *ContainerDetail, ref string) (string, error) {
	if r.stops(before) {
		if err := r.Engine.Stop(ctx, before.ID); err != nil {
			return "", fmt.Errorf("stop it: %w", err)
		}
	}
	return r.Engine.Commit(ctx, before.ID, CommitOptions{
		Reference: ref,
		Comment:   "holdfast point " + r.Point,
		Pause:     r.Item.Quiesce == events.QuiescePause && before.State != events.StatePaused,
	})
}

// stops reports whether the container is stopped for the commit.
func (r *itemRun) stops(before *ContainerDetail) bool {
	return r.Item.Quiesce == events.QuiesceStop &&
		(before.State == events.StateRunning || before.State == events.StateRestarting)
}

// bringBack makes a container run again that ran before.
func (r *itemRun) bringBack(ctx context.Context, before *ContainerDetail, how func(ctx context.Context, id string) error) error {
	ctx, cancel := context.WithTimeout(ctx, bringBackBound)
	defer cancel()
	err := retry(ctx, func() error { return how(ctx, before.ID) })
	if err == nil || errors.Is(err, ErrNotFound) { // removed by somebody: nothing stands
		return nil
	}
	return &ItemError{Step: events.StepCommit, Code: events.CodeNotRestored, Retryable: true,
		Err: fmt.Errorf("container %s was %s and does not run again; look at it, and start or unpause it by hand: %w",
			r.Item.Name, before.State, err)}
}

// letGo unpauses a container that ran before, if the Engine left it paused.
func (r *itemRun) letGo(ctx context.Context, before *ContainerDetail) error {
	if r.Item.Quiesce != events.QuiescePause || before.State != events.StateRunning {
		return nil
	}
	return r.bringBack(ctx, before, r.unpauseIfPaused)
}

func (r *itemRun) unpauseIfPaused(ctx context.Context, id string) error {
	now, err := r.Engine.Inspect(ctx, id)
	if err != nil || now.State != events.StatePaused {
		return err
	}
	r.Log.Warn("the Engine left the container paused; it is let go", zap.String("container", r.Item.Name))
	return r.Engine.Unpause(ctx, id)
}

// stopWouldRemove says why stopping the container would remove or replace it.
func stopWouldRemove(c *ContainerDetail) string {
	switch {
	case c.AutoRemove:
		return "it is set to be removed when it stops (--rm), with its anonymous volumes"
	case c.Labels["com.docker.swarm.task.id"] != "":
		return "it is a task of a swarm service, which would replace it"
	}
	return ""
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

// retry repeats op with growing, jittered delays until it succeeds, reports
// ErrNotFound, or ctx ends. The error is the last one of op.
func retry(ctx context.Context, op func() error) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = op()
		if errors.Is(last, ErrNotFound) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithMaxElapsedTime(0))
	return cmp.Or(last, err)
}
