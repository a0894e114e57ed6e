package enginetest

import (
	"context"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/engine"
)

// Watch implements [engine.Watcher].
func (f *Fake) Watch(ctx context.Context, id string) (<-chan engine.Change, error) {
	fault, err := f.begin(ctx, Watch, id)
	if err != nil {
		return nil, err
	}
	w := &watcher{id: id, fault: fault, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	f.mu.Lock()
	f.watchers[w] = struct{}{}
	f.mu.Unlock()
	changes := make(chan engine.Change)
	go func() {
		defer close(changes)
		w.run(ctx, changes)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, w)
	}()
	return changes, nil
}

// watcher hands the changes of one container on. However slow its reader is, the
// Engine never waits for it.
type watcher struct {
	id    string
	fault Fault
	wake  chan struct{}

	mu      sync.Mutex
	waiting []engine.Change
	once    sync.Once
	ended   chan struct{}
}

func (w *watcher) send(c engine.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, c)
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

func (w *watcher) end() { w.once.Do(func() { close(w.ended) }) }

func (w *watcher) take() []engine.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.waiting
	w.waiting = nil
	return taken
}

func (w *watcher) run(ctx context.Context, to chan<- engine.Change) {
	for sent := 0; ; {
		for _, c := range w.take() {
			if !w.wait(ctx, time.Until(c.Time.Add(w.fault.Lag))) {
				return
			}
			select {
			case to <- c:
				sent++
			case <-w.ended:
				return
			case <-ctx.Done():
				return
			}
			if w.fault.Cut > 0 && sent == w.fault.Cut {
				return
			}
		}
		select {
		case <-w.wake:
		case <-w.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// wait reports false if the stream ended meanwhile.
func (w *watcher) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-w.ended:
	case <-ctx.Done():
	}
	return false
}
