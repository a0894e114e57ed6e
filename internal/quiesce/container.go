// Package quiesce holds containers still while they are committed, lets them run
// again, and proves by the Engine's own events that they did not run meanwhile.
package quiesce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// Errors of a container that is quiesced.
var (
	// ErrNotQuiesced: it was not proven that the container did not run while it was
	// committed.
	ErrNotQuiesced = errors.New("the container was not proven to be quiesced, so its snapshot is not kept")
	// ErrNotResumed: the container does not run again as before.
	ErrNotResumed = errors.New("the container does not run again")
)

// Tries bounds how often a call that failed without a known reason is made.
const Tries = 3

const (
	// retryDelay is between two tries.
	retryDelay = 500 * time.Millisecond
	// resumeBound is how long an item tries to resume its container before it reports
	// that it cannot.
	resumeBound = time.Minute
	// startWindow is how long a container is looked at that was started again: one that
	// ends within it does not run as before.
	startWindow = 3 * time.Second
)

// Engine is what quiescing needs of an Engine.
type Engine interface {
	engine.Containers
	engine.Watcher
}

// Container is one container of a backup. Its methods are called by one goroutine,
// but for [Container.Pending]; the fields are not changed once one was called.
type Container struct {
	Engine Engine
	Log    *zap.Logger
	ID     string
	Name   string
	Mode   events.Quiesce
	// ByCommit leaves the pause to the container's commit, which ends it too.
	ByCommit bool
	// Kick is called when the work has gone on.
	Kick func()

	before  *engine.ContainerDetail
	changes <-chan engine.Change
	events  *timeline
	touched bool
	started *engine.ContainerDetail // as it was right after it was started again; nil if it was not
	at      time.Time               // of that

	mu      sync.Mutex
	pending bool // the Engine may still do what it was told
}

// Watch follows the container's events until ctx ends, and returns the container as
// it is. It is called before anything else, and again before another try: then it
// reports ErrNotQuiesced if the container is not as it was before the first one.
func (c *Container) Watch(ctx context.Context) (*engine.ContainerDetail, error) {
	var err error
	if c.changes, err = c.Engine.Watch(ctx, c.ID); err != nil {
		return nil, fmt.Errorf("watch it: %w", err)
	}
	now, err := c.Engine.Inspect(ctx, c.ID)
	if err != nil {
		return nil, fmt.Errorf("inspect it: %w", err)
	}
	if c.before == nil {
		c.before = now
	}
	if !c.isAsBefore(now) {
		return nil, fmt.Errorf("%w: it changed between two tries", ErrNotQuiesced)
	}
	return now, nil
}

func (c *Container) isAsBefore(now *engine.ContainerDetail) bool {
	return now.State == c.before.State && now.StartedAt.Equal(c.before.StartedAt)
}

// Undo says how the container is resumed by whoever undoes the backup; nil if it
// is neither paused nor stopped by it. What did not run before is left as it was.
func (c *Container) Undo() *undo.Resume {
	ran := c.before.State == events.StateRunning
	if c.Mode == events.QuiesceStop {
		ran = ran || c.before.State == events.StateRestarting
	}
	if !ran || c.Mode == events.QuiesceNone {
		return nil
	}
	return &undo.Resume{Container: c.ID, Quiesce: c.Mode, Before: c.before.State, StartedAt: c.before.StartedAt.UTC(),
		Held: c.Mode == events.QuiescePause && !c.ByCommit}
}

// PausedByCommit reports whether the container's commit pauses it.
func (c *Container) PausedByCommit() bool { return c.ByCommit && c.Undo() != nil }

// Hold stops or pauses the container, unless its commit does that. What was asked
// for is looked at: killed is set for a container that did not stop within its grace
// period and was killed by the Engine.
func (c *Container) Hold(ctx context.Context) (killed bool, err error) {
	c.events = &timeline{changes: c.changes, before: c.before.State, mode: c.Mode, began: time.Now()}
	switch {
	case c.Undo() == nil:
	case c.Mode == events.QuiesceStop:
		return c.stop(ctx)
	case !c.ByCommit:
		if err := c.try(ctx, "pause it", func() error { return c.call(ctx, c.Engine.Pause) }); err != nil {
			return false, err
		}
		step.At(ctx, step.Paused)
	}
	c.Kick()
	return false, nil
}

