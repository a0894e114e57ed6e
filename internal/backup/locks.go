package backup

import (
	"context"
	"sync"
)

// Locks is one lock for each container id, over all jobs. Two commits of one
// container at a time falsify each other's quiesce: the Engine lets the
// container go when the first one ends. The zero value is ready to use.
type Locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sem   chan struct{}
	users int
}

// Acquire waits until id is free or ctx ends. The caller calls release once.
func (l *Locks) Acquire(ctx context.Context, id string) (release func(), err error) {
	k := l.enter(id)
	select {
	case k.sem <- struct{}{}:
		return func() { <-k.sem; l.leave(id, k) }, nil
	case <-ctx.Done():
		l.leave(id, k)
		return nil, context.Cause(ctx)
	}
}

// TryAcquire is Acquire if id is free, and reports whether it is.
func (l *Locks) TryAcquire(id string) (release func(), ok bool) {
	k := l.enter(id)
	select {
	case k.sem <- struct{}{}:
		return func() { <-k.sem; l.leave(id, k) }, true
	default:
		l.leave(id, k)
		return nil, false
	}
}

func (l *Locks) enter(id string) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[id]
	if k == nil {
		k = &lock{sem: make(chan struct{}, 1)}
		l.held[id] = k
	}
	k.users++
	return k
}

func (l *Locks) leave(id string, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, id)
	}
}
