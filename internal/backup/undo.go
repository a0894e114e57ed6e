package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/sink"
)

// Bounds of undoing.
const (
	firstDelay   = 250 * time.Millisecond // between two looks, growing
	lookDelay    = 2 * time.Second        // at most, while all goes well
	awayDelay    = 10 * time.Second       // at most, while something is away
	unknownDelay = 5 * time.Minute        // while the sink is not configured
	callBound    = time.Minute            // of one look at the Engine

	// pauseBound is how long a commit that may still run is waited for before its
	// container is let go all the same.
	pauseBound = 5 * time.Minute
	// commitLookout is how long after its note the image of a commit may come whose
	// end nobody saw.
	commitLookout = 10 * time.Minute
	// ownRelease is how long the Engine may take to let a container go whose commit
	// has made its image.
	ownRelease = 5 * time.Second
	// settleBound is how long an Engine may take to begin what it was told by a
	// client that is gone.
	settleBound = 10 * time.Second
)

// undoing is the undoing of one note.
type undoing struct {
	remains
	engine engine.Engine
	sinks  SinkOpener
	log    *zap.Logger

	seen  time.Time // when the container was first seen
	alone time.Time // when it was first seen with nothing of the attempt running in this process
	found bool      // the snapshot was seen: its commit has ended
	free  bool      // the container does not stand for our sake
	paid  bool      // the hook that is owed to the container was run
}

// errNoSink means that the configuration has no such sink.
var errNoSink = errors.New("the sink is not configured")

// lock gets the container's lock, unless that is held already or not needed.
func (u *undoing) lock(ctx context.Context, locks *Locks) error {
	if u.release != nil || !u.note.stands() {
		return nil
	}
	release, err := locks.Acquire(ctx, u.note.Item.ID)
	u.release = release
	return err
}

func (u *undoing) unlock() {
	if u.release != nil {
		u.release()
		u.release = nil
	}
}

// all undoes everything, on the Engine and in the sink, neither of which waits for
// the other. It returns when nothing of the attempt runs in this process any
// more, or with an error if ctx ends before.
func (u *undoing) all(ctx context.Context) error {
	var both sync.WaitGroup
	var engineErr, sinkErr error
	both.Go(func() {
		engineErr = u.repeat(ctx, "undo what was done on the Engine", func() (bool, error) { return u.look(ctx) })
	})
	both.Go(func() {
		if sinkErr = u.wait(ctx); sinkErr == nil { // it may still write there
			sinkErr = u.repeat(ctx, "remove what was staged", func() (bool, error) { return true, u.unstage(ctx) })
		}
	})
	both.Wait()
	return errors.Join(engineErr, sinkErr)
}

