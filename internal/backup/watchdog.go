package backup

import (
	"context"
	"sync"
	"time"
)

// watchdog ends an item that does not go on.
type watchdog struct {
	mu    sync.Mutex
	bound time.Duration
	timer *time.Timer // nil if nothing is watched
}

// guard returns a context that ends with ErrNoProgress when nothing has been
// alive for bound, or ever if that is 0. stop ends the watching.
func (w *watchdog) guard(ctx context.Context, bound time.Duration) (guarded context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if bound > 0 {
		w.bound = bound
		w.timer = time.AfterFunc(bound, func() { cancel(ErrNoProgress) })
	}
	return ctx, func() {
		w.end()
		cancel(nil)
	}
}

// alive says that the item goes on.
func (w *watchdog) alive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Reset(w.bound)
	}
}

// rest stops the clock until the returned function is called.
func (w *watchdog) rest() (goOn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	return w.alive
}

func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}
