package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrBlocked: what an attempt left of a container cannot be undone before somebody
// else does something, so that nobody can have its lock for now.
var ErrBlocked = errors.New("what an earlier backup left of it cannot be undone for now")

// Resource names what a lock is for.
type Resource string

// Container is the container with this full id.
func Container(id string) Resource { return Resource("container/" + id) }

// ContainerName is the name that a container gets, VolumeName a volume, and
// ImageReference the name of an image.
func ContainerName(name string) Resource { return Resource("name/" + name) }
func VolumeName(name string) Resource    { return Resource("volume/" + name) }
func ImageReference(ref string) Resource { return Resource("image/" + ref) }

// BaseLayers are the layers of an image up to the one with this diff id, while they are moved
// to a sink.
func BaseLayers(sink, diffID string) Resource { return Resource("layers/" + sink + "/" + diffID) }

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
	// why says that its holder cannot release it for now; nil if it can. changed is
	// closed at the next change of why.
	why     error
	changed chan struct{}
}

// Acquire waits until r is free or ctx ends. It reports ErrBlocked as soon as the
// holder cannot release r for now. The caller calls release once.
func (l *Locks) Acquire(ctx context.Context, r Resource) (release func(), err error) {
	return l.acquire(ctx, r, false)
}

// AcquireAll is Acquire for several resources. They are taken in one order, so that no
// two callers wait for each other.
func (l *Locks) AcquireAll(ctx context.Context, all []Resource) (release func(), err error) {
	return l.acquireAll(ctx, all, false)
}

func (l *Locks) acquireAll(ctx context.Context, all []Resource, patient bool) (release func(), err error) {
	return inOrder(all, func(r Resource) (func(), error) {
		release, err := l.acquire(ctx, r, patient)
		if err != nil {
			return nil, fmt.Errorf("wait for %s: %w", r, err)
		}
		return release, nil
	})
}

// tryAcquireAll is AcquireAll if all are free, and reports whether they are.
func (l *Locks) tryAcquireAll(all []Resource) (release func(), ok bool) {
	release, err := inOrder(all, func(r Resource) (func(), error) {
		release, ok := l.TryAcquire(r)
		if !ok {
			return nil, errors.New("it is held")
		}
		return release, nil
	})
	return release, err == nil
}

// inOrder acquires all, or none.
func inOrder(all []Resource, acquire func(Resource) (func(), error)) (release func(), err error) {
	var held []func()
	release = func() {
		for _, release := range slices.Backward(held) {
			release()
		}
	}
	for _, r := range slices.Compact(slices.Sorted(slices.Values(all))) {
		one, err := acquire(r)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, one)
	}
	return release, nil
}

// acquire is Acquire, and with patient it waits for a holder that is blocked too.
func (l *Locks) acquire(ctx context.Context, r Resource, patient bool) (release func(), err error) {
	k := l.enter(r)
	for {
		why, changed := l.blocked(k)
		if why != nil && !patient {
			l.leave(r, k)
			return nil, fmt.Errorf("%w: %w", ErrBlocked, why)
		}
		select {
		case k.sem <- struct{}{}:
			return l.releaser(r, k), nil
		case <-changed:
		case <-ctx.Done():
			l.leave(r, k)
			return nil, context.Cause(ctx)
		}
	}
}

func (l *Locks) releaser(r Resource, k *lock) (release func()) {
	return func() {
		l.block(k, nil)
		<-k.sem
		l.leave(r, k)
	}
}

// Block says why the holder of r cannot release it for now; nil for that it can.
func (l *Locks) Block(r Resource, why error) {
	l.mu.Lock()
	k := l.held[r]
	l.mu.Unlock()
	if k != nil {
		l.block(k, why)
	}
}

func (l *Locks) block(k *lock, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k.why = why
	close(k.changed)
	k.changed = make(chan struct{})
}

func (l *Locks) blocked(k *lock) (why error, changed <-chan struct{}) { //nolint:staticcheck // why is no error of this call
	l.mu.Lock()
	defer l.mu.Unlock()
	return k.why, k.changed
}

// TryAcquire is Acquire if r is free, and reports whether it is.
func (l *Locks) TryAcquire(r Resource) (release func(), ok bool) {
	k := l.enter(r)
	select {
	case k.sem <- struct{}{}:
		return l.releaser(r, k), true
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
		k = &lock{sem: make(chan struct{}, 1), changed: make(chan struct{})}
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