func (c *Container) stop(ctx context.Context) (killed bool, err error) {
	began := time.Now()
	if err := c.try(ctx, "stop it", func() error { return c.call(ctx, c.Engine.Stop) }); err != nil {
		return false, err
	}
	took := time.Since(began)
	step.At(ctx, step.Stopped)
	c.Kick()
	now, err := c.Engine.Inspect(ctx, c.ID)
	switch {
	case err != nil:
		return false, fmt.Errorf("see whether it is stopped: %w", err)
	case now.State == events.StateRunning || now.State == events.StateRestarting || now.State == events.StatePaused:
		return false, fmt.Errorf("%w: it is %s after it was stopped", ErrNotQuiesced, now.State)
	}
	const killedBySignal = 128 + 9
	return now.ExitCode == killedBySignal && c.before.StopGrace > 0 && took >= c.before.StopGrace, nil
}

// Commit commits the container, and returns the id of the image. retried is set if
// it took more than one try, of which images may be left.
func (c *Container) Commit(ctx context.Context, reference string) (imageID string, retried bool, err error) {
	commit := func() error {
		return c.call(ctx, func(ctx context.Context, id string) error {
			imageID, err = c.Engine.Commit(ctx, id, engine.CommitOptions{
				Reference: reference, Comment: engine.SnapshotComment(reference), Pause: c.ByCommit && c.before.State != events.StatePaused})
			return err
		})
	}
	tries := 0
	if c.PausedByCommit() { // a try of its own pauses once more
		tries, err = 1, commit()
	} else {
		err = c.try(ctx, "commit it", func() error { tries++; return commit() })
	}
	if err == nil {
		step.At(ctx, step.Committed)
		c.Kick()
	}
	return imageID, tries > 1, err
}

// try calls op until it succeeds, up to Tries times.
func (c *Container) try(ctx context.Context, what string, op func() error) error {
	for n := 1; ; n++ {
		err := op()
		if err == nil {
			return nil
		}
		if n == Tries || !CanRetry(ctx, err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		c.Log.Warn("cannot "+what+"; it is retried", zap.String("container", c.Name), zap.Int("try", n), zap.Error(err))
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
}

// CanRetry reports whether a call that failed with err may succeed a moment later.
func CanRetry(ctx context.Context, err error) bool {
	for _, lasting := range []error{
		engine.ErrNotFound, engine.ErrEngineUnavailable, engine.ErrEngineFull, engine.ErrRefused, engine.ErrInUse,
		engine.ErrUnsupported, engine.ErrBadAnswer, engine.ErrBaseMissing, engine.ErrUncommittable, ErrNotResumed,
	} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return ctx.Err() == nil
}

// call has the Engine do something to the container. It is not begun when ctx has
// ended; once begun it is not cancelled, as the Engine would go on with it after
// its client has gone, and nobody would learn of the end.
func (c *Container) call(ctx context.Context, do func(ctx context.Context, id string) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.touched = true
	err := do(context.WithoutCancel(ctx), c.ID)
	if errors.Is(err, engine.ErrEngineUnavailable) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pending = true
	}
	return err
}

// Pending reports whether the Engine may still do what it was told. It may be called
// by any goroutine.
func (c *Container) Pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending
}

// Resume resumes a container that ran before. With committed, a pause of the commit's
// own is given the time to end by itself. ErrNotResumed says that the container does
// not run again; of an Engine that is away nothing is known.
func (c *Container) Resume(ctx context.Context, committed string) error {
	if !c.touched || c.Undo() == nil {
		return nil
	}
	if c.ByCommit && committed != "" {
		if s, err := c.events.follow(committed); err == nil && s.settled() {
			return nil
		}
	}
	bounded, cancel := context.WithTimeout(ctx, resumeBound)
	defer cancel()
	how := c.unpause
	if c.Mode == events.QuiesceStop {
		how = c.start
	}
	err := Retry(bounded, func() error { return how(bounded) })
	switch {
	case err == nil, errors.Is(err, engine.ErrNotFound): // removed by somebody
		return nil
	case ctx.Err() != nil, errors.Is(err, engine.ErrEngineUnavailable):
		return fmt.Errorf("resume it: %w", err)
	}
	return fmt.Errorf("%w: it was %s; it is retried until it succeeds, but look at it, and start or unpause it by hand: %w",
		ErrNotResumed, c.before.State, err)
}

