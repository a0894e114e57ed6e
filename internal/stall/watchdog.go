// Package stall gives up on work that does not move, and on work that does not
// return.
package stall

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrStalled is the cause of a context whose [Watchdog] was not kicked in time.
var ErrStalled = errors.New("nothing has moved for too long")

// Watchdog ends work that does not go on. The zero value is ready to use; it may
// be used by several goroutines.
type Watchdog struct {
	mu    sync.Mutex
	bound time.Duration
	timer *time.Timer // nil if nothing is watched
}

// Guard returns a context that ends with ErrStalled when the watchdog was not
// kicked for bound, or never if bound is 0. stop ends the watching.
func (w *Watchdog) Guard(ctx context.Context, bound time.Duration) (guarded context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if bound > 0 {
		w.bound = bound
		w.timer = time.AfterFunc(bound, func() { cancel(ErrStalled) })
	}
	return ctx, func() {
		w.end()
		cancel(nil)
	}
}

// Kick says that the work goes on.
func (w *Watchdog) Kick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Reset(w.bound)
	}
}

// Suspend stops the clock until resume is called.
func (w *Watchdog) Suspend() (resume func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	return w.Kick
}

func (w *Watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}
