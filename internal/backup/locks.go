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
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[id]
	if k == nil {
		k = &lock{sem: make(chan struct{}, 1)}
		l.held[id] = k
	}
	k.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, id)
		}
	}
	select {
	case k.sem <- struct{}{}:
		return func() { <-k.sem; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