// unpause unpauses the container if it is paused, and sees whether it is not any
// more.
func (c *Container) unpause(ctx context.Context) error {
	now, err := c.Engine.Inspect(ctx, c.ID)
	if err != nil || now.State != events.StatePaused {
		return err
	}
	if c.ByCommit {
		c.Log.Warn("the Engine left the container paused; it is unpaused", zap.String("container", c.Name))
	}
	if err := c.Engine.Unpause(ctx, c.ID); err != nil {
		return err
	}
	if now, err = c.Engine.Inspect(ctx, c.ID); err == nil && now.State == events.StatePaused {
		err = errors.New("it is still paused after it was unpaused")
	}
	return err
}

func (c *Container) start(ctx context.Context) error {
	if err := c.Engine.Start(ctx, c.ID); err != nil {
		return err
	}
	now, err := c.Engine.Inspect(ctx, c.ID)
	if err == nil {
		c.started, c.at = now, time.Now()
	}
	return err
}

// IsSettling reports whether the container was started again, and has to be looked at
// by Settled.
func (c *Container) IsSettling() bool {
	return c.started != nil && c.before.State == events.StateRunning
}

// Settled returns when a container that was started again has run for a moment, or
// reports ErrNotResumed: a start that succeeded says nothing of a process that ends
// right after it. The container is kept from other backups until then.
func (c *Container) Settled(ctx context.Context) error {
	select {
	case <-time.After(time.Until(c.at.Add(startWindow))):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	now, err := c.Engine.Inspect(ctx, c.ID)
	switch {
	case errors.Is(err, engine.ErrNotFound): // removed by somebody
		return nil
	case err != nil:
		return fmt.Errorf("see whether it runs again: %w", err)
	case now.State == events.StateRunning && now.StartedAt.Equal(c.started.StartedAt):
		return nil
	case now.State == events.StateRunning:
		return fmt.Errorf("%w: it was stopped and started again, ended within %s of that, and was restarted; look at its log",
			ErrNotResumed, startWindow)
	}
	return fmt.Errorf("%w: it was stopped and started again, and is %s %s after that (exit code %d); look at its log, and start it by hand",
		ErrNotResumed, now.State, startWindow, now.ExitCode)
}

// Prove reads from the Engine's events whether the container was quiesced while it
// was committed to the image, and for how many milliseconds it did not run.
func (c *Container) Prove(imageID string) (s Proof, notRunningMillis float64, err error) {
	if c.Mode == events.QuiesceNone {
		return s, 0, nil
	}
	s, err = c.events.follow(imageID)
	if err == nil && !s.Quiesced {
		err = errors.New(s.Why)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNotQuiesced, err)
	}
	return s, c.events.notRunning(s), err
}

// StayedUntil reports ErrNotQuiesced for a container that ran while others of its
// group were committed or volumes were read, until the given time. A container that its user had paused
// may be unpaused by him at any time, so its state must not have changed.
func (c *Container) StayedUntil(ctx context.Context, s Proof, until time.Time) error {
	if c.Mode == events.QuiesceNone {
		return nil
	}
	ok := c.events.quiescedUntil(s, until)
	if ok && s.Began.IsZero() {
		now, err := c.Engine.Inspect(ctx, c.ID)
		if err != nil {
			return fmt.Errorf("inspect it: %w", err)
		}
		ok = c.isAsBefore(now)
	}
	if ok {
		return nil
	}
	return fmt.Errorf("%w: it may have run before all of its group were committed and all volumes read", ErrNotQuiesced)
}

// HeldFor is how long the container has been paused or stopped by this backup so
// far, as far as this machine knows.
func (c *Container) HeldFor() time.Duration {
	if !c.touched || c.events == nil || c.Undo() == nil {
		return 0
	}
	return time.Since(c.events.began)
}

// Retry repeats op with growing, jittered delays until it succeeds, reports an error
// that lasts, or ctx ends. The error is the last one of op.
func Retry(ctx context.Context, op func() error) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = op()
		if last != nil && !CanRetry(context.WithoutCancel(ctx), last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithMaxElapsedTime(0))
	if last != nil {
		return last
	}
	return err
}
