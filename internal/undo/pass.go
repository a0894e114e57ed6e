package undo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/hook"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
)

// Bounds of undoing.
const (
	firstDelay   = 250 * time.Millisecond // between two tries, growing
	lookDelay    = 2 * time.Second        // at most, while all goes well
	awayDelay    = 10 * time.Second       // at most, while something is away
	blockedDelay = time.Minute            // at most, while somebody else has to do something first
	unknownDelay = 5 * time.Minute        // while the sink is not configured
	callBound    = time.Minute            // of one look at the Engine

	// firstReminder is when it is logged again that something cannot be undone; the
	// time doubles with each reminder, up to lastReminder.
	firstReminder = time.Minute
	lastReminder  = time.Hour

	// pauseBound is how long a commit that may still run is waited for before its
	// container is unpaused all the same.
	pauseBound = 5 * time.Minute
	// commitWindow is how long after its record an unobserved commit may still produce
	// an image.
	commitWindow = 10 * time.Minute
	// likelyWindow is how long a worker that stops waits for such an image.
	likelyWindow = 30 * time.Second
	// ownRelease is how long the Engine may take to unpause a container whose commit
	// has made its image.
	ownRelease = 5 * time.Second
	// settleBound is how long an Engine may take to begin what it was told by a
	// client that is gone.
	settleBound = 10 * time.Second
)

// pass is the undoing of one record.
type pass struct {
	*Entry
	engine Engine
	sinks  Sinks
	hooks  hook.Runner
	log    *zap.Logger

	seenAt     time.Time // when the container was first seen
	orphanedAt time.Time // when it was first seen with nothing of the attempt running in this process
	imageSeen  bool      // the image was seen: its commit has ended

	dirty atomic.Bool // the record on disk names what is undone
}

// errAwaitsImage means that an unobserved commit may still produce an image.
var errAwaitsImage = errors.New("its commit may still produce an image")

// errNoSink means that the configuration has no such sink.
var errNoSink = errors.New("the sink is not configured")

// lock gets the locks of the container and of what a restore has made, unless they are
// held already or not needed.
func (p *pass) lock(ctx context.Context, locks *Locks) error {
	r := p.Record()
	all := r.resources()
	if p.release != nil || len(all) == 0 {
		return nil
	}
	release, err := locks.AcquireAll(ctx, all)
	if errors.Is(err, ErrBlocked) { // by what another attempt left of it
		p.sweeper.fail(p.Entry, err)
		release, err = locks.acquireAll(ctx, all, true)
		p.sweeper.fail(p.Entry, nil)
	}
	p.release = release
	return err
}

// failsOnEngine tells those who wait for the undoing, and those who wait for the
// container, why nothing goes on for now; nil for that it goes on.
func (p *pass) failsOnEngine(why error) {
	if why == nil && p.sweeper.Patience > 0 && p.awaitsImage() {
		p.fails(errAwaitsImage)
		return
	}
	p.fails(why)
	r := p.Record()
	if p.release == nil {
		return
	}
	for _, resource := range r.resources() {
		p.sweeper.Locks.Block(resource, why)
	}
}

// awaitsImage reports whether all that is left is an image that an unobserved commit
// may still produce, though by now that is not likely.
func (p *pass) awaitsImage() bool {
	r := p.Record()
	return !r.has(IsResume) && !r.has(IsHook) && !r.has(IsContainer) && r.has(IsImage) &&
		p.attemptEnded() && time.Since(r.Time) >= likelyWindow
}

func (p *pass) fails(why error) { p.sweeper.fail(p.Entry, why) }

func (p *pass) unlock() {
	if p.release != nil {
		p.release()
		p.release = nil
	}
}

// all undoes everything, on the Engine and in the sink, neither of which waits for
// the other. It returns when nothing of the attempt runs in this process any
// more, or with an error if ctx ends before.
func (p *pass) all(ctx context.Context) error {
	var both sync.WaitGroup
	var engineErr, sinkErr error
	both.Go(func() {
		engineErr = p.repeat(ctx, "undo what was done on the Engine", func() (bool, error) { return p.onEngine(ctx) }, p.failsOnEngine)
	})
	both.Go(func() {
		if sinkErr = p.wait(ctx); sinkErr == nil { // it may still write there
			sinkErr = p.repeat(ctx, "remove what was staged", func() (bool, error) { return true, p.unstage(ctx) }, p.fails)
		}
	})
	both.Wait()
	return errors.Join(engineErr, sinkErr)
}