// wait waits until nothing of the attempt runs in this process.
func (u *undoing) wait(ctx context.Context) error {
	if u.ended == nil {
		return nil
	}
	select {
	case <-u.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// repeat calls op until it is done or ctx ends, at once when the attempt ends and
// else with growing delays. Its failures are logged once.
func (u *undoing) repeat(ctx context.Context, what string, op func() (done bool, err error)) error {
	ended, warned := u.ended, false
	for delay := firstDelay; ; delay *= 2 {
		done, err := op()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && done:
			return nil
		case err == nil:
			delay = min(delay, lookDelay)
		case errors.Is(err, errNoSink):
			delay = unknownDelay
		default:
			delay = min(delay, awayDelay)
		}
		if err != nil && !warned {
			warned = true
			u.log.Warn("cannot "+what+" yet; it is tried again until it succeeds", zap.Error(err))
		}
		select {
		case <-time.After(delay):
		case <-ended:
			ended = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look looks at what the attempt left on the Engine, and undoes what can be by
// now. It is done when nothing is there any more, and nothing can come.
func (u *undoing) look(ctx context.Context) (done bool, err error) {
	if u.note.Item.Kind == events.ItemImage {
		return true, nil
	}
	bounded, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	over := u.over() // before looking
	names, err := snapshots(bounded, u.engine, u.note.Snapshot)
	u.found = u.found || len(names) > 0
	if !u.free {
		var cerr error
		u.free, cerr = u.letGo(bounded, over)
		err = errors.Join(err, cerr)
	}
	err = errors.Join(err, removeImages(bounded, u.engine, names))
	if u.free && !u.paid {
		perr := runPost(ctx, u.engine, u.log, &u.note)
		u.paid = perr == nil
		err = errors.Join(err, perr)
	}
	if u.free && u.paid && (over || u.found || u.quit()) {
		u.unlock()
	}
	return u.free && u.paid && (over || u.found || u.late()), err
}

// over reports whether the attempt's commit has ended for certain.
func (u *undoing) over() bool {
	return u.note.Committed || u.ended != nil && u.quit() && !u.lost()
}

// quit reports whether nothing of the attempt runs in this process any more.
func (u *undoing) quit() bool { return u.ended == nil || isClosed(u.ended) }

// late reports whether the image of a commit whose end nobody saw will not come
// any more.
func (u *undoing) late() bool {
	return u.quit() && time.Since(u.note.Time) >= commitLookout
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// letGo lets the container go if it stands for our sake, and reports whether it
// does not any more, and will not. over says that its commit has ended.
func (u *undoing) letGo(ctx context.Context, over bool) (free bool, err error) {
	if !u.note.stands() {
		return true, nil
	}
	quit := u.quit() // before looking
	c, err := u.engine.Inspect(ctx, u.note.Item.ID)
	if errors.Is(err, engine.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if u.seen.IsZero() {
		u.seen = time.Now()
	}
	if quit && u.alone.IsZero() {
		u.alone = time.Now()
	}
	if u.note.Quiesce == events.QuiesceStop {
		return u.startAgain(ctx, c, over)
	}
	return u.unpause(ctx, c, over)
}

// unpause ends our pause. The Engine ends its own when the commit has ended, so
// that is waited for: ended earlier, the next commit of the container would be
// falsified by this one's end. That the image is there does not show it: the
// Engine lets the container go after that.
func (u *undoing) unpause(ctx context.Context, c *engine.ContainerDetail, over bool) (free bool, err error) {
	switch {
	case !c.StartedAt.Equal(u.note.StartedAt): // it runs, or stands, for another reason
		return true, nil
	case c.State != events.StatePaused: // the pause may still come
		return over || u.found || u.aloneFor(settleBound), nil
	case over, u.note.Held, u.found && u.aloneFor(ownRelease), time.Since(u.seen) >= pauseBound:
		u.log.Warn("the container was left paused; it is let go")
		return enough(u.engine.Unpause(ctx, c.ID))
	}
	return false, nil
}

// startAgain starts a container that we stopped. Its commit need not be waited
// for: what it makes is thrown away.
func (u *undoing) startAgain(ctx context.Context, c *engine.ContainerDetail, over bool) (free bool, err error) {
	ours := c.StartedAt.Equal(u.note.StartedAt) || u.note.Before == events.StateRestarting
	switch {
	case !ours:
		return true, nil
	case c.State == events.StateExited:
		u.log.Warn("the container was left stopped; it is started")
		return enough(u.engine.Start(ctx, c.ID))
	case c.State == events.StateRunning || c.State == events.StateRestarting: // the stop may still come
		return over || u.found || u.aloneFor(stopBound(c)), nil
	}
	return true, nil
}

// aloneFor reports whether nothing of the attempt has run in this process for so
// long: what it told the Engine has begun by then.
func (u *undoing) aloneFor(bound time.Duration) bool {
	return !u.alone.IsZero() && time.Since(u.alone) >= bound
}

// stopBound is how long a stop may take that an Engine was told by a client that
// is gone.
func stopBound(c *engine.ContainerDetail) time.Duration {
	if c.StopGrace == 0 {
		return commitLookout
	}
	return c.StopGrace + settleBound
}

// enough is the end of a call for which it is enough that the thing is gone.
func enough(err error) (bool, error) {
	if errors.Is(err, engine.ErrNotFound) {
		err = nil
	}
	return err == nil, err
}

// unstage removes what the attempt staged. A sink that hangs does not hold up
// the end of ctx.
func (u *undoing) unstage(ctx context.Context) error {
	var err error
	ended := await(ctx, func() {
		var s sink.Sink
		if s, err = u.sinks.Open(ctx, u.note.Sink); err == nil {
			err = s.Unstage(ctx, u.note.Dir, stagingName(u.note.Attempt))
		} else if !errors.Is(err, sink.ErrUnavailable) && !errors.Is(err, sink.ErrFull) {
			err = fmt.Errorf("%w: %w", errNoSink, err)
		}
	})
	if !isClosed(ended) {
		return context.Cause(ctx)
	}
	return err
}

// snapshots returns by what names the images can be removed that the commit made
// which was to be called ref: by that, or, where it lost its name, by its id.
func snapshots(ctx context.Context, e engine.Engine, ref string) (names []string, err error) {
	switch _, err := e.InspectImage(ctx, ref); {
	case err == nil:
		names = append(names, ref)
	case !errors.Is(err, engine.ErrNotFound):
		return nil, fmt.Errorf("look for the snapshot %s: %w", ref, err)
	}
	dangling, err := e.Dangling(ctx)
	if err != nil {
		return names, fmt.Errorf("look for the snapshot %s without its name: %w", ref, err)
	}
	for _, img := range dangling {
		if img.Comment == engine.SnapshotComment(ref) {
			names = append(names, img.ID)
		}
	}
	return names, nil
}

func removeImages(ctx context.Context, e engine.Engine, names []string) error {
	var errs []error
	for _, name := range names {
		if err := e.RemoveImage(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("remove the snapshot %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
