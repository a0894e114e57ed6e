package undo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// resume resumes the container if this attempt paused or stopped it, and reports
// whether nothing is left to do. over says that its commit has ended.
func (p *pass) resume(ctx context.Context, a *Resume, over bool) (done bool, err error) {
	done, err = p.tryResume(ctx, a, over)
	if done && err == nil {
		r := p.Record()
		p.log.Info("nothing holds the container any longer", zap.Duration("sinceItsRecord", time.Since(r.Time).Round(time.Millisecond)))
	}
	return done, err
}

func (p *pass) tryResume(ctx context.Context, a *Resume, over bool) (done bool, err error) {
	ended := p.attemptEnded() // before looking
	c, err := p.engine.Inspect(ctx, a.Container)
	if errors.Is(err, engine.ErrNotFound) {
		return true, nil
	}
	unreadable := errors.Is(err, engine.ErrBadAnswer)
	if err != nil && !unreadable {
		return false, err
	}
	if p.seenAt.IsZero() {
		p.seenAt = time.Now()
	}
	p.answered(ended)
	switch {
	case unreadable && a.Held:
		return p.unpauseUnread(ctx, a, over)
	case unreadable:
		return false, err
	}
	if a.Quiesce == events.QuiesceStop {
		return p.start(ctx, a, c, over)
	}
	return p.unpause(ctx, a, c, over)
}

// unpause ends our pause. The Engine ends its own when the commit has ended, and
// that is waited for: unpausing earlier would let this commit's own unpause fall
// into the next commit. The image proves nothing: the Engine unpauses after
// creating it.
func (p *pass) unpause(ctx context.Context, a *Resume, c *engine.ContainerDetail, over bool) (done bool, err error) {
	switch {
	case !c.StartedAt.Equal(a.StartedAt): // it runs, or is paused, for another reason
		return true, nil
	case c.State != events.StatePaused: // the pause may still come
		return over || p.imageSeen || p.orphanedFor(settleBound), nil
	case over, a.Held, p.imageSeen && p.orphanedFor(ownRelease), time.Since(p.seenAt) >= pauseBound:
		return p.called("the container was left paused; it was unpaused", "unpause", p.engine.Unpause(ctx, c.ID))
	}
	return false, nil
}

// unpauseUnread ends a pause of our own though the Engine's answer about the container
// cannot be read: that may stay so for as long as something stands before the Engine,
// and unpausing what is not paused does nothing. The pause may still come, so it is
// done once that is no longer possible.
func (p *pass) unpauseUnread(ctx context.Context, a *Resume, over bool) (done bool, err error) {
	err = p.engine.Unpause(ctx, a.Container)
	if err == nil && !over && !p.imageSeen && !p.orphanedFor(settleBound) {
		return false, nil
	}
	return p.called("the container may have been left paused, which the Engine does not tell; it was unpaused", "unpause", err)
}

// start starts a container that we stopped. Its commit need not be waited for: what
// it makes is thrown away.
func (p *pass) start(ctx context.Context, a *Resume, c *engine.ContainerDetail, over bool) (done bool, err error) {
	ours := c.StartedAt.Equal(a.StartedAt) || a.Before == events.StateRestarting
	switch {
	case !ours:
		return true, nil
	case c.State == events.StateExited:
		return p.called("the container was left stopped; it was started", "start", p.engine.Start(ctx, c.ID))
	case c.State == events.StateRunning || c.State == events.StateRestarting: // the stop may still come
		return over || p.imageSeen || p.orphanedFor(stopBound(c)), nil
	}
	return true, nil
}

// called ends a call that resumes the container. One that is gone needs none.
func (p *pass) called(done, verb string, err error) (bool, error) {
	switch {
	case err == nil:
		p.log.Warn(done)
		return true, nil
	case errors.Is(err, engine.ErrNotFound):
		return true, nil
	}
	return false, fmt.Errorf("%s the container: %w", verb, err)
}

// answered notes that the Engine answers, and with ended that nothing of the attempt ran
// in this process before it was asked.
func (p *pass) answered(ended bool) {
	if ended && p.orphanedAt.IsZero() {
		p.orphanedAt = time.Now()
	}
}

// orphanedFor reports whether nothing of the attempt has run in this process for so
// long: what it told the Engine has begun by then.
func (p *pass) orphanedFor(bound time.Duration) bool {
	return !p.orphanedAt.IsZero() && time.Since(p.orphanedAt) >= bound
}

// stopBound is how long a stop may take that an Engine was told by a client that
// is gone.
func stopBound(c *engine.ContainerDetail) time.Duration {
	if c.StopGrace == 0 {
		return commitWindow
	}
	return c.StopGrace + settleBound
}