// wait waits until nothing of the attempt runs in this process.
func (p *pass) wait(ctx context.Context) error {
	if p.ended == nil {
		return nil
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// repeat calls op until it is done or ctx ends, with growing delays, and at once
// when the attempt ends. A failure is logged at once, and again after growing times.
// tell is told why it fails for now, and nil when it goes on.
func (p *pass) repeat(ctx context.Context, what string, op func() (done bool, err error), tell func(why error)) error {
	ended := p.ended
	remind := reminder{next: firstReminder}
	failures := 0 // in a row
	for delay := firstDelay; ; delay *= 2 {
		var done bool
		// A fault at one record must not end the process, which would meet it again at its
		// next start.
		err := panics.Catch(func() (err error) { done, err = op(); return err })
		if failures++; err == nil {
			failures = 0
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && done:
			return nil
		}
		delay = delayAfter(err, delay)
		if patience := p.sweeper.Patience; err == nil || isBlocked(err) || patience > 0 && failures >= patience {
			tell(err)
		}
		if err != nil && remind.due() {
			p.log.Warn("cannot "+what+" yet; it is retried until it succeeds", zap.Strings("left", p.left()), zap.Error(err), panics.LogStack(err))
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

// delayAfter bounds the delay after an attempt that ended with err; nil if it has to
// be looked again.
func delayAfter(err error, delay time.Duration) time.Duration {
	switch {
	case err == nil:
		return min(delay, lookDelay)
	case errors.Is(err, errNoSink):
		return unknownDelay
	case errors.Is(err, engine.ErrInUse):
		return min(delay, blockedDelay)
	}
	return min(delay, awayDelay)
}

// isBlocked reports whether somebody else has to do something before undoing can go
// on.
func isBlocked(err error) bool {
	return errors.Is(err, errNoSink) || errors.Is(err, engine.ErrInUse) || errors.Is(err, engine.ErrRefused)
}

// reminder says when a failure that lasts is logged.
type reminder struct {
	last time.Time
	next time.Duration
}

func (r *reminder) due() bool {
	now := time.Now()
	switch {
	case r.last.IsZero():
	case now.Sub(r.last) < r.next:
		return false
	default:
		r.next = min(2*r.next, lastReminder)
	}
	r.last = now
	return true
}

// left says to people what is still to be undone.
func (p *pass) left() (left []string) {
	r := p.Record()
	for _, a := range r.Actions {
		switch {
		case a.Resume != nil && a.Resume.Quiesce == events.QuiesceStop:
			left = append(left, "container "+a.Resume.Container+" may be stopped")
		case a.Resume != nil:
			left = append(left, "container "+a.Resume.Container+" may be paused")
		case a.RunHook != nil:
			left = append(left, hook.LabelPost+" of container "+a.RunHook.Container)
		case a.RemoveContainer != nil:
			left = append(left, "container "+a.RemoveContainer.Name)
		case a.RemoveImage != nil:
			left = append(left, "image "+a.RemoveImage.Reference+" "+a.RemoveImage.ID)
		case a.Unstage != nil:
			left = append(left, "staged in sink "+a.Unstage.Sink)
		case a.Restoration != nil:
			left = append(left, "a restore that did not come to its end")
		case a.RemoveReplaced != nil:
			left = append(left, "container "+a.RemoveReplaced.ID+", which was replaced")
		}
	}
	return left
}

// onEngine looks at what the attempt left on the Engine, and undoes what can be
// undone at this moment. It is done when nothing is there, and nothing can come.
// What it has undone is dropped from the record, on disk too: a process that adopts
// the record later must not undo it again.
func (p *pass) onEngine(ctx context.Context) (done bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	r := p.Record()
	over := p.commitEnded(&r) // before looking, as is final: what comes after a look is not seen by it
	final := p.finalImages(&r, over)
	images, err := p.findImages(bounded, &r)
	err = errors.Join(err, p.each(IsResume, func(a Action) (bool, error) { return p.resume(bounded, a.Resume, over) }))
	err = errors.Join(err, p.each(IsContainer, func(a Action) (bool, error) { return p.removeContainer(bounded, a.RemoveContainer) }))
	resumed := !p.has(IsResume)
	if !p.has(IsRestoration) { // whose containers are made from them
		err = errors.Join(err, p.each(IsImage, func(a Action) (bool, error) {
			gone, err := p.removeImages(bounded, a.RemoveImage, images)
			ref := a.RemoveImage.Reference
			return gone && resumed && (final[ref] || len(images[ref]) > 0), err
		}))
	}
	if resumed {
		err = errors.Join(err, p.each(IsHook, func(a Action) (bool, error) { return true, p.runHook(ctx, a.RunHook) }))
	}
	// The helpers of a restore go first: they use its volumes.
	if !p.has(IsContainer) {
		err = errors.Join(err, p.each(IsRestoration, func(a Action) (bool, error) { return p.undoRestoration(ctx, a.Restoration) }))
	}
	err = errors.Join(err, p.each(IsReplaced, func(a Action) (bool, error) { return p.removeReplaced(bounded, a.RemoveReplaced.ID) }))
	holds := p.has(Holding)
	if !holds && (over || p.imageSeen || p.attemptEnded()) {
		p.unlock()
	}
	if !holds && !p.has(IsContainer) {
		p.sweeper.settle(p.Entry)
		if !p.has(IsImage) {
			return err == nil, err
		}
	}
	return false, errors.Join(err, p.saveChanged())
}

// saveChanged writes the record to disk if something was dropped from it.
func (p *pass) saveChanged() error {
	if !p.dirty.Swap(false) {
		return nil
	}
	err := p.Save()
	if err != nil {
		p.dirty.Store(true)
	}
	return err
}

// each calls undo for the actions for which is returns true, and drops those that
// are done.
func (p *pass) each(is func(Action) bool, undo func(a Action) (done bool, err error)) error {
	var errs []error
	r := p.Record()
	for _, a := range r.Actions {
		if !is(a) {
			continue
		}
		done, err := undo(a)
		if done && err == nil {
			p.Change(func(r *Record) { r.Drop(a.same) })
			p.dirty.Store(true)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (p *pass) has(is func(Action) bool) bool {
	r := p.Record()
	return r.has(is)
}

// commitEnded reports whether the attempt's commit has ended for certain.
func (p *pass) commitEnded(r *Record) bool {
	return r.committed() || p.ended != nil && p.attemptEnded() && !p.pending()
}

// finalImages tells by its reference of which image none comes any more: its commit has
// ended, or has made it, or can no longer do so.
func (p *pass) finalImages(r *Record, over bool) map[string]bool {
	final := map[string]bool{}
	for _, a := range r.Actions {
		if a.RemoveImage != nil {
			final[a.RemoveImage.Reference] = over || a.RemoveImage.hasCome() || p.windowPassed(a.RemoveImage)
		}
	}
	return final
}

// attemptEnded reports whether nothing of the attempt runs in this process any
// more.
func (p *pass) attemptEnded() bool { return p.ended == nil || stall.HasEnded(p.ended) }

// windowPassed reports whether an unobserved commit can no longer produce its image.
func (p *pass) windowPassed(a *Image) bool {
	begun := p.Record().Time
	if a.Begun.After(begun) {
		begun = a.Begun
	}
	return p.attemptEnded() && time.Since(begun) >= commitWindow
}

// runHook runs the command that is still to be run in a container, which has been
// resumed. An error says that it has to be tried again.
func (p *pass) runHook(ctx context.Context, h *Hook) error {
	r := p.Record()
	result, err := p.hooks.RunPost(ctx, h.Container, &h.Command)
	if err != nil {
		return fmt.Errorf("container %s: %w", r.Item.Name, err)
	}
	if result.Error != "" {
		p.log.Warn("the hook after the snapshot failed; look at the container", zap.String("why", result.Error))
	}
	return nil
}

// unstage removes what the attempt staged. A sink that hangs does not hold up the
// end of ctx.
func (p *pass) unstage(ctx context.Context) error {
	return p.each(func(a Action) bool { return a.Unstage != nil }, func(a Action) (bool, error) {
		var err error
		ended := stall.Await(ctx, func() {
			var s sink.Sink
			if s, err = p.sinks.Open(ctx, a.Unstage.Sink); err == nil {
				err = s.Unstage(ctx, a.Unstage.Dir, a.Unstage.Name)
				if sink.IsKept(err) { // a prune takes it up
					p.log.Warn("what was staged is left in the sink; a prune that may removes it", zap.String("sink", a.Unstage.Sink), zap.Error(err))
					err = nil
				}
			} else if !errors.Is(err, sink.ErrUnavailable) && !errors.Is(err, sink.ErrFull) {
				err = fmt.Errorf("%w: %w", errNoSink, err)
			}
		})
		if !stall.HasEnded(ended) {
			return false, context.Cause(ctx)
		}
		return true, err
	})
}
