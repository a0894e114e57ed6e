package undo

import (
	"context"
	"sync"
)

// Resource names what a lock is for.
type Resource string

// Container is the container with this full id.
func Container(id string) Resource { return Resource("container/" + id) }

// Locks is one lock for each resource of an Engine, over all jobs of a process. Two
// commits of one container at a time falsify each other's pause: the Engine
// unpauses the container when the first one ends. The zero value is ready to use.
type Locks struct {
	mu   sync.Mutex
	held map[Resource]*lock
}

type lock struct {
	sem   chan struct{}
	users int
}

// Acquire waits until r is free or ctx ends. The caller calls release once.
func (l *Locks) Acquire(ctx context.Context, r Resource) (release func(), err error) {
	k := l.enter(r)
	select {
	case k.sem <- struct{}{}:
		return func() { <-k.sem; l.leave(r, k) }, nil
	case <-ctx.Done():
		l.leave(r, k)
		return nil, context.Cause(ctx)
	}
}

// TryAcquire is Acquire if r is free, and reports whether it is.
func (l *Locks) TryAcquire(r Resource) (release func(), ok bool) {
	k := l.enter(r)
	select {
	case k.sem <- struct{}{}:
		return func() { <-k.sem; l.leave(r, k) }, true
	default:
		l.leave(r, k)
		return nil, false
	}
}

func (l *Locks) enter(r Resource) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[Resource]*lock{}
	}
	k := l.held[r]
	if k == nil {
		k = &lock{sem: make(chan struct{}, 1)}
		l.held[r] = k
	}
	k.users++
	return k
}

func (l *Locks) leave(r Resource, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, r)
	}
}
